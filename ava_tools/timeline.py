#!/usr/bin/env python
"""Write who does what from when to when in videos: a table of bouts, and a page per video.

Persons are searched --person-rate times a second and linked, unless --boxes have ids already. The
model scores them --rate times a second. bouts.csv has the bouts, persons.csv all boxes with ids
(column 7); a page plays its video with boxes, bouts and spectrogram. A killed run resumes.
"""

import argparse
import sys
from pathlib import Path

from ava_tools.support.arguments import add_whole_frame_argument, list_of
from ava_tools.support.group import in_ranks
from ava_tools.timelines import FORMATS
from avsf_det.engine.defaults import (
    add_config_arguments,
    at_least,
    load_config,
    make_parser,
    positive,
    run_command,
    set_up_loggers,
)

EXAMPLES = """examples:
  python ava_tools/timeline.py --config-file configs/mini/avsf_mini.yaml --input videos/ \\
      --output timelines/ --boxes boxes.csv MODEL.WEIGHTS output/demo/avsf/model_final.pth
  python ava_tools/timeline.py --config-file C --input videos/ --output timelines/ \\
      --thresholds thresholds.json --export boris,eaf MODEL.WEIGHTS W"""


@in_ranks
def run(args: argparse.Namespace) -> int:
    """Return 1 if a video is bad; the others are written all the same."""
    from detectron2.utils import comm

    from ava_tools.inference.person_boxes import videos_of_path
    from ava_tools.support.ranks import file_size, gather, take_share
    from ava_tools.timelines.exchange import write_results
    from ava_tools.timelines.persons import write_persons
    from ava_tools.timelines.pipeline import TimelineMaker
    from ava_tools.timelines.thresholds import find_rules
    from avsf_det.data import VideoDecodeError
    from avsf_det.engine.predictor import ClipPredictor, PredictorError, load_boxes

    set_up_loggers()
    given = {name: getattr(args, name) for name in ("smoothing", "max_gap", "min_length")}
    cfg, folder = load_config(args.config_file, [*args.opts, *args.whole_frame]), Path(args.output)
    boxes_of = load_boxes(args.boxes, offset=args.offset) if args.boxes else {}
    predictor = ClipPredictor(cfg, label_map=args.label_map)
    of = args.threshold, args.thresholds, cfg.MODEL.WEIGHTS, predictor.class_names
    rules, file = find_rules(*of, **given)
    maker = TimelineMaker(predictor, folder, rules, args.rate, args.person_rate)
    facts = f"{args.config_file}, threshold {rules.threshold:g}{file and f', {file}'}"
    made, failed = [], []
    for video in take_share(videos_of_path(args.input), lambda video: file_size(video.path)):
        try:
            if args.boxes and video.video_id not in boxes_of:
                raise PredictorError(f"{args.boxes}: no boxes of video '{video.video_id}'")
            made.append(maker.run(video.path, boxes_of.get(video.video_id)))
            page = maker.write_page(made[-1], facts)
            print(f"{page}: {len(made[-1].persons)} persons, {len(made[-1].bouts)} bouts")
        except (VideoDecodeError, PredictorError) as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed.append(video.video_id)
    timelines = sorted(gather(made), key=lambda timeline: timeline.path)
    if comm.is_main_process():
        write_persons(folder / "persons.csv", timelines)
        write_results(folder, timelines, predictor.class_names, args.export)
    return int(bool(gather(failed)))


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 1 after one line on stderr if the input is bad."""
    parser = make_parser(__doc__, EXAMPLES)
    add, seconds = parser.add_argument, at_least(0.0)
    add("--input", required=True, help="a video, or a folder of videos")
    add("--output", required=True, metavar="DIR", help="folder to write")
    add("--rate", type=positive, default=1, metavar="HZ", help="scored keyframes per second (1)")
    add("--person-rate", type=positive, default=5, metavar="HZ", help="searches per second (5)")
    add("--boxes", metavar="CSV", help="person boxes to use instead of the detector's")
    add_whole_frame_argument(parser)
    add("--offset", type=float, default=0, metavar="S", help="second of --boxes at a video's start")
    add("--label-map", default="", metavar="FILE", help="of actions, if not that of DATASETS.TEST")
    add("--threshold", type=positive, metavar="P", help="score of a bout, of all actions (0.5)")
    add("--thresholds", metavar="JSON", help="of fit_thresholds.py (that beside the weights)")
    add("--smoothing", type=at_least(1), default=1, metavar="N", help="keyframes of the mean (1)")
    add("--max-gap", type=seconds, default=0, metavar="S", help="join bouts this close (0)")
    add("--min-length", type=seconds, default=0, metavar="S", help="drop shorter bouts (0)")
    export = f"formats to write, too: {','.join(FORMATS)}"
    add("--export", type=list_of(FORMATS), default=[], metavar="LIST", help=export)
    add_config_arguments(parser, required=True)
    return run_command(run, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
