#!/usr/bin/env python
"""Make videos of folders of frames, as JHMDB-21 and UCF101-24 are often distributed.

Each folder below ``--frames`` that has images becomes a video of the same relative path. The images
are taken in the order of their names; the first one is frame 1 of the annotations. A second run
makes the videos that are missing.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from avsf_det.engine.defaults import at_least, make_parser, run_command
from avsf_det.structures import AVSFError
from avsf_det.utils.atomic import atomic_path

ENDINGS = (".png", ".jpg", ".jpeg")
EXAMPLE = """example:
  python ava_tools/frames_to_videos.py --frames JHMDB/Frames --output datasets/jhmdb/videos"""


def read_images(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yield the images, uint8 (H, W, 3) RGB; an odd last row or column is left out.

    Raises:
        AVSFError: an image cannot be read, or has another size than the first.
    """
    from PIL import Image

    size = None
    for path in paths:
        try:
            image = np.asarray(Image.open(path).convert("RGB"))
        except OSError as error:
            raise AVSFError(f"{path}: no image ({error}); get it again") from None
        height, width, _ = image.shape
        if (size := size or image.shape) != image.shape:
            raise AVSFError(f"{path}: {width} x {height}, unlike the first image of its folder")
        yield np.ascontiguousarray(image[: height // 2 * 2, : width // 2 * 2])


def run(args: argparse.Namespace) -> None:
    """Write the videos."""
    from avsf_det.data.video.write import write_video

    folders: dict[Path, list[Path]] = {}
    for path in sorted(Path(args.frames).rglob("*")):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            folders.setdefault(path.parent, []).append(path)
    if not folders:
        raise AVSFError(f"{args.frames}: no image there; expected <video>/00001.png or .jpg")
    for folder, paths in tqdm(folders.items(), "videos", mininterval=2, disable=None):
        video = args.output / folder.relative_to(args.frames)
        video = video.with_name(f"{video.name}.mp4")
        if not video.exists():
            with atomic_path(video) as temporary:
                options = {"crf": str(args.crf), "preset": "veryfast"}
                write_video(temporary, read_images(paths), args.fps, video_options=options)
    print(f"{len(folders)} videos: {args.output}")


def main(argv: list[str] | None = None) -> int:
    """Run the tool; return its exit code, 1 after a line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add("--frames", required=True, type=Path, help="folder with a folder of images for each video")
    add("--output", required=True, type=Path, help="folder of the videos")
    add("--fps", type=at_least(1), default=25, help="frames per second (25)")
    add("--crf", type=at_least(0), default=12, help="quality of libx264: the less, the better (12)")
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
