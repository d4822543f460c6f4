"""Write small generated data sets in the formats of AVA and of the sets for classification.

Figures stand, walk, jump, crouch and wave; they sing or talk, hit or push, which look the same and
differ only by sound. A second run of a complete set costs seconds; a broken-off one goes on where
it stopped.
"""

import argparse
import hashlib
import logging
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from avsf_det.data import mini
from avsf_det.data.mini.annotations import plan_ava
from avsf_det.data.mini.charades import plan_charades
from avsf_det.data.mini.contact_sheet import contact_sheet
from avsf_det.data.mini.epic import plan_epic
from avsf_det.data.mini.film import frames, soundtrack
from avsf_det.data.mini.folder import claim, replace_file
from avsf_det.data.mini.kinetics import plan_kinetics, plan_places
from avsf_det.data.mini.mini_set import MiniSet
from avsf_det.data.mini.script import FPS, Movie
from avsf_det.data.mini.ucf_hmdb import plan_hmdb, plan_ucf
from avsf_det.data.video import write as video_writer
from avsf_det.data.video.write import write_video

logger = logging.getLogger("avsf_det.make_mini_dataset")

PLANS = {
    "ava": plan_ava,
    "kinetics": plan_kinetics,
    "places": plan_places,
    "epic": plan_epic,
    "charades": plan_charades,
    "ucf": plan_ucf,
    "hmdb": plan_hmdb,
}
_GOP = {"g": str(FPS)}
_ENCODINGS = {  # options of the codecs of frames and sound
    "ava": ({"crf": "31", "preset": "superfast", **_GOP}, {"aac_coder": "fast", "b": "56k"}),
    ".mp4": ({"crf": "31", "preset": "veryfast", **_GOP}, {"aac_coder": "fast", "b": "40k"}),
    ".avi": ({"qmin": "8", "qmax": "8"}, {"b": "48k"}),
}


def make_mini_dataset(output: Path, planned: MiniSet, *, workers: int = 2) -> dict[str, str]:
    """Write a data set into ``output``, unless it is there already.

    Args:
        output: folder of the set; beside its files appear ``contact_sheet.png`` and
            ``manifest.json`` in it.
        workers: processes that draw and encode.

    Returns:
        Path inside ``output`` -> sha256 of every annotation file.

    Raises:
        FileExistsError: if ``output`` holds something else.
    """
    started = time.monotonic()
    digests = {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in planned.annotations.items()
    }
    scripts = hashlib.sha256(repr(planned.movies).encode()).hexdigest()
    request = {"movies": len(planned.movies), "scripts_sha256": scripts, "code": _code_digest()}
    claim(output, request | {"annotations_sha256": digests})
    _write_movies(output, planned.movies, workers)
    for name, text in planned.annotations.items():
        replace_file(output / name, partial(Path.write_text, data=text))
    sheet = output / "contact_sheet.png"
    if not sheet.exists():
        movies = list(planned.movies.values())[:24]
        replace_file(sheet, partial(_write_sheet, movies=movies))

    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    seconds = time.monotonic() - started
    logger.info("%s is complete: %.1f MB, %.0f s", output, size / 1e6, seconds)
    return digests


def write_movie(movie: Movie, path: Path) -> None:
    """Encode a movie as its suffix says, the sound starting with the first frame; or without."""
    # Programs are Mini-AVA's, whose measured figures stand for its encoding, too.
    encoding = "ava" if movie.shots[0].programs else path.suffix.lower()
    video_options, audio_options = _ENCODINGS[encoding]
    write_video(
        path,
        frames(movie),
        FPS,
        np.repeat(soundtrack(movie)[None], movie.channels, 0) if movie.channels else None,
        movie.sample_rate,
        video_options=video_options,
        audio_options=audio_options,
    )


def _write_movies(output: Path, movies: dict[str, Movie], workers: int) -> None:
    """Those that are not there yet, in parallel, with progress."""
    todo = [(output / name, movie) for name, movie in movies.items()]
    todo = [(path, movie) for path, movie in todo if not path.exists()]
    context = multiprocessing.get_context("forkserver")  # a plain fork copies locks of threads
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,))
    try:
        pending = [
            pool.submit(replace_file, path, partial(write_movie, movie)) for path, movie in todo
        ]
        done = as_completed(pending)
        made = len(movies) - len(todo)
        for future in tqdm(done, output.name, len(movies), initial=made, mininterval=2):
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # one failed movie ends the run at once


def _code_digest() -> str:
    """Of the generator's own source: another drawing is another data set."""
    sources = sorted(Path(mini.__file__).parent.glob("*.py"))
    sources += [Path(__file__), Path(video_writer.__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _write_sheet(path: Path, movies: list[Movie]) -> None:
    cv2.imwrite(str(path), contact_sheet(movies)[..., ::-1])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python ava_tools/make_mini_dataset.py --datasets ava kinetics",
    )
    parser.add_argument(
        "--datasets", nargs="+", choices=PLANS, default=["ava"], help="the sets to make (ava)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder of the set, where only one is made ($DETECTRON2_DATASETS/NAME_mini, or "
        "datasets/NAME_mini)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-train", type=int, help="movies to train on (the set's own number)")
    parser.add_argument("--num-val", type=int, help="movies to evaluate on (the set's own number)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes (one per CPU core)"
    )
    arguments = parser.parse_args()
    if arguments.output and len(arguments.datasets) > 1:
        parser.error("--output is the folder of one set; give one at a time")
    return arguments


def main() -> None:
    arguments = parse_args()
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    counts = {"num_train": arguments.num_train, "num_val": arguments.num_val}
    counts = {name: count for name, count in counts.items() if count is not None}
    for name in arguments.datasets:
        output = arguments.output or root / f"{name}_mini"
        planned = PLANS[name](**counts, seed=arguments.seed)
        make_mini_dataset(output, planned, workers=arguments.workers)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
