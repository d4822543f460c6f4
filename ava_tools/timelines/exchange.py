"""Results of videos as files: csv, BORIS, ELAN, VIA 3, CVAT, WebVTT.

| format | file | written for |
| --- | --- | --- |
| always | `bouts.csv` | pandas, spreadsheets: a header, a row per bout |
| boris | `bouts.boris` | BORIS: a project with ethogram, subjects, media and events |
| xlsx | `NAME.xlsx` | BORIS, "Import observations" into a project that exists |
| eaf | `NAME.eaf` | ELAN: a tier per person and action |
| via | `bouts.via.json` | VGG Image Annotator 3: boxes at keyframes, with person and actions |
| cvat | `NAME.cvat.xml` | CVAT for video 1.1: a track per person, actions are checkboxes |
| vtt | `NAME.vtt` | subtitles of any player |

All but xlsx and vtt can be corrected and read back by ``convert_annotations.py``.
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from avsf_det.structures import AVSFError
from avsf_det.structures.addresses import stem_of
from avsf_det.utils.atomic import write_atomic

from .boris import write_boris, write_boris_sheet
from .bouts import Bout
from .box_export import write_cvat, write_cvat_labels, write_via
from .elan import write_elan

if TYPE_CHECKING:
    from .pipeline import Timeline

COLUMNS = Bout._fields
_WRITTEN = "exports.json"  # file name -> hash of what was last written


def write_results(
    folder: Path, results: Sequence["Timeline"], actions: Sequence[str], formats: Iterable[str]
) -> None:
    """Write ``bouts.csv``, and the bouts in other formats (see ``FORMATS``).

    Args:
        folder: folder to write to.
        results: results of the videos.
        actions: names of all actions.
        formats: formats to write, too.

    Raises:
        AVSFError: a file there has changed since it was written, so somebody has corrected it.
    """
    bouts = [bout for result in results for bout in result.bouts]
    persons = sorted({p.person for result in results for p in result.persons})
    media = {stem_of(r.path): (str(Path(r.path).absolute()), r.duration, r.fps) for r in results}
    of_all: dict[str, tuple[str, Callable[[Path], None]]] = {
        "boris": ("bouts.boris", lambda path: write_boris(path, bouts, media, actions, persons)),
        "via": ("bouts.via.json", lambda path: write_via(path, results, actions)),
    }
    of_each: dict[str, tuple[str, Callable[[Timeline, Path], None]]] = {
        "xlsx": ("xlsx", lambda r, path: write_boris_sheet(path, r.bouts)),
        "eaf": ("eaf", lambda r, path: write_elan(path, r.bouts, r.path, actions, _ids(r))),
        "cvat": ("cvat.xml", lambda r, path: write_cvat(path, r, actions)),
        "vtt": ("vtt", lambda r, path: write_vtt(path, r.bouts)),
    }
    files: dict[str, Callable[[Path], None]] = {"bouts.csv": lambda path: write_csv(path, bouts)}
    for name in formats:
        if name in of_all:
            file, write = of_all[name]
            files[file] = write
            continue
        ending, write_each = of_each[name]
        for result in results:
            file = f"{stem_of(result.path)}.{ending}"
            files[file] = partial(write_each, result)
        if name == "cvat":
            files["cvat_labels.json"] = lambda path: write_cvat_labels(path, actions)
    _write_files(folder, files)
    print(f"{folder / 'bouts.csv'}: {len(bouts)} bouts of {len(results)} videos")


def _ids(result: "Timeline") -> list[str]:
    return [p.person for p in result.persons]


def _write_files(folder: Path, files: Mapping[str, Callable[[Path], None]]) -> None:
    """Write files, unless one of them is not as it was written."""
    log = folder / _WRITTEN
    written = json.loads(log.read_text()) if log.exists() else {}
    for name in files:
        path = folder / name
        if path.exists() and _hash(path) != written.get(name):
            raise AVSFError(
                f"{path}: has changed since it was written, so it may contain corrections. Move it "
                "elsewhere, and run the command again."
            )
    for name, write in files.items():
        write(folder / name)
        written[name] = _hash(folder / name)
        write_atomic(log, json.dumps(written, indent=1))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_csv(path: str | Path, bouts: Iterable[Bout]) -> None:
    """Write a header and a row per bout; times in seconds with three digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for b in bouts:
        times = (f"{b.start:.3f}", f"{b.end:.3f}", f"{b.mean:.4f}", f"{b.peak:.4f}")
        writer.writerow([b.video, b.person, b.action, *times])
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
