"""Which files are written, kept, left out or bad; and what a kill leaves."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from ava_tools.inference.feature_files import write_features
from avsf_det.data import VideoDecodeError
from avsf_det.engine.feature_extractor import FeatureError


class Fake:
    """Features are the length of the path; paths with "bad" are."""

    def __init__(self, *, kill_at: str = "", **settings):
        self.settings = {"layers": ("head",), "weights_sha256": "abc", **settings}
        self.kill_at, self.asked = kill_at, []

    def __call__(self, path, *, hop, persons):
        self.asked.append((path, hop, persons))
        if path == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad" in path:
            raise VideoDecodeError(f"{path}: cannot be opened")
        return {"head": np.full((2, 3), len(path), np.float32)}


VIDEOS = {"a.mp4": "/v/a.mp4", "x/b.MKV": "/v/x/b.MKV", "c.d": "/v/c.d.mp4"}


def test_a_file_for_each_video(tmp_path):
    fake = Fake()
    done = write_features(fake, VIDEOS, str(tmp_path), hop=0.5)
    files = [str(tmp_path / name) for name in ("a.npz", "c.d.npz", "x/b.npz")]
    assert done == {"written": files, "kept": [], "left out": [], "bad": []}
    assert fake.asked == [(path, 0.5, None) for path in VIDEOS.values()]
    with np.load(files[2]) as arrays:
        assert arrays["head"].dtype == np.float32 and (arrays["head"] == 10).all()
        assert arrays["layers"].tolist() == ["head"] and arrays["weights_sha256"] == "abc"
        assert (arrays["hop"], arrays["video"]) == (0.5, "/v/x/b.MKV")


def test_a_killed_run_goes_on(tmp_path):
    fake = Fake(kill_at="/v/x/b.MKV")
    process = multiprocessing.get_context("fork").Process(
        target=write_features, args=(fake, VIDEOS, str(tmp_path))
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and os.listdir(tmp_path) == ["a.npz"]
    first = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".part-b.npz").write_bytes(first[:100])  # killed while it was written
    fake = Fake()
    done = write_features(fake, VIDEOS, str(tmp_path))
    assert done["kept"] == [str(tmp_path / "a.npz")] and len(done["written"]) == 2
    assert [path for path, *_ in fake.asked] == ["/v/x/b.MKV", "/v/c.d.mp4"]
    assert (tmp_path / "a.npz").read_bytes() == first
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.npz", "b.npz", "c.d.npz"]


def test_files_of_other_settings_are_not_mixed(tmp_path):
    write_features(Fake(), VIDEOS, str(tmp_path), hop=1)
    for fake, hop in ((Fake(weights_sha256="x"), 1), (Fake(layers=("head", "y")), 1), (Fake(), 2)):
        with pytest.raises(FeatureError, match=r"a\.npz: is there, but made with another"):
            write_features(fake, VIDEOS, str(tmp_path), hop=hop)
        assert not fake.asked


def test_bad_videos_do_not_stop_the_others(tmp_path):
    videos = {"bad.mp4": "/v/bad.mp4", "gone.mp4": None, **VIDEOS}
    done = write_features(Fake(), videos, str(tmp_path))
    assert len(done["written"]) == 3 and not (tmp_path / "bad.npz").exists()
    opened, gone = sorted(done["bad"], key=len)
    assert opened == "/v/bad.mp4: cannot be opened"
    assert gone == f"{tmp_path / 'gone.npz'}: there is no video for it"


def test_persons_by_video_id(tmp_path):
    persons = {"b": {1.0: np.zeros((1, 5))}, "z": {}}
    fake = Fake()
    done = write_features(fake, VIDEOS, str(tmp_path), persons=persons)
    assert done["written"] == [str(tmp_path / "x" / "b.npz")] and len(done["left out"]) == 2
    ((path, _, boxes),) = fake.asked
    assert path == "/v/x/b.MKV" and boxes is persons["b"]
    with pytest.raises(FeatureError, match="boxes of z"):
        write_features(fake, VIDEOS, str(tmp_path), persons={"z": {1.0: np.zeros((1, 5))}})


@pytest.mark.parametrize(
    "names, problem",
    [
        (("a.mp4", "a.mkv"), r"a.npz: a.mp4 and a.mkv go there"),
        (("/v/a.mp4",), "is not below the folder"),
        (("x/../../a.mp4",), "is not below the folder"),
    ],
)
def test_names_that_cannot_be(names, problem, tmp_path):
    fake = Fake()
    with pytest.raises(FeatureError, match=problem):
        write_features(fake, dict.fromkeys(names, "/v/a.mp4"), str(tmp_path))
    assert not fake.asked
