"""Formats of video files, by name and by ending."""

import os
from collections import Counter
from collections.abc import Iterable

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
