"""The tool that writes the generated datasets, on datasets of a few short videos."""

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from ava_tools.make_mini_dataset import PLANS, main
from ava_tools.mini.annotations import plan_ava
from ava_tools.mini.ava_plan import plan_video
from ava_tools.mini.dataset_folder import write_dataset, write_planned_video
from ava_tools.mini.figures import MOUTH_COLOR
from ava_tools.mini.kinetics import plan_kinetics
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.video_plan import ACTIONS, FPS, HEIGHT, WIDTH, PairModes, VideoPlan
from avsf_det.data.video import VideoReader

ANNOTATIONS = {
    "ava_mini_action_list.pbtxt",
    "ava_mini_train.csv",
    "ava_mini_train_boxes.csv",
    "ava_mini_val.csv",
    "ava_mini_val_boxes.csv",
    "ava_mini_val_excluded_timestamps.csv",
}


def decode(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Frames (T, H, W, 3) uint8, audio (samples,) of the first channel, and its rate; the first of
    both at second 0 by their own time stamps."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        chunks = list(container.decode(audio=0))
    assert frames[0].time == 0
    rate = chunks[0].sample_rate
    wave = np.concatenate([chunk.to_ndarray()[0] for chunk in chunks])
    wave = wave[round(-chunks[0].time * rate) :] if chunks[0].time < 0 else wave
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), wave, rate


def solo(modes: PairModes, actions: tuple[str, str], arms: str) -> VideoPlan:
    """A video of one shot in which only the one who does ``arms`` appears, standing."""
    video = plan_video("solo", 0, actions, [modes])
    shot = video.shots[0]
    actor = next(actor for actor in shot.actors if actor.arms == arms)
    actor = replace(actor, x=WIDTH / 2, legs="stand", speed=0.0)
    shot = replace(shot, actors=(actor,), labels=(("stand",),))
    return replace(video, shots=(shot,), sample_rate=48000, channels=1)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    output = tmp_path_factory.mktemp("datasets") / "ava_mini"
    arguments = ["--num-train", "2", "--num-val", "1", "--workers", "2", "--output", str(output)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PLANS, "ava", partial(plan_ava, num_shots=2))
        assert main(arguments) == 0
    return output, json.loads((output / "manifest.json").read_text())["annotations_sha256"]


def test_writes_the_files_of_an_ava_data_set(mini: tuple[Path, dict[str, str]]):
    output, digests = mini
    assert {path.name for path in (output / "annotations").iterdir()} == ANNOTATIONS
    assert set(digests) == {f"annotations/{name}" for name in ANNOTATIONS}
    for name, digest in digests.items():
        assert hashlib.sha256((output / name).read_bytes()).hexdigest() == digest
    found = {str(path.relative_to(output)) for path in output.glob("videos/**/*.*")}
    assert found == {
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


@pytest.mark.parametrize(
    "plan", [lambda n, seed: plan_ava(n, 1, seed, 1), lambda n, seed: plan_kinetics(n, 1, seed)]
)
def test_goes_on_where_it_stopped_and_starts_anew_when_asked_otherwise(
    tmp_path: Path, plan: Callable[[int, int], MiniDataset]
):
    output = tmp_path / "mini"
    write_dataset(output, plan(1, 0), workers=1)
    first, second = sorted(output.glob("videos/**/*.mp4"))
    untouched, redone = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    second.with_name(f".part-{second.name}").write_bytes(b"half a file")

    write_dataset(output, plan(1, 0), workers=1)
    assert first.stat().st_mtime_ns == untouched
    assert second.read_bytes() == redone
    assert not list(output.rglob(".part-*"))

    planned = plan(0, 1)
    write_dataset(output, planned, workers=1)
    (path,) = output.glob("videos/**/*.mp4")
    assert [str(path.relative_to(output))] == list(planned.videos)
    assert path.read_bytes() != redone


def test_never_writes_into_a_strangers_folder(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not a generated dataset"):
        write_dataset(tmp_path, plan_ava(1, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_one_folder_is_of_one_set(capsys, tmp_path: Path):
    arguments = ["--datasets", "ava", "ucf", "--output", str(tmp_path / "both")]
    with pytest.raises(SystemExit):
        main(arguments)
    assert "one dataset" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


Listed = dict[str, list[tuple[float, float]]]  # path in the set: segments in seconds


def kinetics_files(root: Path) -> Listed:
    return {
        f"videos/{split}/{row['label']}/{row['youtube_id']}"
        f"_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4": []
        for split in ("train", "val")
        for row in read_table(root / "annotations" / f"{split}.csv")
    }


def epic_files(root: Path) -> Listed:
    files = {}
    for split in ("train", "validation"):
        for row in read_table(root / "annotations" / f"EPIC_100_{split}.csv"):
            clocks = (row["start_timestamp"], row["stop_timestamp"])
            assert all(clock.startswith("00:00:") for clock in clocks)
            segment = tuple(float(clock[6:]) for clock in clocks)
            files.setdefault(f"videos/{row['video_id']}.MP4", []).append(segment)
    return files


def charades_files(root: Path) -> Listed:
    return {
        f"videos/{row['id']}.mp4": [
            tuple(map(float, action.split()[1:])) for action in row["actions"].split(";")
        ]
        for split in ("train", "test")
        for row in read_table(root / "annotations" / f"Charades_v1_{split}.csv")
    }


def ucf_files(root: Path) -> Listed:
    lines = [
        line
        for name in ("trainlist01.txt", "testlist01.txt")
        for line in (root / "ucfTrainTestlist" / name).read_text().splitlines()
    ]
    return {f"videos/{line.split()[0]}": [] for line in lines}


def hmdb_files(root: Path) -> Listed:
    return {
        f"videos/{path.name.removesuffix('_test_split1.txt')}/{line.split()[0]}": []
        for path in (root / "testTrainMulti_7030_splits").iterdir()
        for line in path.read_text().splitlines()
    }


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("name", "counts", "seed", "files"),  # seeds with all kinds of tracks in few videos
    [
        ("kinetics", (8, 1), 5, kinetics_files),
        ("epic", (5, 1), 0, epic_files),
        ("charades", (4, 1), 2, charades_files),
        ("ucf", (8, 2), 0, ucf_files),
        ("hmdb", (7, 1), 2, hmdb_files),
    ],
)
def test_files_are_what_annotations_and_scripts_say(
    tmp_path: Path, name: str, counts: tuple[int, int], seed: int, files: Callable[[Path], Listed]
):
    planned = PLANS[name](*counts, seed=seed)
    write_dataset(tmp_path / name, planned, workers=2)
    listed = files(tmp_path / name)
    videos = (path for path in (tmp_path / name / "videos").rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path / name)) for path in videos} == set(listed)
    assert set(listed) == set(planned.videos)
    assert (tmp_path / name / "contact_sheet.png").stat().st_size > 10_000

    tracks = set()
    for path, segments in listed.items():
        video = planned.videos[path]
        with VideoReader(str(tmp_path / name / path)) as reader:
            assert (reader.width, reader.height, reader.fps) == (WIDTH, HEIGHT, FPS)
            assert reader.duration == pytest.approx(video.duration, abs=0.01)
            assert all(0 <= start < end <= reader.duration for start, end in segments)
            assert reader.get_frames_played_at([0.0, video.duration - 0.05]).std() > 10
            assert reader.has_audio == (video.channels > 0)
            if not reader.has_audio:
                tracks.add("none")
                continue
            rate = 16000
            sound = reader.get_samples_played_in_range(0.0, video.duration, rate).numpy()
        heard = np.zeros(len(sound), bool)
        for event in video.audio_events:
            # MP3 comes 25 ms late in AVI, which has no room to say so.
            first, last = (round(t * rate) for t in (event.start, event.start + event.duration))
            window = slice(max(first - 400, 0), last + 1600)
            assert np.abs(sound[window]).max() > 0.3 * event.gain
            heard[window] = True
        tracks.add("audible" if video.room_noise else "silent")
        rest = sound[~heard]
        assert rest.std() < 0.02
        assert (rest.std() > 3e-4) == (video.room_noise > 0)
    assert tracks == (
        {"audible", "none"} if name in ("ucf", "hmdb") else {"audible", "silent", "none"}
    )


@pytest.mark.parametrize("name", ["kinetics", "ucf"])
def test_sound_is_in_time_whatever_the_format(tmp_path: Path, name: str):
    planned = PLANS[name](18, 0)
    path, video = next(
        (path, video)
        for path, video in planned.videos.items()
        if {sound.kind for sound in video.audio_events} == {"hit"}
    )
    write_planned_video(video, tmp_path / Path(path).name)
    with VideoReader(str(tmp_path / Path(path).name)) as reader:
        for event in video.audio_events:
            near = np.abs(
                reader.get_samples_played_in_range(
                    event.start - 0.1, event.start + 0.1, 16000
                ).numpy()
            )
            onset = np.argmax(near > 0.3 * near.max()) / 16000 - 0.1
            assert -0.01 < onset < 0.03


@pytest.mark.parametrize("kind", ["sing", "talk"])
def test_voice_follows_the_mouth(tmp_path: Path, kind: str):
    write_planned_video(
        solo(("audiovisual", "absent"), (kind, "hit"), "speak"), tmp_path / "solo.mp4"
    )
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
    video = solo(("absent", "audiovisual"), ("sing", kind), "strike")
    write_planned_video(video, tmp_path / "solo.mp4")
    images, wave, rate = decode(tmp_path / "solo.mp4")
    actor = video.shots[0].actors[0]
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
