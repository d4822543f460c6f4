from pathlib import Path

import numpy as np
from PIL import Image

from ava_tools import frames_to_videos as tool
from avsf_det.data import VideoReader

from ..media import paint_number, read_number


def test_each_folder_becomes_a_video_of_its_frames(tmp_path: Path, capsys):
    for name in ("pick/#1 a.b", "sit/c"):
        (tmp_path / "Frames" / name).mkdir(parents=True)
        for i in range(1, 13):
            image = Image.fromarray(paint_number(i, 49, 97))  # odd sizes, which H.264 lacks
            image.save(tmp_path / "Frames" / name / f"{i:05d}.png")
    arguments = ["--frames", str(tmp_path / "Frames"), "--output", str(tmp_path / "videos")]
    assert tool.main([*arguments, "--fps", "20"]) == 0
    assert "2 videos" in capsys.readouterr().out
    with VideoReader(tmp_path / "videos" / "pick" / "#1 a.b.mp4") as video:
        assert (video.height, video.width, video.fps, video.duration) == (48, 96, 20, 0.6)
        images = video.get_frames_played_at([(frame - 0.5) / 20 for frame in range(1, 13)])
        assert [*map(read_number, images)] == [*range(1, 13)]
    # A second run keeps what is there, and names an image of another size.
    before = (tmp_path / "videos" / "sit" / "c.mp4").stat().st_mtime_ns
    (tmp_path / "videos" / "pick" / "#1 a.b.mp4").unlink()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
        tmp_path / "Frames" / "pick" / "#1 a.b" / "00012.png"
    )
    assert tool.main(arguments) == 1
    assert "00012.png: 8 x 8, unlike the first image" in capsys.readouterr().err
    assert (tmp_path / "videos" / "sit" / "c.mp4").stat().st_mtime_ns == before
    assert [p.name for p in (tmp_path / "videos" / "pick").iterdir()] == []
    assert tool.main(["--frames", f"{tmp_path}/videos", "--output", f"{tmp_path}/x"]) == 1
    assert "no image there" in capsys.readouterr().err
