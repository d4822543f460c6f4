"""The ROI heads and the detector around them."""

import math

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_model, build_roi_heads
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from .builders import SIZE, make_cfg, make_inputs, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")


def make_heads(audio: bool = True, **options):
    """Heads without dropout; options are keys of MODEL.ROI_ACTION_HEAD."""
    cfg = make_cfg()
    cfg.MODEL.ROI_ACTION_HEAD.update(options)
    cfg.MODEL.ROI_ACTION_HEAD.DROPOUT = 0.0
    shapes = {"slow_res5": ShapeSpec(channels=3, stride=16), "fast_res5": ShapeSpec(2, stride=16)}
    if audio:
        shapes["audio_res5"] = ShapeSpec(channels=4)
    return build_roi_heads(cfg, shapes)


def make_maps(num_clips: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "slow_res5": torch.rand(num_clips, 3, 2, 8, 9, requires_grad=True),
        "fast_res5": torch.rand(num_clips, 2, 8, 8, 9, requires_grad=True),
        "audio_res5": torch.rand(num_clips, 4, 4, 2, requires_grad=True),
    }


def test_box_features_are_means_over_time_and_maxima_over_the_box():
    """A box of 7 x 7 cells: each bin of RoIAlign then is a cell."""
    maps = make_maps()
    boxes = [Boxes(torch.tensor([[0.0, 16, 112, 128]])), Boxes(torch.tensor([[32.0, 0, 144, 112]]))]
    features = make_heads().box_features(maps, boxes)
    for i, (ys, xs) in enumerate([(slice(1, 8), slice(0, 7)), (slice(0, 7), slice(2, 9))]):
        expected = [
            maps[name][i].mean(1)[:, ys, xs].amax((1, 2)) for name in ("slow_res5", "fast_res5")
        ]
        expected.append(maps["audio_res5"][i].mean((1, 2)))
        assert torch.allclose(features[i], torch.cat(expected), atol=1e-6)


def test_every_box_gets_the_audio_of_its_own_clip():
    maps = make_maps(3)
    boxes = [Boxes(torch.rand(n, 4).cumsum(1) * 20) for n in (2, 0, 3)]
    features = make_heads().box_features(maps, boxes)
    audio = maps["audio_res5"].mean((2, 3))
    assert torch.equal(features[:, 5:], audio[[0, 0, 2, 2, 2]])
    del maps["audio_res5"]
    assert make_heads(audio=False).box_features(maps, boxes).shape == (5, 5)


def test_slow_alone_detects_and_audio_alone_cannot():
    cfg = make_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_slow_backbone"
    model = build_model(cfg).eval()
    assert model.roi_heads.predictor.in_features == 256
    with torch.no_grad():
        assert model(make_inputs())[0]["instances"].action_scores.shape == (2, 5)
    cfg.MODEL.BACKBONE.NAME = "build_audio_backbone"
    with pytest.raises(ValueError, match="need a visual pathway"):
        build_model(cfg)


def test_loss_is_the_mean_over_boxes_and_actions():
    heads = make_heads()
    actions = torch.tensor([[1.0, 0, 0, 0, 1]])
    labelled = [Instances(SIZE, gt_actions=actions), Instances(SIZE, gt_actions=actions[:0])]
    logits = torch.tensor([[math.log(3), math.log(3), 0, 0, 0]])  # probabilities 3/4, 1/2
    expected = -(math.log(3 / 4) + math.log(1 / 4) + 3 * math.log(1 / 2)) / 5
    assert heads.loss(logits, labelled).item() == pytest.approx(expected)


def test_training_keeps_proposals_that_match_a_ground_truth_box():
    heads = make_heads()
    (target,) = (x["instances"] for x in make_inputs(num_clips=1))
    true = target.gt_boxes.tensor
    boxes = torch.stack([true[1] + 0.5, true[0] + 10.0, true[0]])  # IoU 0.95, 0.3, 1
    proposals = Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.ones(3))
    with EventStorage():
        (kept,) = heads.label_and_sample_proposals([proposals], [target])
        (alone,) = heads.label_and_sample_proposals(None, [target])
        heads.proposal_append_gt = False
        (bare,) = heads.label_and_sample_proposals([proposals], [target])
        (alone_bare,) = heads.label_and_sample_proposals(None, [target])
    assert torch.equal(kept.proposal_boxes.tensor, torch.stack([boxes[0], boxes[2], *true]))
    assert torch.equal(kept.gt_actions, target.gt_actions[[1, 0, 0, 1]])
    assert torch.equal(bare.gt_actions, target.gt_actions[[1, 0]])
    for x in (alone, alone_bare):
        assert torch.equal(x.proposal_boxes.tensor, true)
        assert torch.equal(x.gt_actions, target.gt_actions)


def test_proposals_without_a_match_may_be_kept_as_persons_without_actions():
    heads = make_heads(KEEP_UNMATCHED=True)
    (target,) = (x["instances"] for x in make_inputs(num_clips=1))
    true = target.gt_boxes.tensor
    boxes = torch.stack([true[1] + 0.5, true[0] + 10.0])  # IoU 0.95, 0.3
    proposals = Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.ones(2))
    with EventStorage():
        kept, alone = heads.label_and_sample_proposals([proposals] * 2, [target, target[:0]])
    assert torch.equal(kept.proposal_boxes.tensor, torch.cat([boxes, true]))
    expected = target.gt_actions[[1, 0, 0, 1]] * torch.tensor([1.0, 0, 1, 1]).view(4, 1)
    assert torch.equal(kept.gt_actions, expected) and expected[1:].any()
    # No ground truth is left in the clip, for example after cropping.
    assert torch.equal(alone.proposal_boxes.tensor, boxes)
    assert torch.equal(alone.gt_actions, torch.zeros(2, 5))


def test_hundreds_of_people_are_all_kept():
    heads = make_heads()
    n = 700  # more than MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE
    corners = torch.rand(n, 2) * 1000
    target = Instances(
        (1000, 1000),
        gt_boxes=Boxes(torch.cat([corners, corners + 20], 1)),
        gt_classes=torch.zeros(n, dtype=torch.int64),
        gt_actions=torch.arange(n).float()[:, None].expand(n, 5),
    )
    with EventStorage():
        (kept,) = heads.label_and_sample_proposals(None, [target])
    assert torch.equal(kept.gt_actions[:, 0], torch.arange(n).float())


def test_step_without_people_has_loss_zero_and_all_gradients():
    torch.manual_seed(0)
    model = build_model(make_cfg(audio=True)).train()
    inputs = make_inputs(num_boxes=0)
    with EventStorage():
        loss = model(inputs)["loss_action"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_step(dtype):
    torch.manual_seed(0)
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.0
    model = randomize(build_model(cfg)).train()
    inputs = make_inputs()
    del inputs[0]["proposals"], inputs[1]["proposals"]
    with EventStorage(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        losses = model(inputs)
    losses["loss_action"].backward()
    assert losses.keys() == {"loss_action"}
    assert losses["loss_action"].item() == pytest.approx(math.log(2), rel=0.1)  # fc is near zero
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_predictions_are_the_proposals_in_source_pixels():
    """Odd boxes too: outside of the frame, and empty."""
    model = build_model(make_cfg(audio=True)).eval()
    inputs = make_inputs(num_clips=3, num_boxes=3)
    inputs[0]["proposals"].proposal_boxes.tensor[1] = torch.tensor([-20.0, -5, 90, 400])
    inputs[0]["proposals"].proposal_boxes.tensor[2] = torch.tensor([7.0, 7, 7, 7])
    inputs[1]["proposals"] = inputs[1]["proposals"][torch.zeros(3, dtype=torch.bool)]
    del inputs[2]["height"], inputs[2]["width"]
    before = [x["proposals"].proposal_boxes.tensor.clone() for x in inputs]
    with torch.no_grad():
        results = [x["instances"] for x in model(inputs)]
    assert [x.image_size for x in results] == [(96, 192), (96, 192), SIZE]
    scales = torch.tensor([[3.0, 2, 3, 2], [3, 2, 3, 2], [1, 1, 1, 1]])
    for result, x, boxes, scale in zip(results, inputs, before, scales, strict=True):
        assert torch.equal(result.pred_boxes.tensor, boxes * scale)
        assert torch.equal(x["proposals"].proposal_boxes.tensor, boxes)
        assert torch.equal(result.scores, x["proposals"].objectness_logits)
        assert torch.equal(result.pred_classes, torch.zeros(len(boxes), dtype=torch.int64))
        assert result.action_scores.shape == (len(boxes), 5)
        assert ((result.action_scores > 0) & (result.action_scores < 1)).all()


def test_batched_equals_single():
    model = randomize(build_model(make_cfg(audio=True))).eval()
    inputs = make_inputs()
    inputs[0]["has_audio"] = False
    with torch.no_grad():
        together = [x["instances"].action_scores for x in model(inputs)]
        apart = [model([x])[0]["instances"].action_scores for x in inputs]
    for a, b in zip(together, apart, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_audio_may_be_absent_from_the_input():
    model = randomize(build_model(make_cfg(audio=True))).eval()
    muted = make_inputs()
    absent = make_inputs()
    for x, y in zip(muted, absent, strict=True):
        x["has_audio"] = False
        del y["audio"], y["has_audio"]
    with torch.no_grad():
        for x, y in zip(model(muted), model(absent), strict=True):
            assert torch.equal(x["instances"].action_scores, y["instances"].action_scores)


def test_missing_boxes_are_named():
    model = build_model(make_cfg()).eval()
    inputs = make_inputs()
    for x in inputs:
        del x["proposals"]
    with pytest.raises(ValueError, match="person boxes are missing"):
        model(inputs)


def test_preprocess_normalises_then_pads():
    model = build_model(make_cfg(audio=True))
    inputs = make_inputs()
    inputs[0]["frames"] = torch.full((3, 8, 32, 40), 172, dtype=torch.uint8)
    inputs[0]["audio"] = torch.full((1, 32, 8), -7.03 + 2 * 4.66)
    inputs[1]["has_audio"] = False
    clips, x = model.preprocess(inputs)
    assert clips.image_sizes == [(32, 40), SIZE]
    assert x["frames"].shape == (2, 3, 8, *SIZE)
    assert torch.allclose(x["frames"][0, :, :, :32, :40], torch.tensor((172 - 114.75) / 57.375))
    assert not x["frames"][0, :, :, 32:].any() and not x["frames"][0, :, :, :, 40:].any()
    assert torch.allclose(x["audio"][0], torch.tensor(2.0))
    assert x["has_audio"].tolist() == [True, False]
