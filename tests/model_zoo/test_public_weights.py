"""Configs of public weights: a file of the publisher's names and shapes fills all of the model."""

import os
import re
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from detectron2.utils.file_io import PathManager
from torch import nn

from ava_tools.measurement.analysis import build_without_data
from avsf_det import model_zoo
from avsf_det.checkpoint.convert_names import convert_to_avsf, detect_format
from avsf_det.checkpoint.match_weights import match_weights
from avsf_det.engine.defaults import load_config
from avsf_det.model_zoo.model_zoo import ModelZooError
from avsf_det.model_zoo.public_weights import get_url
from avsf_det.structures import addresses
from avsf_det.structures.addresses import DownloadError

from ..checkpoint import originals
from ..checkpoint.originals import pairs
from ..modeling.test_oracles import ORACLES, Oracle

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROWS = sorted(str(path.relative_to(CONFIGS)) for path in (CONFIGS / "zoo").glob("*/*.yaml"))
NONLOCAL_R101 = ((4, 6), (4, 13), (4, 20))
# A Caffe2 norm without bias is named differently; these have all four statistics.
PROJECTS = {".pkl": "caffe2", ".pyth": "pytorchvideo", ".pth": "mmaction2"}
SERVERS = ("https://dl.fbaipublicfiles.com/py", "https://download.openmmlab.com/mmaction/")


def layers_of(cfg) -> list[originals.Layer]:
    """Return the layers that the publisher's network has, from the name of its architecture."""
    pathways = 1 if cfg.MODEL.BACKBONE.NAME == "build_slow_backbone" else 2
    is_101 = cfg.MODEL.SLOWFAST.DEPTH == 101
    blocks = originals.NUM_BLOCKS_R101 if is_101 else originals.NUM_BLOCKS
    layers = [*originals.visual_layers(pathways, blocks)]
    if pathways == 2 and not cfg.MODEL.SLOWFAST.FUSION_NORM:
        layers += originals.bare_laterals()
    elif pathways == 2:
        layers += originals.fast_to_slow_layers(last_block=blocks[4] - 1)
    if cfg.MODEL.SLOWFAST.NONLOCAL.RES4:
        layers += originals.nonlocal_layers(NONLOCAL_R101)
    return layers


def file_of(cfg, model, project: str) -> dict[str, torch.Tensor]:
    """Return the publisher's file: its names, with tensors of the model's shapes."""
    state = originals.tensors_of(model)
    backbone = pairs(layers_of(cfg), project)
    names = {name for name in state if name.startswith("backbone.")}
    assert backbone.keys() == names  # written down layer by layer, not read from the model
    classifier = next(name for name in state if name not in names).rpartition(".")[0]
    slow_only = cfg.MODEL.BACKBONE.NAME == "build_slow_backbone"
    head = pairs([originals.classifier(classifier, slow_only=slow_only)], project)
    if project == "pytorchvideo" and cfg.MODEL.META_ARCHITECTURE == "ActionDetector":
        backbone = {ours: f"model.{theirs}" for ours, theirs in backbone.items()}
        head = {ours: re.sub(r"^blocks\.\d+", "detection_head", t) for ours, t in head.items()}
    file = {theirs: state[ours] for ours, theirs in {**backbone, **head}.items()}
    if project == "mmaction2":  # their first class is background
        for name in head.values():
            file[name] = torch.cat([torch.full_like(file[name][:1], 9), file[name]])
    return file


MODELS: dict[str, nn.Module] = {}  # text of MODEL, without the weights, to the model


def build(cfg) -> nn.Module:
    """Build a model without data; rows of one architecture share it."""
    architecture = cfg.MODEL.clone()
    architecture.WEIGHTS = ""
    key = architecture.dump()
    if key not in MODELS:
        MODELS[key] = build_without_data(cfg)
    return MODELS[key]


@pytest.mark.parametrize("row", ROWS)
def test_the_publishers_file_fills_the_model(row):
    cfg = load_config(row, ["MODEL.SLOWFAST.WIDTH", 8, "MODEL.DEVICE", "cpu"])
    model = build(cfg)
    project = PROJECTS[Path(cfg.MODEL.WEIGHTS).suffix]
    if "R50_IN1K" in cfg.MODEL.WEIGHTS:
        project = "pyslowfast"
    state = file_of(cfg, model, project)
    if project == "caffe2":
        # Caffe2 stores kernels of 1 x 1 x 1, and theirs alone, without these axes.
        state = {k: v.flatten(1) if v.shape[2:] == (1, 1, 1) else v for k, v in state.items()}
    if "IN1K" in cfg.MODEL.WEIGHTS:  # a network of images, of other classes
        state = {k: v[:, :, 0] if v.dim() == 5 else v for k, v in state.items()}
    converted = convert_to_avsf(state, detect_format(state))
    loadable, report = match_weights(converted, model.state_dict())
    assert not report.missing and not report.unexpected and not report.misshaped, str(report)
    report.check_complete("model", row)
    assert all(loadable[name].shape == x.shape for name, x in originals.tensors_of(model).items())


@pytest.mark.parametrize("row", ROWS)
def test_each_config_names_publisher_figure_and_address(row):
    text = (CONFIGS / row).read_text()
    url = model_zoo.get_checkpoint_url(row)
    assert f"# {url}\n" in text and url.startswith(SERVERS)
    assert re.search(
        r"^# (PySlowFast|PyTorchVideo|MMAction2), Apache-2\.0; published: .*; not measured",
        text,
        re.M,
    )
    assert load_config(row).OUTPUT_DIR == f"./output/{row.removesuffix('.yaml')}"


@pytest.mark.parametrize("row", ROWS)
def test_the_page_lists_each_config_with_its_figure(row):
    publisher, figure = re.search(
        r"^# (\w+), .*; published: (.*); not", (CONFIGS / row).read_text(), re.M
    ).groups()
    page = (CONFIGS.parent / "docs" / "weights.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{row}` |")]
    assert line.endswith(f"| {publisher} | {figure} |")


ORACLE_OPTIONS = ["MODEL.SLOWFAST.WIDTH", 16, "MODEL.DEVICE", "cpu"]


@pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles at {ORACLES}")
@pytest.mark.parametrize(
    ("row", "oracle", "options"),
    [
        ("zoo/Kinetics/slowfast_r50_8x8.yaml", "sf_r50_8x8_tiny_cls", []),
        # PySlowFast's SLOWFAST_32x2_R50_SHORT: PyTorchVideo's network with aligned RoIAlign.
        (
            "zoo/AVA/slowfast_r50_8x8_ptv.yaml",
            "sf_r50_ava_tiny_det",
            ["MODEL.ROI_ACTION_HEAD.POOLER_TYPE", "ROIAlignV2"],
        ),
    ],
)
@torch.no_grad()
def test_a_zoo_config_gives_the_outputs_of_pyslowfast(row, oracle, options):
    oracle = Oracle(oracle)
    model = build_model(load_config(row, [*ORACLE_OPTIONS, *options])).eval()
    oracle.load(model)
    features = model.backbone({"frames": oracle.input("input")})
    if oracle.info["boxes"]:
        boxes = torch.tensor(oracle.info["boxes"])
        per_clip = [Boxes(boxes[boxes[:, 0] == i, 1:]) for i in range(2)]
        logits = model.roi_heads.predict(features, per_clip)
    else:
        logits = model.head(features)["action"]
    expected = oracle.arrays["eval_logits"]
    torch.testing.assert_close(logits, expected.view_as(logits), rtol=0, atol=1e-5)


def test_weights_that_are_not_published():
    with pytest.raises(ModelZooError, match="has no published weights"):
        model_zoo.get_checkpoint_url("AVA/avsf_r50_4x16.yaml")


def test_a_file_in_the_cache_is_used_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(addresses, "_FETCHED", {})

    def refuse(*args, **kwargs):
        raise URLError("no network here")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("iopath.common.download.request.urlopen", refuse, raising=False)
    address = "pyslowfast://model_zoo/ava/other.pkl"
    place = tmp_path / "pyslowfast" / "model_zoo" / "ava" / "other.pkl"
    with pytest.raises(DownloadError, match="no network here") as error:
        PathManager.get_local_path(address)
    assert get_url(address) in str(error.value) and str(error.value).endswith(str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"weights")
    assert os.path.samefile(PathManager.get_local_path(address), place)
    with PathManager.open(address, "rb") as file:
        assert file.read() == b"weights"
