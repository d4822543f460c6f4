"""EPIC-Kitchens-55 and -100: segments of long videos with a verb and a noun.

The official csv files name their columns in the first line: ``uid`` (55) or ``narration_id`` (100),
``participant_id`` (P01), ``video_id`` (P01_01), ``start_timestamp``, ``stop_timestamp``
(HH:MM:SS.ss) and, but for test lists, ``verb_class``, ``noun_class`` from 0; others are ignored.
The files of class names have ``verb_id`` or ``noun_id`` and ``class_key`` (55), or ``id`` and
``key`` (100).
"""

import os
import re
from collections.abc import Container, Iterator
from datetime import timedelta
from typing import NamedTuple

from .annotation_files import AnnotationError, find_videos, read_header, read_table
from .clips import attach_files, class_names_or_ids, parse_class_id, register_clips

_NAMING = "<participant>/videos/<video_id>.MP4, <participant>/<video_id>.MP4 or <video_id>.MP4"
_TIMESTAMP = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


class _Row(NamedTuple):
    place: str
    clip_id: str
    video_id: str
    start: str
    stop: str
    verb: str | None  # None in a test list, which has no such columns
    noun: str | None


def register_epic_kitchens(
    name: str,
    csv_file: str,
    video_dir: str,
    *,
    num_verbs: int | None = None,
    num_nouns: int | None = None,
    verb_file: str = "",
    noun_file: str = "",
    train_csv: str = "",
    participants: Container[int] | None = None,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register segments with verb and noun. Nothing is read before it is asked for.

    Args:
        csv_file: official annotations, or timestamps of a test list (then ``labels`` are empty).
        video_dir: folder of ``<video_id>.MP4``, ``<participant>/<video_id>.MP4`` or
            ``<participant>/videos/<video_id>.MP4``.
        num_verbs, num_nouns: number of classes; None: as many as the files of names have.
        verb_file, noun_file: csv of class names; where it is not there, the ids are the names.
        train_csv: annotations whose pairs of verb and noun are the prior; default ``csv_file``.
        participants: numbers of those to keep; None: all.
        allow_missing: leave out segments whose video is not there, and log how many.
        source: where to get the files; shown when one is missing.
    """

    def load() -> tuple[list[dict], dict[str, list[str]]]:
        task_classes = {
            "verb": class_names_or_ids(verb_file, load_epic_classes(verb_file), num_verbs),
            "noun": class_names_or_ids(noun_file, load_epic_classes(noun_file), num_nouns),
        }
        clips = load_epic_kitchens(
            csv_file,
            video_dir,
            num_verbs=len(task_classes["verb"]),
            num_nouns=len(task_classes["noun"]),
            participants=participants,
            allow_missing=allow_missing,
        )
        return clips, task_classes

    register_clips(
        name,
        load,
        paths={"annotations": csv_file, "videos": video_dir},
        naming=_NAMING,
        source=source,
        evaluator_type="epic",
        multi_label=False,
        train_annotation_file=train_csv or csv_file,
    )


def load_epic_kitchens(
    csv_file: str,
    video_dir: str,
    *,
    num_verbs: int,
    num_nouns: int,
    participants: Container[int] | None = None,
    allow_missing: bool = False,
) -> list[dict]:
    """Read the segments, in the order of the file. Arguments as of :func:`register_epic_kitchens`.

    Returns:
        dicts with ``start_sec``, ``end_sec`` and ``labels`` {"verb": index, "noun": index}.

    Raises:
        AnnotationError: a bad row, a class out of range, a segment twice, a missing video.
    """
    clips = []
    for row in _read_segments(csv_file, participants):
        start = _parse_timestamp(row.place, "start_timestamp", row.start)
        stop = _parse_timestamp(row.place, "stop_timestamp", row.stop)
        if stop < start:
            raise AnnotationError(
                f"{row.place}: the segment stops at {row.stop}, before it starts at {row.start}. "
                "Correct the row."
            )
        clips.append(
            {
                "video_id": row.video_id,
                "clip_id": row.clip_id,
                "start_sec": start,
                "end_sec": stop,
                "labels": _parse_classes(row, num_verbs, num_nouns),
                "source": row.place,
            }
        )
    found = find_videos(video_dir, ("*", "*/*", "*/videos/*"), {c["video_id"] for c in clips})
    files = [found.get(clip["video_id"]) for clip in clips]
    return attach_files(clips, files, video_dir, csv_file, _NAMING, allow_missing)


def load_epic_classes(csv_file: str) -> list[str]:
    """Read the class names in the order of their ids; nothing if the file is not there.

    Raises:
        AnnotationError: the ids are not 0, 1, 2, ... each once.
    """
    if not (csv_file and os.path.exists(csv_file)):
        return []
    header = read_header(csv_file)
    old = next((name for name in ("verb_id", "noun_id") if name in header), None)
    names: dict[str, str] = {}
    for place, (class_id, name) in read_table(
        csv_file, (old, "class_key") if old else ("id", "key")
    ):
        if class_id in names:
            raise AnnotationError(f"{place}: class {class_id} occurs twice. Remove one of them.")
        names[class_id] = name
    absent = next((i for i in range(len(names)) if str(i) not in names), None)
    if absent is not None or not names:
        raise AnnotationError(
            f"{csv_file}: {len(names)} classes, but none has the id {absent or 0}. Ids must be 0, "
            "1, 2, ..., without a gap."
        )
    return [names[str(i)] for i in range(len(names))]


def _read_segments(csv_file: str, participants: Container[int] | None) -> Iterator[_Row]:
    """The rows of the participants."""
    header = read_header(csv_file)
    clip_id = "uid" if "uid" in header else "narration_id"
    columns = [clip_id, "participant_id", "video_id", "start_timestamp", "stop_timestamp"]
    classes = ["verb_class", "noun_class"]
    if any(name in header for name in classes):
        columns += classes
    for place, (clip, participant, *rest) in read_table(csv_file, columns):
        number = re.fullmatch(r"P(\d+)", participant)
        if not number:
            raise AnnotationError(
                f"{place}: participant_id '{participant}'. It must be P and a number, such as P01."
            )
        if participants is None or int(number[1]) in participants:
            yield _Row(place, clip, *(rest if len(rest) > 3 else [*rest, None, None]))


def _parse_classes(row: _Row, num_verbs: int, num_nouns: int) -> dict[str, int]:
    if row.verb is None:
        return {}
    return {
        "verb": parse_class_id(row.place, "verb_class", row.verb, num_verbs),
        "noun": parse_class_id(row.place, "noun_class", row.noun, num_nouns),
    }


def _parse_timestamp(place: str, column: str, text: str) -> float:
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise AnnotationError(f"{place}: {column} '{text}'. It must be HH:MM:SS.ss.")
    hours, minutes, seconds = map(float, match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
