"""Exported files and TensorModel against the model's own forward on dicts."""

import pytest
import torch
from detectron2.modeling import build_model

from ava_tools.inference.checked_export import compare_with_eager, run_file
from avsf_det.checkpoint import match_weights
from avsf_det.export import (
    ExportError,
    TensorModel,
    export_onnx,
    export_program,
    make_inputs,
)
from avsf_det.layers import fold_batch_norms

from ..modeling.builders import NUM_FRAMES, NUM_MELS, NUM_TIME_STEPS, SIZE, make_cfg, randomize
from .files import check_files

pytestmark = [pytest.mark.usefixtures("few_blocks"), pytest.mark.xdist_group("onnx")]


def build(cfg) -> TensorModel:
    cfg.INPUT.CLIP.NUM_FRAMES = NUM_FRAMES
    cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS = NUM_TIME_STEPS, NUM_MELS
    torch.manual_seed(0)
    model = randomize(build_model(cfg))
    for name, weight in model.named_parameters():
        if "predictor" in name:  # scores over the whole range
            weight.data.normal_()
    return TensorModel(model)


def classifier_cfg(backbone: str):
    cfg = make_cfg(audio=True)
    cfg.MODEL.META_ARCHITECTURE = "ClipClassifier"
    cfg.MODEL.BACKBONE.NAME = backbone
    cfg.MODEL.CLIP_HEAD.TASKS, cfg.MODEL.CLIP_HEAD.NUM_CLASSES = ["verb", "noun"], [4, 3]
    cfg.MODEL.CLIP_HEAD.POOL_WINDOW = 2  # sliding windows on maps of 3 x 4
    return cfg


def test_file_of_an_audiovisual_detector_gives_its_scores(tmp_path):
    """tests/docs/test_onnx_example.py has its ONNX file."""
    cfg = make_cfg(audio=True)
    model = build(cfg)
    assert model.input_names == ("frames", "audio", "has_audio", "boxes")
    program = export_program(model, make_inputs(cfg, model.input_names, SIZE))
    torch.export.save(program, tmp_path / "x.pt2")
    # Other numbers of clips and boxes than those of the trace; one clip of three has no audio.
    inputs = make_inputs(cfg, model.input_names, SIZE, num_clips=3, num_boxes=5, seed=3)
    assert compare_with_eager(model, tmp_path / "x.pt2", inputs) < 1e-5


def test_audio_on_a_slowfast_is_exported_with_the_slowfasts_scores(tmp_path):
    cfg = make_cfg(audio=True, FUSION_STAGES=["pool1", "res2", "res3", "res4"])
    cfg.MODEL.AUDIO.LATERAL_GAIN = True
    cfg.MODEL.ROI_ACTION_HEAD.POOLER_TYPE = "ROIAlign"  # the boxes of Caffe2's weights
    visual = cfg.clone()
    visual.MODEL.BACKBONE.NAME = "build_slowfast_backbone"
    slowfast, grafted = build(visual), build(cfg)
    weights, _ = match_weights(slowfast.model.state_dict(), grafted.model.state_dict())
    grafted.model.load_state_dict(weights, strict=False)
    assert slowfast.input_names == ("frames", "boxes")
    files = [tmp_path / "x.pt2", tmp_path / "x.onnx"]
    scores = []
    for model in (grafted, slowfast):
        fold_batch_norms(model.model)
        inputs = make_inputs(cfg, model.input_names, SIZE, num_clips=3, num_boxes=5)
        program = export_program(model, make_inputs(cfg, model.input_names, SIZE))
        export_onnx(model, program, files[1])
        outputs = program.module()(**inputs), run_file(files[1], inputs)
        scores.append([output["action_scores"] for output in outputs])
    for both, visual_scores in zip(*scores, strict=True):
        assert torch.equal(both, visual_scores)
    torch.export.save(program, files[0])
    # The files of the SlowFast, for other numbers of clips and boxes than those of the trace.
    check_files(slowfast, visual, files, SIZE)


def test_a_wrong_file_is_detected(tmp_path):
    cfg = classifier_cfg("build_audio_backbone")
    model = build(cfg)
    inputs = make_inputs(cfg, model.input_names, SIZE)
    torch.export.save(export_program(model, inputs), tmp_path / "x.pt2")
    with torch.no_grad():
        model.model.head.predictors["noun"].bias[0] += 0.1
    assert 0.005 < compare_with_eager(model, tmp_path / "x.pt2", inputs) < 0.03


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_wrapper_takes_boxes_in_any_order_and_float_frames(dtype):
    cfg = make_cfg(audio=True)
    model = build(cfg)
    inputs = make_inputs(cfg, model.input_names, SIZE, num_clips=3, num_boxes=6)
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    mixed = {**inputs, "boxes": inputs["boxes"][order], "frames": inputs["frames"].to(dtype)}
    with torch.no_grad():
        expected = model.eager(inputs)["action_scores"]
        torch.testing.assert_close(model(**mixed)["action_scores"], expected[order])
    assert expected.std(dim=0).min() > 1e-3


def test_wrapper_of_a_classifier_with_sliding_windows():
    cfg = classifier_cfg("build_avslowfast_backbone")
    model = build(cfg)
    assert model.input_names == ("frames", "audio", "has_audio")
    inputs = make_inputs(cfg, model.input_names, SIZE, num_clips=3)
    with torch.no_grad():
        expected, found = model.eager(inputs), model(**inputs)
    assert list(found) == list(model.output_names) == ["scores_verb", "scores_noun"]
    torch.testing.assert_close(found, expected)
    other_audio = {**inputs, "audio": inputs["audio"].flip(2)}
    with torch.no_grad():
        change = (model(**other_audio)["scores_noun"] - found["scores_noun"]).abs().amax(dim=1)
    assert change[1] == 0 and change[[0, 2]].min() > 1e-4  # the second clip has no audio
    torch.testing.assert_close(found["scores_noun"].sum(dim=1), torch.ones(3))


def test_inputs_are_within_bounds():
    cfg = make_cfg(audio=True)
    inputs = make_inputs(cfg, ("frames", "has_audio", "boxes"), (48, 64), num_boxes=50)
    clip, x1, y1, x2, y2 = inputs["boxes"].T
    assert clip.tolist() == [0.0] * 25 + [1.0] * 25
    assert (x1 >= 0).all() and (x1 < x2).all() and x2.max() <= 64 and x2.max() > 48
    assert (y1 >= 0).all() and (y1 < y2).all() and y2.max() <= 48
    assert inputs["has_audio"].tolist() == [True, False]
    assert inputs["frames"].max() > 200


def test_other_models_are_refused():
    cfg = classifier_cfg("build_avslowfast_backbone")
    cfg.MODEL.META_ARCHITECTURE = "AVPretrainer"
    with pytest.raises(ExportError, match="AVPretrainer cannot be exported"):
        TensorModel(build_model(cfg))
