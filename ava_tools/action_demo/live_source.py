"""Names of live sources: network streams, and devices with their microphone."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import av

from avsf_det.data import VideoDecodeError
from avsf_det.data.video.formats import printable
from avsf_det.structures.addresses import HTTP

STREAMS = ("rtsp://", "rtsps://", "rtmp://", "rtmps://", "rtp://", "srt://", "udp://", "tcp://")
# libav's names of formats that read devices, as in ``avfoundation:0:0`` (camera : microphone).
DEVICES = ("v4l2", "avfoundation", "dshow", "gdigrab", "x11grab", "alsa", "pulse", "lavfi")
_CAMERA = re.compile(r"/dev/video\d+")
_OPEN_SEC, SILENT_SEC = 20, 15  # limits of opening, and of waiting for the next packet
# UDP loses packets of RTSP; ``--input-option rtsp_transport=udp`` takes it all the same.
_RTSP_OPTIONS = {"rtsp_transport": "tcp"}
# Timestamps on the wall clock, as those of ALSA are: one clock for camera and microphone.
_V4L2_OPTIONS = {"timestamps": "abs"}


@dataclass(frozen=True)
class LiveSource:
    """Stream or device, as libav opens it.

    Attributes:
        url: address of the stream, or name of the device.
        format: libav's name of the format; None: libav finds it.
        options: libav's options of the protocol and of the format.
    """

    url: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name for messages, without the password of an address."""
        return printable(re.sub(r"(?<=://)[^/@]*@", "", self.url))

    @property
    def is_paced(self) -> bool:
        """Whether packets come in bursts, those of HLS segments, and are taken at their times."""
        return self.url.startswith(HTTP)

    def open(self) -> Any:
        """Open the source, PyAV's ``InputContainer``.

        Raises:
            VideoDecodeError: it cannot be opened.
        """
        limits = (_OPEN_SEC, SILENT_SEC)
        try:
            return av.open(self.url, format=self.format, options={**self.options}, timeout=limits)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            problem = getattr(error, "strerror", None) or error
            if isinstance(error, av.error.ExitError):
                problem = f"no answer within {_OPEN_SEC} s"
            raise VideoDecodeError(f"{self.name}: cannot be opened ({problem})") from error


def live_sources(
    text: str, options: Mapping[str, str], microphone: str = "default"
) -> list[LiveSource]:
    """Return the sources of a live ``--input``; an empty list if it is a file or a folder.

    Args:
        text: a stream's address, ``/dev/video0``, or ``FORMAT:DEVICE`` as libav takes it. An
            http address is live if its length is not known.
        options: libav's options, which override ours.
        microphone: ALSA's name of the microphone of ``/dev/video0``; "" for none.

    Returns:
        the source, and that of the microphone if it is another.
    """
    name, _, device = text.partition(":")
    if _CAMERA.fullmatch(text):
        camera = LiveSource(text, "v4l2", {**_V4L2_OPTIONS, **options})
        return [camera, *([LiveSource(microphone, "alsa")] if microphone else [])]
    if name in DEVICES and device and not device.startswith("//"):
        return [LiveSource(device, name, options)]
    if text.startswith(STREAMS):
        ours = _RTSP_OPTIONS if text.startswith("rtsp") else {}
        return [LiveSource(text, None, {**ours, **options})]
    if text.startswith(HTTP):
        source = LiveSource(text, None, options)
        return [source] if _is_endless(source) else []
    return []


def _is_endless(source: LiveSource) -> bool:
    """Return whether the length of a source is unknown; a file's is known."""
    try:
        with source.open() as container:
            return container.duration is None
    except VideoDecodeError:
        return False  # reading it as a file says why


def warn(message: str) -> None:
    """Print a message about a stream at once, on stderr."""
    print(message, file=sys.stderr, flush=True)
