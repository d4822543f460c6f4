import os
from pathlib import Path

import pytest

from ..commands import run_script
from ..media import tone, write_video
from .blocks import NOTEBOOK, PAGES, ROOT


@pytest.fixture(scope="session")
def reader(tmp_path_factory) -> Path:
    """The folder of a reader who has followed all pages; see ``reader.py``."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("avsf_det", "ava_tools", "configs", "train_net.py"):
        (folder / name).symlink_to(ROOT / name)
    videos = [f"mine/videos/kitchen_0{i}.mp4" for i in (1, 2)]
    videos += [f"mine/clips/{name}/{i}.mp4" for name in ("stir", "talk") for i in range(2)]
    for video in videos:
        (folder / video).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / video, num_frames=110, sound=tone(440, 110 / 30, 48000))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    pages = map(str, [*PAGES, NOTEBOOK])
    done = run_script("tests.docs.reader", *pages, environment=environment, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
