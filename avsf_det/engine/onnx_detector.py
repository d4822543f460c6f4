"""Person detectors in ONNX files, such as those that torchvision's detectors are exported to.

The file has one input, an RGB image: (3, H, W), or (1, 3, H, W) with any first axis. Its values are
0..1 in float32, or 0..255 in uint8. If H and W are fixed, frames are stretched to them; else the
short side gets MODEL.PERSON_DETECTOR.MIN_SIZE pixels (0: frames stay as they are).

The outputs, in any order and with any names, perhaps with a first axis of 1:

    boxes    (N, 4) float: x1, y1, x2, y2 in pixels of the input
    scores   (N,) float: 0..1
    labels   (N,) int: persons have 1, as in torchvision, or the number that the file's metadata has
             as ``person_label``; without this output all boxes are persons
"""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import local_path

ONNX = ".onnx"
_MAX_SIZE = 10000  # pixels of the long side
_CONTRACT = (
    "a detector takes one image (3, H, W) or (1, 3, H, W), float32 or uint8, and returns boxes "
    "(N, 4), scores (N,) float and, if it has classes, labels (N,) int"
)


class PersonDetectorError(AVSFError):
    """Person detector that cannot be built, or weights that do not fit it."""


class OnnxDetector(nn.Module):
    """Detector in an ONNX file, with the inputs and outputs of Detectron2's.

    Attributes:
        resize: how frames are resized before; None: not at all.

    Args:
        path: path or URL of the file.
        options: config MODEL.PERSON_DETECTOR.
        device: config MODEL.DEVICE; a GPU is used where onnxruntime can.

    Raises:
        PersonDetectorError: onnxruntime is missing, or the file is not such a detector.
    """

    def __init__(self, path: str, options: CfgNode, device: str) -> None:
        super().__init__()
        self._path, self._min_score = path, options.SCORE_THRESH
        self._session = _open(path, device)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
        is_image = len(shape) in (3, 4) and (shape[-3] == 3 or not isinstance(shape[-3], int))
        if not is_image or inputs[0].type not in types:
            described = ", ".join(f"{x.name} {x.type} {x.shape}" for x in inputs)
            raise PersonDetectorError(f"{path}: {_CONTRACT}; the file takes {described}")
        self._input, self._rank = inputs[0].name, len(shape)
        self._dtype: Any = types[inputs[0].type]
        label = self._session.get_modelmeta().custom_metadata_map.get("person_label", "1")
        if not label.isdecimal():
            raise PersonDetectorError(f"{path}: person_label is '{label}', must be a number")
        self._person = int(label)
        self.resize: T.Augmentation | None = None
        if all(isinstance(side, int) for side in shape[-2:]):
            self.resize = T.Resize((shape[-2], shape[-1]))
        elif options.MIN_SIZE:
            self.resize = T.ResizeShortestEdge([options.MIN_SIZE] * 2, _MAX_SIZE)

    def forward(self, inputs: list[dict]) -> list[dict]:
        """Return the persons in each image, in pixels of its ``height`` and ``width``."""
        return [{"instances": self._detect(x["image"], x["height"], x["width"])} for x in inputs]

    def _detect(self, image: torch.Tensor, height: int, width: int) -> Instances:
        pixels = image.numpy()
        pixels = pixels if self._dtype == np.uint8 else pixels.astype(np.float32) / 255
        batch = pixels.reshape((1,) * (self._rank - 3) + pixels.shape)
        boxes, scores, labels = self._sort_outputs(self._session.run(None, {self._input: batch}))
        kept = (labels == self._person) & (scores >= self._min_score)
        scale = np.array([width / pixels.shape[-1], height / pixels.shape[-2]] * 2, np.float32)
        return Instances(
            (height, width),
            pred_boxes=Boxes(torch.from_numpy(boxes[kept] * scale)),
            scores=torch.from_numpy(scores[kept]),
            pred_classes=torch.zeros(int(kept.sum()), dtype=torch.int64),
        )

    def _sort_outputs(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes float32 (N, 4), scores float32 (N,) and labels int (N,)."""
        found: dict[str, np.ndarray] = {}
        for output in outputs:
            is_float = output.dtype.kind == "f"
            if is_float and output.ndim in (2, 3) and output.shape[-1] == 4:
                found["boxes"] = output.astype(np.float32).reshape(-1, 4)
            elif output.ndim in (1, 2):
                found["scores" if is_float else "labels"] = output.reshape(-1)
        if "boxes" not in found or "scores" not in found or len(set(map(len, found.values()))) > 1:
            described = ", ".join(f"{x.dtype} {x.shape}" for x in outputs)
            raise PersonDetectorError(f"{self._path}: {_CONTRACT}; the file returned {described}")
        scores = found["scores"].astype(np.float32)
        return found["boxes"], scores, found.get("labels", np.full(len(scores), self._person))


def _open(path: str, device: str) -> Any:
    """Return the onnxruntime session of a file."""
    try:
        import onnxruntime
    except ImportError as error:
        raise PersonDetectorError(
            f"{path}: needs onnxruntime ({error}): pip install 'avsf_det[export]'"
        ) from None
    wanted = ["CUDAExecutionProvider"] * device.startswith("cuda") + ["CPUExecutionProvider"]
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(local_path(path), providers=providers)
    # onnxruntime's own exceptions, one per kind of problem, have no other base class.
    except Exception as error:
        raise PersonDetectorError(f"{path}: cannot be opened as an ONNX file ({error})") from None
