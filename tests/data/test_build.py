import gc
from itertools import islice

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from avsf_det import add_avsf_config
from avsf_det.data import (
    VideoDecodeError,
    build_clip_test_loader,
    build_clip_train_loader,
    register_ava_csv,
)
from avsf_det.data.build import swap_audio
from avsf_det.data.proposals import attach_person_boxes
from avsf_det.structures import AVSFError, ConfigError

from ..media import tone, write_video

NAME = "build_test_set"
# Keyframe (a, 2) has only detections, (b, 2) only annotations.
ANNOTATIONS = """\
a,1,0.1,0.1,0.5,0.9,1,0
a,1,0.1,0.1,0.5,0.9,3,0
a,1,0.6,0.1,0.9,0.9,2,1
b,1,0.2,0.2,0.8,0.8,2,0
b,2,0.2,0.2,0.8,0.8,3,0
"""
PERSON_BOXES = """\
a,1,0.1,0.1,0.5,0.9,,0.95
a,1,0.3,0.1,0.4,0.9,,0.50
a,2,0.1,0.1,0.5,0.9,,0.85
b,1,0.2,0.2,0.8,0.8,,0.90
b,2,0.2,0.2,0.8,0.8,,0.30
"""


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in "ab":
        write_video(tmp_path / "videos" / f"{name}.mp4", num_frames=90, sound=tone(440, 3, 48000))
    (tmp_path / "gt.csv").write_text(ANNOTATIONS)
    (tmp_path / "boxes.csv").write_text(PERSON_BOXES)
    (tmp_path / "map.txt").write_text("1: sit\n2: run\n3: sing\n")
    register_ava_csv(
        NAME,
        str(tmp_path / "gt.csv"),
        str(tmp_path / "map.txt"),
        str(tmp_path / "videos"),
        person_boxes=str(tmp_path / "boxes.csv"),
    )
    yield tmp_path
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def build_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(
        [
            *("DATASETS.TRAIN", (NAME,), "DATASETS.TEST", (NAME,), "DATALOADER.NUM_WORKERS", 0),
            *("MODEL.META_ARCHITECTURE", "ActionDetector", "INPUT.KIND", "keyframes"),
            *("MODEL.LOAD_PROPOSALS", True, "MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 3),
            *("INPUT.CLIP.NUM_FRAMES", 4, "INPUT.AUDIO.NUM_FRAMES", 16, "INPUT.AUDIO.NUM_MELS", 8),
            *("INPUT.MIN_SIZE_TRAIN", (48,), "INPUT.MIN_SIZE_TEST", 48),
            *("DATALOADER.ASPECT_RATIO_GROUPING", False, "SOLVER.IMS_PER_BATCH", 2),
            *options,
        ]
    )
    return cfg


def boxes_per_keyframe(loader) -> dict[str, int]:
    return {clip["image_id"]: len(clip["proposals"]) for (clip,) in loader}


def test_every_keyframe_with_a_confident_box_is_tested_once(dataset):
    loader = build_clip_test_loader(build_cfg(), NAME)
    assert boxes_per_keyframe(loader) == {"a,1": 1, "a,2": 1, "b,1": 1}
    loader = build_clip_test_loader(build_cfg("DATASETS.PROPOSAL_MIN_SCORE_TEST", 0.3), NAME)
    assert boxes_per_keyframe(loader) == {"a,1": 2, "a,2": 1, "b,1": 1, "b,2": 1}


def test_ground_truth_boxes_serve_when_asked_for(dataset):
    loader = build_clip_test_loader(build_cfg("MODEL.LOAD_PROPOSALS", False), NAME)
    assert boxes_per_keyframe(loader) == {"a,1": 2, "b,1": 1, "b,2": 1}


def test_person_boxes_of_the_config_come_before_the_registered_ones(dataset):
    (dataset / "other.csv").write_text("b,2,0.1,0.1,0.5,0.9,,0.99\n")
    cfg = build_cfg("DATASETS.PROPOSAL_FILES_TEST", (str(dataset / "other.csv"),))
    assert boxes_per_keyframe(build_clip_test_loader(cfg, NAME)) == {"b,2": 1}


def test_training_uses_annotated_keyframes_and_ground_truth_boxes(dataset):
    clips = [clip for batch in islice(build_clip_train_loader(build_cfg()), 6) for clip in batch]
    assert len(clips) == 12
    assert {clip["image_id"] for clip in clips} == {"a,1", "b,1", "b,2"}
    assert all("proposals" not in clip for clip in clips)
    actions = {c["image_id"]: c["instances"].gt_actions.tolist() for c in clips}
    assert actions["a,1"] == [[1, 0, 1], [0, 1, 0]]


def test_training_adds_detected_boxes_when_asked_for(dataset):
    cfg = build_cfg(
        "DATASETS.PROPOSAL_FILES_TRAIN",
        (str(dataset / "boxes.csv"),),
        "DATASETS.PROPOSAL_MIN_SCORE_TRAIN",
        0.9,
    )
    batches = islice(build_clip_train_loader(cfg), 6)
    found = {clip["image_id"]: len(clip["proposals"]) for batch in batches for clip in batch}
    assert found == {"a,1": 1, "b,1": 1, "b,2": 0}


def test_every_nth_keyframe_of_a_video(dataset):
    cfg = build_cfg("DATASETS.KEYFRAME_STRIDE_TRAIN", 2, "DATASETS.KEYFRAME_STRIDE_TEST", 2)
    clips = [clip for batch in islice(build_clip_train_loader(cfg), 4) for clip in batch]
    assert {clip["image_id"] for clip in clips} == {"a,1", "b,1"}
    # The annotations of AVA are scored as a whole; those of tubes as they are loaded.
    with pytest.raises(ConfigError, match="KEYFRAME_STRIDE_TEST is 2"):
        build_clip_test_loader(cfg, NAME)
    MetadataCatalog.get(NAME).__dict__["evaluator_type"] = "tubes"
    loader = build_clip_test_loader(cfg, NAME)
    assert boxes_per_keyframe(loader) == {"a,1": 1, "b,1": 1}  # no keyframe for the boxes of a,2


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_that_cannot_be_read_are_replaced_in_training(dataset, workers):
    (dataset / "videos" / "b.mp4").write_bytes(b"broken")
    options = ("DATALOADER.NUM_WORKERS", workers, "DATALOADER.MAX_BAD_CLIPS", 1.0)
    loader = build_clip_train_loader(build_cfg(*options))
    clips = [clip for batch in islice(loader, 2) for clip in batch]
    assert [clip["image_id"] for clip in clips] == ["a,1"] * 4


def test_too_many_bad_clips_end_the_training(dataset):
    for name in "ab":
        (dataset / "videos" / f"{name}.mp4").write_bytes(b"broken")
    with pytest.raises(VideoDecodeError, match="MAX_BAD_CLIPS"):
        next(iter(build_clip_train_loader(build_cfg())))


def test_no_box_at_all_is_an_error(dataset):
    with pytest.raises(ValueError, match="PROPOSAL_MIN_SCORE_TEST"):
        build_clip_test_loader(build_cfg("DATASETS.PROPOSAL_MIN_SCORE_TEST", 0.99), NAME)


def test_model_with_too_few_classes_is_an_error(dataset):
    cfg = build_cfg("MODEL.ROI_ACTION_HEAD.NUM_CLASSES", 2)
    for build in (build_clip_train_loader, lambda cfg: build_clip_test_loader(cfg, NAME)):
        with pytest.raises(ValueError, match="NUM_CLASSES 3"):
            build(cfg)


def test_attaching_boxes_leaves_the_dicts_alone():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1]], np.float32)
    boxes_of = {("a", 1.0): (boxes, np.array([0.9, 0.2], np.float32))}
    dicts = [{"video_id": "a", "timestamp": 1.0}, {"video_id": "a", "timestamp": 2.0}]
    first, second = attach_person_boxes(dicts, boxes_of, 0.5)
    np.testing.assert_array_equal(first["proposals"]["boxes"], boxes[:1])
    assert second["proposals"]["boxes"].shape == (0, 4)
    assert "proposals" not in dicts[0]


def test_swapped_audio_comes_from_another_video():
    dicts = [
        dict(video_id=v, file_name=v, image_id=f"{v},{t}", timestamp=t, offset=0, source="x")
        for v, count in (("a", 1), ("b", 6), ("c", 2))
        for t in range(count)
    ]
    swap_audio(dicts)
    assert all(d["audio_from"]["file_name"] != d["video_id"] for d in dicts)
    with pytest.raises(ValueError, match="two videos"):
        swap_audio(dicts[:1])


def test_synchronisation_without_negatives_is_an_error(dataset):
    cfg = build_cfg("MODEL.AVSYNC.ENABLED", True)
    with pytest.raises(ValueError, match=r"Set INPUT\.AUDIO\.NEGATIVES True"):
        build_clip_train_loader(cfg)
    cfg.INPUT.AUDIO.NEGATIVES = True
    assert "audio_negative" in next(iter(build_clip_train_loader(cfg)))[0]


def test_an_unknown_kind_is_an_error(dataset):
    with pytest.raises(ValueError, match=r"INPUT\.KIND must be keyframes, clips, frames"):
        build_clip_test_loader(build_cfg("INPUT.KIND", "movies"), NAME)


def test_keyframes_are_not_for_a_classifier(dataset):
    with pytest.raises(ValueError, match="is of keyframes with person boxes, which is not for"):
        build_clip_test_loader(build_cfg("INPUT.KIND", "clips"), NAME)


@pytest.mark.parametrize("train", [True, False], ids=["train", "test"])
def test_dicts_are_held_serialised_only(dataset, train):
    """Loader workers share the serialised buffer; of Python objects each would make a copy."""

    def alive() -> int:
        return sum(type(x) is dict and "annotations" in x for x in gc.get_objects())

    cfg, before = build_cfg(), alive()
    loader = build_clip_train_loader(cfg) if train else build_clip_test_loader(cfg, NAME)
    gc.collect()
    assert alive() == before
    assert len(next(iter(loader))) > 0
    assert gc.isenabled()


def test_garbage_collection_goes_on_after_an_error(dataset):
    (dataset / "gt.csv").write_text("no rows")
    with pytest.raises(ValueError, match="1 columns"):
        build_clip_train_loader(build_cfg())
    assert gc.isenabled()


def sample(*options) -> list[int]:
    loader = build_clip_train_loader(build_cfg(*options))
    return list(islice(loader.build_sampler(loader.seed), 40))


def test_the_training_order_depends_on_the_seed_alone(dataset):
    """Without a SEED, -1, on the random state of the process."""
    orders = []
    for state in (0, 1, 0):
        np.random.seed(state)
        orders.append(sample("SEED", -1))
    assert orders[0] == orders[2] != orders[1]
    assert sample("SEED", 7) == sample("SEED", 7) != sample("SEED", 8)


def test_other_samplers_of_detectron2_are_seeded_too(dataset):
    options = ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "SEED")
    assert sample(*options, 7) == sample(*options, 7) != sample(*options, 8)


@pytest.mark.parametrize(
    "options, message",
    [
        (("DATALOADER.SAMPLER_TRAIN", "None"), "SAMPLER_TRAIN 'None' cannot be used"),
        (("SOLVER.IMS_PER_BATCH", 0), "IMS_PER_BATCH is 0; it must be a positive multiple"),
        (("DATASETS.TRAIN", ()), "DATASETS.TRAIN is empty"),
    ],
)
def test_what_gives_no_batch_is_refused(dataset, options, message):
    with pytest.raises(AVSFError, match=message):
        next(iter(build_clip_train_loader(build_cfg(*options))))


def test_dataset_without_persons_is_refused(dataset, monkeypatch):
    monkeypatch.setattr(DatasetCatalog, "get", lambda name: [{"annotations": []}])
    with pytest.raises(AVSFError, match=f"'{NAME}' has no keyframes with persons"):
        build_clip_train_loader(build_cfg())


def test_dataset_smaller_than_batch_and_workers_is_repeated(dataset):
    (dataset / "gt.csv").write_text("a,1,0.1,0.1,0.5,0.9,1,0\n")
    loader = build_clip_train_loader(build_cfg("DATALOADER.NUM_WORKERS", 3))
    assert [clip["image_id"] for batch in islice(loader, 4) for clip in batch] == ["a,1"] * 8
