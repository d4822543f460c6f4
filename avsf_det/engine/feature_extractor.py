"""Features of a video: outputs of a trained model's layers for each clip or person.

Shapes: W clips of a video, R person boxes in them, C channels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from tqdm import tqdm

from avsf_det.data import KeyframeMapper, SegmentMapper, SequentialReader
from avsf_det.data.transforms import build_clip_augmentations
from avsf_det.data.video import SequentialVideoReader
from avsf_det.engine.defaults import copy_for_inference, load_weights
from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import local_path, name_of

HEAD = "head"
Persons = Mapping[float, np.ndarray]  # second of the file to boxes (N, 5), see FeatureExtractor


class FeatureError(AVSFError):
    """Features that cannot be extracted as requested."""


class FeatureExtractor:
    """Extractor of the features of a model's layers.

    A layer is "<pathway>_<stage>", such as "slow_res5", "fast_res3" or "audio_res5": the mean over
    time and space of the stage's output before fusion. Clips without audio have audio features
    too; ``has_audio`` marks them. The layer "head" is the input of the classifier: Slow, Fast and
    Audio concatenated. It has one row per person for a detector, (R, C), else per clip, (W, C).

    Attributes:
        settings: everything that the features depend on, by name, except the video and persons.
    """

    def __init__(self, cfg: CfgNode, layers: Sequence[str], *, batch_size: int = 8) -> None:
        """Build the model of a config, and load ``MODEL.WEIGHTS``.

        The config is of an ActionDetector, a ClipClassifier or an AVPretrainer, whose "head" is
        that of a ClipClassifier. ``batch_size`` clips are run at once.

        Raises:
            FeatureError: there is no such layer.
            CheckpointError: there are no weights, or they cannot be used.
            AVSFError: TEST.AUDIO_MODE is "swap".
        """
        cfg = copy_for_inference(cfg)
        cfg.TEST.VIEWS.TEMPORAL = cfg.TEST.VIEWS.SPATIAL = 1
        # A classifier without tasks shares the backbone of an AVPretrainer, and can pool its maps.
        if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
            cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
            cfg.MODEL.CLIP_HEAD.TASKS = cfg.MODEL.CLIP_HEAD.NUM_CLASSES = []
        self.detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
        self.batch_size = batch_size
        self.model = build_model(cfg).eval()
        self.layers = tuple(layers)
        self._found: dict[str, torch.Tensor] = {}  # layer to (N, C) of the last batch
        self._hook_layers()
        load_weights(self.model, cfg, required="backbone")  # no head has weights that are used
        weights = Path(local_path(cfg.MODEL.WEIGHTS))
        source = SequentialReader(build_clip_augmentations(cfg, is_train=False))
        mapper = KeyframeMapper if self.detects else SegmentMapper
        self._mapper = mapper(cfg, is_train=False, source=source)
        clip, shapes = cfg.INPUT.CLIP, self.model.backbone.output_shape()
        # Files with equal settings are not extracted again.
        self.settings = {
            "layers": self.layers,
            "head_parts": list(shapes),
            "head_channels": [shape.channels for shape in shapes.values()],
            **{"num_frames": clip.NUM_FRAMES, "stride": clip.STRIDE, "stride_fps": clip.FPS},
            "window": self._mapper.clip_reader.clip_sec,
            "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "config_sha256": digest_config(cfg),
        }

    def __call__(
        self, path: str, *, hop: float = 1.0, persons: Persons | None = None
    ) -> dict[str, np.ndarray]:
        """Extract the features of a video.

        Args:
            path: video file.
            hop: seconds between the starts of clips, from 0 to the end; there is at least one clip.
            persons: for a detector, second of the file to person boxes (N, 5): x1, y1, x2, y2 in
                0..1 of the frame, score. The clips are then those around these seconds.

        Returns:
            "times" (W,) float64, seconds of the clips' middles; "has_audio" (W,) bool; layer to
            float32; "fps" and "duration" (seconds) of the file; with persons, in the order of the
            rows of "head": "boxes" (R, 5 or, with ids, 6) float32 and "box_clip" (R,) int64, the
            index of the clip.

        Raises:
            FeatureError: "head" of a detector without persons, or persons without a detector.
            VideoDecodeError: the file cannot be read.
        """
        if persons is not None and not self.detects:
            raise FeatureError("persons need a model of MODEL.META_ARCHITECTURE 'ActionDetector'")
        if persons is None and self.detects and HEAD in self.layers:
            raise FeatureError("a detector's head looks at persons; give their boxes")
        with SequentialVideoReader(path) as reader:
            fps, duration = reader.fps, reader.duration
        times = sorted(persons or ())
        if persons is None:
            times = clip_middles(duration, self._mapper.clip_reader.clip_sec, hop)
        boxes = [persons[t] if persons else np.zeros((0, 5)) for t in times]
        clips = map(partial(self._read, path), times, boxes)  # read as the batches need them
        batches = iter(lambda: list(islice(clips, self.batch_size)), [])  # [] ends it
        total = -(-len(times) // self.batch_size)  # rounded up
        progress = tqdm(batches, name_of(path), total, leave=False, mininterval=2)
        rows = [self._extract(batch) for batch in progress]
        result = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        result["times"] = np.array(times, np.float64)
        result["fps"], result["duration"] = np.array(fps), np.array(duration)
        if persons is not None:
            result["boxes"] = np.concatenate(boxes).astype(np.float32)
            result["box_clip"] = np.repeat(np.arange(len(times)), [len(b) for b in boxes])
        return result

    def _hook_layers(self) -> None:
        """Make the stages put the means of their outputs into ``_found``."""
        stages = {
            f"{pathway}_{name}": stage
            for pathway, stages in self.model.backbone.pathways.items()
            for name, stage in stages.items()
            if name != "stem"
        }
        for layer in self.layers:
            if layer in stages:
                stages[layer].register_forward_hook(partial(self._keep_mean, layer))
            elif layer != HEAD:
                raise FeatureError(f"layer '{layer}'; this model has {', '.join(stages)}, {HEAD}")

    def _keep_mean(self, layer: str, stage: nn.Module, args: tuple, x: torch.Tensor) -> None:
        self._found[layer] = x.flatten(2).mean(dim=2)

    def _read(self, path: str, time: float, boxes: np.ndarray) -> dict:
        """Return the model's input for the clip around a second."""
        video = {"file_name": path, "source": path}
        if not self.detects:
            half = self._mapper.clip_reader.clip_sec / 2
            # Exactly as long as a clip, so that the mapper has no choice of its place.
            segment = {"start_sec": time - half, "end_sec": time + half}
            return self._mapper({**video, **segment, "clip_id": path, "labels": {}, "view": 0})
        proposals = {"boxes": boxes[:, :4].astype(np.float32), "scores": boxes[:, 4]}
        names = {"video_id": path, "image_id": f"{path},{time}", "timestamp": time, "offset": 0.0}
        return self._mapper({**video, **names, "proposals": proposals})

    @torch.no_grad()
    def _extract(self, clips: list[dict]) -> dict[str, np.ndarray]:
        # The hooks store the layers of this batch while the backbone runs.
        with self.model.autocast():
            _, x = self.model.preprocess(clips)
            features, _ = self.model.extract(x)
            if HEAD in self.layers and self.detects:
                boxes = [clip["proposals"].proposal_boxes.to(self.model.device) for clip in clips]
                self._found[HEAD] = self.model.roi_heads.box_features(features, boxes)
            elif HEAD in self.layers:
                # (W, positions, C): the head's windows over the map, as for scores.
                self._found[HEAD] = self.model.head.pool(features).mean(dim=1)
        found = {layer: self._found[layer].float().cpu().numpy() for layer in self.layers}
        return {**found, "has_audio": np.array([clip["has_audio"] for clip in clips])}


def clip_middles(duration: float, window: float, hop: float) -> list[float]:
    """Return the middles of all clips of ``window`` seconds, ``hop`` seconds apart, that fit.

    A file that is shorter than a clip has one clip, in its middle. All values are in seconds.
    """
    if duration <= window:
        return [duration / 2]
    # 1e-6: a clip that ends with the file fits, whatever the rounding.
    return [window / 2 + i * hop for i in range(int((duration - window) / hop + 1e-6) + 1)]


def digest_config(cfg: CfgNode) -> str:
    """Return the sha256 of INPUT, MODEL and TEST as yaml, without path of weights and device."""
    parts = CfgNode({name: cfg[name].clone() for name in ("INPUT", "MODEL", "TEST")})
    parts.MODEL.WEIGHTS = parts.MODEL.DEVICE = ""
    return hashlib.sha256(parts.dump().encode()).hexdigest()
