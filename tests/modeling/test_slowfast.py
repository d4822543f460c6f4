import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from avsf_det.layers import NonLocalBlock
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from .builders import add_negatives, make_cfg, make_features, randomize


@pytest.fixture
def one_block_per_stage(monkeypatch):
    """For what does not depend on the depth."""
    monkeypatch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 1, 1))


@pytest.fixture
def avslowfast(one_block_per_stage):
    torch.manual_seed(0)
    return randomize(build_backbone(make_cfg(audio=True))).eval()


def run(backbone, x):
    with torch.no_grad():
        return backbone(x)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("audio", [False, True])
def test_published_shapes(audio):
    """4x16 R50 at 256 x 320: stride 16, and 8 for audio."""
    cfg = make_cfg(audio=audio, WIDTH=64, ALPHA=8)
    cfg.MODEL.AUDIO.ALPHA, cfg.MODEL.AUDIO.FUSION_WIDTH = 32, 64
    with torch.device("meta"):
        backbone = build_backbone(cfg).eval()
        features = backbone(
            {
                "frames": torch.empty(1, 3, 32, 256, 320),
                "audio": torch.empty(1, 1, 128, 80),
                "has_audio": torch.ones(1, dtype=torch.bool),
            }
        )
    expected = {"slow_res5": (1, 2048, 4, 16, 20), "fast_res5": (1, 256, 32, 16, 20)}
    specs = {
        "slow_res5": ShapeSpec(channels=2048, stride=16),
        "fast_res5": ShapeSpec(channels=256, stride=16),
    }
    if audio:
        expected["audio_res5"] = (1, 1024, 16, 10)
        specs["audio_res5"] = ShapeSpec(channels=1024)
    assert {name: tuple(x.shape) for name, x in features.items()} == expected
    assert backbone.output_shape() == specs


def test_slow_frames_span_the_clip(avslowfast):
    avslowfast.alpha = 8
    frames = torch.arange(32.0).view(1, 1, 32, 1, 1)
    assert avslowfast._sample_slow_frames(frames).flatten().tolist() == [0, 10, 20, 31]


def test_temporal_kernels_and_dilation():
    backbone = build_backbone(make_cfg(DEPTH=101, NUM_TEMPORAL_BLOCKS=[3, 4, 6, 3]))
    for pathway in (backbone.slow, backbone.fast):
        kernels = [block.conv1.kernel_size[0] for block in pathway["res4"]]
        assert kernels == [3] * 6 + [1] * 17
        assert [block.conv2.dilation for block in pathway["res5"]] == [(1, 2, 2)] * 3
    stems = [pathway["stem"].conv1.kernel_size[0] for pathway in (backbone.slow, backbone.fast)]
    assert stems == [1, 5]
    assert {block.conv1.kernel_size[0] for block in backbone.slow["res3"]} == {1}
    assert {block.conv1.kernel_size[0] for block in backbone.fast["res3"]} == {3}


def test_nonlocal_blocks_follow_their_blocks_and_start_as_identity():
    cfg = make_cfg()
    cfg.MODEL.SLOWFAST.NONLOCAL.RES4 = [1, 5]
    backbone = build_backbone(cfg).eval()
    names = [name for name, m in backbone.named_modules() if isinstance(m, NonLocalBlock)]
    assert names == ["slow.res4.nonlocal1", "slow.res4.nonlocal5"]
    features = run(backbone, make_features())
    for name in ("nonlocal1", "nonlocal5"):
        setattr(backbone.slow["res4"], name, nn.Identity())
    assert_same(features, run(backbone, make_features()))


def test_residual_branches_start_at_zero():
    backbone = build_backbone(make_cfg(audio=True))
    for pathway in (backbone.slow, backbone.fast, backbone.audio):
        for stage in ("res2", "res3", "res4", "res5"):
            assert all(not block.conv3.norm.weight.any() for block in pathway[stage])


def test_batched_equals_single(avslowfast):
    x = make_features()
    x["has_audio"][1] = False
    both = run(avslowfast, x)
    for i in range(2):
        single = run(avslowfast, {name: value[i : i + 1] for name, value in x.items()})
        for name in both:
            assert torch.allclose(both[name][i : i + 1], single[name], atol=1e-5), name


@pytest.mark.parametrize("training", [False, True])
def test_absent_audio_equals_masked_audio_bit_for_bit(avslowfast, training):
    avslowfast.train(training)
    x = make_features()
    outputs = []
    for silent in ({**x, "has_audio": torch.zeros(2, dtype=torch.bool)}, {**x, "audio": None}):
        features = run(avslowfast, silent)
        assert not features.pop("audio_res5").any()
        outputs.append(features)
    assert_same(*outputs)


def test_silence_fills_the_kernels_of_the_audio_pathway(avslowfast):
    small = []

    def compare(conv: nn.Conv2d, inputs: tuple[torch.Tensor], _) -> None:
        bins, taps = inputs[0].shape[3], conv.kernel_size[1]
        small.extend([(bins, taps)] if bins < taps else [])

    for module in avslowfast.audio.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(compare)
    avslowfast({"frames": make_features()["frames"]})
    assert small == []


def test_muting_one_clip_leaves_the_other_alone(avslowfast):
    x = make_features()
    audible = run(avslowfast, x)
    muted = run(avslowfast, {**x, "has_audio": torch.tensor([False, True])})
    silent = run(avslowfast, {**x, "has_audio": torch.zeros(2, dtype=torch.bool)})
    for name in audible:
        assert torch.equal(muted[name][1], audible[name][1]), name
        assert torch.equal(muted[name][0], silent[name][0]), name
    assert not torch.equal(muted["slow_res5"][0], audible["slow_res5"][0])


def test_spectrograms_of_clips_without_audio_do_not_reach_the_batch_norms(avslowfast):
    avslowfast.train()
    x = make_features(num_clips=3)
    x["has_audio"] = torch.tensor([False, True, True])
    norm = avslowfast.audio["stem"].norm
    means = []
    for fill in (-2.444, 7.0):
        norm.reset_running_stats()
        x["audio"][0] = fill
        run(avslowfast, x)
        means.append(norm.running_mean.clone())
    assert torch.equal(*means)


def test_every_parameter_has_a_gradient_in_a_dropped_step(avslowfast):
    avslowfast.train()
    avslowfast.drop_pathway.rate = 1.0
    sum(x.mean() for x in avslowfast(make_features()).values()).backward()
    for name, parameter in avslowfast.named_parameters():
        assert parameter.grad is not None, name
        assert name.startswith(("slow", "fast", "f2s")) or not parameter.grad.any(), name


@pytest.mark.parametrize("fusion_type", ["a_fs", "a_f_s", "av_nonlocal"])
def test_negatives_are_fused_nowhere(fusion_type):
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.FUSION_TYPE = fusion_type
    backbone = randomize(build_backbone(cfg)).eval()
    x = add_negatives(make_features())
    features = run(backbone, x)
    assert_same(features, run(backbone, {**x, "audio_negative": x["audio_negative"].flip(0)}))
    for name, expected in run(backbone, make_features()).items():
        assert torch.allclose(features[name], expected, atol=1e-5), name


def test_taps_hold_the_features_before_they_are_fused(avslowfast):
    """At res3 both summands of the lateral, at res5 the maps of the pathways."""
    x = add_negatives(make_features())
    features, taps = avslowfast(x, with_taps=True)
    assert list(taps) == ["stem", "res2", "res3", "res4", "res5"]
    (visual,), audio, _ = taps["res3"]
    assert audio.shape == (4, 80, 2, 1, 1)
    res4 = avslowfast.slow["res4"](visual + audio[:2])
    assert torch.allclose(taps["res4"].visual[0][:, :128], res4, atol=1e-5)
    assert torch.equal(taps["res5"].visual[0], features["slow_res5"])
    assert torch.equal(taps["res5"].visual[1], features["fast_res5"])
    assert torch.equal(taps["res5"].audio[:2], features["audio_res5"])
    swapped = {**x, "audio": x["audio_negative"], "audio_negative": x["audio"]}
    _, others = avslowfast(swapped, with_taps=True)
    for stage in ("res2", "res3", "res5"):  # visual maps before are the same, or do not matter
        assert torch.allclose(others[stage].audio.roll(2, 0), taps[stage].audio, atol=1e-5)


def test_taps_know_which_clips_have_been_fused(avslowfast):
    x = make_features(3)
    x["has_audio"][1] = False
    _, taps = avslowfast(x, with_taps=True)
    for stage, tap in taps.items():
        after = stage in ("res4", "res5")
        assert tap.unfused.tolist() == ([0, 1, 0] if after else [1, 1, 1]), stage


@pytest.mark.parametrize("fusion_type", ["a_fs", "a_f_s", "av_nonlocal"])
@pytest.mark.parametrize("stages", [["pool5"], ["res2", "res4", "pool5"], ["res4"]])
@pytest.mark.parametrize("visual", [[], ["res2", "res3"]])
def test_channels_of_taps(fusion_type, stages, visual):
    cfg = make_cfg(audio=True, FUSION_STAGES=visual)
    cfg.MODEL.AUDIO.FUSION_TYPE, cfg.MODEL.AUDIO.FUSION_STAGES = fusion_type, stages
    backbone = build_backbone(cfg).eval()
    _, taps = backbone(make_features(), with_taps=True)
    channels = {
        stage: (sum(x.shape[1] for x in tap.visual), tap.audio.shape[1])
        for stage, tap in taps.items()
    }
    del channels["stem"]
    assert backbone.tap_channels() == channels


def test_negatives_of_clips_without_audio_do_not_reach_the_batch_norms(avslowfast):
    avslowfast.train()
    x = add_negatives(make_features(num_clips=3))
    x["has_audio"][:2] = x["has_audio_negative"][1] = False
    norm = avslowfast.audio["stem"].norm
    means = []
    for fill in (-2.444, 7.0):
        norm.reset_running_stats()
        x["audio"][:2] = x["audio_negative"][1] = fill
        run(avslowfast, x)
        means.append(norm.running_mean.clone())
    assert torch.equal(*means)


def test_freezing_covers_all_pathways_and_the_laterals_that_leave_them():
    cfg = make_cfg(audio=True, FUSION_STAGES=["pool1", "res2", "res3", "res4"])
    cfg.MODEL.AUDIO.FUSION_STAGES = ["res2", "res3"]
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    backbone = build_backbone(cfg).train()
    frozen = tuple(f"{p}.{s}." for p in ("slow", "fast", "audio") for s in ("stem", "res2"))
    frozen += ("f2s.pool1.", "f2s.res2.", "a2fs.res2.")
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen), name
    for name, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            assert not name.startswith(frozen), name
    sum(x.mean() for x in backbone(make_features()).values()).backward()


@pytest.mark.parametrize(
    "visual, audio, stages",
    [
        ([], ["pool1", "res2"], ["stem", "res2"]),
        (["pool1", "res4"], ["res3", "pool5"], ["stem", "res2", "res3", "res4", "res5"]),
        (["res2"], ["pool5"], ["stem", "res2", "res3", "res4", "res5"]),
        (["res3"], ["pool1"], ["stem"]),
    ],
)
@pytest.mark.parametrize("fusion_type", ["a_fs", "a_f_s", "av_nonlocal"])
def test_any_fusion_stages(one_block_per_stage, visual, audio, stages, fusion_type):
    """Audio ends where it is last used: every parameter has a gradient, as DDP requires."""
    cfg = make_cfg(audio=True, FUSION_STAGES=visual)
    cfg.MODEL.AUDIO.FUSION_STAGES, cfg.MODEL.AUDIO.FUSION_TYPE = audio, fusion_type
    backbone = build_backbone(cfg)
    assert list(backbone.f2s) == visual
    assert list(backbone.a2fs) == [name for name in audio if name != "pool5"]
    assert list(backbone.audio) == stages
    features = backbone(make_features())
    assert features["slow_res5"].shape[1] == 256
    assert ("audio_res5" in features) == ("pool5" in audio)
    sum(x.mean() for x in features.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_block_of_table_1():
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.BLOCK = "v2"
    backbone = build_backbone(cfg)
    has_reduction = {
        stage: [getattr(block, "conv1", None) is not None for block in backbone.audio[stage]]
        for stage in ("res2", "res3")
    }
    assert has_reduction == {"res2": [True] * 3, "res3": [True] * 4}
    assert run(backbone.eval(), make_features())["audio_res5"].shape == (2, 128, 4, 1)


def test_usual_block_of_section_3():
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.BLOCK = "3x3"
    backbone = build_backbone(cfg)
    for blocks in (backbone.audio[stage] for stage in ("res2", "res3", "res4", "res5")):
        assert {tuple(block.conv2.kernel_size) for block in blocks} == {(3, 3)}
    assert run(backbone.eval(), make_features())["audio_res5"].shape == (2, 128, 4, 1)


def test_strides_of_the_audio_pathway():
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.STRIDES = [2, 2, 2, 2]
    assert run(build_backbone(cfg).eval(), make_features())["audio_res5"].shape == (2, 128, 2, 1)


def test_slow_alone_is_slow_without_laterals():
    cfg = make_cfg(FUSION_STAGES=[])
    both = randomize(build_backbone(cfg)).eval()
    cfg.MODEL.BACKBONE.NAME = "build_slow_backbone"
    alone = build_backbone(cfg).eval()
    state = {k: v for k, v in both.state_dict().items() if k.startswith("slow")}
    alone.load_state_dict(state)
    assert alone.output_shape() == {"slow_res5": both.output_shape()["slow_res5"]}
    features = run(alone, make_features())
    assert_same(features, {"slow_res5": run(both, make_features())["slow_res5"]})


def test_audio_alone_is_the_audio_pathway(avslowfast):
    cfg = make_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_audio_backbone"
    alone = build_backbone(cfg).eval()
    names = alone.state_dict().keys()
    alone.load_state_dict({k: v for k, v in avslowfast.state_dict().items() if k in names})
    x = make_features()
    x["has_audio"][1] = False
    expected = {"audio_res5": run(avslowfast, x)["audio_res5"]}
    del x["frames"]
    assert_same(run(alone, x), expected)
    assert alone.output_shape() == {"audio_res5": avslowfast.output_shape()["audio_res5"]}
    with pytest.raises(ValueError, match="needs 'audio'"):
        alone({"frames": make_features()["frames"]})


def test_dropped_laterals_leave_the_pooled_audio(avslowfast):
    avslowfast.train()
    drop = avslowfast.drop_pathway
    drop.rate = 1.0
    assert not run(avslowfast, make_features())["audio_res5"].any()
    drop.scope = "laterals"
    dropped = run(avslowfast, make_features())
    drop.rate = 0.0
    fused = run(avslowfast, make_features())
    assert torch.equal(dropped["audio_res5"], fused["audio_res5"])
    assert not torch.equal(dropped["slow_res5"], fused["slow_res5"])


def test_running_means_replace_dropped_audio():
    cfg = make_cfg(audio=True)
    cfg.MODEL.AUDIO.DROP_FILL = "mean"
    backbone = randomize(build_backbone(cfg)).train()
    backbone.drop_pathway.rate, backbone.drop_pathway.momentum = 0.0, 1.0
    fused = run(backbone, make_features())
    means = dict(backbone.drop_pathway.named_buffers())
    assert {name: len(mean) for name, mean in means.items()} == {
        "mean_res3": 64 + 16,
        "mean_res4": 128 + 32,
        "mean_pool5": 128,
    }
    expected = fused["audio_res5"].mean((0, 2, 3))
    assert torch.allclose(means["mean_pool5"], expected, atol=1e-6)
    backbone.drop_pathway.rate = 1.0
    dropped = run(backbone, make_features())["audio_res5"]
    assert torch.allclose(dropped, expected.view(1, -1, 1, 1).expand_as(dropped), atol=1e-6)


def test_sub_batch_norm_is_in_all_pathways():
    """Four clips in groups of two, and each pair alone, give the same."""
    torch.manual_seed(0)
    backbone = build_backbone(make_cfg(audio=True, NORM="SubBN", SUBBN_CLIPS=2)).train()
    randomize(backbone).double().drop_pathway.rate = 0.0
    x = {k: v.double() if v.is_floating_point() else v for k, v in make_features(4).items()}
    together = run(backbone, x)
    pairs = [run(backbone, {k: v[i : i + 2] for k, v in x.items()}) for i in (0, 2)]
    for name, value in together.items():
        apart = torch.cat([pair[name] for pair in pairs])
        assert torch.allclose(value, apart, atol=1e-8), name


def test_bfloat16_autocast(avslowfast):
    avslowfast.train()
    avslowfast.drop_pathway.rate = 0.0
    with torch.autocast("cpu", torch.bfloat16):
        features = avslowfast(make_features())
    assert {x.dtype for x in features.values()} == {torch.bfloat16}
    sum(x.float().mean() for x in features.values()).backward()
    assert all(p.grad.isfinite().all() for p in avslowfast.parameters())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"frames": torch.zeros(2, 3, 6, 48, 64)}, "6 frames are not a multiple of alpha_F = 4"),
        ({"audio": torch.zeros(2, 1, 30, 8)}, "has 30 time steps; expected 32"),
    ],
)
def test_wrong_lengths(avslowfast, change, message):
    with pytest.raises(ValueError, match=message):
        avslowfast({**make_features(), **change})


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("AUDIO.ALPHA", 6, "6 is not a multiple of 4"),
        ("AUDIO.STRIDES", [4, 4, 4, 1], "too few time steps at res4 for a_fs"),
        ("AUDIO.FUSION_TYPE", "concat", "FUSION_TYPE is 'concat'"),
        ("AUDIO.FUSION_STAGES", [], "is empty"),
        ("AUDIO.BLOCK", "v3", "audio block is 'v3'"),
        ("AUDIO.DROP_SCOPE", "none", "scope is 'none'"),
        ("AUDIO.DROP_FILL", "noise", "DROP_FILL is 'noise'"),
        ("AUDIO.FUSION_STAGES", ["res6"], "AUDIO.FUSION_STAGES has"),
        ("SLOWFAST.FUSION_STAGES", ["stem"], "SLOWFAST.FUSION_STAGES has"),
        ("SLOWFAST.DEPTH", 18, "depth is 18"),
        ("SLOWFAST.BETA_INV", 3, "WIDTH 8 is not a multiple"),
        ("SLOWFAST.NORM", "GN", "norm is 'GN'"),
        ("SLOWFAST.NONLOCAL.RES4", [6], "it has 6"),
    ],
)
def test_wrong_settings(key, value, message):
    cfg = make_cfg(audio=True)
    cfg.merge_from_list([f"MODEL.{key}", value])
    with pytest.raises(ValueError, match=message):
        build_backbone(cfg)
