"""Models on a GPU that is not there: no two devices meet, and a training step waits for none.

Fake tensors know shape and device and no values. An operation on tensors of two devices raises, and
so does one whose result or shape depends on values, for which a GPU would have to be waited for.
"""

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import EventStorage
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from avsf_det.engine import feature_extractor, predictor
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from .builders import NUM_FRAMES, NUM_MELS, NUM_TIME_STEPS, make_cfg, make_inputs

pytestmark = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
    reason="fake tensors of PyTorch before 2.11 ask for a GPU",
)
ARCHITECTURES = ("ActionDetector", "ClipClassifier", "AVPretrainer")
# Formats of training; the last is that of SOLVER.AMP.ENABLED, whose trainer turns autocast on.
FORMATS = {
    "float32": ("MODEL.AUDIO.DROP_FILL", "mean", "MODEL.SLOWFAST.NONLOCAL.RES4", [0]),
    "bfloat16": ("MODEL.AUTOCAST_DTYPE", "bfloat16"),  # and channels last
    "float16": ("MODEL.SLOWFAST.NONLOCAL.TYPE", "softmax", "MODEL.SLOWFAST.NONLOCAL.RES4", [0]),
}
VARIANTS = {
    "SubBN": ("MODEL.SLOWFAST.NORM", "SubBN", "MODEL.SLOWFAST.SUBBN_CLIPS", 1),
    "FrozenBN": ("MODEL.SLOWFAST.NORM", "FrozenBN"),
    "a_f_s": ("MODEL.AUDIO.FUSION_TYPE", "a_f_s", "MODEL.AVSYNC.LOSS", "bce"),
    "av_nonlocal": ("MODEL.AUDIO.FUSION_TYPE", "av_nonlocal", "MODEL.AUDIO.DROP_FILL", "mean"),
    "no audio": ("MODEL.BACKBONE.NAME", "build_slowfast_backbone", "MODEL.AVSYNC.ENABLED", False),
}
TRAININGS = [(name, kind, FORMATS[kind]) for name in ARCHITECTURES for kind in FORMATS]
TRAININGS += [("ActionDetector", "float16", options) for options in VARIANTS.values()]


class Waits(TorchDispatchMode):
    """Record copies that a GPU is waited for: all to the host, and those from ordinary memory."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        devices = {x.device.type for x in args if isinstance(x, torch.Tensor)}
        is_queued = (kwargs or {}).get("non_blocking", False)
        target = result.device.type if isinstance(result, torch.Tensor) else ""
        if (target == "cpu" and "cuda" in devices) or (
            target == "cuda" and devices == {"cpu"} and not is_queued
        ):
            self.found.append(function.name())
        return result


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Few blocks; and autocast for a GPU, which PyTorch turns off where there is none."""
    monkeypatch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 1, 1))
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)


def make_model_cfg(name: str, *options):
    cfg = make_cfg(audio=True, SPATIAL_STRIDES=[1, 2, 2, 2], SPATIAL_DILATIONS=[1, 1, 1, 1])
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = name, "cuda"
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [5]
    cfg.MODEL.AVSYNC.ENABLED = True
    cfg.INPUT.CLIP.NUM_FRAMES = NUM_FRAMES
    cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS = NUM_TIME_STEPS, NUM_MELS
    cfg.merge_from_list(list(options))
    return cfg


def build_fake(mode: FakeTensorMode, cfg, training: bool):
    with mode, torch.device("cuda"):
        return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).train(training)


def to_fake(mode: FakeTensorMode, clips: list[dict]) -> list[dict]:
    """Return the clips with fake tensors on the CPU, as a loader gives them; boxes stay."""
    return [
        {k: mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for k, v in clip.items()}
        for clip in clips
    ]


def make_clips(name: str) -> list[dict]:
    clips = make_inputs()
    for clip in clips:
        clip["labels"] = {"action": torch.tensor(3)}
        if name == "AVPretrainer":
            clip["frames"] = clip["frames"][..., :48].contiguous()  # rotated: square
    return clips


@pytest.mark.parametrize(("name", "kind", "options"), TRAININGS)
def test_training_step(name, kind, options, monkeypatch):
    cfg, clips = make_model_cfg(name, *options), make_clips(name)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    rotations = torch.tensor([1, 3])  # drawn on the CPU, where values may be read
    monkeypatch.setattr(torch, "randint", lambda *args: rotations)
    model = build_fake(mode, cfg, training=True)
    if kind == "bfloat16":
        model.memory_format = torch.channels_last_3d  # fake parameters cannot be reordered
    if name == "ActionDetector":
        # Boxes are matched on the CPU, where values may be read.
        boxes = [[clip[kind] for clip in clips] for kind in ("proposals", "instances")]
        with EventStorage():
            labelled = model.roi_heads.label_and_sample_proposals(*boxes)
        monkeypatch.setattr(model.roi_heads, "label_and_sample_proposals", lambda *args: labelled)
    dtypes = set()
    model.backbone.fast["res5"].register_forward_hook(lambda _, args, y: dtypes.add(y.dtype))
    with EventStorage(), mode, Waits() as waits:
        # As AMPTrainer; its scaler reads values, once a step, after the backward pass.
        with torch.autocast("cuda", torch.float16, enabled=kind == "float16"):
            losses = model(to_fake(mode, clips))
    assert losses and all(loss.device.type == "cuda" for loss in losses.values())
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert dtypes == {getattr(torch, kind)}
    assert waits.found == []


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("ActionDetector", ""), ("ClipClassifier", "float16"), ("AVPretrainer", "float16")],
)
def test_inference(name, dtype):
    cfg = make_model_cfg(name, *FORMATS["float32"], "MODEL.AUTOCAST_DTYPE", dtype)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = build_fake(mode, cfg, training=False)
    if name == "AVPretrainer":
        model.avsync_head.is_valid = lambda x: [True] * len(x["audio"])  # read by the caller
    with mode, torch.no_grad():
        results = model(to_fake(mode, make_clips(name)))
    assert len(results) == 2


def test_predictor(monkeypatch):
    """A camera's frames, with batch norms folded."""
    cfg = make_model_cfg("ActionDetector", "MODEL.AVSYNC.ENABLED", False, "INPUT.MIN_SIZE_TEST", 32)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = build_fake(mode, cfg, training=False)
    monkeypatch.setattr(predictor, "copy_for_inference", lambda cfg: cfg)
    monkeypatch.setattr(predictor, "load_action_names", lambda *args: ([1], ["sit"]))
    monkeypatch.setattr(predictor, "build_trained_model", lambda cfg: (model, None))
    predict = predictor.ClipPredictor(cfg)

    def run(clips):
        with mode:
            return model(to_fake(mode, clips))

    predict.model = run
    persons = np.array([[0.1, 0.1, 0.5, 0.9, 0.9]], np.float32)
    found = predict.predict_frames(np.zeros((NUM_FRAMES, 32, 48, 3), np.uint8), persons)
    assert found.action_scores.shape == (1, 5)
    assert {x.device.type for x in (found.action_scores, found.pred_boxes.tensor)} == {"cpu"}


@pytest.mark.parametrize("name", ["ActionDetector", "ClipClassifier"])
def test_feature_extractor(name, monkeypatch, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.touch()
    cfg = make_model_cfg(name, "MODEL.WEIGHTS", str(weights), "MODEL.AUTOCAST_DTYPE", "float16")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    model = build_fake(mode, cfg, training=False)
    monkeypatch.setattr(feature_extractor, "build_model", lambda cfg: model)
    monkeypatch.setattr(feature_extractor, "load_weights", lambda *args, **kwargs: None)
    extractor = feature_extractor.FeatureExtractor(cfg, ["head", "slow_res4", "audio_res5"])
    on_host = []
    monkeypatch.setattr(torch.Tensor, "numpy", lambda x: on_host.append(x.device.type))
    with mode:
        found = extractor._extract(to_fake(mode, make_clips(name)))
    assert found.keys() == {"head", "slow_res4", "audio_res5", "has_audio"}
    assert on_host == ["cpu"] * 3
