"""Cut the annotated part out of AVA's videos."""

import csv
import io
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from detectron2.utils import comm

from ava_tools.support.parallel import in_parallel
from ava_tools.support.ranks import file_size, gather, print_once, take_share
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.datasets.annotation_files import find_videos
from avsf_det.data.datasets.builtin_meta import AVA_CUT_SECOND, AVA_VALID_SECONDS
from avsf_det.data.video.cut import cut_video
from avsf_det.utils.atomic import atomic_path, write_atomic

# Seconds of the video; the end leaves room for clips around the last keyframe.
START, LAST, END = AVA_CUT_SECOND, AVA_VALID_SECONDS[1], AVA_VALID_SECONDS[1] + 3


@dataclass
class SourceVideo:
    """One of AVA's videos.

    Attributes:
        video_id: id in the annotations.
        file: path; None where it is missing.
        target: path of its cut.
        num_bytes: size of the part that is not cut yet.
        problem: explanation; "" if there is none.
    """

    video_id: str
    file: str | None
    target: Path
    num_bytes: int = 0
    problem: str = ""


def inspect(video: SourceVideo) -> SourceVideo:
    """Return the video with its problem and size, or those of its cut, without decoding it all."""
    is_cut = video.target.exists()
    file = str(video.target) if is_cut else video.file
    num_bytes, problem = 0, ""
    try:
        if file is None:
            raise VideoDecodeError("missing")
        with VideoReader(file) as reader:
            seconds, has_audio = reader.duration, reader.has_audio
        if seconds < (LAST - START if is_cut else LAST):
            problem = f"{file}: ends at {seconds:.0f} s, before the last annotated second"
        elif not has_audio:
            problem = f"{file}: has no audio track"
        if not is_cut:
            fraction = max(min(seconds, END) - START, 0) / seconds
            num_bytes = int(os.path.getsize(file) * fraction)
    except VideoDecodeError as error:
        problem = str(error)
    return SourceVideo(video.video_id, video.file, video.target, num_bytes, problem)


def cut(video: SourceVideo, gop: int | None) -> str:
    """Write the annotated part of a video, complete or not at all; return the problem, or ""."""
    assert video.file is not None  # only existing videos have bytes to cut
    try:
        with atomic_path(video.target) as temporary:
            cut_video(video.file, temporary, START, END, gop)
            VideoReader(str(temporary)).close()  # decodes a frame
    except VideoDecodeError as error:
        return str(error)
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
    """Inspect and cut videos, which processes share.

    Args:
        video_ids: ids in the annotations.
        video_dir: folder of the whole videos.
        output: folder of the cuts.
        gop: frames per I-frame when frames are encoded again; None: they are copied.
        workers: number of threads.
        dry_run: inspect, and write nothing.

    Returns:
        video id to problem; also written to ``problems.csv``.

    Raises:
        AnnotationError: the folder of the videos is missing.
        OSError: there is not enough space on the disk.
    """
    found = find_videos(video_dir, ("*", "*/*"), video_ids)
    videos = [SourceVideo(name, found.get(name), output / f"{name}.mp4") for name in video_ids]
    mine = take_share(videos, lambda video: file_size(video.file))
    videos = gather([result for _, result in in_parallel(inspect, mine, workers, "inspect")])
    problems = {video.video_id: video.problem for video in videos if video.problem}
    todo = [video for video in videos if video.num_bytes]
    size = sum(video.num_bytes for video in todo)
    print_once(
        f"{len(videos)} videos in the annotations: {len(found)} in {video_dir}, "
        f"{sum(video.target.exists() for video in videos)} cut in {output}, {len(todo)} to cut, "
        f"about {size / 1e9:.2f} GB"
        + (" as they are; encoded again up to 3 times that" * bool(gop)),
        flush=True,
    )
    if not dry_run:
        output.mkdir(parents=True, exist_ok=True)
        if size > (free := shutil.disk_usage(output).free):
            raise OSError(f"{output}: only {free / 1e9:.2f} GB are free")
        comm.synchronize()  # all have looked at the disk before one writes
        mine = take_share(todo, lambda video: video.num_bytes)
        done = in_parallel(partial(cut, gop=gop), mine, workers, "cut")
        problems |= gather([(video.video_id, problem) for video, problem in done if problem])
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("video", "problem"), *sorted(problems.items())])
        if comm.is_main_process():
            write_atomic(output / "problems.csv", table.getvalue())
    return dict(sorted(problems.items()))
