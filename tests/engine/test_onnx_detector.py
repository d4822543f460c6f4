import numpy as np
import onnx
import pytest
from detectron2.config import get_cfg
from onnx import parser

from avsf_det import add_avsf_config
from avsf_det.engine.person_detector import PersonDetector, PersonDetectorError

# The first score is the mean of the red channel. As torchvision exports its detectors.
TORCHVISION = """\
<ir_version: 8, opset_import: ["": 13]>
detector (float[3, H, W] images) => (float[N, 4] boxes, int64[N] labels, float[N] scores)
<float[4, 4] b = {10, 5, 30, 20, 0, 0, 40, 20, 20, 0, 50, 10, 0, 0, 20, 20},
 int64[4] l = {1, 2, 1, 1}, float[3] s = {0.9, 0.6, 0.1}, int64[1] red = {0}>
{
    mean = ReduceMean <axes = [1, 2], keepdims = 0> (images)
    first = Gather (mean, red)
    scores = Concat <axis = 0> (first, s)
    boxes = Identity (b)
    labels = Identity (l)
}"""
# Frames of one size, bytes, a batch axis, and no classes.
PLAIN = """\
<ir_version: 8, opset_import: ["": 13]>
detector (uint8[1, 3, 20, 40] image) => (float[1, N] o1, float[1, N, 4] o2)
<float[1, 2, 4] b = {10, 5, 30, 20, 0, 0, 40, 20}, int64[1] red = {0}, float[1, 1] s = {0.1},
 float[1] scale = {0.00392156862}>
{
    x = Cast <to = 1> (image)
    mean = ReduceMean <axes = [2, 3], keepdims = 0> (x)
    first = Gather <axis = 1> (mean, red)
    scaled = Mul (first, scale)
    o1 = Concat <axis = 1> (scaled, s)
    o2 = Identity (b)
}"""


@pytest.fixture
def build(tmp_path):
    def build_detector(text: str, metadata: dict = {}, **options) -> PersonDetector:  # noqa: B006
        model = parser.parse_model(text)
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, tmp_path / "d.onnx")
        cfg = get_cfg()
        add_avsf_config(cfg)
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.PERSON_DETECTOR.CONFIG_FILE = str(tmp_path / "d.onnx")
        for name, value in options.items():
            cfg.MODEL.PERSON_DETECTOR[name] = value
        return PersonDetector(cfg)

    return build_detector


def red_frame() -> np.ndarray:
    frame = np.full((40, 80, 3), 50, np.uint8)
    frame[..., 0] = 204  # 0.8
    return frame


def test_boxes_are_fractions_of_the_frame_and_persons_have_label_1(build):
    detector = build(TORCHVISION, SCORE_THRESH=0.5, MIN_SIZE=20)
    (found,) = detector([red_frame()])
    expected = [[0.25, 0.25, 0.75, 1, 0.8], [0.5, 0, 1, 0.5, 0.6]]  # clipped to the frame
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    (found,) = build(TORCHVISION, {"person_label": "2"})([red_frame()])
    np.testing.assert_allclose(found, [[0, 0, 0.5, 0.5, 0.9]], atol=1e-6)  # of the whole frame


def test_a_fixed_size_bytes_and_no_classes(build):
    detector = build(PLAIN, SCORE_THRESH=0.05)
    for frame in (red_frame(), red_frame()[:30, :30]):  # stretched
        (found,) = detector([frame])
        expected = [[0.25, 0.25, 0.75, 1, 0.8], [0, 0, 1, 1, 0.1]]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "metadata", "options", "problem"),
    [
        (TORCHVISION.replace("[3, H, W]", "[4, H, W]"), {}, {}, r"takes images tensor\(float\) \["),
        (TORCHVISION, {"person_label": "man"}, {}, "person_label is 'man', must be a number"),
        (TORCHVISION, {}, {"WEIGHTS": "w.pth"}, "WEIGHTS: there is no file w.pth"),
        (TORCHVISION, {}, {"WEIGHTS": __file__}, r"WEIGHTS: must be '', as .*d.onnx holds them"),
        (TORCHVISION, {}, {"CONFIG_FILE": "no.onnx"}, "no.onnx: cannot be opened as an ONNX file"),
    ],
    ids=["channels", "label", "no weights", "weights", "no file"],
)
def test_what_is_no_detector_is_named(build, text, metadata, options, problem):
    with pytest.raises(PersonDetectorError, match=problem):
        build(text, metadata, **options)


def test_outputs_of_another_kind_are_named(build):
    text = TORCHVISION.replace("boxes = Identity (b)", "boxes = Flatten <axis = 0> (b)")
    with pytest.raises(PersonDetectorError, match=r"returned float32 \(1, 16\), int64 \(4,\)"):
        build(text)([red_frame()])


def test_the_whole_frame_is_one_person(build):
    detector = build(TORCHVISION, CONFIG_FILE="whole-frame")
    for found in detector([red_frame(), red_frame()[:30]]):
        np.testing.assert_array_equal(found, np.array([[0, 0, 1, 1, 1]], np.float32))
