"""How well a model tells sound in sync from other sound, and turned clips from upright ones."""

import logging
from collections import OrderedDict

import numpy as np
import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class SyncEvaluator(DatasetEvaluator):
    """For each level, and for all together, the share of clips whose sight is nearer to their own
    sound than to a negative: an easy one, the sound of another clip, or the hard one that comes
    with the clip. And the share of clips whose turn, of all four, is found.

    Clips are compared if their sounds can be told apart ("valid"). The easy negative of a clip is
    the sound of the clip half of them away, in the order of their ids.
    """

    def reset(self) -> None:
        self._clips: dict[tuple[str, int], dict] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """
        Args:
            inputs: with "clip_id" and "view".
            outputs: of :meth:`avsf_det.modeling.AVPretrainer.inference`.
        """
        for clip, output in zip(inputs, outputs, strict=True):
            found = {"valid": output.get("valid", False)}
            if "embeddings" in output:
                found["embeddings"] = {
                    level: {name: x.cpu().numpy() for name, x in vectors.items()}
                    for level, vectors in output["embeddings"].items()
                }
            if "rotation" in output:
                turns = torch.arange(len(output["rotation"]))
                found["turns_found"] = output["rotation"].argmax(dim=1).cpu() == turns
            self._clips[clip["clip_id"], clip["view"]] = found

    def evaluate(self) -> OrderedDict:
        """
        Returns:
            percent: "sync" to "<level>_easy" and "<level>_hard", and those of "all" levels (their
            embeddings end to end, so the mean of their cosines), and "clips", how many were
            compared, two at least; "rotation" to "accuracy". On other processes than the main
            one, nothing.
        """
        parts = comm.gather(self._clips)
        if not comm.is_main_process():
            return OrderedDict()
        clips = {key: clip for part in parts for key, clip in part.items()}
        ordered = [clips[key] for key in sorted(clips)]
        results = OrderedDict()
        compared = [clip["embeddings"] for clip in ordered if clip["valid"]]
        if len(compared) > 1:
            results["sync"] = {**_accuracies(compared), "clips": len(compared)}
        turns = [clip["turns_found"] for clip in ordered if "turns_found" in clip]
        if turns:
            results["rotation"] = {"accuracy": 100 * torch.stack(turns).float().mean().item()}
        for name, metrics in results.items():
            logging.getLogger(__name__).info(f"{name}: {metrics}")
        return results


def _accuracies(clips: list[dict]) -> dict[str, float]:
    """Percent by "<level>_<kind>"; 50 is chance."""
    results = {}
    for level, parts in {**{level: [level] for level in clips[0]}, "all": [*clips[0]]}.items():
        visual, own, hard = (
            np.stack([np.concatenate([clip[part][name] for part in parts]) for clip in clips])
            for name in ("visual", "audio", "audio_negative")
        )
        near = _distance(visual, own)
        for kind, other in (("easy", np.roll(own, len(own) // 2, axis=0)), ("hard", hard)):
            results[f"{level}_{kind}"] = 100 * float(np.mean(near < _distance(visual, other)))
    return results


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=1)
