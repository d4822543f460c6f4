"""The tool that writes Mini-AVA, on sets of a few short movies."""

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.make_mini_dataset import make_mini_dataset, write_movie
from avsf_det.data.mini.figures import MOUTH_COLOR
from avsf_det.data.mini.script import ACTIONS, FPS, HEIGHT, WIDTH, Movie, plan_movie

ANNOTATIONS = {
    "ava_mini_action_list.pbtxt",
    "ava_mini_train.csv",
    "ava_mini_train_boxes.csv",
    "ava_mini_val.csv",
    "ava_mini_val_boxes.csv",
    "ava_mini_val_excluded_timestamps.csv",
}


def decode(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Frames (T, H, W, 3) uint8, sound (samples,) of the first channel, and its rate; the first of
    both at second 0 by their own time stamps."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    with av.open(str(path)) as container:
        chunks = list(container.decode(audio=0))
    assert pictures[0].time == 0
    rate = chunks[0].sample_rate
    wave = np.concatenate([chunk.to_ndarray()[0] for chunk in chunks])
    wave = wave[round(-chunks[0].time * rate) :] if chunks[0].time < 0 else wave
    return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures]), wave, rate


def solo(programs: tuple[str, str], cast: tuple[str, str], arms: str) -> Movie:
    """A movie of one shot in which only the one who does ``arms`` appears, standing."""
    movie = plan_movie("solo", 0, cast, [programs])
    shot = movie.shots[0]
    actor = next(actor for actor in shot.actors if actor.arms == arms)
    actor = replace(actor, x=WIDTH / 2, legs="stand", speed=0.0)
    shot = replace(shot, actors=(actor,), labels=(("stand",),))
    return replace(movie, shots=(shot,), sample_rate=48000, channels=1)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    output = tmp_path_factory.mktemp("datasets") / "ava_mini"
    return output, make_mini_dataset(output, num_train=2, num_val=1, num_shots=2, workers=2)


def test_writes_the_files_of_an_ava_data_set(mini: tuple[Path, dict[str, str]]):
    output, digests = mini
    assert {path.name for path in (output / "annotations").iterdir()} == ANNOTATIONS
    for name, digest in digests.items():
        assert hashlib.sha256((output / "annotations" / name).read_bytes()).hexdigest() == digest
    movies = {str(path.relative_to(output)) for path in output.glob("videos/**/*.*")}
    assert movies == {
        "videos/train/mini_train_0000.mp4",
        "videos/train/mini_train_0001.mp4",
        "videos/val/mini_val_0000.mp4",
    }
    assert (output / "contact_sheet.png").stat().st_size > 10_000


def test_movies_are_h264_at_30_fps_with_aac(mini: tuple[Path, dict[str, str]]):
    for path in mini[0].glob("videos/*/*.mp4"):
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert video.codec_context.name == "h264"
            assert (video.width, video.height, video.pix_fmt) == (WIDTH, HEIGHT, "yuv420p")
            assert video.average_rate == FPS
            assert video.frames == 8.5 * FPS
            assert audio.codec_context.name == "aac"
            assert audio.rate in (44100, 48000)
            assert float(audio.duration * audio.time_base) == pytest.approx(8.5, abs=0.05)


def test_annotations_point_into_the_movies(mini: tuple[Path, dict[str, str]]):
    for split, seconds in (("train", {2, 3, 6, 7}), ("val", {2, 3, 4, 6, 7})):
        with open(mini[0] / "annotations" / f"ava_mini_{split}.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert {len(row) for row in rows} == {8}
        assert {int(row[1]) for row in rows} == seconds
        for row in rows:
            assert (mini[0] / "videos" / split / f"{row[0]}.mp4").is_file()
            x1, y1, x2, y2 = map(float, row[2:6])
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1
            assert 1 <= int(row[6]) <= len(ACTIONS)


def test_goes_on_where_it_stopped_and_starts_anew_when_asked_otherwise(tmp_path: Path):
    output = tmp_path / "ava_mini"
    arguments = {"num_train": 1, "num_val": 1, "num_shots": 1, "workers": 1}
    make_mini_dataset(output, **arguments)
    first, second = sorted(output.glob("videos/*/*.mp4"))
    untouched, redone = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    second.with_name(f".part-{second.name}").write_bytes(b"half a file")

    make_mini_dataset(output, **arguments)
    assert first.stat().st_mtime_ns == untouched
    assert second.read_bytes() == redone
    assert not list(output.rglob(".part-*"))

    make_mini_dataset(output, **(arguments | {"num_train": 0, "seed": 1}))
    assert [path.name for path in output.glob("videos/*/*.mp4")] == [second.name]
    assert second.read_bytes() != redone


def test_never_writes_into_a_strangers_folder(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a generated set"):
        make_mini_dataset(tmp_path, num_train=1, num_val=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("kind", ["sing", "talk"])
def test_voice_follows_the_mouth(tmp_path: Path, kind: str):
    write_movie(solo(("heard", "none"), (kind, "hit"), "speak"), tmp_path / "solo.mp4")
    images, wave, rate = decode(tmp_path / "solo.mp4")
    mouth = (np.abs(images.astype(int) - MOUTH_COLOR).max(3) < 60).sum((1, 2)).astype(float)
    per_frame = rate // FPS
    loudness = wave[: len(mouth) * per_frame].reshape(len(mouth), per_frame).std(1)
    lags = range(-5, 6)
    match = [np.corrcoef(mouth[5:-5], np.roll(loudness, lag)[5:-5])[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(match))]) <= 1
    assert max(match) > 0.6


@pytest.mark.parametrize("kind", ["hit", "push"])
def test_blow_is_heard_when_the_post_gives_way(tmp_path: Path, kind: str):
    movie = solo(("none", "heard"), ("sing", kind), "strike")
    write_movie(movie, tmp_path / "solo.mp4")
    images, wave, rate = decode(tmp_path / "solo.mp4")
    actor = movie.shots[0].actors[0]
    foot = round(actor.x + actor.side * 0.51 * actor.look.height)
    post = images[:, 50:100, foot - 3 : foot + 4].astype(int)
    change = np.abs(np.diff(post, axis=0)).mean((1, 2, 3))
    for contact, _ in actor.beats:
        frame = round(contact * FPS)
        seen = (frame - 4 + np.argmax(change[frame - 5 : frame + 4])) / FPS
        first = round((contact - 0.1) * rate)
        near = np.abs(wave[first : first + round(0.2 * rate)])
        heard = (first + np.argmax(near > 0.3 * near.max())) / rate
        assert abs(heard - contact) < 1 / FPS
        assert abs(heard - seen) <= 1.5 / FPS
