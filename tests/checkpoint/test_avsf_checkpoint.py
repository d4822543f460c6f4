"""Loading weights that match a model in part, and resuming."""

import logging
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn

from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError, LoadReport, match_weights

from ..modeling.builders import make_cfg, make_features, randomize
from .originals import tensors_of


def make_model(*, audio: bool = False, nonlocal_: bool = False, **slowfast) -> nn.Module:
    cfg = make_cfg(audio=audio, **slowfast)
    if nonlocal_:
        cfg.MODEL.SLOWFAST.NONLOCAL.RES4 = [1, 3]
    return randomize_all(build_model(cfg).eval())


def randomize_all(model: nn.Module) -> nn.Module:
    """Non-local norms keep the zeros that they start with."""
    zeros = [x for name, x in model.named_parameters() if ".out.norm." in name]
    randomize(model)
    for x in zeros:
        nn.init.zeros_(x)
    return model


def make_classifier(tasks: dict[str, int]) -> nn.Module:
    cfg = make_cfg()
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.CLIP_HEAD.TASKS = list(tasks)
    cfg.MODEL.CLIP_HEAD.NUM_CLASSES = list(tasks.values())
    return build_model(cfg)


def copy_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in tensors_of(model).items()}


def load(model: nn.Module, state: dict, tmp_path: Path, **kwargs) -> LoadReport:
    torch.save({"model": state}, tmp_path / "weights.pth")
    checkpointer = AVSFCheckpointer(model, **kwargs)
    checkpointer.load(str(tmp_path / "weights.pth"))
    return checkpointer.report


def test_too_little_of_the_backbone_is_an_error_and_changes_nothing(tmp_path: Path):
    source, model = make_model(), make_model()
    state = {n: x + 1 for n, x in source.state_dict().items() if ".res5." not in n}
    before = copy_of(model)
    backbone = [name for name in before if name.startswith("backbone.")]
    missing = [name for name in backbone if ".res5." in name]
    assert len(missing) > 0.1 * len(backbone)
    loaded = len(backbone) - len(missing)
    message = (
        rf"weights\.pth .*fills {loaded / len(backbone):.1%} of the backbone's tensors, 90\.0% .*"
        r"MODEL\.WEIGHTS_MIN_MATCHED, --min-matched.*"
        r"backbone\.slow\.res5 \(50\), backbone\.fast\.res5 \(50\)$"
    )
    with pytest.raises(CheckpointError, match=message):
        load(model, state, tmp_path)
    assert all(torch.equal(x, before[name]) for name, x in tensors_of(model).items())

    # Exactly the fraction that is loaded is enough.
    report = load(model, state, tmp_path, min_matched=loaded / len(backbone))
    assert set(report.missing) == set(missing)
    for name, x in tensors_of(model).items():
        assert torch.equal(x, before[name] if name in missing else state[name]), name


def test_slowfast_into_avslowfast_asks_for_a_lower_fraction(tmp_path: Path):
    state, model = make_model().state_dict(), make_model(audio=True)
    with pytest.raises(CheckpointError, match=r"shape: backbone\.audio\.res4 \(\d+\), "):
        load(model, state, tmp_path)
    report = load(model, state, tmp_path, min_matched=0.5)
    assert "backbone.audio.* (" in str(report)
    assert all(name.split(".")[1] in ("audio", "a2fs") for name in report.missing)


def test_another_number_of_classes_leaves_out_the_classifier_alone(tmp_path: Path):
    source, model = make_model(), make_model()
    state = source.state_dict()
    state["roi_heads.predictor.weight"] = torch.zeros(
        9, state["roi_heads.predictor.weight"].shape[1]
    )
    state["roi_heads.predictor.bias"] = torch.zeros(9)
    before = copy_of(model)
    report = load(model, state, tmp_path)
    assert list(report.misshaped) == ["roi_heads.predictor.weight", "roi_heads.predictor.bias"]
    assert report.misshaped["roi_heads.predictor.bias"] == "(9,) in the file, (5,) in the model"
    assert not (report.missing or report.unexpected or report.adapted)
    for name, x in tensors_of(model).items():
        expected = before if name.startswith("roi_heads") else state
        assert torch.equal(x, expected[name]), name


def test_a_classifier_of_other_features_is_left_out_as_a_whole():
    name = "head.predictors.action"
    state = {f"{name}.weight": torch.zeros(5, 3), f"{name}.bias": torch.zeros(5)}
    model = {f"{name}.weight": torch.ones(5, 4), f"{name}.bias": torch.ones(5)}
    loadable, report = match_weights(state, model)
    assert not loadable and not report.matched
    assert list(report.misshaped) == [f"{name}.weight", f"{name}.bias"]


def test_the_only_classifier_goes_to_the_only_classifier(tmp_path: Path):
    detector, classifier = make_model(), make_classifier({"action": 5})
    report = load(classifier, detector.state_dict(), tmp_path)
    assert not (report.missing or report.unexpected or report.misshaped)
    predictor = classifier.head.predictors["action"]
    assert torch.equal(predictor.weight, detector.roi_heads.predictor.weight)
    nn.init.constant_(predictor.bias, 3)
    load(detector, classifier.state_dict(), tmp_path)
    assert detector.roi_heads.predictor.bias.eq(3).all()

    two = make_classifier({"verb": 5, "noun": 5})
    report = load(two, classifier.state_dict(), tmp_path)
    assert set(report.unexpected) == {f"head.predictors.action.{x}" for x in ("weight", "bias")}
    assert len(report.missing) == 4


def test_nonlocal_blocks_that_the_file_lacks_start_as_the_identity(tmp_path: Path, caplog):
    source, model = make_model(), make_model(nonlocal_=True)
    with caplog.at_level(logging.INFO):
        report = load(model, source.state_dict(), tmp_path, min_matched=1.0)
    assert {name.split(".")[3] for name in report.missing} == {"nonlocal1", "nonlocal3"}
    for block in ("nonlocal1", "nonlocal3"):
        assert (
            f"backbone.slow.res4.{block} is not in the file and starts as the iden" in caplog.text
        )
    with torch.no_grad():
        x = make_features()
        for name, y in model.backbone(x).items():
            torch.testing.assert_close(y, source.backbone(x)[name], rtol=0, atol=0)

    nn.init.ones_(model.backbone.slow["res4"].nonlocal1.out.norm.weight)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load(model, source.state_dict(), tmp_path)
    assert "res4.nonlocal1 is not" not in caplog.text and "res4.nonlocal3 is not" in caplog.text


FIRST_LAYERS = [f"backbone.slow.res{i}.0.{x}.weight" for i in (2, 3) for x in ("shortcut", "conv1")]


def test_input_channels_of_laterals_that_the_model_lacks_are_cut(tmp_path: Path):
    source, model = make_model(), make_model(FUSION_STAGES=["res3", "res4"])
    state = source.state_dict()
    report = load(model, state, tmp_path)
    assert sorted(report.adapted) == sorted(FIRST_LAYERS)
    assert not (report.missing or report.misshaped)
    assert {name.split(".")[2] for name in report.unexpected} == {"pool1", "res2"}
    ours = model.state_dict()
    for name in FIRST_LAYERS:
        channels = ours[name].shape[1]
        assert channels == (8 if "res2" in name else 32)
        assert torch.equal(ours[name], state[name][:, :channels])
    assert "input channels of the lateral after pool1 cut: backbone.slow.res2.0." in str(report)


def test_input_channels_of_laterals_that_the_file_lacks_are_zero(tmp_path: Path):
    source, model = make_model(FUSION_STAGES=["res3", "res4"]), make_model()
    report = load(model, source.state_dict(), tmp_path)
    assert sorted(report.adapted) == sorted(FIRST_LAYERS)
    assert {name.split(".")[2] for name in report.missing} == {"pool1", "res2"}
    assert not (report.unexpected or report.misshaped)
    with torch.no_grad():  # the new laterals have no effect
        x = make_features()
        for name, y in model.backbone(x).items():
            torch.testing.assert_close(y, source.backbone(x)[name])


def test_laterals_of_another_width_are_misshaped(tmp_path: Path):
    source, model = make_model(FUSION_RATIO=1), make_model(FUSION_RATIO=2)
    report = load(model, source.state_dict(), tmp_path, min_matched=0.5)
    assert not report.adapted
    assert set(FIRST_LAYERS) < set(report.misshaped)


def test_kernels_of_one_frame_are_inflated(tmp_path: Path):
    source = make_model(NUM_TEMPORAL_BLOCKS=[3, 4, 4, 3])
    model = make_model()
    report = load(model, source.state_dict(), tmp_path)
    names = [f"backbone.{p}.res4.{i}.conv1.weight" for p in ("slow", "fast") for i in (4, 5)]
    assert sorted(report.adapted) == sorted(names)
    for name in names:
        flat, kernel = source.state_dict()[name], model.state_dict()[name]
        assert flat.shape[2] == 1 and kernel.shape[2] == 3
        for i in range(3):
            torch.testing.assert_close(kernel[:, :, i], flat[:, :, 0] / 3)
    # The inverse conversion is not well defined.
    report = load(source, model.state_dict(), tmp_path)
    assert sorted(report.misshaped) == sorted(names)


def test_input_channels_and_frames_at_once():
    name = "backbone.slow.res4.0.conv1.weight"
    flat = torch.arange(1.0, 5).view(2, 2, 1, 1, 1)
    model = {name: torch.empty(2, 3, 3, 1, 1), "backbone.f2s.res3.conv.weight": torch.empty(1)}
    loadable, report = match_weights({name: flat}, model)
    expected = torch.tensor([[1.0, 2, 0], [3, 4, 0]])[:, :, None, None, None] / 3
    assert torch.equal(loadable[name], expected.expand(2, 3, 3, 1, 1))
    assert report.adapted[name] == (
        "input channels of the lateral after res3 set to zero, temporal kernel inflated from 1 to 3"
    )


def test_frozen_norms_and_counters_are_not_reported(tmp_path: Path, caplog):
    source, model = make_model(), make_model(NORM="FrozenBN")
    for x, y in ((source, model), (model, source)):
        with caplog.at_level(logging.INFO):
            report = load(y, x.state_dict(), tmp_path)
        assert len(report.matched) == len(tensors_of(y))
        assert not (report.missing or report.unexpected or report.misshaped or report.adapted)
    assert "num_batches_tracked" not in caplog.text
    assert "not found in the checkpoint" not in caplog.text


def test_the_report_holds_every_name_once():
    report = LoadReport(
        matched=("a.x.weight", "a.x.bias", "a.y", "b.weight"),
        adapted={"c.1": "cut", "c.2": "cut", "d": "padded"},
        missing=("b.bias", "e.1.u", "e.1.v", "e.2.w"),
        unexpected=("f.1.1", "f.1.2", "f.1.3", "f.2", "b.other"),
        misshaped={"g": "(1,) in the file, (2,) in the model"},
    )
    assert str(report).splitlines() == [
        "matched 4: a.* (3), b.weight",
        "missing 4: b.bias, e.* (3)",
        "unexpected 5: b.other, f.* (4)",
        "adapted 2, cut: c.1, c.2",
        "adapted 1, padded: d",
        "misshaped, left out 1, (1,) in the file, (2,) in the model: g",
    ]


@pytest.mark.parametrize("checkpointer_class", [DetectionCheckpointer, AVSFCheckpointer])
def test_resuming(checkpointer_class: type, tmp_path: Path):
    def make_training():
        model = nn.DataParallel(make_model())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, CosineParamScheduler(1, 0))
        return model, {"optimizer": optimizer, "scheduler": scheduler}

    model, parts = make_training()
    sum(p.square().sum() for p in model.parameters()).backward()
    parts["optimizer"].step()
    parts["scheduler"].step()
    checkpointer_class(model, str(tmp_path), **parts).save("model_0000001", iteration=1)

    resumed, new_parts = make_training()
    checkpointer = AVSFCheckpointer(resumed, str(tmp_path), **new_parts)
    rest = checkpointer.resume_or_load("", resume=True)
    assert rest == {"iteration": 1}
    for name, value in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    ours, theirs = (x["optimizer"].state_dict()["state"] for x in (new_parts, parts))
    assert ours.keys() == theirs.keys() and len(theirs) > 100
    for i, state in theirs.items():
        assert torch.equal(ours[i]["momentum_buffer"], state["momentum_buffer"])
    assert new_parts["scheduler"].last_epoch == 1

    # As weights, the same file starts another training from its beginning.
    fresh, fresh_parts = make_training()
    checkpointer = AVSFCheckpointer(fresh, **fresh_parts)
    checkpointer.resume_or_load(str(tmp_path / "model_0000001.pth"), resume=False)
    assert not fresh_parts["optimizer"].state_dict()["state"]


def test_no_weights_and_a_missing_file(tmp_path: Path):
    checkpointer = AVSFCheckpointer(make_model())
    assert checkpointer.load("") == {}
    with pytest.raises(CheckpointError, match=r"absent\.pth: there is no such checkpoint"):
        checkpointer.load(str(tmp_path / "absent.pth"))
