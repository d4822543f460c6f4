import numpy as np
import pytest

from avsf_det.data import VideoReader
from avsf_det.utils.video_writer import write_video

from ..media import clicks, paint_number, read_number


@pytest.mark.parametrize("channels", [1, 2])
def test_frames_and_sound_come_back_in_step(tmp_path, channels):
    path = tmp_path / "out.mp4"
    sound = np.repeat(clicks([0.5], 1, 44100), channels, 0)
    write_video(path, (paint_number(i, 64, 96) for i in range(25)), 25, sound, 44100)
    with VideoReader(path) as reader:
        assert (reader.height, reader.width, reader.fps) == (64, 96, 25)
        frames = reader.read_frames([i / 25 for i in range(25)])
        heard = reader.read_audio(0, 1, 44100).abs().numpy()
    assert [read_number(frame) for frame in frames] == list(range(25))
    assert abs(np.flatnonzero(heard > 0.3 * heard.max())[0] / 44100 - 0.5) < 0.005
