import multiprocessing
import os
import pickle
import signal
import sys

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ava_tools import detect_persons as tool
from ava_tools.inference import tracking
from ava_tools.inference.person_boxes import (
    Video,
    search_seconds,
    videos_of_dataset,
    videos_of_path,
    write_person_boxes,
)
from avsf_det.data import AnnotationError, register_ava_csv
from avsf_det.data.datasets import register_tubes
from avsf_det.engine import person_detector
from avsf_det.structures.ava_csv import read_person_boxes

from ..media import read_number, write_video

SETTINGS = {"detector": "painted numbers"}


class NumberReader:
    """Detector that finds a person with the right edge at (n + 1) / 100 in frame n, and in odd
    frames another that is too narrow for the csv."""

    weights = "none"

    def __init__(self, cfg=None, stop_after=10**9, stop=None):
        self.batches: list[list[int]] = []
        self.stop_after, self.stop = stop_after, stop

    def __call__(self, frames):
        if len(self.batches) == self.stop_after:
            self.stop()
        numbers = [read_number(frame) for frame in frames]
        self.batches.append(numbers)
        narrow = [0.5, 0, 0.50001, 1, 0.8]
        return [
            np.array([[0, 0.25, (n + 1) / 100, 1, 0.9], narrow][: n % 2 + 1], np.float32)
            for n in numbers
        ]


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos" / "more").mkdir(parents=True)
    write_video(tmp_path / "videos" / "a.mp4", num_frames=50, fps=10)
    write_video(tmp_path / "videos" / "more" / "b.mp4", num_frames=30, fps=10)
    return videos_of_path(str(tmp_path / "videos"))


def write(videos, output, detector=None, **options):
    detector = detector or NumberReader()
    options = {"settings": SETTINGS, "batch_size": 2, **options}
    return write_person_boxes(detector, videos, str(output), **options)


def interrupt():
    raise KeyboardInterrupt


def test_each_keyframe_of_a_folder_has_the_persons_of_its_frame(videos, tmp_path):
    detector = NumberReader()
    found, bad = write(videos, tmp_path / "new" / "boxes.csv", detector)
    assert detector.batches == [[0, 10], [20, 30], [40], [0, 10], [20]]
    assert bad == []
    assert (tmp_path / "new" / "boxes.csv").read_text().splitlines() == [
        "a,0000,0.0000,0.2500,0.0100,1.0000,,0.9000",
        "a,0001,0.0000,0.2500,0.1100,1.0000,,0.9000",
        "a,0002,0.0000,0.2500,0.2100,1.0000,,0.9000",
        "a,0003,0.0000,0.2500,0.3100,1.0000,,0.9000",
        "a,0004,0.0000,0.2500,0.4100,1.0000,,0.9000",
        "b,0000,0.0000,0.2500,0.0100,1.0000,,0.9000",
        "b,0001,0.0000,0.2500,0.1100,1.0000,,0.9000",
        "b,0002,0.0000,0.2500,0.2100,1.0000,,0.9000",
    ]
    assert os.listdir(tmp_path / "new") == ["boxes.csv"]
    read = read_person_boxes(str(tmp_path / "new" / "boxes.csv"))
    assert read.keys() == found.keys()
    for key, (boxes, scores) in read.items():
        np.testing.assert_array_equal(np.column_stack([boxes, scores]), found[key])


def test_seconds_that_are_not_whole_are_read_back_as_they_were(videos, tmp_path):
    found, _ = write(videos[:1], tmp_path / "boxes.csv", rate=3.0)
    seconds = [second for _, second in found]
    assert seconds == [i / 3 for i in range(15)]
    assert [s for _, s in read_person_boxes(str(tmp_path / "boxes.csv"))] == seconds


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("torn", [b"", b'["b", 1, [[2.0, [[0.0, 0.', b"\xff"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(videos, tmp_path, done, torn):
    write(videos, tmp_path / "whole.csv")
    output = tmp_path / "boxes.csv"
    with pytest.raises(KeyboardInterrupt):
        write(videos, output, NumberReader(stop_after=done, stop=interrupt))
    assert not output.exists()
    with open(f"{output}.partial", "ab") as file:
        file.write(torn)
    detector = NumberReader()
    write(videos, output, detector)
    assert len(detector.batches) == 5 - done
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not os.path.exists(f"{output}.partial")


def test_a_killed_run_goes_on_to_the_same_bytes(videos, tmp_path):
    write(videos, tmp_path / "whole.csv")
    output = tmp_path / "boxes.csv"
    detector = NumberReader(stop_after=3, stop=lambda: os.kill(os.getpid(), signal.SIGKILL))
    process = multiprocessing.get_context("fork").Process(
        target=write, args=(videos, output, detector)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert not output.exists()
    detector = NumberReader()
    write(videos, output, detector)
    assert detector.batches == [[0, 10], [20]]
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_partial_file_of_which_not_even_the_first_line_is_whole_counts_as_none(videos, tmp_path):
    (tmp_path / "boxes.csv.partial").write_text('{"detec')
    detector = NumberReader()
    write(videos, tmp_path / "boxes.csv", detector)
    assert len(detector.batches) == 5


def test_results_of_other_settings_are_not_mixed_nor_overwritten(videos, tmp_path):
    output = tmp_path / "boxes.csv"
    with pytest.raises(KeyboardInterrupt):
        write(videos, output, NumberReader(stop_after=1, stop=interrupt))
    with pytest.raises(AnnotationError, match=r'partial: was made with .*"rate": 1.0'):
        write(videos, output, rate=2.0)
    write(videos, output)
    with pytest.raises(AnnotationError, match=r"boxes\.csv: is there already"):
        write(videos, output)


def test_what_was_found_of_other_videos_or_keyframes_is_not_used(videos, tmp_path):
    output, shorter = tmp_path / "boxes.csv", Video("b", videos[1].path, 0.0, (0.0, 2.0))
    with pytest.raises(KeyboardInterrupt):
        write(videos, output, NumberReader(stop_after=4, stop=interrupt))
    detector = NumberReader()
    found, _ = write([shorter], output, detector)
    assert detector.batches == [[0, 20]]
    assert list(found) == [("b", 0.0), ("b", 2.0)]


@pytest.mark.parametrize(
    "seen, words", [((), "in any video"), (("a",), "in 1 videos, b,"), (("a", "b"), "")]
)
def test_videos_without_a_person_are_named(videos, tmp_path, monkeypatch, capsys, seen, words):
    class Finder(NumberReader):
        def __call__(self, frames):
            # Frame 40 is of video a alone, frame 0 of both.
            person = np.array([[0, 0, 1, 1, 0.9]], np.float32)
            first = {"a": 40, "b": 0}
            return [person[: read_number(f) in [first[x] for x in seen]] for f in frames]

    monkeypatch.setattr(person_detector, "PersonDetector", Finder)
    output = tmp_path / "boxes.csv"
    assert tool.main(["--input", str(tmp_path / "videos"), "--output", str(output)]) == 0
    shown = capsys.readouterr()
    assert f"{len(seen) + (seen == ('a', 'b'))} persons in 8 keyframes" in shown.out
    assert (f"nobody was found {words}" in shown.err) if words else "nobody" not in shown.err
    assert "keyframes: 100%" in shown.err and "8/8" in shown.err


def test_bad_videos_are_named_and_the_others_done(videos, tmp_path, monkeypatch, capsys):
    (tmp_path / "videos" / "aa.mp4").write_bytes(b"broken")
    whole = (tmp_path / "videos" / "more" / "b.mp4").read_bytes()
    monkeypatch.setattr(person_detector, "PersonDetector", NumberReader)
    output = tmp_path / "boxes.csv"
    arguments = ["--input", str(tmp_path / "videos"), "--output", str(output), "--batch-size", "2"]
    assert tool.main(arguments) == 1
    errors = capsys.readouterr().err
    assert "error: 1 of 3 videos" in errors and "aa.mp4: file: cannot be opened" in errors
    keyframes = list(read_person_boxes(str(output)))
    assert keyframes == [*(("a", s) for s in range(5)), *(("b", s) for s in range(3))]
    (tmp_path / "videos" / "aa.mp4").write_bytes(whole)
    assert tool.main(arguments) == 0
    keyframes = list(read_person_boxes(str(output)))
    assert keyframes == [
        *(("a", s) for s in range(5)),
        *(("aa", s) for s in range(3)),
        *(("b", s) for s in range(3)),
    ]


def test_what_lies_before_the_damage_of_a_video_is_kept(videos, tmp_path):
    path = tmp_path / "cut.mkv"
    write_video(path, num_frames=100, fps=10)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found, (error,) = write(videos_of_path(str(path)), tmp_path / "boxes.csv")
    assert "cut.mkv" in str(error)
    assert 0 < len(found) < 10
    assert list(found) == [("cut", s) for s in range(len(found))]
    assert len(read_person_boxes(str(tmp_path / "boxes.csv"))) == len(found)


class Walker:
    """One person, with the left edge at n / 100 in frame n, who is missed in frame 20."""

    weights = "none"

    def __init__(self, cfg=None, stop_after=10**9):
        self.searched, self.stop_after = [], stop_after

    def __call__(self, frames):
        numbers = [read_number(frame) for frame in frames]
        if len(self.searched) + len(numbers) > self.stop_after:
            raise KeyboardInterrupt
        self.searched += numbers
        boxes = [np.array([[n / 100, 0, 0.9, 1, 0.9 - n / 1000]], np.float32) for n in numbers]
        return [box[: n != 20] for n, box in zip(numbers, boxes, strict=True)]


@pytest.fixture
def linked(monkeypatch):
    """The first box is person 0; inference/test_tracking.py tests the tracker."""
    monkeypatch.setattr(
        tracking, "link_persons", lambda seconds, boxes: [np.arange(len(b)) for b in boxes]
    )


ROWS = [  # of a person that is missed at 2 s
    "a,0000,0.0000,0.0000,0.9000,1.0000,0,0.9000",
    "a,0001,0.1000,0.0000,0.9000,1.0000,0,0.8900",
    "a,0002,0.2000,0.0000,0.9000,1.0000,0,0.8780",
    "a,0003,0.3000,0.0000,0.9000,1.0000,0,0.8700",
    "a,0004,0.4000,0.0000,0.9000,1.0000,0,0.8600",
]


def test_tracked_persons_have_ids_and_are_not_missed(videos, linked, tmp_path):
    options = {"rate": 1, "person_rate": 5}
    detector, output = Walker(), tmp_path / "boxes.csv"
    found, _ = write(videos[:1], output, detector, **options)
    assert detector.searched == list(range(0, 41, 2))
    assert output.read_text().splitlines() == ROWS
    assert all(boxes.shape == (1, 6) for boxes in found.values())
    # At a higher rate of keyframes, all boxes are written.
    write(videos[:1], tmp_path / "all.csv", Walker(), **{**options, "rate": 5})
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 25

    # A run that is stopped resumes to the same bytes, and not with other settings.
    output = tmp_path / "again.csv"
    with pytest.raises(KeyboardInterrupt):
        write(videos[:1], output, Walker(stop_after=12), **options)
    with pytest.raises(AnnotationError, match=r'partial: was made with .*"person_rate": 5'):
        write(videos[:1], output, **{**options, "person_rate": None})
    detector = Walker()
    write(videos[:1], output, detector, **options)
    assert detector.searched == list(range(24, 41, 2))
    assert output.read_text().splitlines() == ROWS


def test_searches_divide_the_time_between_keyframes():
    assert search_seconds([3.0, 1.0], None) == [3, 1]
    assert search_seconds([902.0, 900.0, 900.5], 4) == [900 + k / 4 for k in range(9)]
    assert search_seconds([0, 0.3], 5) == [0, 0.15, 0.3]  # rather more often than less
    assert search_seconds([], 5) == [] and search_seconds([2], 5) == [2]


@pytest.fixture
def dataset(videos, tmp_path):
    (tmp_path / "gt.csv").write_text(
        "a,11,0,0.25,0.11,1,1,0\na,13,0,0.25,0.31,1,1,0\na,13,0,0.25,0.31,1,2,0\n"
        "a,99,0.5,0.5,1,1,1,0\n"
    )
    name = "detect_persons_test_set"
    register_ava_csv(
        name,
        str(tmp_path / "gt.csv"),
        {1: "sit", 2: "sing"},
        str(tmp_path / "videos"),
        offset=10,
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_keyframes_of_a_data_set(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(person_detector, "PersonDetector", NumberReader)
    output = tmp_path / "boxes.csv"
    assert tool.main(["--dataset", dataset, "--output", str(output)]) == 0
    assert output.read_text().splitlines() == [
        "a,0011,0.0000,0.2500,0.1100,1.0000,,0.9000",
        "a,0013,0.0000,0.2500,0.3100,1.0000,,0.9000",
    ]
    shown = capsys.readouterr().out
    assert "lasts 5 s; 1 of the 3 keyframes lie after its end" in shown
    assert "AP 0.667; 2 of 3 annotated persons found, 0 of 2 boxes match no person" in shown


def test_tracks_through_the_keyframes_of_a_data_set(dataset, linked, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(person_detector, "PersonDetector", Walker)
    output = tmp_path / "boxes.csv"
    arguments = ["--dataset", dataset, "--output", str(output)]
    with pytest.raises(SystemExit):
        tool.main([*arguments, "--person-rate", "2"])
    assert "--person-rate is for --track" in capsys.readouterr().err
    assert tool.main([*arguments, "--track", "--person-rate", "2"]) == 0
    # Keyframes at 11 and 13 s of the csv's clock, 1 and 3 s of the file.
    rows = [row.replace("a,0003", "a,0013").replace("a,0001", "a,0011") for row in ROWS[1:4:2]]
    assert output.read_text().splitlines() == rows
    assert "frames: 100%" in capsys.readouterr().err

    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.setattr(person_detector, "PersonDetector", Walker)
    output.unlink()
    assert tool.main([*arguments, "--track"]) == 1
    assert "pip install --no-deps trackers" in capsys.readouterr().err
    assert not os.path.exists(f"{output}.partial")


def test_each_frame_of_tubes_has_the_persons_of_its_frame(videos, tmp_path, caplog):
    data = {"labels": ["sit"], "train_videos": [[]], "test_videos": [["more/b"]]}
    data |= {"nframes": {"more/b": 33}, "resolution": {"more/b": (48, 96)}}
    (tmp_path / "gt.pkl").write_bytes(pickle.dumps({**data, "gttubes": {"more/b": {}}}))
    name = "detect_persons_tubes"
    register_tubes(name, str(tmp_path / "gt.pkl"), "test", str(tmp_path / "videos"))
    write(videos_of_dataset(name), tmp_path / "boxes.csv", batch_size=4)
    assert "2 of the 33 keyframes lie after its end" in caplog.text  # one is on screen at the end
    read = read_person_boxes(str(tmp_path / "boxes.csv"))
    assert [*read] == [("more-b", frame) for frame in range(1, 32)]
    edges = [boxes[0, 2] for boxes, _ in read.values()]
    np.testing.assert_allclose(edges[:30], np.arange(1, 31) / 100, atol=1e-6)
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_all_seconds_that_may_be_annotated_are_looked_at(dataset):
    MetadataCatalog.get(dataset).__dict__["valid_sec"] = (10.0, 14.0)
    (video,) = videos_of_dataset(dataset)
    assert video == Video("a", video.path, 10, (10.0, 11.0, 12.0, 13.0, 14.0))


def test_what_is_no_video_or_data_set_is_named(videos, tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "boxes.csv")]
    assert tool.main([*arguments, "--dataset", "nothing"]) == 1
    assert "no dataset is registered as 'nothing'" in capsys.readouterr().err
    with pytest.raises(AnnotationError, match="kinetics400_val' is of clips"):
        videos_of_dataset("kinetics400_val")
    (tmp_path / "empty").mkdir()
    for path in ("empty", "nothing.mp4"):
        with pytest.raises(AnnotationError, match=f"{path}: no video there"):
            videos_of_path(str(tmp_path / path))
    (tmp_path / "videos" / "b.avi").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"b\.mp4: has the video id of .*b\.avi"):
        videos_of_path(str(tmp_path / "videos"))
    (tmp_path / "videos" / "b.avi").rename(tmp_path / "videos" / "b,c.avi")
    with pytest.raises(AnnotationError, match=r"b,c\.avi: a video id has no comma"):
        videos_of_path(str(tmp_path / "videos"))
