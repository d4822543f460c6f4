"""Person boxes in video frames, by an image detector of Detectron2, torchvision or an ONNX file."""

import os
from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
import torchvision
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det.checkpoint import CheckpointError, SafeCheckpointer
from avsf_det.layers import fold_batch_norms
from avsf_det.structures import ConfigError
from avsf_det.structures.addresses import is_address
from avsf_det.utils.detectron2_zoo import import_detectron2_model_zoo

from .config_checks import check_config
from .config_file import apply_setting, read_config_file
from .onnx_detector import ONNX, OnnxDetector, PersonDetectorError

WHOLE_FRAME = "whole-frame"  # in place of a detector: the frame is the one person's box
TORCHVISION = "torchvision/"  # prefix of its detectors' names
PERSON = 0  # category in COCO, and in detectors trained on AVA's csv files


class PersonDetector:
    """Image detector that returns the persons in frames.

    Args:
        cfg: config, of which MODEL.PERSON_DETECTOR, MODEL.DEVICE and MODEL.AUTOCAST_DTYPE are used.

    Attributes:
        config_file: path of the detector's config or ONNX file, "torchvision/" and a name, or
            "whole-frame".
        weights: path or URL of its weights; "" where there are none.

    Raises:
        PersonDetectorError: the config or the weights do not exist, or do not fit together.
    """

    def __init__(self, cfg: CfgNode) -> None:
        options = cfg.MODEL.PERSON_DETECTOR
        self.config_file, self.weights = find_detector(options.CONFIG_FILE, options.WEIGHTS)
        self._device = torch.device(cfg.MODEL.DEVICE)
        dtype = cfg.MODEL.AUTOCAST_DTYPE
        self._dtype = getattr(torch, dtype) if dtype else None
        self._reverse_channels = False
        self._resize: T.Augmentation | None = None
        if self.config_file == WHOLE_FRAME:
            self._model: nn.Module = _WholeFrame()
        elif self.config_file.endswith(ONNX):
            self._model = OnnxDetector(self.config_file, options, cfg.MODEL.DEVICE)
            self._resize = self._model.resize
        elif self.config_file.startswith(TORCHVISION):
            self._model = _TorchvisionDetector(self.config_file, options)
            _load(self._model.detector, self.weights)
            self._model.eval().to(self._device)
        else:
            self._build(cfg)
        # Faster with equal results, up to rounding.
        self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _build(self, cfg: CfgNode) -> None:
        """Build a detector of Detectron2."""
        options = cfg.MODEL.PERSON_DETECTOR
        detector_cfg = _read_config(cfg, self.config_file)
        detector_cfg.MODEL.DEVICE = cfg.MODEL.DEVICE
        for kind in ("ROI_HEADS", "RETINANET"):  # two-stage and one-stage detectors
            detector_cfg.MODEL[kind].SCORE_THRESH_TEST = options.SCORE_THRESH
        channels = detector_cfg.INPUT.FORMAT
        if channels not in ("RGB", "BGR"):
            raise PersonDetectorError(
                f"{self.config_file}: INPUT.FORMAT is {channels}, must be RGB or BGR"
            )
        # Frames are RGB; most detectors of Detectron2 were trained on BGR.
        self._reverse_channels = channels == "BGR"
        size = options.MIN_SIZE or detector_cfg.INPUT.MIN_SIZE_TEST
        self._resize = T.ResizeShortestEdge([size, size], detector_cfg.INPUT.MAX_SIZE_TEST)
        self._model = build_model(detector_cfg).eval()
        _load(self._model, self.weights)
        fold_batch_norms(self._model)

    @torch.no_grad()
    def __call__(self, frames: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Detect the persons in a batch of frames, each uint8 (H, W, 3) RGB.

        Returns:
            boxes float32 (N, 5) of each frame: x1, y1, x2, y2 in 0..1 of the frame, score;
            highest score first.
        """
        if not len(frames):  # Detectron2's models need a frame
            return []
        inputs = [self._to_input(frame) for frame in frames]
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            outputs = self._model(inputs)
        return [_to_array(output["instances"]) for output in outputs]

    def _to_input(self, frame: np.ndarray) -> dict:
        height, width = frame.shape[:2]
        image = frame[..., ::-1] if self._reverse_channels else frame
        if self._resize is not None:  # else the model resizes
            image = self._resize.get_transform(image).apply_image(image)
        # (H', W', 3) -> (3, H', W'), copied: torch refuses reversed channels.
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}


class _WholeFrame(nn.Module):
    """The whole frame as the box of one person, with the inputs and outputs of Detectron2's."""

    def forward(self, inputs: list[dict]) -> list[dict]:
        sizes = [(x["height"], x["width"]) for x in inputs]
        return [
            {
                "instances": Instances(
                    (height, width),
                    pred_boxes=Boxes(torch.tensor([[0.0, 0.0, width, height]])),
                    scores=torch.ones(1),
                    pred_classes=torch.zeros(1, dtype=torch.int64),
                )
            }
            for height, width in sizes
        ]


class _TorchvisionDetector(nn.Module):
    """Detector of torchvision with the inputs and outputs of Detectron2's."""

    def __init__(self, name: str, options: CfgNode) -> None:
        super().__init__()
        sizes = {"min_size": options.MIN_SIZE} if options.MIN_SIZE else {}
        try:
            self.detector = torchvision.models.get_model(
                name.removeprefix(TORCHVISION), weights=None, weights_backbone=None, **sizes
            )
        except TypeError as error:  # SSD has a size of its own
            raise PersonDetectorError(
                f"MODEL.PERSON_DETECTOR.MIN_SIZE: {name} takes none ({error}); set it to 0"
            ) from None
        # Two-stage detectors filter in their heads.
        filtering = getattr(self.detector, "roi_heads", self.detector)
        filtering.score_thresh = options.SCORE_THRESH

    def forward(self, inputs: list[dict]) -> list[dict]:
        device = next(self.parameters()).device
        found = self.detector([x["image"].to(device) / 255 for x in inputs])
        return [
            {
                "instances": Instances(
                    (x["height"], x["width"]),
                    pred_boxes=Boxes(f["boxes"]),
                    scores=f["scores"],
                    pred_classes=f["labels"] - 1,  # 0 is the background there
                )
            }
            for x, f in zip(inputs, found, strict=True)
        ]


def find_detector(config_file: str, weights: str) -> tuple[str, str]:
    """Return the path of a detector's config, and the path or URL of its weights.

    Args:
        config_file: path of a config or of an .onnx file, name in Detectron2's model zoo,
            "torchvision/" and the name of one of its detectors, such as
            "torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", or "whole-frame".
        weights: path or URL; "" for the weights of the model zoo.

    Raises:
        PersonDetectorError: one of them does not exist.
    """
    key = "MODEL.PERSON_DETECTOR"
    if weights and not is_address(weights) and not os.path.isfile(weights):
        raise PersonDetectorError(f"{key}.WEIGHTS: there is no file {weights}")
    if config_file == WHOLE_FRAME:
        return config_file, ""
    if config_file.endswith(ONNX):
        if weights:
            raise PersonDetectorError(f"{key}.WEIGHTS: must be '', as {config_file} holds them")
        return config_file, ""
    if is_address(config_file) or os.path.isfile(config_file):
        if not weights:
            raise PersonDetectorError(
                f"{key}.WEIGHTS is empty; give the weights that belong to {config_file}"
            )
        return config_file, weights
    if config_file.startswith(TORCHVISION):
        name = config_file.removeprefix(TORCHVISION)
        names = torchvision.models.list_models(torchvision.models.detection)
        if name not in names:
            raise PersonDetectorError(
                f"{key}.CONFIG_FILE: torchvision has no detector '{name}'; it has "
                f"{', '.join(names)}"
            )
        return config_file, weights or torchvision.models.get_model_weights(name).DEFAULT.url
    model_zoo = import_detectron2_model_zoo()
    try:
        path = model_zoo.get_config_file(config_file)
        return path, weights or model_zoo.get_checkpoint_url(config_file)
    except RuntimeError as error:
        raise PersonDetectorError(
            f"{key}.CONFIG_FILE: {config_file} is neither a file nor a model of Detectron2's zoo "
            f"({error}). Give the path of a config, and its weights in {key}.WEIGHTS"
        ) from None


def _read_config(cfg: CfgNode, path: str) -> CfgNode:
    """Return Detectron2's defaults, overridden by a file."""
    # A clone has our keys, too: the config.yaml of a training with this package holds them.
    detector_cfg = cfg.clone()
    detector_cfg.defrost()
    detector_cfg.merge_from_other_cfg(get_cfg())
    try:
        for setting in chain.from_iterable(read_config_file(path)):
            apply_setting(detector_cfg, setting)
        check_config(detector_cfg)
    except ConfigError as error:
        raise PersonDetectorError(f"{path}: is no config of Detectron2: {error}") from None
    return detector_cfg


def _load(model: nn.Module, weights: str) -> None:
    try:
        SafeCheckpointer(model, required="model").load(weights)
    except CheckpointError as error:
        raise PersonDetectorError(f"MODEL.PERSON_DETECTOR.WEIGHTS: {error}") from None


def _to_array(found: Instances) -> np.ndarray:
    """Return the persons as float32 (N, 5): x1, y1, x2, y2 in 0..1 of the frame, score."""
    found = found[found.pred_classes == PERSON]
    # Detectron2 gives pixels of the frame as it was before the resize.
    height, width = found.image_size
    boxes = found.pred_boxes.tensor / found.pred_boxes.tensor.new_tensor((width, height) * 2)
    rows = torch.cat([boxes.clamp(0, 1), found.scores[:, None]], dim=1)
    # Stable, so that ties keep their order on every device.
    return rows[rows[:, 4].argsort(descending=True, stable=True)].float().cpu().numpy()
