"""The GPU gives what the CPU gives; skipped where there is no GPU. Run by `make test-cuda`.

float32 is compared without TF32, which rounds inputs to 10 bits. 16-bit formats and compilers have
tolerances of their own.
"""

import copy

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from torch.nn.parallel import DistributedDataParallel

from avsf_det.engine import Trainer
from avsf_det.engine.feature_extractor import FeatureExtractor
from avsf_det.engine.finite_loss import FiniteLossAMPTrainer
from avsf_det.engine.predictor import ClipPredictor
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from .engine import actions
from .engine.training import MAX_ITER, RaiseAt, make_training, read_state, run
from .modeling.test_speed_options import ARCHITECTURES, find_tensors, make_clips, make_model, train

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU: the CPU cannot be compared with one"
)
FROZEN = ("MODEL.SLOWFAST.NORM", "FrozenBN")
SUBBN = ("MODEL.SLOWFAST.NORM", "SubBN", "MODEL.SLOWFAST.SUBBN_CLIPS", 1)
CHANNELS_LAST = ("MODEL.CHANNELS_LAST", True)
BFLOAT16 = ("MODEL.AUTOCAST_DTYPE", "bfloat16")


@pytest.fixture(autouse=True)
def exact_float32(monkeypatch):
    """Turn TF32 off; few blocks, so that rounding is not amplified by depth."""
    monkeypatch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 2, 1))
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("actions")
    actions.make_dataset(folder)
    yield folder
    actions.forget()


def make_pair(architecture: str, *options):
    """The same weights on the CPU, in plain float32, and on the GPU with options."""
    norm = options[:4] if "MODEL.SLOWFAST.NORM" in options else ()
    plain = make_model(architecture, *norm[: 2 if "FrozenBN" in norm else 4])
    moved = make_model(architecture, *options, "MODEL.DEVICE", DEVICE)
    moved.load_state_dict(plain.state_dict())
    return plain, moved


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.cpu() - expected).norm() / expected.norm().clamp(min=1e-3))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ((), 1e-4),
        (CHANNELS_LAST, 1e-4),
        (BFLOAT16, 0.05),
        ((*BFLOAT16, *CHANNELS_LAST), 0.05),
        (("MODEL.AUTOCAST_DTYPE", "float16"), 0.01),
    ],
)
def test_scores(architecture, options, tolerance):
    models = make_pair(architecture, *options)
    with torch.no_grad():
        expected, found = (find_tensors(model.eval()(make_clips())) for model in models)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.cpu(), theirs, atol=tolerance)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (FROZEN, 1e-3),
        ((*FROZEN, *CHANNELS_LAST), 1e-3),
        ((*FROZEN, *BFLOAT16), 0.1),
    ],
)
def test_losses_and_gradients(architecture, options, tolerance):
    """With fixed norms: those over two clips amplify rounding."""
    plain, moved = make_pair(architecture, *options)
    (expected, _), (losses, _) = train(plain), train(moved)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert torch.allclose(loss.cpu(), expected[name], rtol=0.1 * tolerance, atol=1e-4)
    ours, theirs = (
        torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None])
        for model in (moved, plain)
    )
    assert relative_difference(ours, theirs) < tolerance


@pytest.mark.parametrize("options", [(), SUBBN])
def test_statistics_of_batch_norms(options):
    plain, moved = make_pair("ClipClassifier", *options)
    (expected, _), (losses, _) = train(plain), train(moved)
    for name, loss in losses.items():
        assert torch.allclose(loss.cpu(), expected[name], rtol=1e-3)
    for (name, ours), theirs in zip(moved.named_buffers(), plain.buffers(), strict=True):
        if name.endswith(("running_mean", "running_var")):
            assert relative_difference(ours, theirs) < 1e-3, name


def test_float16_trains_with_a_scaler_only():
    model = make_model("ActionDetector", "MODEL.AUTOCAST_DTYPE", "float16", "MODEL.DEVICE", DEVICE)
    with pytest.raises(ValueError, match=r"SOLVER.AMP.ENABLED True"):
        train(model)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trainer = FiniteLossAMPTrainer(model, [make_clips()] * 12, optimizer)
    with EventStorage() as storage:
        for trainer.iter in range(12):  # the first may be skipped, until the scale fits
            trainer.run_step()
    assert np.isfinite(storage.latest()["total_loss"][0])
    moved = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert moved and all(p.isfinite().all() for p in model.parameters())


def test_roi_align():
    """torchvision's kernel of the GPU, with boxes at and beyond the border."""
    maps = torch.randn(2, 8, 14, 14, requires_grad=True)
    boxes = [Boxes(torch.tensor([[0.0, 0, 224, 224], [-9, 30, 60, 250]])) for _ in range(2)]
    pooler = ROIPooler(7, [1 / 16], 0, "ROIAlignV2")
    expected = pooler([maps], boxes)
    found = pooler([maps.to(DEVICE)], [x.to(DEVICE) for x in boxes])
    assert torch.allclose(found.cpu(), expected, atol=1e-5)


def test_training_resumes(folder):
    """With precise batch norm, DropPathway and the synchronisation loss.

    A gradient's sums by atomic additions depend on their order. At a usual learning rate a few
    iterations amplify that to differences of half a weight; at this one to 4e-6, while other clips
    or draws change buffers by their own size.
    """
    options = ("MODEL.DEVICE", DEVICE, "SOLVER.BASE_LR", 1e-4, "OUTPUT_DIR")
    whole = make_training(folder, *options, str(folder / "whole"))
    run(whole)
    broken = make_training(folder, *options, str(folder / "broken"))
    with pytest.raises(KeyboardInterrupt):
        run(broken, RaiseAt(3, KeyboardInterrupt()))
    run(broken, resume=True)
    ours, theirs = read_state(broken), read_state(whole)
    assert ours["iteration"] == theirs["iteration"] == MAX_ITER - 1
    for name, expected in theirs["model"].items():
        if expected.is_floating_point():
            assert relative_difference(ours["model"][name].cpu(), expected.cpu()) < 1e-3, name


def test_mixed_precision_training(folder):
    options = ("MODEL.DEVICE", DEVICE, "SOLVER.AMP.ENABLED", True)
    trainer = run(make_training(folder, *options, "OUTPUT_DIR", str(folder / "amp")))
    assert trainer.iter == MAX_ITER
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_predictor_and_features(folder):
    cfg = actions.make_model(folder)
    moved = cfg.clone()
    moved.MODEL.DEVICE = DEVICE
    path, boxes = folder / "videos" / "a.mp4", {1.0: np.float32([[0.1, 0.1, 0.5, 0.9, 0.9]])}
    ((_, expected),), ((_, found),) = (
        list(ClipPredictor(x)(path, boxes=boxes)) for x in (cfg, moved)
    )
    assert torch.allclose(found.action_scores, expected.action_scores, atol=1e-4)
    layers = ["head", "slow_res4"]
    expected, found = (FeatureExtractor(x, layers)(str(path), persons=boxes) for x in (cfg, moved))
    for layer in layers:
        np.testing.assert_allclose(found[layer], expected[layer], atol=1e-3)


def test_evaluation(folder):
    cfg = actions.make_model(folder)
    cfg.OUTPUT_DIR = str(folder / "evaluation")
    results = []
    for device in ("cpu", DEVICE):
        cfg.MODEL.DEVICE = device
        results.append(Trainer.test(cfg, build_model(cfg).eval()))
    assert results[0].keys() == results[1].keys()


def test_person_detector():
    """Detectron2's detector with random weights: proposals, RoIAlign and NMS on the GPU."""
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS = "GeneralizedRCNN", ""
    cfg.MODEL.DEVICE, cfg.MODEL.RESNETS.DEPTH = DEVICE, 50
    detector = build_model(cfg).eval()
    with torch.no_grad():
        found = detector([{"image": torch.zeros(3, 96, 128), "height": 96, "width": 128}])
    assert found[0]["instances"].pred_boxes.device.type == DEVICE


def test_nccl(tmp_path):
    """A process alone: the collectives of a training step, and DDP's gradients."""
    model = make_model("ClipClassifier", *FROZEN, "MODEL.DEVICE", DEVICE)
    expected = train(model)[1]
    model.zero_grad()
    dist.init_process_group("nccl", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        found = train(DistributedDataParallel(model, device_ids=[0], broadcast_buffers=False))[1]
        value = torch.ones(3, device=DEVICE)
        dist.all_reduce(value)
    finally:
        dist.destroy_process_group()
    assert torch.allclose(found, expected, rtol=1e-3)
    assert value.tolist() == [1, 1, 1]


def test_compiled():
    """One model, and the last test, because compilation takes a minute."""
    plain, compiled = make_pair("ActionDetector", *FROZEN, "MODEL.COMPILE", True)
    (expected, norm), (losses, compiled_norm) = train(plain), train(compiled)
    for name, loss in losses.items():
        assert torch.allclose(loss.cpu(), expected[name], rtol=1e-3)
    assert torch.allclose(compiled_norm.cpu(), norm, rtol=1e-2)
