"""Exports of Label Studio: sequences of rectangles in videos."""

import copy

import numpy as np
import pytest

from ava_tools.annotation_import.label_studio import is_label_studio, read_label_studio
from avsf_det.structures import AnnotationError

from .conftest import KnownVideos

VIDEOS = KnownVideos({"one.mp4": (200, 100)}, np.arange(250) / 25)
RATE = 24  # frames per second of Label Studio, whatever the file has


def keyframe(frame: int, x: float, enabled: bool = True) -> dict:
    """A keyframe as Label Studio writes it."""
    box = {"x": x, "y": 10, "width": 20, "height": 50, "rotation": 0}
    return {"frame": frame, "enabled": enabled, "time": frame / RATE, **box}


def region(name: str, *sequence: dict, label: str = "Person") -> dict:
    value = {"framesCount": 240, "duration": 9.99, "sequence": [*sequence], "labels": [label]}
    where = {"from_name": "box", "to_name": "video", "type": "videorectangle", "origin": "manual"}
    return {"id": name, "value": value, **where}


def choice(name: str, *actions: str, control: str = "action") -> dict:
    where = {"from_name": control, "to_name": "video", "type": "choices"}
    return {"id": name, "value": {"choices": [*actions]}, **where}


def task(*result: dict, video: str = "/data/upload/1/0a1b2c3d-one.mp4") -> dict:
    annotation = {"id": 5, "was_cancelled": False, "result": [*result]}
    return {"id": 7, "data": {"video": video}, "annotations": [annotation]}


def read(*tasks: dict, **options):
    return read_label_studio("ls.json", [*tasks], VIDEOS, **options)


def test_boxes_are_interpolated_between_keyframes_until_they_are_disabled():
    # Frame 1 is second 0. Visible up to frame 61, second 2.5, and again from frame 97, second 4.
    sequence = keyframe(1, 0), keyframe(49, 40), keyframe(61, 40, False), keyframe(97, 60)
    export = read(task(region("a", *sequence), choice("a", "stir", "talk")))
    found = [(box.second, round(box.box[0], 6), round(box.box[2], 6)) for box in export.boxes]
    later = [(float(second), 0.6, 0.8) for second in range(4, 10)]  # 240 frames end at second 10
    assert found == [(0, 0, 0.2), (1, 0.2, 0.4), (2, 0.4, 0.6), *later]
    assert {box.actions for box in export.boxes} == {("stir", "talk")}
    assert {(box.video, box.person) for box in export.boxes} == {("one.mp4", "0")}
    assert {box.box[1::2] for box in export.boxes} == {(0.1, 0.6)}
    assert dict(export.attributes) == {"action": 2}


def test_labels_are_actions_where_regions_have_nothing_else():
    regions = region("a", keyframe(1, 0, False)), region("b", keyframe(25, 0, False), label="sit")
    export = read(task(*regions))
    assert [(b.second, b.actions, b.person) for b in export.boxes] == [
        (0, ("Person",), "0"),
        (1, ("sit",), "1"),
    ]
    both = task(*regions, choice("a", "stir"))
    assert [box.actions for box in read(both).boxes] == [("stir",), ()]
    assert [box.actions for box in read(both, attributes=["label"]).boxes] == [
        ("Person",),
        ("sit",),
    ]


@pytest.mark.parametrize(
    "video",
    ["one.mp4", "s3://bucket/a/one.mp4", "/data/local-files/?d=a%20b/one.mp4", "a\\one.mp4"],
)
def test_videos_are_found_by_all_names(video):
    assert read(task(region("a", keyframe(1, 0)), video=video)).boxes[0].video == "one.mp4"


def test_what_is_left_out_is_counted():
    cancelled = task(region("a", keyframe(30, 0, False)))
    cancelled["annotations"] *= 2
    cancelled["annotations"].insert(0, {"was_cancelled": True, "result": [region("b")]})
    timeline = {"id": "t", "type": "timelinelabels", "value": {}}
    export = read(cancelled, task(timeline))
    assert dict(export.left_out) == {
        "further annotations of the same task": 1,
        "results of type 'timelinelabels'": 1,
    }
    assert export.boxes == []
    assert "left out 1 shapes or actions between the keyframes of --rate 1" in export.notes[0]
    assert "(first: region 0, frame 29); --rate 9 keeps all" in export.notes[0]  # second 29 / 24


def test_the_rate_of_frames_may_come_from_the_length():
    sequence = [{**keyframe(49, 0), "time": None}]
    value = region("a", *sequence)
    value["value"] |= {"framesCount": 240, "duration": 10.0}
    assert read(task(value)).boxes[0].second == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": []}, r"ls\.json: task 7, region 0: its sequence is \[\]"),
        ({"sequence": [{"frame": 0}]}, "has no frame"),
        ({"sequence": [{"frame": 1, "time": 0.04, "x": "a"}]}, "lacks a number"),
        ({"sequence": [{**keyframe(1, 0), "rotation": 9}]}, "is rotated"),
        ({"sequence": [{**keyframe(1, 0), "time": 0}], "duration": 0}, "has no times"),
        ({"sequence": [keyframe(1, 200)]}, "lies outside the frame"),
    ],
)
def test_what_cannot_be_used_is_named(change, message):
    bad = copy.deepcopy(task(region("a", keyframe(1, 0))))
    bad["annotations"][0]["result"][0]["value"] |= change
    with pytest.raises(AnnotationError, match=message):
        read(bad)
    with pytest.raises(AnnotationError, match="is not in videos"):
        read(task(region("a", keyframe(1, 0)), video="two.mp4"))


def test_other_json_is_not_of_label_studio():
    assert is_label_studio([task()]) and is_label_studio(task())
    assert not any(map(is_label_studio, ([], {}, None, 1, [1], [{"data": 1}])))
