"""Bouts (an action of a person from a start to an end) to the boxes of keyframes.

    seconds        0    1    2    3    4    5
    box of 1       #    #    #    #         #      --boxes; interpolated over short gaps
    bout "wave"       [=========)              of 1
    keyframes           wave wave                  at a rate of 1 per second

The table of bouts is that of ``timeline.py``, or of BORIS ("Aggregated events").
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ava_tools.annotation_import.drawn_boxes import DrawnBox, Export, quote, short, video_id_of
from ava_tools.annotation_import.table import parse_second, split_rows
from ava_tools.annotation_import.videos import AnnotatedVideos
from ava_tools.timelines.bouts import Bout
from ava_tools.timelines.page import PersonBoxes
from avsf_det.data.datasets.annotation_files import normal_form
from avsf_det.structures import AnnotationError
from avsf_det.structures.ava_boxes import Box

_NAMES = {
    "video": "video videoid mediafilename",
    "person": "person personid subject",
    "action": "action behavior",
    "start": "start starts",
    "end": "end stop stops",
    "type": "behaviortype",
    "mean": "mean",
    "peak": "peak",
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names.split()}
_NEEDED = ("video", "person", "action", "start", "end")
_NO_SUBJECT = ("No focal subject", "NA")
# Seconds between two boxes of a person within which the box moves linearly. timeline.py gives who
# is not detected for longer another id.
MAX_GAP = 1.2
_CLOCK = 0.001  # seconds; csv files have milliseconds
_WHOLE_FRAME: Box = (0.0, 0.0, 1.0, 1.0)


def read_bouts(path: str, left_out: Counter[str] | None = None) -> list[Bout] | None:
    """Return the bouts in a table with a header, in any order of columns; None for another table.

    Args:
        path: csv file; see :func:`ava_tools.annotation_import.table.split_rows`.
        left_out: counter of what is no bout.

    Raises:
        AnnotationError: a row whose times are not start < end.
    """
    rows, delimiter = split_rows(path)
    header = rows[0][1] if rows else []
    columns: dict[str, int] = {}
    for i, name in enumerate(header):
        column = _COLUMN_OF.get(re.sub(r"\(s\)|[^a-z0-9]", "", name.lower()))
        columns.setdefault(column or "", i)
    if not {"start", "end"} <= columns.keys():
        return None
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise AnnotationError(
            f"{rows[0][0]}: no column {missing[0]!r} in {quote(header)}. Bouts need {_NEEDED}."
        )
    bouts = []
    for place, row in rows[1:]:
        fields = {
            name: " ".join(row[i].split()) if i < len(row) else "" for name, i in columns.items()
        }
        if fields.get("type", "").upper() == "POINT":
            if left_out is not None:
                left_out["point events, which have no length"] += 1
            continue
        start, end = (parse_second(place, fields[x], delimiter != ",") for x in ("start", "end"))
        if not start < end or not fields["action"]:
            raise AnnotationError(
                f"{place}: {quote(fields['action'])} from {start:g} to {end:g} s. A bout has an "
                "action, and ends after its start."
            )
        person = "" if fields["person"] in _NO_SUBJECT else fields["person"]
        # Names of videos may have dots: only an ending that BORIS writes is taken off.
        video = fields["video"]
        is_file = re.sub("[^a-z]", "", header[columns["video"]].lower()) == "mediafilename"
        video = video_id_of(video) if is_file else video
        scores = [_parse_score(place, fields.get(name, "")) for name in ("mean", "peak")]
        bouts.append(Bout(video, person, fields["action"], start, end, *scores))
    return bouts


def read_timeline_bouts(folder: Path) -> list[Bout]:
    """Return the bouts of a folder that ``timeline.py`` has written.

    Raises:
        AnnotationError: no table of bouts, or a malformed row.
    """
    path = folder / "bouts.csv"
    bouts = read_bouts(str(path))
    if bouts is None:
        raise AnnotationError(f"{path}: no columns 'start' and 'end'. timeline.py writes them.")
    return bouts


def _parse_score(place: str, text: str) -> float:
    """Parse a score; who corrects bouts need not give one."""
    try:
        return float(text or 1)
    except ValueError:
        raise AnnotationError(f"{place}: score {quote(text)} is not a number in 0..1.") from None


def boxes_of_bouts(
    path: str,
    bouts: Sequence[Bout],
    videos: AnnotatedVideos,
    *,
    rate: float,
    persons: Mapping[str, Sequence[PersonBoxes]] | None,
) -> Export:
    """Return the boxes of the keyframes at k / rate, each with the actions whose bouts contain it.

    Without ``persons``, the whole frame is the box, and has the actions of all persons.

    Args:
        path: file of the bouts, for messages.
        bouts: bouts of any videos; those of one action may overlap.
        videos: annotated videos.
        rate: keyframes per second.
        persons: video id -> boxes of its persons.

    Raises:
        AnnotationError: a video, or a person of a bout, has no boxes.
    """
    export = Export(is_of_bouts=True)
    export.attributes["action"] = 0
    # Some tools and file systems take accents off their letters.
    bouts = [bout._replace(video=normal_form(bout.video)) for bout in bouts]
    if persons is not None:
        persons = {normal_form(video): found for video, found in persons.items()}
    for video in dict.fromkeys(bout.video for bout in bouts):
        file, place = f"{video}.mp4", f"{path}: bouts of {quote(video)}"
        last = videos.duration(file, place)
        of_video = [bout for bout in bouts if bout.video == video]
        for bout in of_video:
            videos.check_second(file, bout.start, _place_of(path, bout))
        if persons is None:
            names = {bout.person for bout in of_video}
            if len(names) > 1:
                export.notes.append(
                    f"no --boxes: the frame of {short(video)} has the actions of {len(names)} "
                    "persons"
                )
            of_video = [bout._replace(person="") for bout in of_video]
            known = {"": _whole_frames(of_video, rate, last)}
        else:
            of_video = [_with_known_person(path, bout, persons) for bout in of_video]
            known = {p.person: _at_keyframes(p, rate, last) for p in persons[video]}
        sampled = set()
        for person, frames in known.items():
            mine = [bout for bout in of_video if bout.person == person]
            for second, box in frames.items():
                done = [bout for bout in mine if bout.start <= second < bout.end]
                sampled.update(done)
                where = f"{path}: {quote(video)}, person {quote(person)} at {second:g} s"
                actions = {"action": list(dict.fromkeys(bout.action for bout in done))}
                export.boxes.append(
                    DrawnBox(file, second, box, export.count_actions(actions), person, where)
                )
        lost = [bout for bout in of_video if bout not in sampled]
        export.left_out.update(_why_lost(bout, rate) for bout in lost)
    return export


def _place_of(path: str, bout: Bout) -> str:
    return (
        f"{path}: {quote(bout.video)}, {quote(bout.action)} of person {quote(bout.person)} at "
        f"{bout.start:g} s"
    )


def _with_known_person(path: str, bout: Bout, persons: Mapping[str, Sequence[PersonBoxes]]) -> Bout:
    """Return the bout with a person of the boxes; BORIS' spreadsheet has "person 1" for "1"."""
    if bout.video not in persons:
        raise AnnotationError(
            f"{_place_of(path, bout)}: --boxes has no video of this name, but {quote([*persons])}. "
            "Rename the video in the tool or in the boxes."
        )
    known = [p.person for p in persons[bout.video]]
    for name in (bout.person, bout.person.removeprefix("person ")):
        if name in known:
            return bout._replace(person=name)
    raise AnnotationError(
        f"{_place_of(path, bout)}: --boxes has the persons {quote(known)} there. Give the bout to "
        "one of them, or convert without --boxes."
    )


def _seconds(start: float, end: float, rate: float) -> list[float]:
    """Return the times k / rate from start to end, both included."""
    first, last = math.ceil((start - _CLOCK) * rate), math.floor((end + _CLOCK) * rate)
    return [k / rate for k in range(max(first, 0), last + 1)]


def _whole_frames(bouts: Sequence[Bout], rate: float, last: float) -> dict[float, Box]:
    spans = ((bout.start, min(bout.end, last)) for bout in bouts)
    return {second: _WHOLE_FRAME for span in spans for second in _seconds(*span, rate)}


def _at_keyframes(person: PersonBoxes, rate: float, last: float) -> dict[float, Box]:
    """Return keyframe -> box of a person, where it has one at most ``MAX_GAP / 2`` away."""
    at, boxes = person.seconds, person.boxes
    found = {}
    for second in _seconds(at[0], min(at[-1], last), rate):
        after = int(np.searchsorted(at, second - _CLOCK))
        before = int(np.searchsorted(at, second + _CLOCK, side="right")) - 1
        if before < after and at[after] - at[before] > MAX_GAP:
            continue  # not seen
        box = [float(np.interp(second, at, side)) for side in boxes.T]
        found[second] = (box[0], box[1], box[2], box[3])
    return found


def _why_lost(bout: Bout, rate: float) -> str:
    if any(bout.start <= second < bout.end for second in _seconds(bout.start, bout.end, rate)):
        return "bouts while their person has no box"
    return f"bouts between the keyframes of --rate {rate:g}"


def merge_overlaps(bouts: Sequence[Bout]) -> Iterator[Bout]:
    """Yield the bouts, those of one person and action that overlap as one."""
    current: Bout | None = None
    for bout in sorted(bouts):
        if current and bout[:3] == current[:3] and bout.start < current.end:
            ends, peaks = (bout.end, current.end), (bout.peak, current.peak)
            current = current._replace(end=max(ends), peak=max(peaks))
            continue
        if current:
            yield current
        current = bout
    if current:
        yield current
