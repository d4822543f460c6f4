import av
import numpy as np
import pytest

from avsf_det.data import VideoReader
from avsf_det.utils.video_writer import write_video

from ..media import clicks, paint_number, read_number

CODECS = {".mp4": ("h264", "aac"), ".MP4": ("h264", "aac"), ".avi": ("mpeg4", "mp3float")}


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_frames_and_sound_come_back_in_step(tmp_path, suffix, channels):
    path = tmp_path / f"out{suffix}"
    sound = np.repeat(clicks([0.5], 1, 44100), channels, 0) if channels else None
    write_video(path, (paint_number(i, 64, 96) for i in range(25)), 25, sound, 44100)
    with av.open(str(path)) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
        assert codecs == list(CODECS[suffix])[: 2 if channels else 1]
        assert [stream.channels for stream in container.streams.audio] == [channels] * bool(
            channels
        )
        assert [f.time for f in container.decode(video=0)] == pytest.approx(np.arange(25) / 25)
    with VideoReader(path) as reader:
        assert (reader.height, reader.width, reader.fps) == (64, 96, 25)
        assert reader.has_audio == (channels > 0)
        frames = reader.read_frames([i / 25 for i in range(25)])
        heard = reader.read_audio(0, 1, 44100).abs().numpy() if channels else None
    assert [read_number(frame) for frame in frames] == list(range(25))
    if channels:
        late = np.flatnonzero(heard > 0.3 * heard.max())[0] / 44100 - 0.5
        assert abs(late - 0.025 * (suffix == ".avi")) < 0.005


def test_other_containers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.mkv has the suffix '.mkv'; it can be .mp4 or .avi"):
        write_video(tmp_path / "a.mkv", [], 25)
    assert not list(tmp_path.iterdir())
