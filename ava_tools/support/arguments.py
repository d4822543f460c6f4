"""Values of command-line options that several tools take."""

import argparse
from collections.abc import Callable, Iterable, Sequence

from avsf_det.engine.defaults import at_least
from avsf_det.structures import AVSFError


def add_box_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--boxes``, ``--score-threshold`` and ``--offset``, for ``load_boxes``."""
    add = parser.add_argument
    boxes = "person boxes: video_id,second,x1,y1,x2,y2,[id],score; or annotations"
    add("--boxes", metavar="CSV", help=boxes)
    threshold = "leave out boxes of --boxes with a lower score (0, which leaves out none)"
    add("--score-threshold", type=at_least(0.0), default=0.0, metavar="P", help=threshold)
    offset = "second of the csv's clock at which videos start: 900 for AVA's cut videos (0)"
    add("--offset", type=float, default=0.0, metavar="S", help=offset)


def add_whole_frame_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--whole-frame``, a list of settings for ``load_config``."""
    parser.add_argument(
        "--whole-frame",
        action="store_const",
        const=["MODEL.PERSON_DETECTOR.CONFIG_FILE", "whole-frame"],
        default=[],
        help="one box, the whole frame: a single subject before a fixed camera",
    )


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of devices and network streams."""
    add = parser.add_argument
    add_whole_frame_argument(parser)
    add("--show", action="store_true", help="show the frames of a stream in a window; q ends")
    tries = "tries in a row to open a lost stream again, with growing waits (10)"
    add("--reconnect", type=at_least(0), default=10, metavar="N", help=tries)
    microphone = "ALSA's name of the microphone of /dev/video*; '' for none (default)"
    add("--microphone", default="default", metavar="NAME", help=microphone)
    option = "option of libav for a stream, such as video_size=1280x720; repeat"
    name = "--input-option"
    add(name, type=named_path, action="append", default=[], metavar="NAME=VALUE", help=option)


def list_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a type for argparse: a list of some of the choices, such as "boris,eaf"."""

    def parse(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in choices]:
            raise argparse.ArgumentTypeError(f"'{unknown[0]}' is none of {', '.join(choices)}")
        return text.split(",")

    return parse


def named_path(text: str) -> tuple[str, str]:
    """Return name and path of an argument ``NAME=PATH``, a type for argparse."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return name, path


def join_runs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return name to path of all ``--run``.

    Raises:
        AVSFError: two runs have the same name.
    """
    pairs = [*pairs]
    runs = dict(pairs)
    if len(runs) < len(pairs):
        raise AVSFError("two runs have the same name; give each --run a name of its own")
    return runs
