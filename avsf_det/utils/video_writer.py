"""Write frames and their sound to an mp4 file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import av
import numpy as np

AAC_FRAME = 1024  # samples


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: int,
    sound: np.ndarray,
    sample_rate: int,
    *,
    video_options: Mapping[str, str] = {"crf": "23"},
    audio_options: Mapping[str, str] = {},
) -> None:
    """Encode H.264 and AAC; the sound starts with the first frame. Frames are not held in memory.

    Args:
        frames: (H, W, 3) uint8 RGB, even H and W, all of one size.
        sound: (channels, samples) float32 in -1..1; 1 or 2 channels.
        sample_rate: of the sound, in Hz.
        video_options, audio_options: of libx264 and of libav's AAC encoder.
    """
    layout = {1: "mono", 2: "stereo"}[len(sound)]
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options=dict(video_options))
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        audio = container.add_stream(
            "aac", rate=sample_rate, layout=layout, options=dict(audio_options)
        )
        sent = 0
        for i, image in enumerate(frames):
            if i == 0:
                video.height, video.width = image.shape[:2]
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            while sent < sound.shape[1] and sent <= (i + 1) / fps * sample_rate:
                chunk = np.ascontiguousarray(sound[:, sent : sent + AAC_FRAME])
                frame = av.AudioFrame.from_ndarray(chunk, "fltp", layout)
                frame.sample_rate, frame.pts = sample_rate, sent
                container.mux(audio.encode(frame))
                sent += AAC_FRAME
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
