"""Accuracy of a self-supervised model: audiovisual synchronisation and rotation."""

import logging
from collections import OrderedDict

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class SyncEvaluator(DatasetEvaluator):
    """Synchronisation accuracy per level and over all levels, and rotation accuracy.

    Synchronisation accuracy is the fraction of clips whose visual embedding is closer to the clip's
    own audio than to a negative. The easy negative is the audio of another clip: the one half of
    the clips away, in the order of the ids. The hard negative comes with the clip (same video,
    other time). Only clips whose positive and negative audio differ ("valid") count. Rotation
    accuracy is the fraction of the four rotations of each clip that are recognised.
    """

    def reset(self) -> None:
        """Forget all clips."""
        self._clips: dict[tuple[str, int], dict] = {}  # by clip id and view

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Add a batch: model inputs, and what ``AVPretrainer.inference`` returns for them."""
        for clip, output in zip(inputs, outputs, strict=True):
            levels = output.get("embeddings", {}).items()
            kept: dict = {"valid": output.get("valid", False)}
            kept["embeddings"] = {k: {n: x.cpu().numpy() for n, x in v.items()} for k, v in levels}
            if "rotation" in output:
                # Row i has the probabilities of the clip rotated by i quarter turns.
                rotations = torch.arange(len(output["rotation"]))
                kept["rotation_correct"] = output["rotation"].argmax(dim=1).cpu() == rotations
            self._clips[clip["clip_id"], clip["view"]] = kept

    def evaluate(self) -> OrderedDict:
        """Gather the clips of all processes and compute the metrics.

        Returns:
            Percent on the main process: "sync" -> "<level>_easy" and "<level>_hard" of each level
            and of "all" levels, and "clips", the number of compared clips (at least two);
            "rotation" -> "accuracy". A metric without clips is left out. Empty on other processes.
        """
        gathered = comm.gather(self._clips)
        if not comm.is_main_process():
            return OrderedDict()
        clips = {key: clip for part in gathered for key, clip in part.items()}
        ordered = [clips[key] for key in sorted(clips)]
        results: OrderedDict[str, dict[str, float]] = OrderedDict()
        compared = [clip["embeddings"] for clip in ordered if clip["valid"]]
        if len(compared) > 1:  # the easy negative of a single clip would be its own audio
            results["sync"] = {**_accuracies(compared), "clips": len(compared)}
        correct = [clip["rotation_correct"] for clip in ordered if "rotation_correct" in clip]
        if correct:
            results["rotation"] = {"accuracy": 100 * torch.stack(correct).float().mean().item()}
        for name, metrics in results.items():
            logging.getLogger(__name__).info(f"{name}: {metrics}")
        return results


def _accuracies(clips: list[dict]) -> dict[str, float]:
    """Return percent by "<level>_easy" and "<level>_hard" (50 is chance) from the embeddings."""
    results = {}
    # The embeddings of "all" levels are concatenated: their cosine is the mean of the cosines.
    for level, parts in {**{level: [level] for level in clips[0]}, "all": [*clips[0]]}.items():
        visual, audio, hard = (
            np.stack([np.concatenate([clip[part][name] for part in parts]) for clip in clips])
            for name in ("visual", "audio", "audio_negative")
        )
        positive = np.linalg.norm(visual - audio, axis=1)
        for kind, negative in (("easy", np.roll(audio, len(audio) // 2, axis=0)), ("hard", hard)):
            is_closer = positive < np.linalg.norm(visual - negative, axis=1)
            results[f"{level}_{kind}"] = 100 * float(is_closer.mean())
    return results
