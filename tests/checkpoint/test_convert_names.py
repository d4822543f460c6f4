"""Rename tables against names written down layer by layer, and against files of the projects."""

import importlib.util
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torchvision.models import resnet50

from ava_tools.support.pyslowfast_names import convert_to_pyslowfast
from avsf_det.checkpoint import (
    AVSFCheckpointer,
    convert_to_avsf,
    detect_format,
)

from ..modeling.builders import make_cfg
from . import originals
from .originals import pairs, random_like, tensors_of

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ORACLES = SHARED / "oracles" / "model"


def make_model(*, backbone: str = "slowfast", block: str = "v1", **slowfast) -> torch.nn.Module:
    cfg = make_cfg(**slowfast)
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [7]
    cfg.MODEL.BACKBONE.NAME = f"build_{backbone}_backbone"
    cfg.MODEL.AUDIO.BLOCK = block
    cfg.MODEL.AUDIO.FUSION_STAGES = ["pool1", "res2", "res3", "res4", "pool5"]
    return build_model(cfg)


SLOWFAST = [
    *originals.visual_layers(),
    *originals.fast_to_slow_layers(),
    originals.classifier(),
]
SLOW = [*originals.visual_layers(pathways=1), originals.classifier(slow_only=True)]


def make_nonlocal_model() -> torch.nn.Module:
    cfg = make_cfg()
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [7]
    for stage, block in originals.NONLOCAL:
        cfg.MODEL.SLOWFAST.NONLOCAL[f"RES{stage}"] = [block]
    return build_model(cfg)


def random_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: random_like(x, i) for i, (name, x) in enumerate(tensors_of(model).items())}


def original_state(names: dict[str, str], state: dict[str, torch.Tensor]) -> dict:
    """Return the content of the other project's file for our ``state``."""
    assert names.keys() == state.keys()
    assert len(set(names.values())) == len(names)
    return {names[name]: value for name, value in state.items()}


def add_first_axis(name: str, x: torch.Tensor) -> torch.Tensor:
    """Return an audio convolution as in the authors' files: 3-D, with a first axis of length 1."""
    audio = name.startswith(("backbone.audio.", "backbone.a2fs."))
    return x[:, :, None] if audio and x.dim() == 4 else x


def assert_same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(ours[name], value), name


def load(model: torch.nn.Module, data: object, tmp_path: Path) -> AVSFCheckpointer:
    torch.save(data, tmp_path / "weights.bin")
    checkpointer = AVSFCheckpointer(model)
    checkpointer.load(str(tmp_path / "weights.bin"))
    return checkpointer


@pytest.mark.parametrize(
    ("project", "name_format", "container"),
    [
        ("pyslowfast", "PySlowFast", "model_state"),
        ("caffe2", "Caffe2", "blobs"),
        ("pytorchvideo", "PyTorchVideo", "model_state"),
    ],
)
@pytest.mark.parametrize("kind", ["slowfast", "slow"])
def test_visual_models(project: str, name_format: str, container: str, kind: str, tmp_path: Path):
    model = make_model(backbone=kind)
    names = pairs(SLOWFAST if kind == "slowfast" else SLOW, project)
    state = random_state(model)
    theirs = original_state(names, state)
    assert detect_format(theirs) == name_format
    checkpointer = load(model, {container: theirs, "epoch": 3}, tmp_path)
    assert_same(tensors_of(model), state)
    report = checkpointer.report
    assert set(report.matched) == state.keys()
    assert not (report.adapted or report.missing or report.unexpected or report.misshaped)


@pytest.mark.parametrize("project", ["pyslowfast", "caffe2"])
def test_nonlocal_blocks(project: str, tmp_path: Path):
    model = make_nonlocal_model()
    names = pairs([*SLOWFAST, *originals.nonlocal_layers()], project)
    state = random_state(model)
    load(model, {"model_state": original_state(names, state)}, tmp_path)
    assert_same(tensors_of(model), state)


def test_caffe2_blobs_of_the_optimizer_and_blobs_of_lower_rank(tmp_path: Path):
    model = make_model()
    state = random_state(model)
    blobs = {"lr": np.float32([0.1]), "model_iter": 5}
    for name, value in original_state(pairs(SLOWFAST, "caffe2"), state).items():
        pointwise = value.dim() == 5 and value.shape[2:].numel() == 1
        blobs[name] = (value[:, :, 0, 0, 0] if pointwise else value).numpy()
        blobs[f"{name}_momentum"] = np.zeros(3, np.float32)
    (tmp_path / "weights.bin").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    checkpointer = AVSFCheckpointer(model)
    checkpointer.load(str(tmp_path / "weights.bin"))
    assert_same(tensors_of(model), state)
    assert not checkpointer.report.unexpected
    assert "backbone.slow.res2.0.conv1.weight" in checkpointer.report.adapted


@pytest.mark.parametrize("block", ["v1", "v2"])
def test_the_authors_avslowfast_both_ways(block: str, tmp_path: Path):
    model = make_model(backbone="avslowfast", block=block)
    layers = [
        *originals.visual_layers(),
        *originals.fast_to_slow_layers(norm="bn_f2s"),
        *originals.audio_layers(block),
        *originals.audio_to_visual_layers(),
        originals.classifier(),
    ]
    names = pairs(layers, "pyslowfast")
    state = random_state(model)
    theirs = original_state(names, {k: add_first_axis(k, v) for k, v in state.items()})
    load(model, {"model_state": theirs}, tmp_path)
    assert_same(tensors_of(model), state)
    assert_same(convert_to_pyslowfast(tensors_of(model)), theirs)


def test_back_to_pyslowfast():
    model = make_nonlocal_model()
    names = pairs([*SLOWFAST, *originals.nonlocal_layers()], "pyslowfast")
    state = random_state(model)
    assert_same(convert_to_pyslowfast(state), original_state(names, state))
    detector = {"roi_heads.predictor.weight": torch.ones(2, 3), "backbone.drop_pathway.x": state}
    assert set(convert_to_pyslowfast(detector)) == {
        "head.projection.weight",
        "backbone.drop_pathway.x",
    }


def test_audiovisual_synchronisation():
    ours = {
        "backbone.slow.stem.conv1.weight": "s1.pathway0_stem.conv.weight",
        "backbone.audio.stem.conv_t.weight": "s1.pathway2_stem.conv_t.weight",
        "avsync_head.res3.visual.weight": "s3_fuse.avs.ref_fc.weight",
        "avsync_head.res5.audio.bias": "s5_fuse.avs.query_fc.bias",
        "avsync_head.f2s.conv.weight": "s5_fuse.conv_f2s.weight",
        "avsync_head.f2s.conv.norm.running_var": "s5_fuse.bn_f2s.running_var",
        "avsync_head.a2fs.conv1.weight": "s5_fuse.conv_a2fs_0.weight",
        "avsync_head.a2fs.conv2.norm.bias": "s5_fuse.bn_a2fs_1.bias",
    }
    four_axes = [n for n in ours if "conv_t" in n or n == "avsync_head.a2fs.conv1.weight"]
    state = {n: torch.ones(1, 1, 2, 1) if n in four_axes else torch.ones(2) for n in ours}
    theirs = {ours[n]: torch.ones(1, 1, 1, 2, 1) if n in four_axes else torch.ones(2) for n in ours}
    assert_same(convert_to_avsf(theirs, "PySlowFast"), state)
    assert_same(convert_to_pyslowfast(state), theirs)


def test_detectors_of_pytorchvideo():
    names = ["model.blocks.0.multipathway_blocks.1.norm.bias", "detection_head.proj.weight"]
    assert detect_format(names) == "PyTorchVideo"
    converted = convert_to_avsf({n: torch.zeros(1) for n in names}, "PyTorchVideo")
    assert list(converted) == [
        "backbone.fast.stem.conv1.norm.bias",
        "head.predictors.action.weight",
    ]


def test_torchvision_resnet50_as_a_slow_pathway(tmp_path: Path):
    resnet = resnet50(num_classes=7).eval()
    for i, (_, buffer) in enumerate(resnet.named_buffers()):
        if buffer.dim():
            buffer.copy_(random_like(buffer, i).abs() + 0.5)
    model = make_model(backbone="slow", WIDTH=64).eval()
    names = pairs(SLOW, "torchvision")
    theirs = resnet.state_dict()
    assert detect_format(theirs) == "torchvision"
    report = load(model, theirs, tmp_path).report
    ours = tensors_of(model)
    assert names.keys() == ours.keys()
    for name, value in ours.items():
        expected = theirs[names[name]]
        assert torch.equal(
            value,
            expected[:, :, None].expand_as(value) / value.shape[2]
            if value.dim() == 5 and value.shape[2] == 3
            else expected.view(value.shape),
        ), name
    inflated = [name for name, value in ours.items() if value.dim() == 5 and value.shape[2] == 3]
    assert list(report.adapted) == inflated
    assert len(inflated) == 9  # the first convolutions of the blocks of res4 and res5
    assert not (report.missing or report.unexpected or report.misshaped)

    image = random_like(torch.empty(1, 3, 64, 64), 0)
    with torch.no_grad():
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
        flat = resnet.layer2(resnet.layer1(x))
        slow = model.backbone.slow
        clip = slow["stem"](image[:, :, None].repeat(1, 1, 4, 1, 1))
        torch.testing.assert_close(clip, x[:, :, None].expand_as(clip))
        # Up to res3, no layer uses neighbouring frames. In res4, the first and the last frame
        # have zero padding as neighbours, the others only copies of the image.
        clip = slow["res3"](slow["res2"](clip))
        torch.testing.assert_close(clip, flat[:, :, None].expand_as(clip), rtol=1e-4, atol=1e-4)
        clip = slow["res4"][0](clip)
        first = resnet.layer3[0](flat)
    torch.testing.assert_close(
        clip[:, :, 1:3], first[:, :, None].repeat(1, 1, 2, 1, 1), rtol=1e-3, atol=1e-3
    )


def test_unknown_names_are_kept():
    state = {"s1.pathway0_stem.conv.weight": torch.zeros(1), "s9.sth": torch.zeros(1)}
    assert list(convert_to_avsf(state, "PySlowFast")) == [
        "backbone.slow.stem.conv1.weight",
        "s9.sth",
    ]


def test_an_unknown_format_is_an_error():
    with pytest.raises(ValueError, match=r"\(a, b\.c, \.\.\.\).*PySlowFast, Caffe2, PyTorchVideo"):
        detect_format(["a", "b.c"])


def test_two_weights_of_one_name_are_an_error():
    state = dict.fromkeys(["s1_fuse.bn.weight", "s1_fuse.bn_f2s.weight"], torch.zeros(1))
    with pytest.raises(ValueError, match=r"backbone\.f2s\.pool1\.conv\.norm\.weight"):
        convert_to_avsf(state, "PySlowFast")


@pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles at {ORACLES}")
@pytest.mark.parametrize(
    "oracle", ["sf_r50_8x8_tiny_cls", "sf_r50_ava_tiny_det", "avsf_r50_8x8_tiny_aligned"]
)
def test_real_originals_both_ways(oracle: str, tmp_path: Path):
    spec = importlib.util.spec_from_file_location("recipe", SHARED / "scripts/oracle_recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    info = json.loads((ORACLES / f"{oracle}.json").read_text())
    theirs = recipe.fill_state(info["state_shapes"], info["seed"])
    theirs = {name: torch.from_numpy(value) for name, value in theirs.items()}

    cfg = make_cfg(audio=oracle.startswith("avsf"), WIDTH=16, FUSION_KERNEL=7)
    cfg.MODEL.AUDIO.FUSION_WIDTH = 64
    if oracle.startswith("avsf"):
        cfg.MODEL.AUDIO.FUSION_STAGES = ["res3", "res4", "pool5"]
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [400]
    cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 80
    if not oracle.endswith("det"):
        cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    model = build_model(cfg)
    report = load(model, {"model_state": theirs}, tmp_path).report
    assert report.matched and not (report.adapted or report.missing or report.misshaped)
    assert all(name.startswith("avsync_head.") for name in report.unexpected)
    back = convert_to_pyslowfast(convert_to_avsf(theirs, "PySlowFast"))
    assert_same(back, theirs)
    # Weights that only the synchronisation loss uses are not part of this model.
    used = {n: x for n, x in theirs.items() if not n.startswith("s5_fuse.") and ".avs." not in n}
    assert_same(convert_to_pyslowfast(model.state_dict()), used)
