"""Table of the problems of many videos, a csv that a later run continues."""

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from detectron2.utils import comm
from tabulate import tabulate

from ava_tools.support.parallel import in_parallel
from ava_tools.support.ranks import (
    all_logs,
    file_size,
    gather,
    own_log,
    print_once,
    take_share,
)
from avsf_det.data.datasets import AnnotationError
from avsf_det.data.video.formats import printable
from avsf_det.structures.errors import VIDEO_PROBLEMS
from avsf_det.utils.atomic import write_atomic

from .video_check import NOTES, VideoCheck, check_video

COLUMNS = (
    *("video", "bytes", "seconds", "width", "height", "fps", "frames", "asked", "problems"),
    "notes",
)


def check_videos(
    videos: Mapping[str, str | None],
    output: str,
    *,
    min_sec: float,
    max_gap: float,
    workers: int,
    last_secs: Mapping[str, float] | None = None,
) -> dict[str, dict]:
    """Check videos, except those with a result in ``output``; processes share them.

    Args:
        videos: name to path, None where the file is missing.
        output: csv to which each result is appended at once; sorted by name at the end.
        min_sec: shortest length of a good video in seconds.
        max_gap: see :func:`check_video`.
        workers: number of threads.
        last_secs: name to the last second that annotations have of it.

    Returns:
        name to row of the csv; "problems" and "notes" are "kind: what; kind: what".

    Raises:
        AnnotationError: ``output`` is another file.
    """
    videos = {printable(name): file for name, file in videos.items()}
    sizes = {name: _size(file) for name, file in videos.items()}
    # A result counts again if neither the file nor the limits have changed.
    lasts = {printable(name): second for name, second in (last_secs or {}).items()}
    asked = {
        name: f"{min_sec:g} s, gap {max_gap:g} s"
        + (f", to {lasts[name]:g} s" if name in lasts else "")
        for name in videos
    }
    rows = {
        row["video"]: row
        for log in all_logs(output)
        for row in _read(log)
        if (sizes.get(row["video"]), asked.get(row["video"])) == (row["bytes"], row["asked"])
        and row["bytes"]
    }
    mine = take_share(list(videos), lambda name: file_size(videos[name]))
    todo = [name for name in mine if name not in rows]
    _write(own_log(output), rows.values())

    def check(name: str) -> VideoCheck:
        last_sec = lasts.get(name, 0.0)
        return check_video(videos[name], min_sec=min_sec, max_gap=max_gap, last_sec=last_sec)

    with open(own_log(output), "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for name, result in in_parallel(check, todo, workers, "videos"):
            known = {"video": name, "bytes": sizes[name], "asked": asked[name]}
            rows[name] = known | _to_row(result)
            writer.writerow(rows[name])
            file.flush()
    rows = dict(gather([(name, rows[name]) for name in mine]))
    rows = {name: rows[name] for name in videos}
    if comm.is_main_process():
        _write(output, rows.values())
        for log in all_logs(output)[1:]:
            os.remove(log)
    return rows


def print_problems(rows: Mapping[str, dict], ignore: Collection[str] = ()) -> int:
    """Print the videos with problems, and how often each problem occurs.

    Args:
        rows: result of :func:`check_videos`.
        ignore: kinds of problems that do not count.

    Returns:
        number of videos with problems.
    """
    counts: Counter[str] = Counter()
    table = []
    for name, row in rows.items():
        problems = [p for p in row["problems"].split("; ") if p and p.split(":")[0] not in ignore]
        counts.update(p.split(":")[0] for p in problems)
        table += [(name, row["seconds"], "\n".join(problems))] if problems else []
    if table:
        print_once(tabulate(table, ("video", "seconds", "problems"), disable_numparse=True))
    notes = Counter(
        note.split(":")[0] for row in rows.values() for note in row["notes"].split("; ")
    )
    if noted := ", ".join(f"{notes[kind]} {kind}" for kind in NOTES if notes[kind]):
        print_once(f"no problem, but noted in the table: {noted}")
    numbers = ", ".join(f"{counts[kind]} {kind}" for kind in VIDEO_PROBLEMS if counts[kind])
    print_once(
        f"{len(rows) - len(table)} of {len(rows)} videos are good" + (numbers and f": {numbers}")
    )
    return len(table)


def _to_row(result: VideoCheck) -> dict:
    problems, notes = (
        "; ".join(f"{kind}: {what}" for kind, what in found.items())
        for found in (result.problems, result.notes)
    )
    numbers = {name: getattr(result, name) for name in ("width", "height", "frames")}
    numbers |= {"seconds": f"{result.seconds:.2f}", "fps": f"{result.fps:.3f}"}
    return {**numbers, "problems": problems, "notes": notes}


def _size(file: str | None) -> str:
    """Return the size of a file in bytes; "" where it is missing."""
    try:
        return str(os.path.getsize(file)) if file else ""
    except OSError:  # a link to a missing file
        return ""


def _read(output: str) -> list[dict]:
    """Return the complete rows of a log."""
    # A killed run, or a process that goes on writing, may leave half a row at the end.
    with open(output, encoding="utf-8", errors="replace", newline="") as file:
        header = file.readline()
        if header and header.rstrip("\r\n") != ",".join(COLUMNS):
            raise AnnotationError(f"{output}: is another file; choose another --output")
        return list(csv.DictReader((line for line in file if line.endswith("\n")), COLUMNS))


def _write(output: str, rows: Iterable[dict]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(output, text.getvalue())
