"""The models against outputs of their originals (shared/data/README.md, "Models").

Weights have the originals' names; they are converted, and back. To measure gradient_spread.json
again after a change of the layers or of the oracles:

    AVSF_MEASURE_SPREAD=1 python -m pytest tests/modeling/test_oracles.py
"""

import copy
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from ava_tools.support.pyslowfast_names import convert_to_pyslowfast
from avsf_det.checkpoint import (
    AVSFCheckpointer,
    convert_to_avsf,
    detect_format,
    match_weights,
)

from .builders import make_cfg

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
ORACLES = SHARED / "oracles" / "model"
SPREAD_FILE = Path(__file__).with_name("gradient_spread.json")
pytestmark = pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles at {ORACLES}")


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

    def input(self, key: str) -> torch.Tensor:
        spec = self.info[key]
        return torch.from_numpy(self.recipe.inp(spec["seed"], spec["shape"], spec["rep"]))

    def load(self, model: torch.nn.Module) -> None:
        """All that the original has, but the layers of its synchronisation loss."""
        assert detect_format(self.state) == "PySlowFast"
        state, report = match_weights(convert_to_avsf(self.state, "PySlowFast"), model.state_dict())
        assert not report.missing and not report.misshaped and not report.adapted
        assert all(name.startswith("avsync_head.") for name in report.unexpected)
        model.load_state_dict(state)

    def assert_same_gradients(
        self,
        case: str,
        step: Callable[[float, torch.dtype], torch.nn.Module],
        theirs: dict[str, float],
    ) -> None:
        """Compare each parameter's gradient norm, theirs and ours, with the exact one.

        Batch statistics of two small clips and ReLUs amplify rounding: it moves single norms of the
        Fast pathway by a tenth. The original's norms were stored in float32, and so are one draw
        from that spread; ours in float32 are another, which depends on the CPU's kernels. A float64
        run gives the exact norm on any CPU. The spread is a property of the network, measured
        beforehand by :func:`measure_spread`. Either side may be off by 1e-3 of the norm and three
        spreads.

        Args:
            case: name of the case in SPREAD_FILE.
            step: function of the noise and of the dtype. Returns a model after a training step on
                inputs, and of parameters, multiplied by 1 + noise.
            theirs: parameter name of the original to its gradient norm.
        """
        if os.environ.get("AVSF_MEASURE_SPREAD"):
            measure_spread(case, step)
        spreads = json.loads(SPREAD_FILE.read_text())[case]
        ours, exact = (gradient_norms(step(0.0, dtype)) for dtype in (torch.float32, torch.float64))
        checked = 0
        for key, norm in theirs.items():
            (name,) = convert_to_avsf({key: torch.zeros(1)}, "PySlowFast")
            if name.startswith("avsync_head."):
                continue
            if name not in exact:
                name = name.replace("head.predictors.action", "roi_heads.predictor")
            allowed = 1e-3 * exact[name] + 3 * spreads[name] + 1e-7
            assert abs(norm - exact[name]) <= allowed, name
            assert abs(ours[name] - exact[name]) <= allowed, name
            checked += 1
        assert checked == len(exact) == len(spreads)


def gradient_norms(model: torch.nn.Module) -> dict[str, float]:
    return {name: p.grad.double().norm().item() for name, p in model.named_parameters()}


def measure_spread(case: str, step: Callable[[float, torch.dtype], torch.nn.Module]) -> None:
    """Write to SPREAD_FILE by how much rounding moves each gradient norm.

    It is the range of the float64 norm and of six float32 runs with relative noise of 1e-6 on
    inputs and parameters: some float32 ulps in every layer, and so more than one CPU's order of
    summation makes.
    """
    torch.manual_seed(0)
    runs = [gradient_norms(step(0.0, torch.float64))]
    runs += [gradient_norms(step(1e-6, torch.float32)) for _ in range(6)]
    known = json.loads(SPREAD_FILE.read_text()) if SPREAD_FILE.exists() else {}
    norms = {name: [run[name] for run in runs] for name in runs[0]}
    known[case] = {name: float(f"{max(x) - min(x):.3g}") for name, x in norms.items()}
    SPREAD_FILE.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n")


def oracle_cfg(**kwargs) -> CfgNode:
    cfg = make_cfg(WIDTH=16, FUSION_KERNEL=7, **kwargs)
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [0.0] * 3, [1.0] * 3
    cfg.MODEL.AUDIO_MEAN, cfg.MODEL.AUDIO_STD = 0.0, 1.0
    cfg.MODEL.ROI_ACTION_HEAD.DROPOUT, cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 0.0, 80
    cfg.MODEL.CLIP_HEAD.DROPOUT = 0.0
    cfg.MODEL.AUDIO.FUSION_WIDTH = 64
    return cfg


def classifier_cfg(**kwargs) -> CfgNode:
    cfg = oracle_cfg(SPATIAL_STRIDES=[1, 2, 2, 2], SPATIAL_DILATIONS=[1, 1, 1, 1], **kwargs)
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    return cfg


def noisy(x: torch.Tensor, noise: float) -> torch.Tensor:
    return x * (1 + noise * torch.randn_like(x)) if noise else x


def add_noise(model: torch.nn.Module, noise: float) -> torch.nn.Module:
    """Multiply each parameter by 1 + noise, in place."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(noisy(parameter, noise))
    return model


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs.view_as(ours), rtol=0, atol=atol)


def assert_logits(model: torch.nn.Module, theirs: torch.Tensor) -> None:
    """Compare the logits of the model's next training step."""
    model.head.register_forward_hook(
        lambda _, args, out: assert_equal(out["action"], theirs, atol=1e-4)
    )


def test_slowfast_of_pyslowfast():
    oracle = Oracle("sf_r50_8x8_tiny_cls")
    frames = oracle.input("input")
    labels = [{"action": torch.tensor(label)} for label in oracle.info["train_labels"]]

    model = build_model(classifier_cfg()).eval()
    oracle.load(model)
    with torch.no_grad():
        features = model.backbone({"frames": frames})
        assert_equal(model.head.pool(features), oracle.arrays["eval_head_in"])
        assert_equal(model.head(features)["action"], oracle.arrays["eval_logits"])

    def step(noise: float, dtype: torch.dtype) -> torch.nn.Module:
        trained = add_noise(copy.deepcopy(model).train().to(dtype), noise)
        if not noise:
            assert_logits(trained, oracle.arrays["train_out"])
        clips = [
            {"frames": x, "labels": y}
            for x, y in zip(noisy(frames.to(dtype), noise), labels, strict=True)
        ]
        loss = trained(clips)["loss_action"]
        assert loss.item() == pytest.approx(oracle.info["train_loss"], rel=1e-3)
        loss.backward()
        return trained

    oracle.assert_same_gradients("slowfast", step, oracle.info["grad_norm"])


def test_ava_detector_of_pyslowfast():
    oracle = Oracle("sf_r50_ava_tiny_det")
    boxes = torch.tensor(oracle.info["boxes"])

    def make_inputs(noise: float, dtype: torch.dtype = torch.float32) -> list[dict]:
        inputs = []
        for i, frames in enumerate(noisy(oracle.input("input").to(dtype), noise)):
            mine = boxes[:, 0] == i
            n = int(mine.sum())
            actions = torch.zeros(n, 80)
            for row, labels in zip(
                actions, np.array(oracle.info["train_labels"])[mine], strict=True
            ):
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
        return inputs

    model = build_model(oracle_cfg())
    oracle.load(model)
    with torch.no_grad():
        results = model.eval()(make_inputs(0.0))
    scores = torch.cat([x["instances"].action_scores for x in results])
    assert_equal(scores.logit(), oracle.arrays["eval_logits"])

    def step(noise: float, dtype: torch.dtype) -> torch.nn.Module:
        trained = add_noise(copy.deepcopy(model).train(), noise)
        trained.backbone.to(dtype)  # the head always computes in float32
        inputs = make_inputs(noise, dtype)
        for x in inputs:
            del x["proposals"]
        with EventStorage():
            loss = trained(inputs)["loss_action"]
        assert loss.item() == pytest.approx(oracle.info["train_loss"], rel=1e-3)
        loss.backward()
        return trained

    oracle.assert_same_gradients("detector", step, oracle.info["grad_norm"])


@pytest.mark.parametrize("case, rate", [("train_fused", 0.0), ("train_dropped", 1.0)])
def test_avslowfast_of_the_authors(case, rate):
    """Their DropPathway drops the laterals and not the pooled audio."""
    oracle = Oracle("avsf_r50_8x8_tiny_aligned")
    cfg = classifier_cfg(audio=True)
    cfg.MODEL.AUDIO.DROP_SCOPE, cfg.MODEL.AUDIO.DROP_PATHWAY = "laterals", rate
    frames, audio = oracle.input("frames"), oracle.input("audio").squeeze(2)
    expected = oracle.info[case]

    x = {"frames": frames, "audio": audio, "has_audio": torch.ones(2, dtype=torch.bool)}
    model = build_model(cfg).eval()
    oracle.load(model)
    with torch.no_grad():
        features = model.backbone(x)
        assert_equal(model.head.pool(features), oracle.arrays["eval_head_in"])
        assert_equal(model.head(features)["action"], oracle.arrays["eval_logits"])

    def step(noise: float, dtype: torch.dtype) -> torch.nn.Module:
        trained = add_noise(copy.deepcopy(model).train().to(dtype), noise)
        if not noise:
            assert_logits(trained, oracle.arrays[f"{case}_out"])
        clips = [
            {"frames": f, "audio": a, "has_audio": True, "labels": {"action": torch.tensor(label)}}
            for f, a, label in zip(
                noisy(frames.to(dtype), noise),
                noisy(audio.to(dtype), noise),
                expected["labels"],
                strict=True,
            )
        ]
        loss = trained(clips)["loss_action"]
        assert loss.item() == pytest.approx(expected["ce"], rel=1e-3)
        loss.backward()
        return trained

    oracle.assert_same_gradients(f"avslowfast_{case}", step, expected["grad_norm"])


@pytest.mark.parametrize(
    "name", ["sf_r50_8x8_tiny_cls", "sf_r50_ava_tiny_det", "avsf_r50_8x8_tiny_aligned"]
)
def test_the_way_back(name):
    theirs = Oracle(name).state
    back = convert_to_pyslowfast(convert_to_avsf(theirs, "PySlowFast"))
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[key], value) for key, value in theirs.items())


def test_checkpoint_file_of_the_authors(tmp_path):
    oracle = Oracle("avsf_r50_8x8_tiny_aligned")
    torch.save({"epoch": 3, "model_state": oracle.state, "cfg": "TRAIN:\n"}, tmp_path / "a.pyth")
    model = build_model(classifier_cfg(audio=True))
    AVSFCheckpointer(model).load(str(tmp_path / "a.pyth"))
    expected = build_model(classifier_cfg(audio=True))
    oracle.load(expected)
    state = model.state_dict()
    for name, value in expected.state_dict().items():
        assert torch.equal(state[name], value), name
