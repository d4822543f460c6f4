"""The models against outputs of their originals (shared/data/README.md, "Models")."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from .builders import make_cfg

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ORACLES = SHARED / "oracles" / "model"
pytestmark = pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles at {ORACLES}")

PATHWAYS = {"0": "slow", "1": "fast", "2": "audio"}
JUNCTIONS = {"1": "pool1", "2": "res2", "3": "res3", "4": "res4"}
LAYERS = {"branch1": "shortcut", "a": "conv1", "b": "conv2", "c": "conv3", "out": "conv3"}
LAYERS |= {"t": "conv_t", "f": "conv_f"}


def our_name(name: str) -> str | None:
    """The name in our backbone of a parameter of PySlowFast or of the AVSlowFast authors."""
    name = name.replace("bn_f2s", "conv_f2s.norm").replace("_fuse.bn.", "_fuse.conv_f2s.norm.")
    name = re.sub(r"bn_a2fs_(\d)", r"conv_a2fs_\1.norm", name)
    name = re.sub(r"(\w+)_bn\.", r"\1.norm.", name).replace(".bn.", ".norm.")
    if m := re.fullmatch(r"s1\.pathway(\d)_stem\.(.+)", name):
        stem = (
            m[2] if m[1] == "2" else m[2].replace("conv.", "conv1.").replace("norm", "conv1.norm")
        )
        return f"{PATHWAYS[m[1]]}.stem.{stem}"
    if m := re.fullmatch(r"s(\d)\.pathway(\d)_res(\d+)\.(?:branch2\.)?(\w+)\.(.+)", name):
        return f"{PATHWAYS[m[2]]}.res{m[1]}.{m[3]}.{LAYERS[m[4]]}.{m[5]}"
    if m := re.fullmatch(r"s([1-4])_fuse\.conv_f2s\.(.+)", name):
        return f"f2s.{JUNCTIONS[m[1]]}.conv.{m[2]}"
    if m := re.fullmatch(r"s([1-4])_fuse\.conv_a2fs_(\d)\.(.+)", name):
        return f"a2fs.{JUNCTIONS[m[1]]}.conv{int(m[2]) + 1}.{m[3]}"
    return None


class Oracle:
    """An original: its settings and outputs; its weights and inputs by recipe."""

    def __init__(self, name: str):
        spec = importlib.util.spec_from_file_location(
            "oracle_recipe", SHARED / "scripts" / "oracle_recipe.py"
        )
        self.recipe = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.recipe)
        self.info = json.loads((ORACLES / f"{name}.json").read_text())
        self.arrays = {k: torch.from_numpy(v) for k, v in np.load(ORACLES / f"{name}.npz").items()}
        state = self.recipe.fill_state(self.info["state_shapes"], self.info["seed"])
        self.state = {k: torch.from_numpy(v) for k, v in state.items()}
        self.head = (self.state["head.projection.weight"], self.state["head.projection.bias"])

    def input(self, key: str) -> torch.Tensor:
        spec = self.info[key]
        return torch.from_numpy(self.recipe.inp(spec["seed"], spec["shape"], spec["rep"]))

    def load(self, backbone: torch.nn.Module) -> None:
        ours = backbone.state_dict()
        renamed = {our_name(k): v for k, v in self.state.items() if our_name(k)}
        assert renamed.keys() == ours.keys()
        backbone.load_state_dict({k: v.view(ours[k].shape) for k, v in renamed.items()})


KINETICS = {"SPATIAL_STRIDES": [1, 2, 2, 2], "SPATIAL_DILATIONS": [1, 1, 1, 1]}


def oracle_cfg(**kwargs) -> CfgNode:
    cfg = make_cfg(WIDTH=16, FUSION_KERNEL=7, **kwargs)
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0] * 3, [1.0] * 3
    cfg.MODEL.ROI_ACTION_HEAD.DROPOUT, cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 0.0, 80
    cfg.MODEL.AUDIO.FUSION_WIDTH = 64
    return cfg


def pool(*maps: torch.Tensor) -> torch.Tensor:
    return torch.cat([x.flatten(2).mean(2) for x in maps], dim=1)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs.view_as(ours), rtol=0, atol=atol)


def test_slowfast_of_pyslowfast():
    oracle = Oracle("sf_r50_8x8_tiny_cls")
    backbone = build_backbone(oracle_cfg(**KINETICS))
    oracle.load(backbone)
    x = {"frames": oracle.input("input")}
    with torch.no_grad():
        head_in = pool(*backbone.eval()(x).values())
    assert_equal(head_in, oracle.arrays["eval_head_in"])
    assert_equal(F.linear(head_in, *oracle.head), oracle.arrays["eval_logits"])

    logits = F.linear(pool(*backbone.train()(x).values()), *oracle.head)
    assert_equal(logits, oracle.arrays["train_out"], atol=1e-4)
    loss = F.cross_entropy(logits, torch.tensor(oracle.info["train_labels"]))
    assert loss.item() == pytest.approx(oracle.info["train_loss"], rel=1e-3)
    loss.backward()
    assert_same_gradients(backbone, oracle)


def test_ava_detector_of_pyslowfast():
    oracle = Oracle("sf_r50_ava_tiny_det")
    model = build_model(oracle_cfg())
    oracle.load(model.backbone)
    weight, bias = oracle.head
    model.roi_heads.predictor.load_state_dict({"weight": weight, "bias": bias})
    boxes = torch.tensor(oracle.info["boxes"])
    inputs = []
    for i, frames in enumerate(oracle.input("input")):
        mine = boxes[:, 0] == i
        n = int(mine.sum())
        actions = torch.zeros(n, 80)
        for row, labels in zip(actions, np.array(oracle.info["train_labels"])[mine], strict=True):
            row[labels] = 1
        inputs.append(
            {
                "frames": frames,
                "proposals": Instances(
                    (64, 64),
                    proposal_boxes=Boxes(boxes[mine, 1:]),
                    objectness_logits=torch.ones(n),
                ),
                "instances": Instances(
                    (64, 64),
                    gt_boxes=Boxes(boxes[mine, 1:]),
                    gt_classes=torch.zeros(n, dtype=torch.int64),
                    gt_actions=actions,
                ),
            }
        )
    with torch.no_grad():
        scores = torch.cat([x["instances"].action_scores for x in model.eval()(inputs)])
    assert_equal(scores, oracle.arrays["eval_logits"].sigmoid())
    assert_equal(scores.logit(), oracle.arrays["eval_logits"])

    for x in inputs:
        del x["proposals"]
    with EventStorage():
        loss = model.train()(inputs)["loss_action"]
    assert loss.item() == pytest.approx(oracle.info["train_loss"], rel=1e-3)
    loss.backward()
    assert_same_gradients(model.backbone, oracle)


def test_avslowfast_of_the_authors():
    oracle = Oracle("avsf_r50_8x8_tiny_aligned")
    backbone = build_backbone(oracle_cfg(audio=True, **KINETICS))
    oracle.load(backbone)
    x = {
        "frames": oracle.input("frames"),
        "audio": oracle.input("audio").squeeze(2),
        "has_audio": torch.ones(2, dtype=torch.bool),
    }
    # The original drops laterals only: look at the pathway's end before its gate.
    ungated = {}
    backbone.audio["res5"].register_forward_hook(lambda _, __, y: ungated.update(audio=y))

    def head_in() -> torch.Tensor:
        with torch.no_grad():
            features = backbone(x)
        return pool(features["slow_res5"], features["fast_res5"], ungated["audio"])

    backbone.eval()
    assert_equal(head_in(), oracle.arrays["eval_head_in"])
    assert_equal(F.linear(head_in(), *oracle.head), oracle.arrays["eval_logits"])
    backbone.train()
    for rate, case in ((0.0, "train_fused"), (1.0, "train_dropped")):
        backbone.drop_pathway.rate = rate
        logits = F.linear(head_in(), *oracle.head)
        assert_equal(logits, oracle.arrays[f"{case}_out"], atol=1e-4)
        labels = torch.tensor(oracle.info[case]["labels"])
        ce = F.cross_entropy(logits, labels).item()
        assert ce == pytest.approx(oracle.info[case]["ce"], rel=1e-3)


def assert_same_gradients(backbone: torch.nn.Module, oracle: Oracle) -> None:
    """Compare the norms of all parameters' gradients, as one vector.

    Batch statistics of two small clips amplify rounding: a different number of threads alone moves
    single norms of the Fast pathway by up to 10 %, but the vector by 0.2 % only.
    """
    parameters = dict(backbone.named_parameters())
    theirs = {our_name(k): v for k, v in oracle.info["grad_norm"].items() if our_name(k)}
    assert theirs.keys() == parameters.keys()
    ours = torch.stack([parameters[name].grad.norm() for name in theirs])
    theirs = torch.tensor(list(theirs.values()))
    assert (ours - theirs).norm() < 1e-2 * theirs.norm()
    assert ((ours - theirs).abs() / theirs).median() < 5e-3
