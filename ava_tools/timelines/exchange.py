"""Bouts as files of other programs: csv, BORIS, ELAN, WebVTT.

| file | written for | read back |
| --- | --- | --- |
| `.csv` | pandas, spreadsheets: a header, a row per bout | yes |
| `.boris` | BORIS, project with ethogram, subjects, media and events | yes |
| `.tsv` | BORIS, "import from a spreadsheet": two rows per bout | no |
| `.eaf` | ELAN, one file per video, a tier per person and label group | yes |
| `.vtt` | subtitles of any player, one file per video | no |
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from avsf_det.structures import AnnotationError
from avsf_det.structures.addresses import stem_of
from avsf_det.utils.atomic import write_atomic

from .bouts import Bout
from .elan import write_elan

if TYPE_CHECKING:
    from .pipeline import Timeline

BORIS_VERSION = "7.0"  # of the project format, which BORIS 7 to 10 read
NO_PERSON = "No focal subject"  # BORIS' name of an event without a subject
COLUMNS = Bout._fields


def write_results(
    folder: Path, timelines: Sequence["Timeline"], actions: Sequence[str], formats: Iterable[str]
) -> None:
    """Write ``bouts.csv``, and the bouts in other formats; BORIS gets one project of all videos.

    Args:
        folder: folder to write to.
        timelines: results of the videos.
        actions: names of all actions.
        formats: endings of the files: "boris", "tsv", "eaf", "vtt".
    """
    bouts = [bout for timeline in timelines for bout in timeline.bouts]
    write_csv(folder / "bouts.csv", bouts)
    print(f"{folder / 'bouts.csv'}: {len(bouts)} bouts of {len(timelines)} videos")
    writers = {
        "tsv": lambda path, timeline: write_boris_table(path, timeline.bouts),
        "eaf": lambda path, timeline: write_elan(path, timeline.bouts, timeline.path),
        "vtt": lambda path, timeline: write_vtt(path, timeline.bouts),
    }
    for ending in formats:
        if ending == "boris":
            media = {
                stem_of(t.path): (str(Path(t.path).absolute()), t.duration, t.fps)
                for t in timelines
            }
            write_boris(folder / "bouts.boris", bouts, media, actions)
            continue
        for timeline in timelines:
            writers[ending](folder / f"{stem_of(timeline.path)}.{ending}", timeline)


def write_csv(path: str | Path, bouts: Iterable[Bout]) -> None:
    """Write a header and a row per bout; times in seconds with three digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for b in bouts:
        times = (f"{b.start:.3f}", f"{b.end:.3f}", f"{b.mean:.4f}", f"{b.peak:.4f}")
        writer.writerow([b.video, b.person, b.action, *times])
    write_atomic(path, text.getvalue())


def read_csv(path: str | Path) -> list[Bout]:
    """Read bouts from a csv with a header, in any order of columns; scores may be missing.

    Raises:
        AnnotationError: a missing column, or a row whose times are not start < end.
    """
    bouts = []
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS[:5] if name not in (reader.fieldnames or [])]
        if missing:
            raise AnnotationError(
                f"{path}: no column '{missing[0]}' in the header; bouts need {COLUMNS[:5]}"
            )
        for row in reader:
            place = f"{path}:{reader.line_num}"
            scores = [_number(row.get(name) or "1", place) for name in ("mean", "peak")]
            start, end = (_number(row[name], place) for name in ("start", "end"))
            bouts.append(
                _checked(
                    Bout(row["video"], row["person"], row["action"], start, end, *scores), place
                )
            )
    return bouts


def write_boris(
    path: str | Path,
    bouts: Sequence[Bout],
    media: Mapping[str, tuple[str, float, float]],
    actions: Sequence[str],
) -> None:
    """Write a project of BORIS: one observation per video, a state event per bout.

    Args:
        path: file that ends in ``.boris``.
        bouts: bouts of any videos.
        media: video id -> path of its file, length in seconds, frames per second.
        actions: names of all actions, the ethogram.
    """
    persons = sorted({b.person for b in bouts if b.person})
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    behaviors = {
        str(i): {
            "type": "State event",
            # BORIS has one key per behaviour; there are more behaviours than letters.
            "key": "abcdefghijklmnopqrstuvwxyz0123456789"[i] if i < 36 else "",
            "code": action,
            "description": "",
            "category": "",
            "modifiers": {},
            "excluded": "",
            "coding map": "",
        }
        for i, action in enumerate(actions)
    }
    observations = {}
    for video, (file, length, fps) in media.items():
        # A state event has a row where it starts and one where it stops. At equal times the stop
        # of one comes before the start of the next.
        rows = sorted(
            (time, is_start, b.person, b.action, f"mean {b.mean:.2f}, peak {b.peak:.2f}")
            for b in bouts
            if b.video == video
            for time, is_start in ((b.start, 1), (b.end, 0))
        )
        observations[video] = {
            "file": {"1": [file]},
            "type": "MEDIA",
            "date": now,
            "description": "",
            "time offset": 0.0,
            "events": [
                [round(time, 3), person, action, "", comment if is_start else ""]
                for time, is_start, person, action, comment in rows
            ],
            "observation time interval": [0, 0],
            "independent_variables": {},
            "visualize_spectrogram": False,
            "visualize_waveform": False,
            "close_behaviors_between_videos": False,
            "scan_sampling_time": 0,
            "start_from_current_time": False,
            "media_info": {
                "length": {file: length},
                "fps": {file: fps},
                "hasVideo": {file: True},
                "hasAudio": {file: True},
                "offset": {"1": 0.0},
            },
        }
    project = {
        "time_format": "s",
        "project_date": now,
        "project_name": Path(path).stem,
        "project_description": "",
        "project_format_version": BORIS_VERSION,
        "subjects_conf": {
            str(i): {"key": "", "name": name, "description": ""} for i, name in enumerate(persons)
        },
        "behaviors_conf": behaviors,
        "behavioral_categories": [],
        "observations": observations,
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    write_atomic(path, json.dumps(project, indent=1, ensure_ascii=False))


def read_boris(path: str | Path) -> list[Bout]:
    """Read the state events of all observations of a BORIS project.

    The video id is the name of the first media file of an observation, without its ending.

    Raises:
        AnnotationError: not a project, or a state event that starts and never stops.
    """
    try:
        project = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        states = {
            str(b["code"])
            for b in project["behaviors_conf"].values()
            if str(b["type"]).startswith("State")
        }
        observations = dict(project["observations"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise AnnotationError(
            f"{path}: not a BORIS project; save it with BORIS 7 or later"
        ) from None
    bouts: list[Bout] = []
    for name, observation in observations.items():
        place = f"{path}: observation '{name}'"
        try:
            files = [file for player in observation["file"].values() for file in player]
            events = [(float(e[0]), str(e[1]), str(e[2])) for e in observation["events"]]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise AnnotationError(f"{place}: no media or malformed events; see BORIS") from None
        video = Path(str(files[0]).replace("\\", "/")).stem if files else name
        started: dict[tuple[str, str], float] = {}
        for time, person, action in events:
            if action not in states:
                continue  # a point event has no length
            key = ("" if person == NO_PERSON else person, action)
            if key in started:
                bouts.append(_checked(Bout(video, *key, started.pop(key), time), place))
            else:
                started[key] = time
        if started:
            (person, action), time = next(iter(started.items()))
            raise AnnotationError(
                f"{place}: '{action}' of '{person}' starts at {time:g} s and never stops; add the "
                "stop in BORIS (Observations, Check state events)"
            )
    return bouts


def write_boris_table(path: str | Path, bouts: Sequence[Bout]) -> None:
    """Write the bouts of one video as BORIS' "import from a spreadsheet" reads them."""
    rows = sorted(
        (time, is_start, b.person, b.action, b.peak)
        for b in bouts
        for time, is_start in ((b.start, 1), (b.end, 0))
    )
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["time", "subject", "code", "modifier", "comment"])
    for time, is_start, person, action, peak in rows:
        comment = f"peak {peak:.2f}" if is_start else ""
        writer.writerow([f"{time:.3f}", person, action, "", comment])
    write_atomic(path, text.getvalue())


def write_vtt(path: str | Path, bouts: Iterable[Bout]) -> None:
    """Write the bouts of one video as WebVTT subtitles, one cue per bout (W3C WebVTT)."""
    cues = [
        f"{_clock(b.start)} --> {_clock(b.end)}\n{_escape(f'{b.person}: {b.action}')}\n"
        for b in sorted(bouts, key=lambda b: (b.start, b.end, b.person, b.action))
    ]
    write_atomic(path, "\n".join(["WEBVTT\n", *cues]))


def _escape(text: str) -> str:
    """Return a line of a cue: markup characters escaped, "-->" and line ends impossible."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.split())


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds / 1000:06.3f}"


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise AnnotationError(f"{place}: '{text}' is not a number; times are seconds") from None


def _checked(bout: Bout, place: str) -> Bout:
    if not 0 <= bout.start < bout.end < float("inf"):
        raise AnnotationError(
            f"{place}: '{bout.action}' from {bout.start:g} to {bout.end:g} s; a bout starts at 0 "
            "or later, and ends after that"
        )
    return bout
