"""Audiovisual synchronisation, as a head and in models."""

import math

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from avsf_det.modeling import AVSyncHead
from avsf_det.modeling.backbone.fusion import SyncTap

from .builders import make_cfg, make_inputs, randomize

pytestmark = pytest.mark.usefixtures("few_blocks")
LEVELS = ("res3", "res4", "res5")


@pytest.fixture(autouse=True)
def storage():
    """Storage that Detectron2's heads write to in training."""
    with EventStorage():
        yield


def make_avs_cfg(**avsync):
    """Config of a detector whose audio is never dropped."""
    cfg = make_cfg(audio=True)
    cfg.MODEL.AVSYNC.ENABLED = True
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.0
    for key, value in avsync.items():
        cfg.MODEL.AVSYNC[key] = value
    return cfg


def make_model(cfg, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return randomize(build_model(cfg)).train()


def sync_losses(model, clips) -> dict[str, torch.Tensor]:
    return {name: x for name, x in model(clips).items() if name.startswith("loss_avs")}


def make_head(**kwargs) -> AVSyncHead:
    """A head with one level, which embeds visual and audio vectors (x, y) as they are."""
    args = dict(dim=2, loss="contrastive", margin=0.99, weight=1.0)
    args |= dict(channels={"res3": (2, 2)}, min_variance=0.01, max_similarity=0.99999)
    head = AVSyncHead(**{**args, **kwargs})
    for name in ("visual", "audio"):
        head.res3[name].weight.data = torch.eye(2)
    return head


def make_taps(visual, audio, unfused) -> dict[str, SyncTap]:
    """Taps of maps that are not constant, and whose means are these vectors."""
    visual, audio = torch.tensor(visual)[:, :, None], torch.tensor(audio)[:, :, None]
    spread = torch.tensor([-1.0, 1.0])
    visual, audio = visual + spread, audio + spread
    maps = visual.view(-1, 2, 2, 1, 1), audio.view(-1, 2, 1, 2)
    return {"res3": SyncTap((maps[0],), maps[1], torch.tensor(unfused))}


def make_tracks(num_clips: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tracks = torch.randn(2, num_clips, 1, 4, 4, generator=generator)
    known = torch.ones(2, num_clips, dtype=torch.bool)
    return {
        "audio": tracks[0],
        "has_audio": known[0],
        "audio_negative": tracks[1],
        "has_audio_negative": known[1],
    }


# Visual (1, 0) of three clips; their own audio at distances 0, sqrt(0.5), 1, their negatives at
# sqrt(0.5), 1, 0: all vectors have length 0.5.
THREE = ([[3.0, 0]] * 3, [[2.0, 0], [0, 1], [-1, 0], [0, -4], [-2, 0], [5, 0]])
HINGE = (0.99 - math.sqrt(0.5)) ** 2


def test_loss_and_accuracies_in_closed_form():
    head = make_head(weight=2.0)
    head.easy_ratio = 0.7  # of three clips two, rounded down
    losses = head(make_taps(*THREE, [1.0, 1, 1]), make_tracks(3))
    expected = (0 + HINGE) + (0.5 + 0) + (1 + 0.99**2)
    assert losses.keys() == {"loss_avs_res3"}
    assert losses["loss_avs_res3"].item() == pytest.approx(2 * expected / 6, abs=1e-5)
    counts = {name: (x.item(), n.item()) for name, (x, n) in head.fractions.items()}
    assert counts == {"avs/res3_acc_easy": (2, 2), "avs/res3_acc_hard": (0, 1)}


@pytest.mark.parametrize("change", ["fused", "has_audio", "has_audio_negative", "same", "sigiven"])
def test_the_third_clip_does_not_count(change):
    head, unfused, x = make_head(), [1.0, 1, 1], make_tracks(3)
    if change == "fused":
        unfused[2] = 0.0
    elif change == "same":
        x["audio_negative"][2] = x["audio"][2]
    elif change == "sigiven":
        x["audio"][2] = -1.5
    else:
        x[change][2] = False
    loss = head(make_taps(*THREE, unfused), x)["loss_avs_res3"]
    assert loss.item() == pytest.approx((HINGE + 0.5) / 6, abs=1e-5)  # of 2N pairs, all of them
    assert [x.item() for x in head.fractions["avs/res3_acc_easy"]] == [2, 2]


def test_classification_of_pairs():
    """Cosines 1, 0, -1 of the own audio, 0, -1, 1 of the negatives."""
    head = make_head(loss="bce")
    head.res3.sync.weight.data.fill_(2.0)
    head.res3.sync.bias.data.fill_(0.5)
    loss = head(make_taps(*THREE, [1.0, 1, 1]), make_tracks(3))["loss_avs_res3"]
    own = sum(math.log1p(math.exp(-z)) for z in (2.5, 0.5, -1.5))
    other = sum(math.log1p(math.exp(z)) for z in (0.5, -1.5, 2.5))
    assert loss.item() == pytest.approx((own + other) / 6, abs=1e-5)


def test_nothing_counts():
    x = make_tracks(3)
    x["has_audio"][:] = False
    head = make_head()
    loss = head(make_taps(*THREE, [1.0, 1, 1]), x)["loss_avs_res3"]
    loss.backward()
    assert loss.item() == 0
    assert all(not p.grad.any() for p in head.parameters())
    assert [[x.item() for x in pair] for pair in head.fractions.values()] == [[0, 0]] * 2


@pytest.mark.parametrize(
    "num_clips, ratio, sources",
    [
        (4, 1.0, [3, 0, 1, 2]),
        (4, 0.75, [3, 0, 1, 3]),
        (3, 0.75, [2, 0, 2]),
        (2, 0.75, [1, 1]),
        (2, 0.0, [0, 1]),
        (1, 1.0, [0]),
    ],
)
def test_easy_negatives_are_the_audio_of_the_clip_before(num_clips, ratio, sources):
    head, x = make_head(), make_tracks(num_clips)
    x["audio_negative"] = torch.arange(float(num_clips)).view(-1, 1, 1, 1)
    x["audio"] = x["audio_negative"] + 10
    x["has_audio"] = torch.zeros(num_clips, dtype=torch.bool)
    x["has_audio_negative"] = torch.arange(num_clips) != 0
    head.easy_ratio = ratio
    chosen = head.choose_negatives(x)
    # The first clip has no hard negative and gives its own audio, which is sigiven here.
    easy = head.is_easy(num_clips)
    given = [10 if source == 0 and easy[i] else source for i, source in enumerate(sources)]
    assert chosen["audio_negative"].flatten().tolist() == given
    assert chosen["has_audio_negative"].tolist() == [source != 0 for source in sources]
    assert chosen["audio"] is x["audio"]


def test_a_short_video_gives_its_own_audio_as_an_easy_negative():
    head, x = make_head(), make_tracks(2)
    x["has_audio_negative"] = torch.zeros(2, dtype=torch.bool)
    chosen = head.choose_negatives(x)
    assert torch.equal(chosen["audio_negative"], x["audio"].roll(1, 0))
    assert chosen["has_audio_negative"].tolist() == [True, True]


def test_a_clip_alone_has_a_hard_negative():
    """This holds for any curriculum: there is no other video."""
    head = make_head()
    head(make_taps([[1.0, 0]], [[1.0, 0], [0, 1]], [1.0]), make_tracks(1))
    counts = {name: (x.item(), n.item()) for name, (x, n) in head.fractions.items()}
    assert counts == {"avs/res3_acc_easy": (0, 0), "avs/res3_acc_hard": (1, 1)}


@pytest.mark.parametrize("loss", ["contrastive", "bce"])
def test_levels_after_a_fusion_have_exactly_no_gradient(loss):
    """Audio is fused after res3 and res4: visual features of res4 and res5 contain it."""
    model = make_model(make_avs_cfg(LOSS=loss))
    losses = sync_losses(model, make_inputs(3))
    assert losses["loss_avs_res3"].item() > 0
    (losses["loss_avs_res4"] + losses["loss_avs_res5"]).backward()
    inside = [p for name, p in model.named_parameters() if name.startswith("avsync_head")]
    assert sum(p.grad is not None for p in inside) == len(inside) - len(
        list(model.avsync_head.res3.parameters())
    )
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_dropped_audio_leaves_all_levels():
    cfg = make_avs_cfg()
    cfg.MODEL.AUDIO.DROP_PATHWAY = 1.0
    model = make_model(cfg)
    losses = sync_losses(model, make_inputs(3))
    assert losses.keys() == {f"loss_avs_{level}" for level in LEVELS}
    assert all(loss.item() > 0 for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.avsync_head.named_parameters():
        assert parameter.grad.any(), name
    assert all(p.grad.any() for p in model.backbone.audio.parameters())  # no other loss reaches it


def test_a_clip_without_audio_does_not_count_where_others_do():
    """Its DropPathway mask is 0, which must not make its later levels count."""
    clips = make_inputs(3)
    clips[1]["has_audio"] = False
    model = make_model(make_avs_cfg())
    losses = sync_losses(model, clips)
    assert losses["loss_avs_res3"].item() > 0
    assert losses["loss_avs_res4"].item() == losses["loss_avs_res5"].item() == 0


def test_earlier_fusion_masks_later_levels():
    cfg = make_avs_cfg()
    cfg.MODEL.AUDIO.FUSION_STAGES = ["res4", "pool5"]
    losses = sync_losses(make_model(cfg), make_inputs())
    assert {name: loss.item() > 0 for name, loss in losses.items()} == {
        "loss_avs_res3": True,
        "loss_avs_res4": True,
        "loss_avs_res5": False,
    }


@pytest.mark.parametrize("architecture", ["ActionDetector", "ClipClassifier"])
@pytest.mark.parametrize("muted", [[], [0], [0, 1]])
def test_auxiliary_losses(architecture, muted):
    cfg = make_avs_cfg()
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [5]
    clips = make_inputs()
    for i, clip in enumerate(clips):
        clip["labels"] = {"action": torch.tensor(i)}
        clip["has_audio"] = clip["has_audio_negative"] = i not in muted
    cfg.freeze()  # as a training does
    model = make_model(cfg)
    losses = model(clips)
    assert losses.keys() == {"loss_action", *(f"loss_avs_{level}" for level in LEVELS)}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert (losses["loss_avs_res3"].item() > 0) == (not muted)  # easy negatives cross


@pytest.mark.parametrize("fusion_type", ["a_fs", "a_f_s", "av_nonlocal"])
@pytest.mark.parametrize(
    "stages, visual, laterals",
    [
        (["pool5"], [], False),
        (["res2", "res4", "pool5"], ["res3"], True),
        (["res3", "res4", "pool5"], ["pool1", "res2", "res3", "res4"], True),
    ],
)
def test_any_fusion_stages(fusion_type, stages, visual, laterals):
    """Levels count up to the first fusion, and every parameter has a gradient, as DDP requires."""
    cfg = make_avs_cfg(LEVELS=["res2", *LEVELS], RES5_LATERALS=laterals)
    cfg.MODEL.SLOWFAST.FUSION_STAGES = visual
    cfg.MODEL.AUDIO.FUSION_STAGES, cfg.MODEL.AUDIO.FUSION_TYPE = stages, fusion_type
    model = make_model(cfg)
    losses = model(make_inputs())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    fused = [level for level in ("res2", *LEVELS) if level in stages]
    after = LEVELS if fused == ["res2", "res4"] else LEVELS[1:] if fused else ()
    for level in ("res2", *LEVELS):
        assert (losses[f"loss_avs_{level}"].item() == 0) == (level in after), level


def test_without_laterals_the_pooled_maps_of_all_pathways_are_compared():
    cfg = make_avs_cfg(RES5_LATERALS=False)
    cfg.MODEL.SLOWFAST.FUSION_STAGES, cfg.MODEL.AUDIO.FUSION_STAGES = [], ["pool5"]
    head = make_model(cfg).avsync_head
    assert head.f2s is None and head.a2fs is None
    shapes = {
        level: (x.visual.in_features, x.audio.in_features) for level, x in head.named_children()
    }
    assert shapes == {"res3": (64 + 8, 32), "res4": (128 + 16, 64), "res5": (256 + 32, 128)}


def test_only_the_levels_asked_for():
    model = make_model(make_avs_cfg(LEVELS=["res4"]))
    assert [name for name, _ in model.avsync_head.named_children()] == ["res4"]
    assert sync_losses(model, make_inputs()).keys() == {"loss_avs_res4"}


def test_scores_are_those_of_a_model_without_the_head():
    """The weights of one fit the other."""
    cfg = make_avs_cfg()
    trained = make_model(cfg).eval()
    cfg.MODEL.AVSYNC.ENABLED = False
    plain = build_model(cfg).eval()
    rest = plain.load_state_dict(trained.state_dict(), strict=False)
    assert not rest.missing_keys
    assert {name.split(".")[0] for name in rest.unexpected_keys} == {"avsync_head"}
    clips = make_inputs()
    for clip in clips:
        del clip["audio_negative"], clip["has_audio_negative"]
    with torch.no_grad():
        for a, b in zip(plain(clips), trained(clips), strict=True):
            assert torch.equal(a["instances"].action_scores, b["instances"].action_scores)


def test_bfloat16_autocast():
    model = make_model(make_avs_cfg())
    with torch.autocast("cpu", torch.bfloat16):
        losses = sync_losses(model, make_inputs())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_training_without_negatives_is_an_error():
    clips = make_inputs()
    for clip in clips:
        del clip["audio_negative"]
    with pytest.raises(ValueError, match="every training clip needs 'audio' and 'audio_negative'"):
        make_model(make_avs_cfg())(clips)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("AVSYNC.LOSS", "hinge", "LOSS is 'hinge'"),
        ("AVSYNC.LEVELS", [], r"LEVELS is \[\]"),
        ("AVSYNC.LEVELS", ["res6"], "visual and audio features: res2, res3, res4, res5"),
        ("AUDIO.FUSION_STAGES", ["res3"], "visual and audio features: res2, res3. .* how far"),
        ("BACKBONE.NAME", "build_slowfast_backbone", "visual and audio features: none"),
        ("AUDIO.ALPHA", 4, "too few time steps at pool5 for a_fs"),
    ],
)
def test_wrong_settings(key, value, message):
    cfg = make_avs_cfg()
    cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_model(cfg)
