"""The classifier of clips and its head."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model

from avsf_det.modeling import ClipHead
from avsf_det.structures import AVSFError

from .builders import make_cfg, make_inputs, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")


def make_head(**kwargs) -> ClipHead:
    args = dict(in_channels=5, num_classes={"action": 3}, loss="softmax", dropout=0.0, window=2)
    return ClipHead(**{**args, **kwargs})


def make_classifier_cfg(**kwargs):
    cfg = make_cfg(SPATIAL_STRIDES=[1, 2, 2, 2], SPATIAL_DILATIONS=[1, 1, 1, 1], **kwargs)
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES, cfg.MODEL.CLIP_HEAD.DROPOUT = [5], 0.0
    return cfg


def make_clips(num_clips: int = 2) -> list[dict]:
    clips = make_inputs(num_clips)
    for i, clip in enumerate(clips):
        del clip["instances"], clip["proposals"]
        clip["labels"] = {"action": torch.tensor(i)}
    return clips


def test_pooling_is_a_mean_over_time_and_a_sliding_window_of_the_training_size():
    maps = {
        "slow_res5": torch.rand(2, 2, 3, 2, 3),
        "fast_res5": torch.rand(2, 1, 6, 2, 3),
        "audio_res5": torch.rand(2, 2, 4, 2),
    }
    pooled = make_head().pool(maps)
    assert pooled.shape == (2, 2, 5)  # one row of two windows
    for i, columns in enumerate((slice(0, 2), slice(1, 3))):
        visual = [maps[name][..., columns].mean((2, 3, 4)) for name in ("slow_res5", "fast_res5")]
        expected = torch.cat([*visual, maps["audio_res5"].mean((2, 3))], dim=1)
        assert torch.allclose(pooled[:, i], expected, atol=1e-6)


def test_maps_smaller_than_the_window_are_pooled_whole():
    pooled = make_head(window=7).pool({"slow_res5": torch.ones(1, 5, 2, 3, 4)})
    assert torch.equal(pooled, torch.ones(1, 1, 5))


def test_scores_are_the_mean_of_probabilities_over_positions():
    logits = {"action": torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]])}  # 2 positions, 2 classes
    assert make_head().scores(logits)["action"][0].tolist() == pytest.approx([0.375, 0.625])
    several = make_head(loss="sigmoid").scores(logits)["action"][0].tolist()
    assert several == pytest.approx([0.5, (0.75 + 0.5) / 2])


def test_losses_by_task():
    head = make_head(num_classes={"verb": 2, "noun": 3})
    logits = {"verb": torch.zeros(2, 1, 2), "noun": torch.zeros(2, 1, 3)}
    logits["verb"][0, 0, 1] = math.log(3)
    labels = [
        {"verb": torch.tensor(1), "noun": torch.tensor(0)},
        {"verb": torch.tensor(0), "noun": torch.tensor(2)},
    ]
    losses = head.losses(logits, labels)
    assert losses["loss_verb"].item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    assert losses["loss_noun"].item() == pytest.approx(math.log(3))


def test_loss_of_several_classes_at_once():
    head = make_head(loss="sigmoid")
    logits = {"action": torch.tensor([[[math.log(3), 0.0, 0.0]]])}
    loss = head.losses(logits, [{"action": torch.tensor([0.0, 1, 0])}])["loss_action"]
    assert loss.item() == pytest.approx((math.log(4) + 2 * math.log(2)) / 3)


@pytest.mark.parametrize(
    "name", ["build_slow_backbone", "build_slowfast_backbone", "build_avslowfast_backbone"]
)
def test_training_step_and_scores(name):
    torch.manual_seed(0)
    cfg = make_classifier_cfg(audio=True)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.0
    model = randomize(build_model(cfg)).train()
    losses = model(make_clips())
    assert losses.keys() == {"loss_action"}
    assert losses["loss_action"].item() == pytest.approx(math.log(5), rel=0.1)  # fc is near zero
    losses["loss_action"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        scores = [x["scores"]["action"] for x in model.eval()(make_clips())]
    assert all(x.sum().item() == pytest.approx(1, abs=1e-5) and x.shape == (5,) for x in scores)


def test_audio_alone_needs_no_frames():
    cfg = make_classifier_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_audio_backbone"
    model = randomize(build_model(cfg)).eval()
    clips = make_clips()
    with torch.no_grad():
        expected = [x["scores"]["action"] for x in model(clips)]
        for clip in clips:
            del clip["frames"]
        scores = [x["scores"]["action"] for x in model(clips)]
    assert all(torch.equal(a, b) for a, b in zip(scores, expected, strict=True))


def test_batched_equals_single():
    model = randomize(build_model(make_classifier_cfg(audio=True))).eval()
    clips = make_clips()
    clips[0]["has_audio"] = False
    with torch.no_grad():
        together = [x["scores"]["action"] for x in model(clips)]
        apart = [model([x])[0]["scores"]["action"] for x in clips]
    for a, b in zip(together, apart, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_an_empty_batch_is_refused():
    with pytest.raises(AVSFError, match="batch is empty"):
        build_model(make_classifier_cfg())([])


def test_wrong_settings():
    with pytest.raises(ValueError, match="LOSS is 'hinge'"):
        make_head(loss="hinge")
    cfg = make_classifier_cfg()
    cfg.MODEL.CLIP_HEAD.TASKS = ["verb", "noun"]
    with pytest.raises(ValueError, match="not of the same length"):
        ClipHead(cfg, {"slow_res5": ShapeSpec(channels=8)})
