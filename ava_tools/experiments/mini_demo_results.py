"""Results of the Mini-AVA demo: summary, table, chart, and a video of the predictions."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from matplotlib.figure import Figure
from tabulate import tabulate

from ava_tools.mini.video_plan import AUDIBLE_ACTIONS, AUDIO_PAIRS
from ava_tools.support.visualizer import draw_clip_frame
from avsf_det.data import VideoReader  # the import registers the datasets
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video.write import write_video
from avsf_det.structures import Keyframe
from avsf_det.structures.ava_csv import read_detections

DATASET = "ava_mini_val"
FPS = 30  # of the drawn video
SAMPLE_RATE = 44100  # Hz
MIN_SCORE = 0.4  # lowest action score that is drawn

AP = Mapping[str, Mapping[str, float]]  # run -> action -> average precision


def summarize(ap: Mapping[str, float]) -> dict[str, float]:
    """Return the mean AP over all actions, over those that only audio distinguishes, and the rest.

    Args:
        ap: action -> average precision.

    Returns:
        "mAP", "AP_sound" and "AP_rest".
    """
    return {
        "mAP": float(np.mean(list(ap.values()))),
        "AP_sound": float(np.mean([ap[action] for action in sorted(AUDIBLE_ACTIONS)])),
        "AP_rest": float(np.mean([ap[action] for action in ap if action not in AUDIBLE_ACTIONS])),
    }


def format_table(ap: AP, titles: Mapping[str, str]) -> str:
    """Return a Markdown table of AP by action and run."""
    rows = [
        [
            f"{action} (audio only)" if action in AUDIBLE_ACTIONS else action,
            *(ap[run][action] for run in ap),
        ]
        for action in ap["avsf"]
    ]
    for key in ("AP_sound", "AP_rest", "mAP"):
        rows.append([key, *(summarize(ap[run])[key] for run in ap)])
    headers = ["AP on Mini-AVA val (generated)", *(titles[run] for run in ap)]
    return tabulate(rows, headers, tablefmt="pipe", floatfmt=".3f")


def draw_chart(ap: AP, titles: Mapping[str, str], path: Path) -> None:
    """Draw AP by action and run as bars, like Figure A.1 of the paper."""
    colors = {"slowfast": "#8899aa", "avsf": "#d1495b", "avsf_mute": "#edae49"}
    actions = list(ap["avsf"])
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    for i, (run, color) in enumerate(colors.items()):
        x = np.arange(len(actions)) + 0.27 * (i - 1)
        axes.bar(x, [ap[run][action] for action in actions], 0.26, label=titles[run], color=color)
    pairs = [" / ".join(pair) for pair in AUDIO_PAIRS]
    axes.set(ylim=(0, 1), ylabel="AP at IoU 0.5")
    axes.set_xticks(range(len(actions)), actions)
    axes.set_title(f"Mini-AVA val (generated). Only audio distinguishes {', '.join(pairs)}.")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=len(colors), frameon=False)
    figure.savefig(path, dpi=130)


def read_predictions(path: Path, num_classes: int) -> dict[Keyframe, np.ndarray]:
    """Read a csv of detections.

    Args:
        path: csv in AVA's format.
        num_classes: number of actions K.

    Returns:
        keyframe -> (N, 4 + K) float64: boxes in 0..1 and action scores of its N persons.
    """
    rows = read_detections(path)
    found: dict = defaultdict(lambda: defaultdict(lambda: np.zeros(num_classes)))
    columns = (rows.keyframe, rows.boxes, rows.actions, rows.scores)
    for number, box, action, score in zip(*(c.tolist() for c in columns), strict=True):
        found[rows.keyframes[number]][tuple(box)][action - 1] = score
    return {
        keyframe: np.array([[*box, *scores] for box, scores in boxes.items()])
        for keyframe, boxes in found.items()
    }


def draw_video(run_dir: Path, path: Path, num_videos: int) -> None:
    """Draw predictions into the first validation videos, joined into one video with their audio.

    Args:
        run_dir: OUTPUT_DIR of an evaluation.
        path: video to write.
        num_videos: number of validation videos.
    """
    dataset = DatasetCatalog.get(DATASET)  # loading it sets the metadata
    names = MetadataCatalog.get(DATASET).action_classes
    files = dict.fromkeys((d["video_id"], d["file_name"]) for d in dataset)
    predictions = read_predictions(run_dir / "inference" / "ava_predictions.csv", len(names))
    videos = list(files)[:num_videos]
    waveforms = []
    for _, file_name in videos:
        with VideoReader(file_name) as reader:
            end = _num_frames(reader) / FPS
            waveforms.append(reader.get_samples_played_in_range(0, end, SAMPLE_RATE))
    frames = (frame for video in videos for frame in _drawn_frames(*video, predictions, names))
    write_video(path, frames, FPS, torch.cat(waveforms).numpy()[None], SAMPLE_RATE)


def _num_frames(reader: VideoReader) -> int:
    return int(reader.duration * FPS)


def _drawn_frames(
    video_id: str,
    file_name: str,
    predictions: Mapping[Keyframe, np.ndarray],
    names: list[str],
) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames with the predictions of the nearest keyframe."""
    with VideoReader(file_name) as reader:
        length = _num_frames(reader)
        seconds = np.arange(length) / FPS
        frames = reader.get_frames_played_at(seconds.tolist())
        waveform = reader.get_samples_played_in_range(0, length / FPS, 16000)
    logmel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)(waveform)
    height, width = frames.shape[1:3]
    for frame, second in zip(frames, seconds, strict=True):
        found = predictions.get((video_id, float(round(second))))
        instances = None
        if found is not None:
            boxes = torch.tensor(found[:, :4]) * torch.tensor([width, height, width, height])
            instances = Instances((height, width), pred_boxes=Boxes(boxes.float()))
            instances.action_scores = torch.tensor(found[:, 4:])
        yield draw_clip_frame(
            frame, instances, names, logmel, playhead=second * FPS / length, min_score=MIN_SCORE
        )
