"""Charades: videos with any number of actions, each with its segment.

The first line of the official csv names its columns. Two of them are read: ``id`` and ``actions``,
such as "c092 11.90 21.20;c147 0.00 12.60" (class, start and end in seconds) or empty. The file of
class names has lines such as "c092 Throwing a blanket somewhere".
"""

import logging
import re

from ...structures import AnnotationError
from ...structures.addresses import exists
from .annotation_files import first_few, read_lines, read_table, to_index
from .clips import (
    ACTION_TASK,
    Loaded,
    class_names_or_ids,
    find_and_attach,
    make_clip,
    parse_class_id,
    parse_seconds,
    register_clips,
)

logger = logging.getLogger(__name__)

_NAMING = "<id>.mp4"
_CLASS = re.compile(r"c(\d+)\s+(\S.*)")
_ACTION = re.compile(r"c(\d+)\s+(\S+)\s+(\S+)")


def register_charades(
    name: str,
    csv_file: str,
    video_dir: str,
    *,
    num_classes: int | None = None,
    class_file: str = "",
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register videos ``<id>.mp4`` with action segments; see :func:`register_clips`.

    If ``class_file`` does not exist, the ids are the names of the classes. ``num_classes`` is by
    default the number of its names.
    """

    def load() -> Loaded:
        class_names = class_names_or_ids(class_file, load_charades_classes(class_file), num_classes)
        clips = load_charades(csv_file, video_dir, len(class_names), allow_missing=allow_missing)
        return clips, class_names

    paths = {"annotations": csv_file, "videos": video_dir}
    register_clips(name, load, paths, _NAMING, source, evaluator_type="charades", multi_label=True)


def load_charades(
    csv_file: str, video_dir: str, num_classes: int, *, allow_missing: bool = False
) -> list[dict]:
    """Read the videos in the order of the file, with the arguments of :func:`register_charades`.

    ``labels`` holds the classes of the whole video, ``segments`` dicts of "label", "start_sec" and
    "end_sec". A segment that ends before it starts counts in ``labels`` only, with a warning.
    """
    clips: list[dict] = []
    reversed_at: list[str] = []  # "file:line" of each segment that ends before it starts
    # One row per video: "46GP8", "c092 11.90 21.20;c147 0.00 12.60".
    for place, (video_id, actions) in read_table(csv_file, ("id", "actions")):
        texts = filter(None, map(str.strip, actions.split(";")))
        segments = [_parse_action(place, text, num_classes) for text in texts]
        # A reversed segment has no span to train on, but its class still holds for the video.
        kept = [s for s in segments if s["start_sec"] <= s["end_sec"]]
        reversed_at += [place] * (len(segments) - len(kept))
        labels = {ACTION_TASK: sorted({segment["label"] for segment in segments})}
        clips.append(make_clip(place, video_id, labels, segments=kept))
    if reversed_at:
        logger.warning(
            f"{len(reversed_at)} segments end before they start, and count for the whole video "
            f"only: {first_few(reversed_at)}"
        )
    return find_and_attach(clips, video_dir, ["*"], csv_file, _NAMING, allow_missing)


def load_charades_classes(path: str) -> list[str]:
    """Read the class names in the order of their ids; an empty list if there is no file."""
    names: list[str] = []
    if not (path and exists(path)):
        return names
    for place, line in read_lines(path):
        match = _CLASS.fullmatch(line)
        # The ids must ascend without a gap: the position in the list is the class index.
        if not match or to_index(match[1]) != len(names):
            raise AnnotationError(
                f"{place}: '{line}'. Expected class c{len(names):03d} and its name, as in "
                f"'c{len(names):03d} Holding some clothes'."
            )
        names.append(match[2])
    return names


def _parse_action(place: str, text: str, num_classes: int) -> dict:
    match = _ACTION.fullmatch(text)
    if not match:
        raise AnnotationError(
            f"{place}: action '{text}'. It must be a class, start and end, as in 'c092 11.90 "
            "21.20', with ';' between actions."
        )
    class_id, start, end = match.groups()
    return {
        "label": parse_class_id(place, "class number", class_id, num_classes),
        "start_sec": parse_seconds(place, "start", start),
        "end_sec": parse_seconds(place, "end", end),
    }
