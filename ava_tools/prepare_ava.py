#!/usr/bin/env python
"""Cut the annotated 15 minutes out of AVA's movies, with their sound.

First finds out which movies of the annotations are missing, unreadable, too short or without
sound, and how much will be written. Movies that are cut already are skipped, so a stopped run goes
on where it was; there is never half a file. The exit code is 0 only if every movie is good. Nothing
is read through: check_videos.py does that, with movies and with cuts.
"""

import argparse
import csv
import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ava_tools.support.parallel import in_parallel
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.datasets import AnnotationError
from avsf_det.data.datasets.builtin_meta import AVA_CUT_SECOND, AVA_VALID_SECONDS
from avsf_det.data.datasets.video_lists import find_movies, read_video_ids
from avsf_det.data.video.cut import cut_video

EXAMPLE = """examples:
  python ava_tools/prepare_ava.py --dry-run
  python ava_tools/prepare_ava.py --workers 8
  python ava_tools/prepare_ava.py --gop 12 --output datasets/ava/videos_15min_gop12

By default reads datasets/ava/annotations/ava_{train,val}_v2.{1,2}.csv and the movies of
datasets/ava/videos, and writes datasets/ava/videos_15min ($DETECTRON2_DATASETS for datasets)."""
# Seconds of the movie; the end leaves room for clips around the last keyframe.
START, LAST, END = AVA_CUT_SECOND, AVA_VALID_SECONDS[1], AVA_VALID_SECONDS[1] + 3


@dataclass
class Movie:
    """``file`` is None where it is missing; ``num_bytes`` are those of the part still to cut."""

    video_id: str
    file: str | None
    target: Path
    num_bytes: int = 0
    problem: str = ""


def inspect(movie: Movie) -> Movie:
    """Find the problem of a movie, or of its cut where there is one, without reading it through."""
    is_cut = movie.target.exists()
    file = str(movie.target) if is_cut else movie.file
    try:
        if file is None:
            raise VideoDecodeError("missing")
        with VideoReader(file) as reader:
            seconds, has_audio = reader.duration, reader.has_audio
    except VideoDecodeError as error:
        movie.problem = str(error)
        return movie
    if seconds < (LAST - START if is_cut else LAST):
        movie.problem = f"{file}: ends at {seconds:.0f} s, before the last annotated second"
    elif not has_audio:
        movie.problem = f"{file}: has no sound track"
    if not is_cut:
        movie.num_bytes = int(os.path.getsize(file) * max(min(seconds, END) - START, 0) / seconds)
    return movie


def cut(movie: Movie, gop: int | None) -> str:
    """Write the movie's part, under its name only when it is complete. Returns what went wrong."""
    part = movie.target.with_name(f".part-{movie.target.name}")
    try:
        cut_video(movie.file, part, START, END, gop)
        VideoReader(str(part)).close()  # one frame of it decodes
    except VideoDecodeError as error:
        part.unlink(missing_ok=True)
        return str(error)
    os.replace(part, movie.target)
    return ""


def prepare(
    video_ids: list[str],
    video_dir: str,
    output: Path,
    *,
    gop: int | None = None,
    workers: int = 2,
    dry_run: bool = False,
) -> dict[str, str]:
    """Inspect and cut movies. Returns video id -> problem, which ``problems.csv`` has, too.

    Raises:
        AnnotationError or OSError: no such folder, or no room on the disk.
    """
    found = find_movies(video_dir, video_ids)
    movies = [Movie(name, found.get(name), output / f"{name}.mp4") for name in video_ids]
    movies = [movie for movie, _ in in_parallel(inspect, movies, workers, "inspect")]
    problems = {movie.video_id: movie.problem for movie in movies if movie.problem}
    todo = [movie for movie in movies if movie.num_bytes]
    size = sum(movie.num_bytes for movie in todo)
    print(
        f"{len(movies)} movies in the annotations: {len(found)} in {video_dir}, "
        f"{sum(movie.target.exists() for movie in movies)} cut in {output}, {len(todo)} to cut, "
        f"about {size / 1e9:.2f} GB"
        + (" as they are; encoded anew up to 3 times that" * bool(gop)),
        flush=True,
    )
    if not dry_run:
        output.mkdir(parents=True, exist_ok=True)
        if size > (free := shutil.disk_usage(output).free):
            raise OSError(f"{output}: only {free / 1e9:.2f} GB are free")
        for movie, problem in in_parallel(partial(cut, gop=gop), todo, workers, "cut"):
            if problem:
                problems[movie.video_id] = problem
        with open(output / "problems.csv", "w", newline="") as file:
            csv.writer(file).writerows([("video", "problem"), *sorted(problems.items())])
    return dict(sorted(problems.items()))


def main(argv: list[str] | None = None) -> int:
    """Returns 1 if a movie has a problem, or after a line on stderr if input is bad."""
    ava = Path(os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets")), "ava")
    official = [ava / f"annotations/ava_{s}_v2.{v}.csv" for s in ("train", "val") for v in (1, 2)]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--csv", nargs="+", metavar="FILE", help="AVA's, or lists of file names")
    parser.add_argument("--videos", default=ava / "videos", metavar="DIR", help="whole movies")
    parser.add_argument("--output", type=Path, default=ava / "videos_15min", metavar="DIR")
    parser.add_argument("--gop", type=int, metavar="N", help="encode anew, a key frame every N")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads (CPU cores)")
    parser.add_argument("--dry-run", action="store_true", help="inspect, and write nothing")
    args = parser.parse_args(argv)
    try:
        lists = args.csv or [str(path) for path in official if path.exists()]
        if not lists:
            raise AnnotationError(f"{ava}/annotations: no ava_train_v2.2.csv there; give --csv")
        ids, options = read_video_ids(lists), {"gop": args.gop, "workers": args.workers}
        problems = prepare(ids, str(args.videos), args.output, dry_run=args.dry_run, **options)
    except (AnnotationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for video_id, problem in problems.items():
        print(f"{video_id}: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
