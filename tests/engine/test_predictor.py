import logging

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.engine import Trainer, predictor
from avsf_det.engine.predictor import ClipPredictor, PredictorError, keyframe_seconds, load_boxes
from avsf_det.structures import AVSFError

from ..media import read_number, write_video
from . import actions

pytestmark = pytest.mark.usefixtures("few_blocks")
PERSON = np.array([[0.1, 0.1, 0.5, 0.9, 0.9]], np.float32)
FIELDS = ("scores", "pred_classes", "action_scores")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("actions")
    actions.make_dataset(path)
    yield path
    actions.forget()


@pytest.fixture(scope="module")
def cfg(folder):
    return actions.make_model(folder)


def equal(a, b) -> bool:
    return (
        a.image_size == b.image_size
        and torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        and all(torch.equal(a.get(name), b.get(name)) for name in FIELDS)
    )


def test_it_gives_what_the_evaluation_scores(cfg, folder, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)  # as in the recipes
    cfg = cfg.clone()
    cfg.OUTPUT_DIR = str(folder)
    model = build_model(cfg)
    AVSFCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    seen = {}

    def watch(_, inputs, outputs):
        seen[inputs[0][0]["image_id"]] = outputs[0]["instances"]
        assert not torch.backends.cudnn.benchmark  # sizes of videos vary

    model.register_forward_hook(watch)
    Trainer.test(cfg, model)
    assert torch.backends.cudnn.benchmark
    assert set(seen) == {"a,1", "a,2", "b,0", "b,1.5"}
    assert len(seen["a,1"]) == 2

    predict = ClipPredictor(cfg)
    boxes = load_boxes(str(folder / "boxes.csv"), min_score=cfg.DATASETS.PROPOSAL_MIN_SCORE_TEST)
    found = {
        f"{video_id},{second:g}": instances
        for video_id in "ab"
        for second, instances in predict(
            folder / "videos" / f"{video_id}.mp4", boxes=boxes[video_id]
        )
    }
    assert found.keys() == seen.keys()
    assert all(equal(found[key], seen[key]) for key in seen)
    assert (
        len({round(x, 4) for i in found.values() for x in i.action_scores.flatten().tolist()}) > 9
    )


def test_where_no_boxes_are_given_the_detector_sees_each_keyframe(cfg, folder):
    numbers = []

    def detector(frames):
        numbers.extend(read_number(frame) for frame in frames)
        return [PERSON if len(numbers) < 3 else PERSON[:0]]

    predict = ClipPredictor(cfg, person_detector=detector)
    path = folder / "videos" / "a.mp4"
    found = list(predict(path))
    assert [second for second, _ in found] == [0, 1, 2]
    assert numbers == [0, actions.FPS, 2 * actions.FPS]
    assert [len(instances) for _, instances in found] == [1, 1, 0]
    ((_, given),) = predict(path, [1.0], {1.0: PERSON})
    assert equal(found[1][1], given)
    nobody = found[2][1]
    assert nobody.image_size == (64, 128)
    assert nobody.action_scores.shape == (0, 3)
    assert nobody.pred_boxes.tensor.shape == (0, 4)
    assert {name: found[0][1].get(name).dtype for name in FIELDS} == {
        name: nobody.get(name).dtype for name in FIELDS
    }


def test_the_config_names_the_detector(cfg, folder, monkeypatch):
    built = []
    monkeypatch.setattr(
        predictor, "PersonDetector", lambda cfg: built.append(cfg) or (lambda frames: [PERSON])
    )
    predict = ClipPredictor(cfg)
    path = folder / "videos" / "a.mp4"
    assert not built  # nor loaded, where boxes are given
    assert [len(i) for _, i in predict(path, [0, 1])] == [1, 1]
    assert len(built) == 1


def test_frames_at_hand_give_what_the_silent_file_gives(cfg, tmp_path):
    path = tmp_path / "silent.mp4"
    write_video(path, num_frames=30, fps=10, size=(64, 128))
    predict = ClipPredictor(cfg)
    ((_, expected),) = predict(path, boxes={1.0: PERSON})
    with VideoReader(path) as reader:
        frames = reader.get_frames_played_at(predict.frame_times(1.0))
    assert predict.frame_times(1.0)[4] == pytest.approx(1.0)
    assert equal(predict.predict_frames(frames, PERSON), expected)


def test_names_of_the_actions(cfg, tmp_path):
    predict = ClipPredictor(cfg)
    assert (predict.class_ids, predict.class_names) == ([1, 4, 7], ["sit", "run", "sing"])
    (tmp_path / "other.txt").write_text("2: eat\n5: cook\n9: dig\n")
    predict = ClipPredictor(cfg, label_map=str(tmp_path / "other.txt"))
    assert (predict.class_ids, predict.class_names) == ([2, 5, 9], ["eat", "cook", "dig"])
    ava = cfg.clone()
    ava.DATASETS.TEST, ava.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = ("ava_v2.2_val",), 80
    ids, names = predictor.load_action_names(ava)  # known without any file of AVA
    assert (ids[0], names[0], len(names)) == (1, "bend/bow (at the waist)", 80)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("MODEL.META_ARCHITECTURE", "ClipClassifier", "got 'ClipClassifier'"),
        ("MODEL.WEIGHTS", "none.pth", "'none.pth', which is no file"),
        ("TEST.AUDIO_MODE", "swap", "swap needs a dataset"),
        ("MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 5, "3 actions, but .* is 5"),
    ],
)
def test_a_config_that_is_not_for_this_is_refused(cfg, key, value, problem):
    cfg = cfg.clone()
    cfg.merge_from_list([key, value])
    with pytest.raises(AVSFError, match=problem):
        ClipPredictor(cfg)


def test_a_dataset_that_is_not_registered_says_so(cfg):
    cfg = cfg.clone()
    cfg.DATASETS.TEST = ("nowhere_val",)
    with pytest.raises(PredictorError, match=r"'nowhere_val' is not registered.*label map"):
        ClipPredictor(cfg)
    assert "nowhere_val" not in MetadataCatalog.list()


def test_bad_boxes_seconds_and_files(cfg, folder):
    predict = ClipPredictor(cfg)
    path = folder / "videos" / "a.mp4"
    pixels = PERSON * [[128, 64, 128, 64, 1]]
    with pytest.raises(PredictorError, match=r"a.mp4: person boxes at 1 s are not in 0..1; divide"):
        list(predict(path, boxes={1: pixels}))
    with pytest.raises(VideoDecodeError, match=r"lies at 9 s of .*a.mp4, which lasts 3 s"):
        list(predict(path, boxes={9: PERSON}))
    with pytest.raises(VideoDecodeError, match=r"nowhere.mp4"):
        list(predict(folder / "nowhere.mp4", boxes={}))


def test_the_digest_stands_for_weights_and_settings(cfg):
    predict, other = ClipPredictor(cfg), cfg.clone()
    assert predict.digest() == ClipPredictor(cfg).digest()
    other.TEST.AUDIO_MODE = "mute"
    muted = ClipPredictor(other).digest()
    assert muted != predict.digest()
    other.MODEL.AUTOCAST_DTYPE = "bfloat16"  # and so are folded weights
    assert ClipPredictor(other).digest() not in (muted, predict.digest())
    before = predict.digest()
    next(predict.model.parameters()).data[0] += 1e-3
    assert predict.digest() != before


def test_keyframes_are_those_before_the_end():
    assert keyframe_seconds(3.0) == [0, 1, 2]
    assert keyframe_seconds(3.01) == [0, 1, 2, 3]
    assert keyframe_seconds(0.0) == [0]
    assert keyframe_seconds(1.0, rate=4) == [0, 0.25, 0.5, 0.75]
    assert keyframe_seconds(9, rate=0.25) == [0, 4, 8]


def test_boxes_of_a_csv(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("v,0902,0.1,0.2,0.3,0.4,,0.9\nv,903.5,0,0,1,1,,0.2\nw,900,0,0,1,1,,0.7\n")
    boxes = load_boxes(str(path), min_score=0.5, offset=900)
    assert {video: list(found) for video, found in boxes.items()} == {"v": [2, 3.5], "w": [0]}
    np.testing.assert_array_equal(boxes["v"][2], np.float32([[0.1, 0.2, 0.3, 0.4, 0.9]]))
    assert boxes["v"][3.5].shape == (0, 5)


def test_ids_of_persons_reach_the_results(cfg, folder, write):
    rows = ["a,1,0.1,0.1,0.5,0.9,7,0.9", "a,1,0.1,0.1,0.4,0.9,,0.8", "a,1,0.3,0.1,0.4,0.9,9,0.3"]
    path = write("boxes.csv", "\n".join([*rows, "a,2,0,0,1,1,7,0.2", "b,1,0.1,0.1,0.5,0.9,,0.9"]))
    boxes = load_boxes(path, min_score=0.5)
    assert boxes["a"][1].shape == (2, 6) and boxes["a"][2].shape == (0, 6)
    assert boxes["b"][1].shape == (1, 5)  # nobody has an id in b
    predict, video = ClipPredictor(cfg), folder / "videos" / "a.mp4"
    first, last = (found for _, found in predict(video, boxes=boxes["a"]))
    assert first.track_ids == [7, None] and last.track_ids == []
    (_, without), _ = predict(video, boxes={s: b[:, :5] for s, b in boxes["a"].items()})
    assert equal(first, without) and not without.has("track_ids")


def test_what_a_limit_leaves_out_is_counted(write, caplog):
    path = write("boxes.csv", "v,1,0.1,0.2,0.3,0.4,,0.9\nv,2,0,0,1,1,,0.2\n")
    caplog.set_level(logging.INFO)
    load_boxes(path)  # all, without a word
    assert caplog.messages == []
    load_boxes(path, 0.5)
    load_boxes(path, 0.95)
    first, second = caplog.records
    assert first.getMessage() == f"{path}: 1 of 2 boxes left out: score < 0.5"
    assert second.levelname == "WARNING" and "all 2 boxes have scores below 0.95" in second.message


@pytest.mark.parametrize("end", [",0", ",1", ",anna", ""])
def test_annotated_boxes_have_score_1(write, caplog, end):
    rows = [f"v,1,0.1,0.2,0.3,0.4,{i}{end}" for i in (3, 1)] + [f"v,1,0.5,0.2,0.9,0.4,1{end}"]
    caplog.set_level(logging.INFO)
    found = load_boxes(write("val.csv", "\n".join(["w,2", *rows])))["v"][1]
    expected = np.float32([[0.1, 0.2, 0.3, 0.4, 1], [0.5, 0.2, 0.9, 0.4, 1]])
    np.testing.assert_array_equal(found, expected)
    assert "annotations, whose boxes are used with score 1" in caplog.text
