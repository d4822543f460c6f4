from pathlib import Path

import pytest

from ava_tools import prepare_ava
from ava_tools.preparation import ava_cuts
from avsf_det.data import VideoReader

from ..media import read_number, tone, write_video

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "ava" / "official_v2.2"


def test_seconds_are_those_of_the_data_set():
    # videos_15min starts at second 900; a clip around the last keyframe takes seconds after it.
    assert (ava_cuts.START, ava_cuts.LAST, ava_cuts.END) == (900, 1798, 1801)


@pytest.fixture
def ava(tmp_path, monkeypatch) -> Path:
    """AVA with videos of seconds instead of hours, annotated from second 1 to 2."""
    monkeypatch.setattr(ava_cuts, "START", 1.0)
    monkeypatch.setattr(ava_cuts, "LAST", 2.0)
    monkeypatch.setattr(ava_cuts, "END", 3.0)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    ava = tmp_path / "ava"
    for folder in ("annotations", "videos"):
        (ava / folder).mkdir(parents=True)
    sound = tone(440, 4, 48000)
    write_video(ava / "videos" / "good.mkv", num_frames=120, sound=sound)
    write_video(ava / "videos" / "dumb.mp4", num_frames=120)
    write_video(ava / "videos" / "short.mp4", num_frames=50, sound=sound[:, :80000])
    (ava / "videos" / "text.mp4").write_text("not a video")
    rows = [f"{name},0902,0,0,1,1,12,0\n" for name in ("good", "gone", "good", "text")]
    (ava / "annotations" / "ava_train_v2.2.csv").write_text("".join(rows))
    (ava / "annotations" / "ava_val_v2.2.csv").write_text("dumb,0902,0,0,1,1,12,0\nshort,2\n")
    return ava


def cuts(ava: Path) -> list[str]:
    return sorted(path.name for path in (ava / "videos_15min").glob("*"))


def test_movies_are_cut_and_problems_listed(ava, capsys):
    assert prepare_ava.main(["--workers", "2"]) == 1
    assert cuts(ava) == ["dumb.mp4", "good.mp4", "problems.csv", "short.mp4"]
    with VideoReader(str(ava / "videos_15min" / "good.mp4")) as cut:
        assert cut.has_audio
        assert [read_number(f) for f in cut.get_frames_played_at([0, 0.99, 1.99])] == [30, 59, 89]
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"5 videos in the annotations: 4 in {ava}/videos, 0 cut in")
    assert "3 to cut, about 0.00 GB" in out[0]
    table = dict(line.split(": ", 1) for line in out[1:])
    assert table.keys() == {"dumb", "gone", "short", "text"}
    assert table["gone"] == "missing"
    assert table["dumb"].endswith("dumb.mp4: has no audio track")
    assert table["short"].endswith("ends at 2 s, before the last annotated second")
    assert "cannot be opened" in table["text"]
    written = (ava / "videos_15min" / "problems.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in written] == ["video", *sorted(table)]


def test_a_run_goes_on_where_it_was(ava, capsys):
    output = ava / "videos_15min"
    output.mkdir()
    (output / ".part-good.mp4").write_text("half a file of a killed run")
    prepare_ava.main([])
    assert cuts(ava) == ["dumb.mp4", "good.mp4", "problems.csv", "short.mp4"]
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.mp4")}
    (output / "dumb.mp4").unlink()
    for video in ("good.mkv", "short.mp4"):  # cut already, so no longer needed
        (ava / "videos" / video).unlink()
    capsys.readouterr()
    prepare_ava.main([])
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("*.mp4")}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {"dumb.mp4"}
    out = capsys.readouterr().out
    assert "2 cut in" in out and "1 to cut" in out
    assert "good" not in out.split("\n", 1)[1]


def test_a_good_set_exits_with_0_and_can_be_encoded_anew(ava):
    lists = ava / "names.txt"
    lists.write_text("good.mkv\n")
    options = ["--csv", str(lists), "--output", str(ava / "gop"), "--gop", "6"]
    assert prepare_ava.main(options) == 0
    with VideoReader(str(ava / "gop" / "good.mp4")) as cut:
        assert read_number(cut.get_frames_played_at([1.0])[0]) == 60


def test_dry_run_writes_nothing(ava, capsys):
    assert prepare_ava.main(["--dry-run"]) == 1
    assert not (ava / "videos_15min").exists()
    assert "gone: missing" in capsys.readouterr().out


def test_a_failed_cut_leaves_no_file_and_the_others_go_on(ava):
    (ava / "videos" / "good.mkv").unlink()
    write_video(ava / "videos" / "good.webm", num_frames=120, codec="libvpx")  # not for mp4
    assert prepare_ava.main([]) == 1
    assert cuts(ava) == ["dumb.mp4", "problems.csv", "short.mp4"]
    assert "encode the frames again" in (ava / "videos_15min" / "problems.csv").read_text()
    assert prepare_ava.main(["--gop", "6"]) == 1
    assert "good.mp4" in cuts(ava)


def test_a_full_disk_is_noticed_before(ava, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(ava_cuts.shutil, "disk_usage", lambda path: usage)
    assert prepare_ava.main([]) == 1
    assert "videos_15min: only 0.00 GB are free" in capsys.readouterr().err
    assert cuts(ava) == []


def test_nothing_to_read_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert prepare_ava.main([]) == 1
    assert "no ava_train_v2.2.csv there; give --csv" in capsys.readouterr().err
    (tmp_path / "names.txt").write_text("a.mkv\n")
    assert prepare_ava.main(["--csv", str(tmp_path / "names.txt")]) == 1
    assert "ava/videos: cannot be read" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.exists(), reason=f"{SHARED} is not there")
def test_official_lists_name_all_movies(tmp_path, capsys):
    names = SHARED / "ava_file_names_trainval_v2.1.txt"
    options = ["--videos", str(tmp_path), "--output", str(tmp_path / "out"), "--dry-run"]
    assert prepare_ava.main(["--csv", str(names), *options]) == 1
    out = capsys.readouterr().out
    assert out.startswith("299 videos in the annotations: 0 in")
    assert out.count(": missing\n") == 299
