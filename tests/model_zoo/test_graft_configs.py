"""Configs that put audio on a published SlowFast: at first its scores, bit for bit."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det.checkpoint.convert_names import convert_to_avsf, detect_format
from avsf_det.checkpoint.match_weights import match_weights
from avsf_det.engine.defaults import load_config

from ..modeling.builders import randomize
from ..modeling.test_graft import scores
from .test_public_weights import CONFIGS, PROJECTS, ROWS, file_of

LEAVES = [path.relative_to(CONFIGS) for path in sorted((CONFIGS / "graft").glob("*/*.yaml"))]
FIRST = [str(path) for path in LEAVES if not path.stem.endswith("_all")]
SECOND = [str(path) for path in LEAVES if path.stem.endswith("_all")]
TINY = ("MODEL.SLOWFAST.WIDTH", 8, "MODEL.AUDIO.FUSION_WIDTH", 4, "INPUT.AUDIO.NUM_MELS", 8)
SIZE = 32  # height and width of the frames


def make_clip(cfg) -> dict:
    boxes = Instances((SIZE, SIZE))
    boxes.proposal_boxes = Boxes(torch.tensor([[4.0, 4, 28, 30], [0, 9, 20, 32]]))
    boxes.objectness_logits = torch.ones(2)
    logmel = torch.randn(1, cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS) - 7
    frames = torch.randint(0, 256, (3, cfg.INPUT.CLIP.NUM_FRAMES, SIZE, SIZE)).byte()
    size = {"height": SIZE, "width": SIZE}
    return {"frames": frames, "audio": logmel, "has_audio": True, "proposals": boxes, **size}


def make_pair(config: str, options=()) -> tuple:
    """Return the config, a SlowFast, and the model that has loaded the SlowFast's public file."""
    cfg = load_config(config, ["MODEL.DEVICE", "cpu", *options])
    visual = cfg.clone()
    visual.MODEL.BACKBONE.NAME = "build_slowfast_backbone"
    torch.manual_seed(0)
    slowfast, grafted = (randomize(build_model(c)).eval() for c in (visual, cfg))
    for classifier in slowfast.modules():
        if isinstance(classifier, nn.Linear):
            nn.init.normal_(classifier.weight, std=0.3)
    # The file has the publisher's names.
    state = file_of(visual, slowfast, PROJECTS[Path(cfg.MODEL.WEIGHTS).suffix])
    loadable, report = match_weights(
        convert_to_avsf(state, detect_format(state)), grafted.state_dict()
    )
    report.check(cfg.MODEL.WEIGHTS_MIN_MATCHED, config)
    assert not report.unexpected and not report.misshaped
    audio = (r"backbone\.(audio|a2fs)\.", r"backbone\.drop_pathway")
    assert all(re.match("|".join(audio), name) for name in report.missing)
    grafted.load_state_dict(loadable, strict=False)
    return cfg, slowfast, grafted


@pytest.mark.parametrize(
    "config, options",
    [*((config, TINY) for config in FIRST), ("graft/AVA/avsf_r50_8x8_audio.yaml", ())],
    ids=[*FIRST, "full width"],
)
def test_the_scores_are_the_slowfasts(config, options):
    cfg, slowfast, grafted = make_pair(config, options)
    clip = make_clip(cfg)
    muted = {**clip, "has_audio": False}
    without = {k: v for k, v in clip.items() if "audio" not in k}
    expected = scores(slowfast, [clip, clip])
    assert expected.max() > 1.2 * expected.mean()
    for clips in ([clip, muted], [without, without]):
        assert torch.equal(scores(grafted, clips), expected)


@pytest.mark.parametrize("config", SECOND)
def test_phase_two_learns_all_from_the_result_of_phase_one(config):
    first = load_config(config.replace("_all", "_audio"))
    second = load_config(config)
    assert second.MODEL.WEIGHTS == f"{first.OUTPUT_DIR}/model_final.pth"
    assert first.MODEL.SLOWFAST.FREEZE and not second.MODEL.SLOWFAST.FREEZE
    # A tenth of the rate for each clip.
    rates = [c.SOLVER.BASE_LR / c.SOLVER.IMS_PER_BATCH for c in (first, second)]
    assert rates[1] == pytest.approx(rates[0] / 10)
    changed = second.MODEL.clone()
    changed.WEIGHTS, changed.SLOWFAST.FREEZE = first.MODEL.WEIGHTS, True
    changed.WEIGHTS_MIN_MATCHED = first.MODEL.WEIGHTS_MIN_MATCHED
    assert (changed, second.INPUT) == (first.MODEL, first.INPUT)


@pytest.mark.parametrize("config", FIRST)
def test_the_model_is_the_published_one_with_audio(config):
    """All keys of the visual part are those of the zoo config whose weights it takes."""
    cfg = load_config(config)
    rows = [row for row in ROWS if load_config(row).MODEL.WEIGHTS == cfg.MODEL.WEIGHTS]
    visual, zoo = cfg.MODEL.SLOWFAST.clone(), load_config(rows[0]).MODEL
    assert cfg.MODEL.AUDIO.LATERAL_GAIN
    visual.FREEZE = False
    if not config.startswith("graft/AVA/avsf_r50_4x16"):  # a classifier's weights for a detector
        assert (visual, cfg.MODEL.ROI_ACTION_HEAD) == (zoo.SLOWFAST, zoo.ROI_ACTION_HEAD)
    text = (CONFIGS / config).read_text()
    assert "Published without audio: " in text and "not measured here" in text
