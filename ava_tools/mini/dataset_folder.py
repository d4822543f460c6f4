"""Write a generated dataset to a folder, in parallel and resumably.

``manifest.json`` in the folder records the request. The folder never holds a half-written file, so
a run that was interrupted continues where it stopped.
"""

import hashlib
import json
import logging
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ava_tools.mini.contact_sheet import draw_contact_sheet
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.rendering import render_audio, render_frames
from ava_tools.mini.video_plan import FPS, VideoPlan
from avsf_det.data.video import write as video_writer
from avsf_det.data.video.write import write_video
from avsf_det.utils.atomic import atomic_path, write_atomic

logger = logging.getLogger(__name__)

_GOP = {"g": str(FPS)}
_ENCODINGS = {  # options of the video codec and of the audio codec
    "ava": ({"crf": "31", "preset": "superfast", **_GOP}, {"aac_coder": "fast", "b": "56k"}),
    ".mp4": ({"crf": "31", "preset": "veryfast", **_GOP}, {"aac_coder": "fast", "b": "40k"}),
    ".avi": ({"qmin": "8", "qmax": "8"}, {"b": "48k"}),
}
_SHEET_VIDEOS = 24  # videos to choose the moments of the contact sheet from


def write_dataset(output: Path, dataset: MiniDataset, *, workers: int = 2) -> dict[str, str]:
    """Write a dataset into a folder; files that exist already are kept.

    Args:
        output: folder of the dataset; it also gets ``contact_sheet.png`` and ``manifest.json``.
        dataset: the dataset.
        workers: number of processes that render and encode.

    Returns:
        path inside ``output`` -> sha256 of every annotation file.

    Raises:
        FileExistsError: ``output`` contains files that were not generated.
    """
    started = time.monotonic()
    digests = {
        name: hashlib.sha256(x.encode() if isinstance(x, str) else x).hexdigest()
        for name, x in dataset.annotations.items()
    }
    request = {
        "videos": len(dataset.videos),
        "plans_sha256": hashlib.sha256(repr(dataset.videos).encode()).hexdigest(),
        "code": _code_digest(),
        "annotations_sha256": digests,
    }
    _prepare_folder(output, request)
    _write_videos(output, dataset.videos, workers)
    for name, content in dataset.annotations.items():
        write_atomic(output / name, content)
    sheet = output / "contact_sheet.png"
    if not sheet.exists():
        image = draw_contact_sheet(list(dataset.videos.values())[:_SHEET_VIDEOS])
        _, png = cv2.imencode(".png", image[..., ::-1])
        write_atomic(sheet, png.tobytes())

    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    seconds = time.monotonic() - started
    logger.info("%s is complete: %.1f MB, %.0f s", output, size / 1e6, seconds)
    return digests


def write_planned_video(video: VideoPlan, path: Path) -> None:
    """Render a video and encode it as its suffix requires; audio starts with the first frame."""
    # Only Mini-AVA has pair modes. Its published figures depend on its encoding.
    encoding = "ava" if video.shots[0].pair_modes else path.suffix.lower()
    video_options, audio_options = _ENCODINGS[encoding]
    with atomic_path(path) as temporary:
        write_video(
            temporary,
            render_frames(video),
            FPS,
            np.repeat(render_audio(video)[None], video.channels, 0) if video.channels else None,
            video.sample_rate,
            video_options=video_options,
            audio_options=audio_options,
        )


def _prepare_folder(folder: Path, request: dict) -> None:
    """Write the manifest of a request; remove the videos of a different request.

    Raises:
        FileExistsError: the folder contains files that were not generated.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        if folder.exists() and any(folder.glob("[!.]*")):
            raise FileExistsError(
                f"{folder} is not empty and has no manifest.json, so it is not a generated "
                "dataset. Give another --output, or empty it."
            )
    elif json.loads(manifest.read_text()) == request:
        return
    else:
        logger.info("%s contains a dataset of another request: it is generated again", folder)
        for path in [*folder.glob("videos/**/*.*"), folder / "contact_sheet.png"]:
            path.unlink(missing_ok=True)
    write_atomic(manifest, json.dumps(request, indent=2))


def _write_videos(output: Path, videos: dict[str, VideoPlan], workers: int) -> None:
    """Write the videos that do not exist yet, in parallel, with a progress bar."""
    todo = [(output / name, video) for name, video in videos.items()]
    todo = [(path, video) for path, video in todo if not path.exists()]
    # A plain fork would copy locks that other threads hold.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,))
    try:
        pending = [pool.submit(write_planned_video, video, path) for path, video in todo]
        done = as_completed(pending)
        existing = len(videos) - len(todo)
        for future in tqdm(done, output.name, len(videos), initial=existing, mininterval=2):
            future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # one failed video ends the run at once


def _code_digest() -> str:
    """Return the sha256 of the generator's source, because changed code gives other videos."""
    sources = [*sorted(Path(__file__).parent.glob("*.py")), Path(video_writer.__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
