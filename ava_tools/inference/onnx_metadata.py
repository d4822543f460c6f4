"""Metadata of an exported ONNX file: all that a program without this project needs to feed it.

Each entry of ``metadata_props`` is JSON: see :func:`make_metadata`.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from avsf_det import __version__
from avsf_det.data.clip_reader import LOG_OFFSET, SILENCE_PEAK, mel_matrix
from avsf_det.engine.predictor import load_action_names
from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import local_path

from .clip_predictions import load_names

logger = logging.getLogger(__name__)

SIZE_RULE = (
    "resize frames (bilinear, pixel centres at 0.5, no antialiasing) so that the short side is "
    "min_size, or the long side max_size if it would be longer"
)
CROP_RULE = SIZE_RULE + "; then cut out the centre of min_size x min_size"


def make_metadata(cfg: CfgNode, classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the metadata of a config's model.

    Args:
        cfg: config.
        classes: task to class names.

    Returns:
        "classes"; "num_frames", "stride", "fps" of the clip; "min_size", "max_size", "size_rule";
        "sample_rate", "window_sec", "hop_sec", "num_mels", "mel_filters" (frequencies, num_mels),
        "num_time_steps", "log_offset", "silence_peak" of the spectrogram; "inputs", what the model
        expects; "avsf_det", the version; "weights_sha256".
    """
    clip, audio = cfg.INPUT.CLIP, cfg.INPUT.AUDIO
    detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    window = round(audio.WINDOW_SEC * audio.SAMPLE_RATE)
    bank = mel_matrix(audio.SAMPLE_RATE, window // 2 + 1, audio.NUM_MELS).tolist()
    filters = [[float(f"{value:.7g}") for value in row] for row in bank]
    weights = Path(local_path(cfg.MODEL.WEIGHTS)).read_bytes()
    return {
        "classes": dict(classes),
        **{"num_frames": clip.NUM_FRAMES, "stride": clip.STRIDE, "fps": clip.FPS},
        **{"min_size": cfg.INPUT.MIN_SIZE_TEST, "max_size": cfg.INPUT.MAX_SIZE_TEST},
        "size_rule": SIZE_RULE if detects else CROP_RULE,
        **{"sample_rate": audio.SAMPLE_RATE, "window_sec": audio.WINDOW_SEC},
        **{"hop_sec": audio.HOP_SEC, "num_mels": audio.NUM_MELS, "mel_filters": filters},
        **{"num_time_steps": audio.NUM_FRAMES, "audio_offset_sec": audio.OFFSET_SEC},
        **{"log_offset": LOG_OFFSET, "silence_peak": SILENCE_PEAK},
        "mel_scale": "HTK, area normalisation, periodic Hann window, power, natural logarithm",
        "inputs": "frames: RGB 0..255; audio: log-mel; both are normalised inside",
        "avsf_det": __version__,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }


def add_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    """Add metadata to an ONNX file."""
    import onnx  # in the extra "export"

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in metadata.items()})
    onnx.save(model, path)


def find_classes(cfg: CfgNode, files: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """Return task to class names of a model, those of a detector under "action".

    Args:
        cfg: config.
        files: pairs of a task and a file of its names, or "action" and a detector's label map. If
            neither they nor DATASETS.TEST give names, the names are indices, and a warning says so.

    Raises:
        AVSFError: a file is missing, or does not fit the model.
    """
    detects = cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    try:
        if not detects:
            return load_names(cfg, dict(files))
        return {"action": load_action_names(cfg, dict(files).get("action", ""))[1]}
    except AVSFError as error:
        if files:
            raise
        logger.warning(f"the file has no class names: {error}")
    if detects:
        return {"action": [str(i) for i in range(cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES)]}
    head = cfg.MODEL.CLIP_HEAD
    counts = dict(zip(head.TASKS, head.NUM_CLASSES, strict=True))
    return {task: [str(i) for i in range(count)] for task, count in counts.items()}
