import pickle

import numpy as np
import pytest
import torch
import torchvision
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.engine.person_detector import PersonDetector, PersonDetectorError, find_detector

from ..test_config import ROOT

MINI = str(ROOT / "configs" / "mini" / "person_mini.yaml")
ZOO = "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"


@META_ARCH_REGISTRY.register()
class RedBoxFinder(nn.Module):
    """Finds what is bright in channel ``CHANNEL``, with a score that is its weight; says besides
    that there is a better one in the left half, and another thing everywhere."""

    CHANNEL = 0

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.size = cfg.INPUT.MIN_SIZE_TEST

    def forward(self, inputs: list[dict]) -> list[dict]:
        return [{"instances": self._find(x["image"], x["height"], x["width"])} for x in inputs]

    def _find(self, image: torch.Tensor, height: int, width: int) -> Instances:
        assert image.dtype == torch.uint8 and min(image.shape[1:]) == self.size
        rows, columns = torch.nonzero(image[self.CHANNEL] > 127, as_tuple=True)
        scale = torch.tensor([width / image.shape[2], height / image.shape[1]]).repeat(2)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        box = torch.stack(edges) * scale
        everywhere = torch.tensor([0.0, 0.0, width, height])
        left = torch.tensor([0.0, 0.0, width / 2, height])
        return Instances(
            (height, width),
            pred_boxes=Boxes(torch.stack([box, everywhere, left])),
            scores=torch.cat([self.weight, torch.tensor([0.99, 0.9])]),
            pred_classes=torch.tensor([0, 1, 0]),
        )


def build_cfg(config_file, weights):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.PERSON_DETECTOR.CONFIG_FILE = str(config_file)
    cfg.MODEL.PERSON_DETECTOR.WEIGHTS = str(weights)
    return cfg


def write_finder(folder, image_format: str):
    (folder / "c.yaml").write_text(
        "VERSION: 2\nMODEL:\n  META_ARCHITECTURE: RedBoxFinder\n"
        f"INPUT:\n  FORMAT: {image_format}\n  MIN_SIZE_TEST: 40\n"
    )
    torch.save({"model": {"weight": torch.tensor([0.75])}}, folder / "w.pth")
    return build_cfg(folder / "c.yaml", folder / "w.pth")


def frame_with_box(colour: int, height=80, width=160) -> np.ndarray:
    """A rectangle from (0.25, 0.5) to (0.75, 1) of the frame."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[height // 2 :, width // 4 : 3 * width // 4, colour] = 255
    return frame


@pytest.mark.parametrize("image_format, channel", [("RGB", 0), ("BGR", 2)])
def test_red_is_where_the_detector_expects_it_and_boxes_are_fractions_by_score(
    tmp_path, monkeypatch, image_format, channel
):
    monkeypatch.setattr(RedBoxFinder, "CHANNEL", channel)
    detector = PersonDetector(write_finder(tmp_path, image_format))
    frames = [frame_with_box(colour=0), frame_with_box(colour=0, height=160, width=80)]
    for found in detector(frames):
        assert found.dtype == np.float32
        expected = [[0, 0, 0.5, 1, 0.9], [0.25, 0.5, 0.75, 1, 0.75]]
        np.testing.assert_allclose(found, expected, atol=0.02)
    assert detector([]) == []


def test_the_size_of_the_config_replaces_that_of_the_detector(tmp_path):
    cfg = write_finder(tmp_path, "RGB")
    cfg.MODEL.PERSON_DETECTOR.MIN_SIZE = 60
    detector = PersonDetector(cfg)
    detector._model.size = 60  # RedBoxFinder checks it
    assert len(detector([frame_with_box(colour=0)])[0]) == 2


def test_detectors_of_torchvision_have_their_persons(tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    for scorer in model.head.classification_head.module_list:
        scorer[1].bias.data.view(-1, 91)[:, 1] += 0.3  # persons are likelier than other things
    torch.save(model.state_dict(), tmp_path / "w.pth")
    cfg = build_cfg(f"torchvision/{name}", tmp_path / "w.pth")
    cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH = model.score_thresh = 0.005
    frame = frame_with_box(colour=0)
    with torch.no_grad():
        (expected,) = model([torch.from_numpy(frame).permute(2, 0, 1) / 255])
    persons = expected["labels"] == 1
    assert 5 < persons.sum() < len(persons)
    (found,) = PersonDetector(cfg)([frame])
    boxes = expected["boxes"][persons] / torch.tensor([160, 80, 160, 80])
    np.testing.assert_allclose(found[:, :4], boxes.clamp(0, 1), atol=1e-4)
    np.testing.assert_allclose(found[:, 4], expected["scores"][persons], atol=1e-5)

    cfg.MODEL.PERSON_DETECTOR.MIN_SIZE = 320
    with pytest.raises(PersonDetectorError, match=r"MIN_SIZE: torchvision/ssdlite.* takes none"):
        PersonDetector(cfg)
    with pytest.raises(PersonDetectorError, match="torchvision has no detector 'yolo'; it has"):
        find_detector("torchvision/yolo", "")
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    assert find_detector(f"torchvision/{name}", "")[1].endswith(".pth")


def test_other_channel_orders_are_refused(tmp_path):
    with pytest.raises(PersonDetectorError, match=r"c\.yaml: INPUT.FORMAT is YUV-BT.601"):
        PersonDetector(write_finder(tmp_path, "YUV-BT.601"))


def save_random_weights(folder) -> dict:
    torch.manual_seed(0)
    cfg = get_cfg()
    add_avsf_config(cfg)  # for INPUT.KIND
    cfg.merge_from_file(MINI)
    state = build_model(cfg).state_dict()
    torch.save({"model": state, "iteration": 3}, folder / "model_final.pth")
    return state


def test_a_real_detector_runs_without_compiled_operators(tmp_path):
    save_random_weights(tmp_path)
    cfg = build_cfg(MINI, tmp_path / "model_final.pth")
    cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH = 0.0
    frames = np.random.default_rng(0).integers(0, 256, (3, 60, 90, 3), np.uint8)
    detector = PersonDetector(cfg)
    together = detector(frames)
    for frame, found in zip(frames, together, strict=True):
        assert found.shape[1] == 5 and len(found) > 2
        assert ((found >= 0) & (found <= 1)).all()
        assert (found[:, 2:4] > found[:, :2]).all()
        assert (np.diff(found[:, 4]) <= 0).all()
        (alone,) = detector([frame])
        np.testing.assert_allclose(alone[:, 4], found[:, 4], atol=0.02)
    cfg.MODEL.PERSON_DETECTOR.SCORE_THRESH = 1.0
    assert PersonDetector(cfg)(frames[:1])[0].shape == (0, 5)


def test_the_config_that_training_leaves_and_a_pickle_of_arrays_will_do(tmp_path):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(MINI)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    state = {name: value.numpy() for name, value in save_random_weights(tmp_path).items()}
    content = {"model": state, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(content, protocol=2))
    PersonDetector(build_cfg(tmp_path / "config.yaml", tmp_path / "model.pkl"))


@pytest.mark.parametrize("name", [ZOO, ZOO.replace("R_50", "X_101_32x8d")])
def test_names_of_the_model_zoo(name):
    path, weights = find_detector(name, "")
    assert path.endswith(name)
    assert weights.startswith("https://") and name.removesuffix(".yaml") in weights
    assert find_detector(name, MINI) == (path, MINI)


@pytest.mark.parametrize(
    "config_file, weights, message",
    [
        (ZOO, "no/such.pth", "WEIGHTS: there is no file no/such.pth"),
        (MINI, "", "WEIGHTS is empty; give the weights that belong to"),
        ("no_such.yaml", "", "CONFIG_FILE: no_such.yaml is neither a file nor a model"),
    ],
)
def test_what_is_missing_is_named(config_file, weights, message):
    with pytest.raises(PersonDetectorError, match=message):
        find_detector(config_file, weights)


def test_weights_and_configs_that_do_not_fit_are_refused(tmp_path):
    cfg = write_finder(tmp_path, "RGB")
    mini = build_cfg(MINI, tmp_path / "w.pth")
    with pytest.raises(PersonDetectorError, match=r"w\.pth: \d+ weights of the detector, such as"):
        PersonDetector(mini)
    torch.save({"model": {"weight": torch.zeros(2)}}, tmp_path / "w.pth")
    with pytest.raises(PersonDetectorError, match=r"w\.pth: 1 weights .* such as weight, are not"):
        PersonDetector(cfg)
    (tmp_path / "w.pth").write_bytes(b"nothing")
    with pytest.raises(PersonDetectorError, match=r"w\.pth: neither a complete file of torch.save"):
        PersonDetector(cfg)
    (tmp_path / "c.yaml").write_text("MODEL:\n  NO_SUCH_KEY: 1\n")
    with pytest.raises(PersonDetectorError, match=r"c\.yaml: is no config of Detectron2"):
        PersonDetector(cfg)
