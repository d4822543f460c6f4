"""Tools in two processes, as torchrun starts them: shares, merged results, what a kill leaves."""

import os

import numpy as np
import pytest
from detectron2.utils import comm

from ava_tools import check_videos, detect_persons
from ava_tools.inference.feature_files import write_features
from ava_tools.support.group import in_ranks
from ava_tools.support.ranks import take_share
from avsf_det.data import VideoDecodeError
from avsf_det.engine import person_detector

from ...media import write_video
from ...ranks import run_two
from ..inference.test_feature_files import Fake
from ..test_detect_persons import NumberReader


def test_shares_are_balanced_and_complete(monkeypatch):
    sizes = {"a": 3, "b": 10, "c": 4, "d": 0, "e": 3}
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append(take_share([*sizes], sizes.get))
    assert shares == [["b", "d"], ["a", "c", "e"]]


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for i, name in enumerate("dacb"):
        write_video(folder / f"{name}.mp4", num_frames=10 + 10 * i, fps=10)
    (folder / "bad.mp4").write_text("not a video")
    return folder


def test_person_boxes_equal_those_of_one_process(videos, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(person_detector, "PersonDetector", NumberReader)

    def run(output):
        return detect_persons.main(["--input", str(videos), "--output", str(tmp_path / output)])

    assert run("one.csv") == 1
    one = capfd.readouterr()

    def stop(detector, frames):
        if comm.get_rank() == 1:
            raise VideoDecodeError("stop")  # at each batch
        return call(detector, frames)

    call = NumberReader.__call__
    NumberReader.__call__ = stop
    try:
        assert run_two(lambda rank: run("two.csv"), tmp_path) == [1, 1]
    finally:
        NumberReader.__call__ = call
    logs = sorted(path.name for path in tmp_path.glob("two.csv*"))
    assert logs == ["two.csv", "two.csv.partial", "two.csv.partial.rank1"]
    assert (tmp_path / "two.csv").read_bytes() != (tmp_path / "one.csv").read_bytes()
    capfd.readouterr()
    assert run_two(lambda rank: run("two.csv"), tmp_path) == [1, 1]
    two = capfd.readouterr()
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    last, same = one.out.splitlines()[-1], two.out.replace("two.csv", "one.csv")
    assert last.endswith("persons in 10 keyframes") and same.count(last) == 1
    assert two.err.count("error: 1 of 5 videos could not be read") == 1
    (videos / "bad.mp4").unlink()
    assert run("two.csv") == 0  # one process goes on with what two have found
    assert sorted(path.name for path in tmp_path.glob("two.csv*")) == ["two.csv"]


def test_checked_videos_equal_those_of_one_process(videos, tmp_path, capfd):
    def run(output):
        return check_videos.main(["--videos", str(videos), "--output", str(tmp_path / output)])

    assert run("one.csv") == 1
    one = capfd.readouterr()
    rows = (tmp_path / "one.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "two.csv.rank1").write_bytes(b"".join(rows[:2]) + rows[2][:-1])  # of a killed run
    assert run_two(lambda rank: run("two.csv"), tmp_path) == [1, 1]
    printed = capfd.readouterr().out
    # PyTorch before 2.11 reports its connections before.
    assert printed == one.out or ("[Gloo]" in printed and printed.endswith(one.out))
    assert printed.count(one.out.splitlines()[0]) == 1
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert not (tmp_path / "two.csv.rank1").exists()


def test_features_are_shared_and_reported_by_all(tmp_path):
    videos = {"a.mp4": "/v/a", "b.mp4": "/v/b", "bad.mp4": "/v/bad", "c.mp4": "/v/c"}

    def run(rank):
        fake = Fake()
        done = in_ranks(lambda args: write_features(fake, videos, str(tmp_path)))(None)
        return done, [path for path, *_ in fake.asked]

    (one, asked), (two, also) = run_two(run, tmp_path)
    assert one == two
    assert [os.path.basename(path) for path in one["written"]] == ["a.npz", "b.npz", "c.npz"]
    assert one["bad"] == ["/v/bad: cannot be opened"]
    assert sorted(asked + also) == sorted(videos.values()) and len(asked) == len(also) == 2
    assert np.load(tmp_path / "c.npz")["video"] == "/v/c"
