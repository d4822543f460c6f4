#!/usr/bin/env python
"""Find out by how much the sound of a video is late or early, and draw it.

A model trained with MODEL.AVSYNC compares sight with sound of other times. Where they are most
alike, the sound belongs.
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError
from avsf_det.data import VideoDecodeError
from avsf_det.utils.sync_chart import draw_similarity
from avsf_det.utils.sync_offset import SyncError, Windows, compare_shifted, find_peak, mean_curve

EXAMPLE = """example:
  python ava_tools/visualize_sync.py --config-file configs/mini/avsf_ssl_mini.yaml \\
      --input video.mp4 --output sync.png MODEL.WEIGHTS output/mini/avsf_ssl_mini/model_final.pth
Does it work with your model and videos? With --shift-sound 0.3 it must find 0.3 s more."""
SUFFIXES = {".avi", ".mkv", ".mov", ".mp4", ".webm"}
COLUMNS = ("video", "late_sec", "peak_sec", "confidence", "problem")
TOLERANCE = 0.25  # seconds


def load_model(config_file: str, options: list[str]) -> tuple[nn.Module, CfgNode]:
    """What compares sight and sound, of any model with MODEL.AVSYNC, and its config."""
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(options)
    if not cfg.MODEL.AVSYNC.ENABLED:
        raise SyncError(f"{config_file}: MODEL.AVSYNC.ENABLED is False, nothing compares")
    if not cfg.MODEL.WEIGHTS:
        raise SyncError("MODEL.WEIGHTS is empty; give the file of a trained model")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROTATION.ENABLED = "AVPretrainer", False
    cfg.TEST.AUDIO_MODE, cfg.TEST.VIEWS.SPATIAL = "normal", 1
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    checkpointer = AVSFCheckpointer(model, min_matched=cfg.MODEL.WEIGHTS_MIN_MATCHED)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    if any(name.startswith("avsync_head.") for name in checkpointer.report.missing):
        raise SyncError(f"{cfg.MODEL.WEIGHTS}: lacks avsync_head; trained without MODEL.AVSYNC")
    return model, cfg


def run(args: argparse.Namespace) -> None:
    model, cfg = load_model(args.config_file, args.opts)
    levels = model.avsync_head.levels
    if args.level not in (*levels, "mean"):
        raise SyncError(f"--level {args.level}: this model has {', '.join(levels)}, mean")
    options = {
        "levels": levels if args.level == "mean" else [args.level],
        "max_shift": args.max_shift,
        "step": args.step,
        "delay": args.shift_sound,
    }
    windows, source = Windows(cfg), Path(args.input)
    if not source.is_dir():
        shifts, similarity = compare_shifted(model, windows, str(source), **options)
        tell(source, shifts, similarity, args.output, args.json)
        return
    videos = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    rows = []
    for video in videos:
        name = video.relative_to(source)
        picture = args.output and Path(args.output, name).with_suffix(".png")
        try:
            shifts, similarity = compare_shifted(model, windows, str(video), **options)
        except (SyncError, VideoDecodeError) as error:
            rows.append({"video": str(name), "problem": str(error)})
            print(json.dumps(rows[-1]) if args.json else error, flush=True)
        else:
            rows.append(tell(name, shifts, similarity, picture, args.json))
    measured = [row["peak_sec"] for row in rows if "peak_sec" in row]
    if not measured:
        raise SyncError(f"{source}: none of {len(videos)} videos can be measured")
    if args.output:
        with open(Path(args.output, "offsets.csv"), "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    near = sum(abs(second - args.shift_sound) <= TOLERANCE for second in measured)
    if not args.json:
        print(
            f"{near} of {len(measured)} are within {TOLERANCE} s of {args.shift_sound:g} s; "
            f"{len(videos) - len(measured)} cannot be measured"
        )


def tell(
    video: Path,
    shifts: np.ndarray,
    similarity: np.ndarray,
    picture: str | Path | None,
    as_json: bool,
) -> dict:
    """Print and draw what :func:`compare_shifted` gave.

    Returns:
        "video"; "late_sec", None without a clear peak; "peak_sec", where the highest point is
        anyhow; "confidence"; and the curve, "shift_sec" and "similarity".
    """
    peak, curve = find_peak(shifts, similarity), mean_curve(similarity)
    row = {
        "video": str(video),
        "late_sec": round(peak.second, 3) if peak.is_clear else None,
        "peak_sec": round(peak.second, 3),
        "confidence": round(peak.confidence, 2),
        "shift_sec": shifts.round(4).tolist(),
        "similarity": [None if math.isnan(x) else round(x, 5) for x in curve.tolist()],
    }
    print(json.dumps(row) if as_json else f"{video}: {peak}", flush=True)
    if picture:
        Path(picture).parent.mkdir(parents=True, exist_ok=True)
        title = f"{video}\n{peak}"
        draw_similarity(shifts, similarity, str(picture), title=title, best=row["late_sec"])
    return row


def main(argv: list[str] | None = None) -> int:
    """Returns 1 after a line on stderr if input is bad."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="of the model")
    parser.add_argument("--input", required=True, help="a video, or a folder of them")
    parser.add_argument(
        "--output", help="picture to write; of a folder, a folder for pictures and offsets.csv"
    )
    parser.add_argument("--level", default="mean", help="res3, ... to compare at; all (mean)")
    parser.add_argument(
        "--max-shift", type=float, default=1.0, metavar="S", help="seconds, as far as fits (1.0)"
    )
    parser.add_argument(
        "--step", type=float, default=0.05, metavar="S", help="seconds between shifts (0.05)"
    )
    parser.add_argument(
        "--shift-sound", type=float, default=0.0, metavar="S", help="first make it late by so much"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each video")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE ... of the configuration")
    args = parser.parse_args(argv)
    if not 0 < args.step <= args.max_shift:
        parser.error("--step must be positive and at most --max-shift")
    try:
        run(args)
    except (SyncError, VideoDecodeError, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
