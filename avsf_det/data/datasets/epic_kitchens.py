"""EPIC-Kitchens-55 and -100: segments of long videos with a verb and a noun.

The first line of an official csv names its columns. These are read: ``uid`` (55) or
``narration_id`` (100), ``participant_id`` (P01), ``video_id`` (P01_01), ``start_timestamp`` and
``stop_timestamp`` (HH:MM:SS.ss) and, except in test lists, ``verb_class`` and ``noun_class``,
which count from 0. The files of class names have the columns ``verb_id`` or ``noun_id`` and
``class_key`` (55), or ``id`` and ``key`` (100).
"""

import re
from collections.abc import Container, Iterator
from datetime import timedelta

from ...structures import AnnotationError
from ...structures.addresses import exists
from .annotation_files import read_header, read_table
from .clips import (
    Loaded,
    class_names_or_ids,
    find_and_attach,
    make_clip,
    parse_class_id,
    register_clips,
)

_NAMING = "<participant>/videos/<video_id>.MP4, <participant>/<video_id>.MP4 or <video_id>.MP4"
_TIMESTAMP = re.compile(r"(\d{1,5}):([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


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
    """Register segments with verb and noun; see :func:`register_clips`.

    Args:
        name: name in the catalogs.
        csv_file: official annotations, or the timestamps of a test list (``labels`` are empty).
        video_dir: folder of ``<video_id>.MP4``, ``<participant>/<video_id>.MP4`` or
            ``<participant>/videos/<video_id>.MP4``.
        num_verbs: number of verbs; None: the number of names in ``verb_file``.
        num_nouns: number of nouns; None: the number of names in ``noun_file``.
        verb_file: csv of the verbs; if the file does not exist, the ids are the names.
        noun_file: csv of the nouns, likewise.
        train_csv: annotations whose pairs of verb and noun are the prior; default ``csv_file``.
        participants: numbers of the participants to keep; None: all.
        allow_missing: leave out segments whose video is missing and log how many.
        source: where to get the files; shown if one is missing.
    """
    options: dict = {"participants": participants, "allow_missing": allow_missing}

    def load() -> Loaded:
        verbs = class_names_or_ids(verb_file, load_epic_classes(verb_file), num_verbs)
        nouns = class_names_or_ids(noun_file, load_epic_classes(noun_file), num_nouns)
        sizes: dict = {"num_verbs": len(verbs), "num_nouns": len(nouns)}
        clips = load_epic_kitchens(csv_file, video_dir, **sizes, **options)
        return clips, {"verb": verbs, "noun": nouns}

    paths = {"annotations": csv_file, "videos": video_dir}
    prior = train_csv or csv_file
    register_clips(
        name, load, paths, _NAMING, source, evaluator_type="epic", train_annotation_file=prior
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
    """Read the segments in the order of the file; see :func:`register_epic_kitchens`."""
    clips: list[dict] = []
    for place, clip_id, video_id, start, stop, *classes in _read_segments(csv_file, participants):
        start_sec = _parse_timestamp(place, "start_timestamp", start)
        end_sec = _parse_timestamp(place, "stop_timestamp", stop)
        if end_sec < start_sec:
            raise AnnotationError(
                f"{place}: the segment stops at {stop}, before it starts at {start}. Correct the "
                "row."
            )
        sizes = {"verb": num_verbs, "noun": num_nouns}
        # A test list has no classes: its labels are empty.
        labels = {
            task: parse_class_id(place, f"{task}_class", text, sizes[task])
            for task, text in zip(sizes, classes, strict=False)
        }
        span = {"start_sec": start_sec, "end_sec": end_sec}
        clips.append(make_clip(place, clip_id, labels, video_id=video_id, **span))
    # <participant>/videos is the layout of the official download.
    patterns = ("*", "*/*", "*/videos/*")
    return find_and_attach(clips, video_dir, patterns, csv_file, _NAMING, allow_missing)


def load_epic_classes(csv_file: str) -> list[str]:
    """Read the class names in the order of their ids; an empty list if there is no file."""
    if not (csv_file and exists(csv_file)):
        return []
    header = read_header(csv_file)
    id_column_55 = next((name for name in ("verb_id", "noun_id") if name in header), None)
    columns = (id_column_55, "class_key") if id_column_55 else ("id", "key")
    names: dict[str, str] = {}
    for place, (class_id, name) in read_table(csv_file, columns):
        if class_id in names:
            raise AnnotationError(f"{place}: class {class_id} occurs twice. Remove one of them.")
        names[class_id] = name
    # The first id without a name; None if the ids are 0..N-1.
    absent = next((i for i in range(len(names)) if str(i) not in names), None)
    if absent is not None or not names:
        raise AnnotationError(
            f"{csv_file}: {len(names)} classes, but none has the id {absent or 0}. Ids must be 0, "
            "1, 2, ..., without a gap."
        )
    return [names[str(i)] for i in range(len(names))]


def _read_segments(csv_file: str, participants: Container[int] | None) -> Iterator[list[str]]:
    """Yield place, clip id, video id, start, stop and, except in a test list, verb and noun."""
    header = read_header(csv_file)
    id_column = "uid" if "uid" in header else "narration_id"
    columns = [id_column, "participant_id", "video_id", "start_timestamp", "stop_timestamp"]
    class_columns = ["verb_class", "noun_class"]
    # With one of the two columns the other must be there, too; a test list has neither.
    if any(name in header for name in class_columns):
        columns += class_columns
    for place, (clip_id, participant, *rest) in read_table(csv_file, columns):
        number = re.fullmatch(r"P(\d{1,9})", participant)
        if not number:
            raise AnnotationError(
                f"{place}: participant_id '{participant}'. It must be P and a number, such as P01."
            )
        if participants is None or int(number[1]) in participants:
            yield [place, clip_id, *rest]


def _parse_timestamp(place: str, column: str, text: str) -> float:
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise AnnotationError(
            f"{place}: {column} '{text}'. It must be HH:MM:SS.ss, such as 1:02:03.45."
        )
    hours, minutes, seconds = map(float, match.groups())
    # timedelta counts whole microseconds: the sum is the float closest to the decimal number.
    return timedelta(hours=hours, minutes=minutes, seconds=seconds).total_seconds()
