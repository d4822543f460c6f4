import csv
import os

import pytest

from ava_tools import check_videos
from ava_tools.preparation import video_table

from ..media import tone, write_video


@pytest.fixture
def videos(tmp_path):
    """A folder with a good video, one without sound, and a text file that poses as one."""
    folder = tmp_path / "videos"
    (folder / "walk").mkdir(parents=True)
    write_video(folder / "walk" / "good.mp4", sound=tone(440, 1, 48000))
    write_video(folder / "dumb.mp4")
    (folder / "text.mp4").write_text("not a video")
    return folder


def run(folder, *options: str) -> tuple[int, dict[str, dict]]:
    output = folder.parent / "out" / "check.csv"
    code = check_videos.main(["--videos", str(folder), "--output", str(output), *options])
    if not output.exists():
        return code, {}
    with open(output, newline="", errors="replace") as file:
        return code, {row["video"]: row for row in csv.DictReader(file)}


def test_a_folder(videos, capsys):
    code, rows = run(videos)
    assert code == 1
    assert list(rows) == ["dumb.mp4", "text.mp4", "walk/good.mp4"]
    assert rows["dumb.mp4"]["problems"] == "no sound: there is no audio stream"
    good = rows["walk/good.mp4"]
    assert (good["seconds"], good["fps"], good["frames"]) == ("1.00", "30.000", "30")
    assert (good["width"], good["height"], good["problems"]) == ("96", "48", "")
    out = capsys.readouterr().out
    assert "good.mp4" not in out
    assert out.endswith("1 of 3 videos are good: 1 undecodable, 1 no sound\n")


def test_problems_that_are_none_for_the_user(videos):
    (videos / "text.mp4").unlink()
    assert run(videos)[0] == 1
    code, rows = run(videos, "--ignore", "no sound", "silent")
    assert code == 0
    assert rows["dumb.mp4"]["problems"]


def test_the_videos_of_a_csv_and_the_length_of_a_clip(videos, tmp_path):
    (tmp_path / "list.csv").write_text("video,label\nwalk/good.mp4,walk\nwalk/gone.mp4,walk\n")
    (tmp_path / "c.yaml").write_text("INPUT: {CLIP: {NUM_FRAMES: 8, STRIDE: 10, FPS: 25.0}}\n")
    options = ("--csv", str(tmp_path / "list.csv"), "--config-file", str(tmp_path / "c.yaml"))
    code, rows = run(videos, *options)
    assert code == 1
    assert rows["walk/gone.mp4"]["problems"] == "missing: no such file"
    assert rows["walk/good.mp4"]["problems"] == "too short: 1.00 s, a clip takes 3.20 s"


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("good,0,0,0,1,1,1,0\ngood,{}\ngood,0.5,0,0,1,1,1,0\n", 0),
        ("good,900,0,0,1,1,1,0\ngood,{},0,0,1,1,1,0\n", 900),
        ("video,label,start,end\nwalk/good.mp4,walk,0,1\nwalk/good.mp4,walk,{},9\n", 0),
    ],
)
def test_seconds_of_a_csv_are_compared_with_the_lengths(videos, tmp_path, text, offset):
    for second, problem in (
        (1.03, ""),
        (1.1, "second after the end: the csv has 1.1 s, the frames end at 1.00 s"),
    ):
        (tmp_path / "list.csv").write_text(text.format(f"{second + offset:.6g}"))
        code, rows = run(videos, "--csv", str(tmp_path / "list.csv"), "--offset", str(offset))
        assert (code, [row["problems"] for row in rows.values()]) == (bool(problem), [problem])


def test_a_run_goes_on_where_it_was(videos, monkeypatch):
    checked = []

    def check(path, **options):
        checked.append(path)
        if len(checked) == 3:
            raise MemoryError  # whatever ends a run
        return check_video(path, **options)

    check_video = video_table.check_video
    monkeypatch.setattr(video_table, "check_video", check)
    with pytest.raises(MemoryError):
        run(videos, "--workers", "1")
    output = videos.parent / "out" / "check.csv"
    assert len(output.read_text().splitlines()) == 3
    output.write_text(output.read_text() + "walk/good.mp4,12")  # half a row
    _, rows = run(videos)
    assert len(checked) == 4 and checked[3].endswith("good.mp4")
    assert list(rows) == ["dumb.mp4", "text.mp4", "walk/good.mp4"]
    write_video(videos / "dumb.mp4", num_frames=12)
    run(videos)
    assert len(checked) == 5  # another file
    run(videos, "--max-gap", "0.5")
    assert len(checked) == 8  # another question


def test_bad_input_is_a_line_and_2(videos, tmp_path, capsys):
    assert run(tmp_path / "none")[0] == 2
    assert "none: cannot be read" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    for other in (b"video_id,1\n", b"one line without an end", b"\xff\n"):
        (tmp_path / "out" / "check.csv").write_bytes(other)
        assert run(videos)[0] == 2
        assert "check.csv: is another file" in capsys.readouterr().err
        assert (tmp_path / "out" / "check.csv").read_bytes() == other


def test_names_of_any_bytes_and_links_that_lead_nowhere(videos, capsys):
    good = videos / "walk" / "good.mp4"
    for name in ("a:b.M4V", "line\nbreak.mp4", os.fsdecode(b"\xff.ts"), "ohne Füße.mp4"):
        (videos / name).write_bytes(good.read_bytes())
    os.symlink("gone", videos / "link.mp4")
    os.mkfifo(videos / "pipe.mp4")
    for _ in range(2):  # the second run reads what the first has written
        code, rows = run(videos)
        assert code == 1
        for name in ("a:b.M4V", "line\\nbreak.mp4", "\\udcff.ts", "ohne Füße.mp4"):
            assert rows[name]["problems"] == ""
        assert "No such file" in rows["link.mp4"]["problems"]
        assert "named pipe" in rows["pipe.mp4"]["problems"]
    assert capsys.readouterr().out.endswith("5 of 9 videos are good: 3 undecodable, 1 no sound\n")
