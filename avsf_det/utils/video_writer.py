"""Write frames, with their sound or without, to an mp4 or avi file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import av
import numpy as np

SOUND_CHUNK = 1024  # samples that are given to the encoder at once
_FORMATS = {".mp4": ("mp4", "libx264", "aac"), ".avi": ("avi", "mpeg4", "libmp3lame")}


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: int,
    sound: np.ndarray | None = None,
    sample_rate: int | None = None,
    *,
    video_options: Mapping[str, str] = {},
    audio_options: Mapping[str, str] = {},
) -> None:
    """Encode as the suffix says: H.264 and AAC in mp4, MPEG-4 and MP3 in avi. The sound starts with
    the first frame (in avi 25 ms later, which a player cannot know). Frames are not held in memory.

    Args:
        frames: (H, W, 3) uint8 RGB, even H and W, all of one size.
        sound: (channels, samples) float32 in -1..1; 1 or 2 channels. None: no sound track.
        sample_rate: of the sound, in Hz.
        video_options, audio_options: of libav's encoders libx264 or mpeg4, aac or libmp3lame.

    Raises:
        ValueError: the suffix is another one.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise ValueError(f"{path} has the suffix '{suffix}'; it can be {' or '.join(_FORMATS)}")
    container_format, video_codec, audio_codec = _FORMATS[suffix]
    # Avi counts frames from second 0: sound that must begin earlier (MP3) may not push them on.
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        video = container.add_stream(video_codec, rate=fps, options=dict(video_options))
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        if sound is not None:
            layout = {1: "mono", 2: "stereo"}[len(sound)]
            audio = container.add_stream(
                audio_codec, rate=sample_rate, layout=layout, options=dict(audio_options)
            )
        sent = 0
        for i, image in enumerate(frames):
            if i == 0:
                video.height, video.width = image.shape[:2]
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            if sound is None:
                continue
            while sent < sound.shape[1] and sent <= (i + 1) / fps * sample_rate:
                chunk = np.ascontiguousarray(sound[:, sent : sent + SOUND_CHUNK])
                frame = av.AudioFrame.from_ndarray(chunk, "fltp", layout)
                frame.sample_rate, frame.pts = sample_rate, sent
                container.mux(audio.encode(frame))
                sent += SOUND_CHUNK
        container.mux(video.encode(None))
        if sound is not None:
            container.mux(audio.encode(None))
