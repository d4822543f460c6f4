"""Number format, memory format and compilation change the speed of a model and not its results."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from avsf_det.layers import fold_batch_norms
from avsf_det.modeling.meta_arch import av_pretrainer

from .builders import SIZE, add_negatives, make_cfg, make_features, make_inputs, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")
BFLOAT16 = ("MODEL.AUTOCAST_DTYPE", "bfloat16")
TOLERANCE = 0.05  # 8 bits of mantissa through a few blocks
ARCHITECTURES = ("ActionDetector", "ClipClassifier", "AVPretrainer")


def make_model(architecture: str, *options) -> nn.Module:
    cfg = make_cfg(audio=True)
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [5]
    cfg.MODEL.CLIP_HEAD.DROPOUT = cfg.MODEL.ROI_ACTION_HEAD.DROPOUT = 0.0
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.0
    cfg.MODEL.AVSYNC.ENABLED = True
    cfg.MODEL.AVSYNC.LEVELS = ["res3", "res4"]
    cfg.merge_from_list(list(options))
    torch.manual_seed(0)
    return randomize(build_model(cfg))


def make_clips() -> list[dict]:
    """For all architectures, one box each."""
    clips = make_inputs(2, num_boxes=1)
    for i, clip in enumerate(clips):
        clip["labels"] = {"action": torch.tensor(i)}
        clip["frames"] = clip["frames"][..., : SIZE[0]]  # square, to be rotated
    return clips


def train(model: nn.Module) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Losses and the norm of the gradient."""
    torch.manual_seed(0)
    with EventStorage():
        losses = model.train()(make_clips())
    sum(losses.values()).backward()
    return losses, torch.nn.utils.get_total_norm(
        [p.grad for p in model.parameters() if p.grad is not None]
    )


def find_tensors(value) -> list[torch.Tensor]:
    """All floating-point tensors of a model's outputs."""
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if hasattr(value, "get_fields"):
        value = value.get_fields()
    values = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list)):
        return []
    return [tensor for item in values for tensor in find_tensors(item)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_results_in_16_bits_are_the_same(architecture):
    plain, fast = make_model(architecture), make_model(architecture, *BFLOAT16)
    with torch.no_grad():
        expected, found = (find_tensors(model.eval()(make_clips())) for model in (plain, fast))
    assert len(expected) == len(found) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, atol=TOLERANCE)
    (losses, norm), (expected_losses, expected_norm) = train(fast), train(plain)
    assert losses.keys() == expected_losses.keys()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert torch.allclose(loss, expected_losses[name], rtol=TOLERANCE)
    # The gradient of so small a model, with batch norms over two clips, is chaotic.
    assert torch.allclose(norm, expected_norm, rtol=10 * TOLERANCE**0.5)


def test_folded_weights_in_16_bits_give_the_same():
    folded, cast = (make_model("ActionDetector", *BFLOAT16).eval() for _ in range(2))
    fold_batch_norms(folded)
    fold_batch_norms(cast, cast.autocast_dtype)
    assert cast.backbone.fast["stem"].conv1.weight.dtype == torch.bfloat16
    clips = make_clips()
    with torch.no_grad():
        for ours, theirs in zip(*(find_tensors(x(clips)) for x in (cast, folded)), strict=True):
            assert torch.equal(ours, theirs)


def test_the_backbone_runs_in_the_formats_asked_for():
    model = make_model("ActionDetector", *BFLOAT16).eval()
    seen = []
    model.backbone.slow["res2"].register_forward_hook(lambda _, x, y: seen.append((x[0], y)))
    model(make_clips())
    assert seen[0][1].dtype == torch.bfloat16
    model = make_model("ActionDetector").eval()  # on a CPU channels last in any case
    model.backbone.slow["stem"].register_forward_hook(lambda _, x, y: seen.append(x[0]))
    model(make_clips())
    for x in (seen[1], model.backbone.slow["res2"][0].conv2.weight):
        assert x.is_contiguous(memory_format=torch.channels_last_3d)
        assert not x.is_contiguous()


def test_a_dtype_that_is_unknown_is_named():
    with pytest.raises(ValueError, match="AUTOCAST_DTYPE is 'fp8'; it can be '', 'bfloat16'"):
        make_model("ActionDetector", "MODEL.AUTOCAST_DTYPE", "fp8")


def test_float16_trains_with_scaled_losses_only():
    model = make_model("ActionDetector", "MODEL.AUTOCAST_DTYPE", "float16").train()
    with pytest.raises(ValueError, match=r"gradients would become 0.*SOLVER\.AMP\.ENABLED True"):
        model(make_clips())
    with torch.autocast("cpu", torch.float16):  # as the trainer that scales
        assert isinstance(model.autocast(), torch.autocast)
    with torch.no_grad():  # precise batch norm
        assert isinstance(model.autocast(), torch.autocast)


@pytest.fixture
def compile_eagerly(monkeypatch):
    """Let torch.compile trace as usual, and run the trace without a compiler."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, **k: compile_(*a, **k, backend="eager"))
    yield
    torch.compiler.reset()


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
    reason="PyTorch before 2.11 does not trace Detectron2's pooler in one graph",
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_are_one_graph(compile_eagerly, architecture, monkeypatch):
    monkeypatch.setattr(av_pretrainer, "NUM_ROTATIONS", 2)  # each adds a backbone to the graph
    model = make_model(architecture).eval()
    clips = make_clips()
    expected = find_tensors(model(clips))
    found = find_tensors(torch.compile(model, fullgraph=True)(clips))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_backbone_compiles_to_one_graph_for_training(compile_eagerly):
    """The graphs of the models above contain that of inference."""
    plain = make_model("ActionDetector").backbone.train()
    compiled = make_model("ActionDetector", "MODEL.COMPILE", True).backbone.train()
    assert compiled._compiled_call_impl is not None
    assert torch._dynamo.config.recompile_limit > 100  # by default, a ninth size raises
    x = add_negatives(make_features())
    torch.manual_seed(0)
    expected, expected_taps = plain(x, with_taps=True)
    torch.manual_seed(0)
    found, taps = compiled(x, with_taps=True)
    for name in ("slow_res5", "fast_res5"):
        assert torch.allclose(found[name], expected[name], atol=1e-2)
    assert taps.keys() == expected_taps.keys()


def test_compiled_models_train_distributed(compile_eagerly, monkeypatch, tmp_path):
    """DistributedDataParallel makes dynamo split the graph by the buckets of gradients."""
    monkeypatch.setattr(dist, "_DEFAULT_FIRST_BUCKET_BYTES", 1000)
    options = ("MODEL.AVSYNC.ENABLED", False, "MODEL.BACKBONE.NAME", "build_slow_backbone")
    backbone = make_model("ClipClassifier", *options, "MODEL.COMPILE", True).backbone.train()
    x = {"frames": torch.randn(2, 3, 4, 32, 32)}
    plain = copy.deepcopy(backbone)  # a copy is not compiled
    plain(x)["slow_res5"].square().mean().backward()
    dist.init_process_group("gloo", f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        model = DistributedDataParallel(backbone, broadcast_buffers=False, bucket_cap_mb=0.1)
        model(x)["slow_res5"].square().mean().backward()
    finally:
        dist.destroy_process_group()
    for ours, expected in zip(backbone.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, expected.grad, rtol=1e-3, atol=1e-6)
