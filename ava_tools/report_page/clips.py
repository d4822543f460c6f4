"""Clip around a keyframe as data URIs: video with audio, keyframe, spectrogram."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ava_tools.support.html import data_uri, image_uri
from ava_tools.support.visualizer import draw_logmel
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video.write import write_video

CLIP_SEC = 2.0
MAX_WIDTH = 384  # pixels
MAX_FPS = 25
SAMPLE_RATE = 32000  # Hz, of the clip's audio
LOGMEL_SIZE = 384, 72  # pixels
_VIDEO_OPTIONS = {"crf": "27", "preset": "medium"}
_AUDIO_OPTIONS = {"b": "64000"}


@dataclass(frozen=True)
class EncodedClip:
    """A clip for the page; media are data URIs.

    Attributes:
        video: H.264 with AAC in mp4.
        poster: keyframe as JPEG.
        logmel: spectrogram of exactly the clip's time as JPEG; "" without an audio track.
        size: width and height, pixels.
        seconds: length.
        keyframe_at: time of the keyframe within the clip, seconds.
    """

    video: str
    poster: str
    logmel: str
    size: tuple[int, int]
    seconds: float
    keyframe_at: float


def encode_clip(path: str, second: float) -> EncodedClip:
    """Encode a clip of up to ``CLIP_SEC`` seconds; it is shorter at the ends of the file.

    Args:
        path: video file.
        second: keyframe on the file's clock.

    Raises:
        VideoDecodeError: the clip cannot be read, or lies outside the video.
    """
    with VideoReader(path) as reader:
        if not -CLIP_SEC / 2 <= second <= reader.duration + CLIP_SEC / 2:
            raise VideoDecodeError(
                f"{path}: the keyframe is at {second:g} s of a video of {reader.duration:.1f} s. "
                "Is the second at which the video starts (--offset) right?"
            )
        fps = max(1, min(round(reader.fps), MAX_FPS))
        start = max(0.0, second - CLIP_SEC / 2)
        num_frames = max(1, round((min(second + CLIP_SEC / 2, reader.duration) - start) * fps))
        seconds = num_frames / fps
        scale = min(1.0, MAX_WIDTH / reader.width)
        width, height = (max(2, round(x * scale / 2) * 2) for x in (reader.width, reader.height))
        times = [start + i / fps for i in range(num_frames)]
        frames = reader.get_frames_played_at([*times, second], (height, width))
        waveform = logmel = None
        if reader.has_audio:
            waveform = reader.get_samples_played_in_range(
                start, start + seconds, SAMPLE_RATE
            ).numpy()[None]
            logmel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=64)(
                reader.get_samples_played_in_range(start, start + seconds, 16000)
            )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        write_video(
            file,
            frames[:-1],
            fps,
            waveform,
            SAMPLE_RATE if waveform is not None else None,
            video_options=_VIDEO_OPTIONS,
            audio_options=_AUDIO_OPTIONS,
        )
        video = data_uri("video/mp4", file.read_bytes())
    return EncodedClip(
        video,
        image_uri(frames[-1]),
        "" if logmel is None else image_uri(draw_logmel(logmel, *LOGMEL_SIZE)),
        (width, height),
        seconds,
        second - start,
    )
