"""Measure the audio offset of one video or of a folder, and write charts and a csv."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from ava_tools.preparation.video_lists import videos_in
from ava_tools.sync.audio_offset import SyncError, Windows, compare_shifted, find_peak, mean_curve
from ava_tools.sync.similarity_chart import draw_similarity
from avsf_det.data import VideoDecodeError
from avsf_det.engine.defaults import build_trained_model, load_config
from avsf_det.modeling import AVPretrainer
from avsf_det.utils.atomic import atomic_path, write_atomic

COLUMNS = ("video", "late_sec", "peak_sec", "confidence", "problem")
TOLERANCE = 0.25  # seconds


def load_model(config_file: str, options: list[str]) -> tuple[AVPretrainer, CfgNode]:
    """Load the embeddings of any model that was trained with MODEL.AVSYNC.

    Args:
        config_file: config of the model.
        options: config options KEY, VALUE, ...

    Returns:
        an AVPretrainer in eval mode without a rotation head, and its config.

    Raises:
        SyncError: the model has no synchronisation head.
    """
    cfg = load_config(config_file, options)
    if not cfg.MODEL.AVSYNC.ENABLED:
        raise SyncError(f"{config_file}: MODEL.AVSYNC.ENABLED is False, so nothing is compared")
    if not cfg.MODEL.WEIGHTS:
        raise SyncError("MODEL.WEIGHTS is empty; give the file of a trained model")
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROTATION.ENABLED = "AVPretrainer", False
    cfg.TEST.AUDIO_MODE, cfg.TEST.VIEWS.SPATIAL = "normal", 1
    model, _ = build_trained_model(cfg)
    assert isinstance(model, AVPretrainer)
    return model, cfg


@dataclass(frozen=True)
class OffsetMeasurer:
    """Measures videos with one model and prints the results.

    Attributes:
        model: see :func:`load_model`.
        windows: reader of model inputs.
        options: keyword arguments of :func:`compare_shifted`.
        as_json: print a line of JSON for each video instead of text.
    """

    model: AVPretrainer
    windows: Windows
    options: dict[str, Any]
    as_json: bool

    def measure(self, path: str, name: str, chart: Path | None) -> dict[str, Any]:
        """Measure a video, print the result, and draw the similarity.

        Args:
            path: video file, or its address.
            name: name of the video in the results.
            chart: image to write; None for none.

        Returns:
            "video"; "late_sec", None without a clear peak; "peak_sec", the highest similarity in
            any case; "confidence"; and the curve, "shift_sec" and "similarity".

        Raises:
            SyncError: the video cannot be measured.
            VideoDecodeError: the video cannot be read.
        """
        shifts, similarity = compare_shifted(self.model, self.windows, path, **self.options)
        peak, curve = find_peak(shifts, similarity), mean_curve(similarity)
        row = {
            "video": name,
            "late_sec": round(peak.second, 3) if peak.is_clear else None,
            "peak_sec": round(peak.second, 3),
            "confidence": round(peak.confidence, 2),
            "shift_sec": shifts.round(4).tolist(),
            "similarity": [None if math.isnan(x) else round(x, 5) for x in curve.tolist()],
        }
        print(json.dumps(row) if self.as_json else f"{name}: {peak}", flush=True)
        if chart:
            title = f"{name}\n{peak}"
            with atomic_path(chart) as temporary:
                draw_similarity(
                    shifts, similarity, str(temporary), title=title, best=row["late_sec"]
                )
        return row

    def measure_folder(self, folder: str, output: Path | None) -> None:
        """Measure all videos in a folder; print a summary.

        Args:
            folder: folder of videos, with subfolders.
            output: folder for charts and offsets.csv; None for none.

        Raises:
            SyncError: no video can be measured.
        """
        videos = videos_in(folder)
        rows: list[dict[str, Any]] = []
        for name, video in sorted(videos.items(), key=lambda item: Path(item[0])):
            chart = output and Path(output, name).with_suffix(".png")
            try:
                rows.append(self.measure(video, name, chart))
            except (SyncError, VideoDecodeError) as error:
                rows.append({"video": name, "problem": str(error)})
                print(json.dumps(rows[-1]) if self.as_json else error, flush=True)
        peaks = [row["peak_sec"] for row in rows if "peak_sec" in row]
        if not peaks:
            raise SyncError(f"{folder}: none of {len(videos)} videos can be measured")
        if output:
            text = io.StringIO()
            writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
            write_atomic(output / "offsets.csv", text.getvalue())
        delay = self.options["delay"]
        near = sum(abs(second - delay) <= TOLERANCE for second in peaks)
        if not self.as_json:
            print(
                f"{near} of {len(peaks)} are within {TOLERANCE} s of {delay:g} s; "
                f"{len(videos) - len(peaks)} cannot be measured"
            )
