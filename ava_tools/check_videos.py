#!/usr/bin/env python
"""Decode every video of a folder or of a list, and say which ones will not do, and why.

Missing, undecodable (and where), without sound, silent, sound and frames of different length or
start, too short for a config's clip. The exit code is 0 if there is no problem, 1 if there is one,
2 if there is nothing to check.
"""

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Collection
from functools import partial
from pathlib import Path

from detectron2.config import get_cfg
from tabulate import tabulate

from ava_tools.support.parallel import in_parallel
from avsf_det import add_avsf_config
from avsf_det.data.datasets import AnnotationError
from avsf_det.data.datasets.video_lists import videos_in, videos_of
from avsf_det.data.video.check import PROBLEMS, VideoCheck, check_video

EXAMPLE = """examples:
  a folder               python ava_tools/check_videos.py --videos videos/ --output check.csv
  the videos of a csv    python ava_tools/check_videos.py --videos videos/ --csv train.csv \\
                             --config-file configs/AVA/avsf_r50_4x16.yaml --output check.csv
  silence is no problem  python ava_tools/check_videos.py --videos videos/ --output check.csv \\
                             --ignore silent "no sound"

Run again, it goes on where it was stopped; files that have changed since are checked anew."""
COLUMNS = ("video", "bytes", "seconds", "width", "height", "fps", "frames", "asked", "problems")


def check_all(
    videos: dict[str, str | None], output: str, *, min_sec: float, max_gap: float, workers: int
) -> dict[str, dict]:
    """Check videos, except those that a file of results has already.

    Args:
        videos: name -> file, None where it is missing.
        output: csv to which each result is added at once, and which in the end is sorted by name.
        min_sec, max_gap: see :func:`check_video`.

    Returns:
        name -> row of the csv; its "problems" are "kind: what; kind: what".
    """
    sizes = {name: str(os.path.getsize(file)) if file else "" for name, file in videos.items()}
    asked = f"{min_sec:g} s, gap {max_gap:g} s"
    rows = {
        row["video"]: row
        for row in _read(output)
        if (sizes.get(row["video"]), asked) == (row["bytes"], row["asked"]) and row["bytes"]
    }
    todo = [name for name in videos if name not in rows]
    _write(output, rows)
    check = partial(check_video, min_sec=min_sec, max_gap=max_gap)
    with open(output, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        for name, result in in_parallel(lambda n: check(videos[n]), todo, workers, "videos"):
            rows[name] = {"video": name, "bytes": sizes[name], "asked": asked, **_row(result)}
            writer.writerow(rows[name])
            file.flush()
    rows = {name: rows[name] for name in videos}
    _write(output, rows)
    return rows


def report(rows: dict[str, dict], ignore: Collection[str] = ()) -> int:
    """Print the videos with problems, and how many have which. Returns the number of videos."""
    counts, table = Counter(), []
    for name, row in rows.items():
        problems = [p for p in row["problems"].split("; ") if p and p.split(":")[0] not in ignore]
        counts.update(p.split(":")[0] for p in problems)
        table += [(name, row["seconds"], "\n".join(problems))] if problems else []
    if table:
        print(tabulate(table, ("video", "seconds", "problems"), disable_numparse=True))
    numbers = ", ".join(f"{counts[kind]} {kind}" for kind in PROBLEMS if counts[kind])
    print(f"{len(rows) - len(table)} of {len(rows)} videos are good" + (numbers and f": {numbers}"))
    return len(table)


def _row(result: VideoCheck) -> dict:
    problems = "; ".join(f"{kind}: {what}" for kind, what in result.problems.items())
    numbers = {name: getattr(result, name) for name in ("width", "height", "frames")}
    numbers |= {"seconds": f"{result.seconds:.2f}", "fps": f"{result.fps:.3f}"}
    return {**numbers, "problems": problems}


def _read(output: str) -> list[dict]:
    """Complete rows of an earlier run."""
    if not os.path.exists(output):
        return []
    with open(output, newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) not in ((), COLUMNS):
            raise AnnotationError(f"{output}: is another file; give another --output")
        return [row for row in reader if row["problems"] is not None]


def _write(output: str, rows: dict[str, dict]) -> None:
    with open(f"{output}.part", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows.values())
    os.replace(f"{output}.part", output)


def clip_seconds(config_file: str) -> float:
    """Length of a config's clip."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    clip = cfg.INPUT.CLIP
    return clip.NUM_FRAMES * clip.STRIDE / clip.FPS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", required=True, metavar="DIR", help="folder of the videos")
    parser.add_argument(
        "--csv", metavar="FILE", help="check those that it names: AVA's csv, or video,label"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="csv of all results")
    parser.add_argument("--config-file", metavar="FILE", help="for how long a video must be")
    parser.add_argument(
        "--max-gap", type=float, default=0.3, metavar="S", help="between sound and frames (0.3)"
    )
    parser.add_argument("--ignore", nargs="+", choices=PROBLEMS, default=[], metavar="PROBLEM")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads (CPU cores)")
    args = parser.parse_args(argv)
    try:
        min_sec = clip_seconds(args.config_file) if args.config_file else 0.0
        videos = videos_of(args.csv, args.videos) if args.csv else videos_in(args.videos)
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        options = {"min_sec": min_sec, "max_gap": args.max_gap, "workers": args.workers}
        rows = check_all(videos, args.output, **options)
    except (AnnotationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(report(rows, args.ignore) > 0)


if __name__ == "__main__":
    sys.exit(main())
