import tracemalloc
from itertools import islice

import numpy as np
import pytest

from ava_tools.action_demo import demo as action_demo
from ava_tools.action_demo.demo import ActionDemo
from ava_tools.support.visualizer import COLORS
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.engine.predictor import ClipPredictor, PredictorError

from ...engine import actions
from ...media import tone, write_video

pytestmark = pytest.mark.usefixtures("few_blocks")
PERSON = np.array([[0.25, 0.25, 0.75, 0.75, 0.9]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("actions")
    actions.make_dataset(path)
    yield path
    actions.forget()


@pytest.fixture(scope="module")
def predictor(folder):
    detector = lambda frames: [PERSON for _ in frames]  # noqa: E731
    return ClipPredictor(actions.make_model(folder), person_detector=detector)


@pytest.fixture
def video(folder):
    return folder / "videos" / "a.mp4"


def has_box(frame: np.ndarray) -> bool:
    """Return whether a vertical line of the first person's colour crosses the middle of a frame."""
    row = frame[160].astype(int)  # the image has 320 rows
    return bool((np.abs(row - COLORS[0]).max(axis=1) < 60).any())


def test_the_video_has_boxes_audio_and_spectrogram(predictor, video, tmp_path):
    printed = ActionDemo(predictor, min_score=2).run(video, tmp_path / "out.mp4", {1.0: PERSON})
    assert printed == f"{tmp_path / 'out.mp4'}: keyframes: 1, persons: 1"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    with VideoReader(tmp_path / "out.mp4") as drawn, VideoReader(video) as source:
        assert (drawn.width, drawn.height) == (640, 320 + 64)
        assert (drawn.fps, drawn.duration) == (source.fps, source.duration)
        frames = drawn.get_frames_played_at([i / actions.FPS for i in range(30)])
        audio = [
            reader.get_samples_played_in_range(0, 3, 16000).numpy() for reader in (drawn, source)
        ]
    np.testing.assert_allclose(*audio, atol=1e-4)  # copied
    # Frames up to a second from the keyframe show it, the others nothing.
    assert [has_box(frame) for frame in frames] == [i <= 20 for i in range(30)]
    # The mark walks through the spectrogram, and starts again with each multiple of the interval.
    marks = [frame[330:370].astype(int).sum(axis=(0, 2)).argmax() for frame in frames[6:15]]
    assert np.all(np.diff(marks) > 20)
    assert abs(marks[4] - 320) < 4


def test_nearest_is_a_matter_of_time(predictor, video, tmp_path):
    left, right = PERSON * [1, 1, 0.5, 1, 1], PERSON * [2.4, 1, 1.2, 1, 1]
    ActionDemo(predictor, interval=0.5, min_score=2).run(
        video, tmp_path / "out.mp4", {1.0: left, 1.5: right}
    )
    with VideoReader(tmp_path / "out.mp4") as drawn:
        frames = drawn.get_frames_played_at([i / actions.FPS for i in range(30)])
    where = [
        "".join(
            side for side, x in (("l", slice(0, 300)), ("r", slice(340, 640))) if has_box(f[:, x])
        )
        for f in frames
    ]
    assert where == [""] * 5 + ["l"] * 8 + ["r"] * 8 + [""] * 9


def test_scores_are_kept_if_asked_for_and_drawn_from_again(predictor, video, tmp_path, monkeypatch):
    output = tmp_path / "out.mp4"
    first = ActionDemo(predictor, keep_scores=True)
    first.run(video, output, offset=900)
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.jsonl", "out.csv"}
    lines = (tmp_path / "out.jsonl").read_bytes()
    assert lines.count(b"\n") == 3
    assert (tmp_path / "out.csv").read_text().startswith("a,0900,0.25000,")
    assert "is there already" in first.run(video, output)
    output.unlink()
    monkeypatch.setattr(predictor, "_predict", None)  # the model is not needed any more
    ActionDemo(predictor, min_score=0.9).run(video, output)
    assert (tmp_path / "out.jsonl").read_bytes() == lines
    output.unlink()
    with pytest.raises(PredictorError, match=r"out.jsonl:1: of a run with another"):
        ActionDemo(predictor, interval=0.5).run(video, output)


def test_files_of_the_user_are_kept(predictor, video, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("a,0001,0.25,0.25,0.75,0.75\n")
    with pytest.raises(PredictorError, match=r"boxes.csv: is there, without boxes.jsonl. Delete"):
        ActionDemo(predictor, draw=False).run(video, tmp_path / "boxes.mp4", {1.0: PERSON})
    assert boxes.read_text() == "a,0001,0.25,0.25,0.75,0.75\n"
    assert [*tmp_path.iterdir()] == [boxes]


@pytest.mark.parametrize("killed_in", ["scores", "frames"])
def test_a_killed_run_goes_on_to_the_same_result(
    predictor, video, tmp_path, monkeypatch, killed_in
):
    whole, killed = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    demo = ActionDemo(predictor, interval=0.5, keep_scores=True)
    demo.run(video, whole)
    asked, score = [], predictor._predict

    def watched(mapper, keyframe, *args):
        if killed_in == "scores" and len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(keyframe["timestamp"])
        return score(mapper, keyframe, *args)

    def broken(*args, **kwargs):
        yield from islice(draw(*args, **kwargs), 5)
        raise KeyboardInterrupt

    draw = action_demo.draw_frames
    monkeypatch.setattr(predictor, "_predict", watched)
    if killed_in == "frames":
        monkeypatch.setattr(action_demo, "draw_frames", broken)
    with pytest.raises(KeyboardInterrupt):
        demo.run(video, killed)
    assert not killed.exists()
    part = tmp_path / "killed.part.jsonl"
    if killed_in == "scores":
        part.write_bytes(part.read_bytes() + part.read_bytes()[:50])
    killed_in = ""
    monkeypatch.setattr(action_demo, "draw_frames", draw)
    demo.run(video, killed)
    assert asked == [0, 0.5, 1, 1.5, 2, 2.5]  # each once
    for suffix in (".mp4", ".jsonl", ".csv"):
        assert killed.with_suffix(suffix).read_bytes() == whole.with_suffix(suffix).read_bytes()
    assert not list(tmp_path.glob("*.part.*"))


def test_only_chosen_actions_are_written(predictor, video, tmp_path):
    def panel(**options) -> np.ndarray:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.mp4"
        ActionDemo(predictor, **options).run(video, path, {1.0: PERSON})
        with VideoReader(path) as reader:
            return reader.get_frames_played_at([1.0])[0].astype(int)

    nothing = panel(min_score=1.1)
    three, one, two = (
        np.count_nonzero(np.abs(panel(**options) - nothing).max(axis=2) > 40)
        for options in (
            {"min_score": 0.0},
            {"min_score": 0.0, "classes": ["run"]},
            {"min_score": 0.0, "classes": ["run", "sing"]},
        )
    )
    assert three > 1.2 * two > 1.4 * one > 1000
    with pytest.raises(PredictorError, match="no action 'fly'; there are: sit; run; sing"):
        ActionDemo(predictor, classes=["run", "fly"])


def test_damage_leaves_what_comes_before(predictor, tmp_path):
    path = tmp_path / "cut.mkv"
    write_video(path, num_frames=60, fps=10, size=(64, 128), sound=tone(440, 6, 48000))
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    with pytest.raises(
        VideoDecodeError, match=r"stops at .*; what comes before is in .*\.part\.mp4"
    ):
        ActionDemo(predictor).run(path, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
    assert (tmp_path / "out.part.jsonl").read_text().count("\n") >= 2
    with VideoReader(tmp_path / "out.part.mp4") as drawn:
        assert drawn.duration > 2


def test_what_cannot_be_is_said(predictor, video, tmp_path):
    demo = ActionDemo(predictor)
    with pytest.raises(PredictorError, match=r"a.mp4 is the input"):
        demo.run(video, video)
    with pytest.raises(PredictorError, match="lasts 3 s, but there are boxes for 7 s of it"):
        demo.run(video, tmp_path / "out.mp4", {0.0: PERSON, 7.0: PERSON})
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoDecodeError, match=r"text.mp4: file: cannot be opened"):
        demo.run(tmp_path / "text.mp4", tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


@pytest.mark.parametrize(
    "options",
    [{"num_frames": 1}, {"num_frames": 3}, {"size": (66, 122), "pix_fmt": "yuv444p"}],
    ids=["one frame", "short", "size"],
)
def test_odd_videos(predictor, tmp_path, options):
    path = tmp_path / "in.mp4"
    write_video(path, **{"fps": 10, **options})
    printed = ActionDemo(predictor).run(path, tmp_path / "out.mp4")
    assert printed.endswith("no audio track: the model received silence")
    with VideoReader(path) as source, VideoReader(tmp_path / "out.mp4") as drawn:
        assert drawn.duration == pytest.approx(source.duration)
        assert not drawn.has_audio
        assert drawn.height % 2 == drawn.width % 2 == 0


def test_memory_does_not_grow_with_the_video(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr(
        action_demo,
        "write_video",
        lambda path, frames, *args, **kwargs: path.write_bytes(b"") or [None for _ in frames],
    )

    def peak(seconds: int) -> int:
        path = tmp_path / f"{seconds}.mp4"
        sound = tone(440, seconds, 8000)
        write_video(
            path, num_frames=2 * seconds, fps=2, size=(16, 48), sound=sound, sound_rate=8000
        )
        demo = ActionDemo(predictor, interval=8)
        tracemalloc.start()
        demo.run(path, path.with_suffix(".out.mp4"))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(4)
    assert peak(48) < 1.2 * peak(24)
