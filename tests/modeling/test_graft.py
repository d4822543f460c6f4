"""Audio grafted onto a SlowFast: its scores at first, and a gradient that teaches audio."""

from collections import Counter
from typing import Any

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from ava_tools.measurement.analysis import build_without_data
from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.checkpoint.match_weights import match_weights
from avsf_det.engine.defaults import load_config
from avsf_det.layers import FrozenBatchNorm3d, fold_batch_norms

from .builders import make_cfg, make_inputs, randomize
from .test_clip_classifier import make_clips

pytestmark = pytest.mark.usefixtures("few_blocks")
STAGES = ["pool1", "res2", "res3", "res4"]
VISUAL = ("slow.", "fast.", "f2s.")
MODELS = ("ActionDetector", "ClipClassifier")


def make_pair(name: str, **audio):
    """A SlowFast with random weights, and an AVSlowFast that has loaded them."""
    torch.manual_seed(0)
    models = []
    for has_audio in (False, True):
        cfg = make_cfg(audio=has_audio, FUSION_STAGES=STAGES)
        cfg.MODEL.META_ARCHITECTURE = name
        cfg.MODEL.CLIP_HEAD.NUM_CLASSES = [5]
        for key, value in {"LATERAL_GAIN": True, **audio}.items():
            cfg.MODEL.AUDIO[key] = value
        models.append(randomize(build_model(cfg)))
    loadable, report = match_weights(models[0].state_dict(), models[1].state_dict())
    models[1].load_state_dict(loadable, strict=False)
    return *models, report


def clips_of(name: str, **changes) -> list[dict]:
    clips = make_inputs() if name == "ActionDetector" else make_clips(2)
    return [{**clip, **changes} for clip in clips]


def scores(model, clips: list[dict]) -> torch.Tensor:
    with torch.no_grad():
        results = model.eval()(clips)
    if "instances" in results[0]:
        return torch.cat([x["instances"].action_scores for x in results])
    return torch.stack([x["scores"]["action"] for x in results])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fusion", ["a_fs", "a_f_s", "av_nonlocal"])
def test_scores_are_those_of_the_slowfast(name, fusion):
    slowfast, grafted, report = make_pair(name, FUSION_TYPE=fusion)
    if fusion == "av_nonlocal":  # its norm starts at zero; randomize() has changed that
        for lateral in grafted.backbone.a2fs.values():
            torch.nn.init.zeros_(lateral.out.norm.weight)
            torch.nn.init.zeros_(lateral.out.norm.bias)
    (change,) = report.adapted.values()
    assert change == "columns of the audio features set to zero"
    clips = clips_of(name)
    expected = scores(slowfast, clips)
    assert torch.equal(scores(grafted, clips), expected)
    assert torch.equal(scores(grafted, clips_of(name, has_audio=False)), expected)
    without = [{k: v for k, v in clip.items() if "audio" not in k} for clip in clips]
    assert torch.equal(scores(grafted, without), expected)
    for model in (slowfast, grafted):
        fold_batch_norms(model)
    assert torch.equal(scores(grafted, clips), scores(slowfast, clips))


@pytest.mark.parametrize("name", MODELS)
def test_gains_and_the_columns_of_audio_learn(name):
    _, grafted, _ = make_pair(name, DROP_PATHWAY=0.0)
    with EventStorage():
        sum(grafted.train()(clips_of(name)).values()).backward()
    for lateral in grafted.backbone.a2fs.values():
        assert lateral.gain.grad.abs().max() > 0
    classifier = (
        grafted.roi_heads.predictor if name == MODELS[0] else grafted.head.predictors.action
    )
    audio = classifier.weight.grad[:, -classifier.audio_features :]
    assert audio.abs().max() > 0


def test_the_visual_part_can_stay_as_it_is():
    """Weights and statistics; and what is fixed has no gradient."""
    cfg = make_cfg(audio=True, FUSION_STAGES=STAGES, FREEZE=True)
    cfg.MODEL.AUDIO.LATERAL_GAIN = True
    cfg.MODEL.AUDIO.DROP_PATHWAY = 0.0
    torch.manual_seed(0)
    model = build_model(cfg).train()
    visual = tuple(f"backbone.{name}" for name in VISUAL)
    learned = {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(name.startswith(visual) for name in learned)
    assert any(isinstance(m, FrozenBatchNorm3d) for m in model.backbone.slow.modules())
    before = {n: x.clone() for n, x in model.state_dict().items() if n.startswith(visual)}
    with EventStorage():
        model(make_inputs())["loss_action"].backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == learned
    after = model.state_dict()
    assert all(torch.equal(after[name], x) for name, x in before.items())


def saved_bytes(is_fixed: bool) -> dict[str, int]:
    """Bytes saved for the backward pass of one clip, by stage; the model has its full size."""
    cfg = load_config("graft/AVA/avsf_r101_8x8_audio.yaml", ["MODEL.SLOWFAST.FREEZE", is_fixed])
    backbone: Any = build_without_data(cfg).train().backbone
    weights = {x.untyped_storage()._cdata for x in (*backbone.parameters(), *backbone.buffers())}
    stage, found = "", {}

    def enter(name: str) -> None:
        nonlocal stage
        stage = name

    def save(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()  # views share one; it is kept, so that its address stays its
        if storage._cdata not in weights:
            found.setdefault(storage._cdata, (stage, storage))
        return x

    for pathway, stages in backbone.named_children():
        for name, module in stages.named_children():
            module.register_forward_pre_hook(lambda *_, x=f"{pathway}.{name}": enter(x))
    with torch.device("meta"):
        clip = {
            "frames": torch.empty(1, 3, 32, 224, 224),
            "audio": torch.empty(1, 1, 128, 40),
            "has_audio": torch.ones(1, dtype=torch.bool),
        }
        with torch.autograd.graph.saved_tensors_hooks(save, lambda x: x):
            backbone(clip)
    total: Counter[str] = Counter()
    for name, storage in found.values():
        total[name] += storage.nbytes()
    return dict(total)


def test_what_is_fixed_saves_nothing_up_to_the_first_audio_lateral():
    """Behind it Slow keeps what the gradient of the audio passes through: its ReLUs."""
    fixed, learned = saved_bytes(True), saved_bytes(False)
    assert {name for name in fixed if name.startswith(VISUAL)} == {"slow.res4", "slow.res5"}
    assert fixed["slow.res4"] < 0.6 * learned["slow.res4"]
    audio = [{n: x for n, x in y.items() if not n.startswith(VISUAL)} for y in (fixed, learned)]
    assert audio[0] == audio[1]
    # docs/weights.md: 0.43 GiB instead of 1.80.
    assert sum(fixed.values()) / 2**30 == pytest.approx(0.431, abs=0.01)
    assert sum(learned.values()) / 2**30 == pytest.approx(1.801, abs=0.02)


def test_the_audio_pathway_comes_from_another_file(tmp_path):
    """Its laterals, classifier and the visual pathways stay as they are."""
    _, model, _ = make_pair("ActionDetector")
    _, other, _ = make_pair("ClipClassifier")
    for p in other.parameters():
        p.data += 1
    AVSFCheckpointer(other, str(tmp_path)).save("audio")
    before = {n: x.clone() for n, x in model.state_dict().items()}
    AVSFCheckpointer(model, part="backbone.audio.").load(str(tmp_path / "audio.pth"))
    for name, x in model.state_dict().items():
        source = other.state_dict() if name.startswith("backbone.audio.") else before
        assert torch.equal(x, source[name]), name
