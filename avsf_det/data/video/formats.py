"""Formats of video files, and opening them: only these formats, and only the file that is named."""

import os
import stat
from collections import Counter
from collections.abc import Iterable

import av

from ...structures.addresses import HTTP, TIMEOUT_SEC, is_address, local_path

# libav's name of a format -> endings of its files. Formats that name other files are absent on
# purpose (playlists, concat scripts, image patterns, SDP, DASH): a file opens nothing but itself.
FORMATS = {
    "mov": "mp4 m4v mov qt 3gp 3g2 f4v mj2 ismv",
    "matroska": "mkv mk3d webm",
    "avi": "avi divx",
    "mpegts": "ts mts m2ts m2t trp tp",
    "mpeg": "mpg mpeg mpe m2p vob mod evo",
    "asf": "wmv asf",
    "flv": "flv",
    "ogg": "ogv ogm",
    "rm": "rm rmvb",
    "mxf": "mxf",
    "gxf": "gxf",
    "dv": "dv dif",
    "mjpeg": "mjpeg mjpg",
    "h264": "h264 264",
    "hevc": "hevc h265 265",
    "mpegvideo": "m2v mpv",
    "ivf": "ivf",
    "nut": "nut",
    "nsv": "nsv",
    "dhav": "dav",
    "wtv": "wtv",
    "yuv4mpegpipe": "y4m",
    # Opened, but not looked for: rare formats, those of images and audio.
    **dict.fromkeys(
        "asf_o av1 obu vvc m4v h261 h263 vc1 cavsvideo avs2 avs3 dirac dnxhd "
        "mpjpeg smjpeg kux live_flv mpegtsraw nuv pva ty mlv cine swf roq smk bink flic xmv gif "
        "aac ac3 aiff flac mp3 w64 wav".split(),
        "",
    ),
}
# Endings of videos in lower case; the case of a file's ending does not matter.
VIDEO_EXTENSIONS = tuple(f".{ending}" for endings in FORMATS.values() for ending in endings.split())

# PyAV before 19 refuses files whose metadata are not UTF-8 unless it is told otherwise; PyAV 19 has
# no such option.
_METADATA: dict = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def libav_path(path: str | os.PathLike) -> str:
    """Return a path as libav takes it: a file, whatever colons its name holds (``cam1:0.mp4``)."""
    return f"file:{os.fspath(path)}"


def source_of(path: str) -> str:
    """Return what libav reads: an address of http, by ranges, or else a local file."""
    return path if path.startswith(HTTP) and is_address(path) else local_path(path)


def open_input(path: str) -> av.container.InputContainer:
    """Open a file to read, or that of an address.

    Raises:
        OSError: there is no such file, or it is none of the formats above; av.error.FFmpegError
            if libav says so, which need not be an OSError.
        ValueError: the path holds a null byte.
    """
    if "\0" in path:  # libav would open what comes before it
        raise ValueError("its name holds a null byte")
    source = source_of(path)
    exists = os.path.exists(source)
    # Opening a named pipe would wait for a writer.
    if exists and (kind := _KINDS.get(stat.S_IFMT(os.stat(source).st_mode))):
        raise OSError(None, f"it is {kind}, not a file")
    is_remote = source.startswith(HTTP) and not exists
    protocols = "http,https,tcp,tls" if is_remote else "file"
    try:
        return av.open(
            source if is_remote else libav_path(source),
            options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": protocols},
            timeout=TIMEOUT_SEC if is_remote else None,
            **_METADATA,
        )
    except av.error.ArgumentError as error:
        problem = "it is no video but, for example, a playlist, an image or subtitles"
        raise OSError(None, problem) from error
    except av.error.ExitError as error:
        raise OSError(f"no answer within {TIMEOUT_SEC} s; try again, or download it") from error


def count_endings(names: Iterable[str]) -> str:
    """Return the most frequent endings of names with their numbers, for a message."""
    counts = Counter(os.path.splitext(name)[1] or "without an ending" for name in names)
    there = ", ".join(f"{count} {ending}" for ending, count in counts.most_common(5))
    return f"There {f'are {there}' if there else 'is nothing'}"


def printable(path: str) -> str:
    """Return a path for a message: line breaks and bytes that are not UTF-8 are escaped."""
    if path.isprintable():
        return path
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path)
