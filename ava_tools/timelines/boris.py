"""Bouts as files of BORIS: a project, and the spreadsheet that "Import observations" reads."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from avsf_det.structures import AVSFError
from avsf_det.utils.atomic import atomic_path, write_atomic

from .bouts import Bout

VERSION = "7.0"  # of the project format, which BORIS 7 to 10 read
SHEET_COLUMNS = ("time", "subject", "code", "modifier", "comment")  # BORIS refuses a sheet without
_KEYS = "abcdefghijklmnopqrstuvwxyz0123456789"


def write_boris(
    path: str | Path,
    bouts: Sequence[Bout],
    media: Mapping[str, tuple[str, float, float]],
    actions: Sequence[str],
    persons: Sequence[str] = (),
) -> None:
    """Write a project of BORIS: one observation per video, a state event per bout.

    Args:
        path: file that ends in ``.boris``.
        bouts: bouts of any videos.
        media: video id -> path of its file, length in seconds, frames per second.
        actions: names of all actions, the ethogram.
        persons: ids of persons, who become subjects even without a bout.
    """
    names = sorted({b.person for b in bouts if b.person} | {*persons}, key=_by_number)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    project = {
        "time_format": "s",
        "project_date": now,
        "project_name": Path(path).stem,
        "project_description": "",
        "project_format_version": VERSION,
        "subjects_conf": {
            str(i): {"key": "", "name": name, "description": ""} for i, name in enumerate(names)
        },
        "behaviors_conf": {str(i): _behavior(i, action) for i, action in enumerate(actions)},
        "behavioral_categories": [],
        "observations": {
            video: _observation([b for b in bouts if b.video == video], *facts, now)
            for video, facts in media.items()
        },
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    write_atomic(path, json.dumps(project, indent=1, ensure_ascii=False))


def _by_number(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 1 << 40), name


def _behavior(i: int, action: str) -> dict:
    # BORIS has one key per behaviour; there may be more behaviours than letters.
    key = _KEYS[i] if i < len(_KEYS) else ""
    return {"type": "State event", "key": key, "code": action, "modifiers": {}} | dict.fromkeys(
        ("description", "category", "excluded", "coding map"), ""
    )


def _events(bouts: Sequence[Bout]) -> list[tuple[float, bool, Bout]]:
    """Return where each bout starts and stops: a state event has a row for either.

    At equal times the stop of one bout comes before the start of the next.
    """
    return sorted(
        (round(time, 3), is_start, b)
        for b in bouts
        for time, is_start in ((b.start, True), (b.end, False))
    )


def _observation(bouts: Sequence[Bout], file: str, length: float, fps: float, now: str) -> dict:
    return {
        "file": {"1": [file]},
        "type": "MEDIA",
        "date": now,
        "description": "",
        "time offset": 0.0,
        "events": [
            [time, b.person, b.action, "", _comment(b) if is_start else ""]
            for time, is_start, b in _events(bouts)
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


def _comment(bout: Bout) -> str:
    return f"mean {bout.mean:.2f}, peak {bout.peak:.2f}"


def write_boris_sheet(path: str | Path, bouts: Sequence[Bout]) -> None:
    """Write the bouts of one video for BORIS' "Import observations", which takes xlsx and ods only.

    BORIS reads a column of numbers as numbers, even where the cells are text, and a number is no
    name of a subject. So person 1 is called "person 1".
    """
    try:
        from openpyxl import Workbook  # an extra
    except ImportError:
        raise AVSFError("spreadsheets need openpyxl: pip install openpyxl") from None
    book = Workbook()
    book.active.append(SHEET_COLUMNS)
    for time, is_start, b in _events(bouts):
        person = f"person {b.person}" if b.person.isdecimal() else b.person
        book.active.append([time, person, b.action, "", _comment(b) if is_start else ""])
    with atomic_path(path) as temporary:
        book.save(temporary)
