"""Write Mini-AVA: a small generated data set in AVA's format, mp4 files with sound and all.

Figures stand, walk, jump, crouch and wave; they sing or talk, hit or push, which look the same and
differ only by sound. A second run of a complete set costs seconds; a broken-off one goes on where
it stopped.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from avsf_det.data import mini
from avsf_det.data.mini.annotations import annotation_files, label_map
from avsf_det.data.mini.contact_sheet import contact_sheet
from avsf_det.data.mini.film import frames, soundtrack
from avsf_det.data.mini.script import FPS, Movie, plan_split
from avsf_det.utils.video_writer import write_video

logger = logging.getLogger("avsf_det.make_mini_dataset")


def make_mini_dataset(
    output: Path,
    *,
    seed: int = 0,
    num_train: int = 152,
    num_val: int = 48,
    num_shots: int = 3,
    workers: int = 2,
) -> dict[str, str]:
    """Write the data set into ``output``, unless it is there already.

    Args:
        output: folder of the set; in it appear ``videos/{train,val}``, ``annotations``,
            ``contact_sheet.png`` and ``manifest.json``.
        num_train, num_val: movies per split, of ``4 * num_shots + 0.5`` seconds each.
        workers: processes that draw and encode.

    Returns:
        File name -> sha256 of every annotation file; they depend on the arguments alone.

    Raises:
        FileExistsError: if ``output`` holds something else.
    """
    started = time.monotonic()
    texts = {"ava_mini_action_list.pbtxt": label_map()}
    jobs: list[tuple[Movie, Path]] = []
    counts = {"train": num_train, "val": num_val}
    for split, count in counts.items():
        movies = plan_split(split, count, num_shots, seed)
        texts |= annotation_files(split, movies, seed)
        jobs += [(movie, output / "videos" / split / f"{movie.video_id}.mp4") for movie in movies]
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}

    request = {"seed": seed, "movies": counts, "shots": num_shots, "code": _code_digest()}
    _claim(output, request | {"annotations_sha256": digests})
    _write_movies(jobs, workers)
    for name, text in texts.items():
        _replace(output / "annotations" / name, partial(Path.write_text, data=text))
    sheet = output / "contact_sheet.png"
    if not sheet.exists():
        _replace(sheet, partial(_write_sheet, movies=[movie for movie, _ in jobs[:24]]))

    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    seconds = time.monotonic() - started
    logger.info("%s is complete: %.1f MB, %.0f s", output, size / 1e6, seconds)
    return digests


def write_movie(movie: Movie, path: Path) -> None:
    """Encode ``movie`` as mp4 (H.264 and AAC), the sound starting with the first frame."""
    write_video(
        path,
        frames(movie),
        FPS,
        np.repeat(soundtrack(movie)[None], movie.channels, 0),
        movie.sample_rate,
        video_options={"crf": "31", "preset": "superfast", "g": str(FPS)},
        audio_options={"aac_coder": "fast", "b": "56k"},
    )


def _write_movies(jobs: list[tuple[Movie, Path]], workers: int) -> None:
    """Those of ``jobs`` that are not there yet, in parallel, with progress."""
    todo = [job for job in jobs if not job[1].exists()]
    context = multiprocessing.get_context("forkserver")  # a plain fork copies locks of threads
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,))
    try:
        pending = [pool.submit(_replace, path, partial(write_movie, movie)) for movie, path in todo]
        done = as_completed(pending)
        for future in tqdm(done, "movies", len(jobs), initial=len(jobs) - len(todo), mininterval=2):
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # one failed movie ends the run at once


def _claim(output: Path, request: dict) -> None:
    """Note in the folder what it is to hold; movies of another request are removed."""
    manifest = output / "manifest.json"
    if not manifest.exists():
        if output.exists() and any(output.glob("[!.]*")):
            raise FileExistsError(
                f"{output} is not empty and has no manifest.json, so it is not a generated set: "
                "give another --output, or empty it"
            )
    elif json.loads(manifest.read_text()) == request:
        return
    else:
        logger.info("%s holds a set made otherwise: making it anew", output)
        for path in [*output.glob("videos/*/*mini_*.mp4"), output / "contact_sheet.png"]:
            path.unlink(missing_ok=True)
    _replace(manifest, partial(Path.write_text, data=json.dumps(request, indent=2)))


def _code_digest() -> str:
    """Of the generator's own source: another drawing is another data set."""
    sources = sorted(Path(mini.__file__).parent.glob("*.py")) + [Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it: there is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    write(part)
    os.replace(part, path)


def _write_sheet(path: Path, movies: list[Movie]) -> None:
    cv2.imwrite(str(path), contact_sheet(movies)[..., ::-1])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    parser.add_argument("--output", type=Path, default=root / "ava_mini", help="folder of the set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-train", type=int, default=152, help="movies to train on")
    parser.add_argument("--num-val", type=int, default=48, help="movies to evaluate on")
    parser.add_argument("--num-shots", type=int, default=3, help="shots of 4 s per movie")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_mini_dataset(**vars(parse_args()))
