"""Video of the Mini-AVA demo: annotation, predictions and those of the muted model side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import Boxes, Instances

from ava_tools.action_demo.drawing import NearestPrediction, Prediction
from ava_tools.mini.annotations import annotate
from ava_tools.mini.ava_plan import plan_split
from ava_tools.mini.video_plan import ACTIONS, FPS, VideoPlan
from ava_tools.support.text import draw_text
from ava_tools.support.visualizer import draw_clip_frame, draw_logmel
from avsf_det.data import VideoReader
from avsf_det.data.clip_reader import LogMel
from avsf_det.data.video.write import write_video
from avsf_det.engine.defaults import load_config
from avsf_det.engine.predictor import ClipPredictor

DATASET = "ava_mini_val"
SAMPLE_RATE = 44100  # Hz
MIN_SCORE = 0.4  # lowest action score that is drawn
PANEL_WIDTH = 352  # pixels; frames are enlarged by a whole number
TITLE_HEIGHT = 28  # pixels
LOG_MEL = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)


def draw_video(run_dir: Path, path: Path, num_videos: int, num_shots: int = 3) -> None:
    """Draw the first validation videos, joined into one video with their audio.

    The models score every whole second of the video, at the true boxes of the generator.

    Args:
        run_dir: OUTPUT_DIR of a training.
        path: video to write.
        num_videos: number of validation videos.
        num_shots: shots of each video of the dataset.
    """
    files = dict.fromkeys((d["video_id"], d["file_name"]) for d in DatasetCatalog.get(DATASET))
    # The plans of the dataset, which is made with seed 0. They tell where persons are at seconds
    # that the csv leaves out.
    plans = {plan.video_id: plan for plan in plan_split("val", len(files), num_shots, seed=0)}
    weights = [
        "MODEL.WEIGHTS",
        str(run_dir / "model_final.pth"),
        "DATASETS.TEST",
        f"('{DATASET}',)",
    ]
    predictors = {
        title: ClipPredictor(
            load_config(run_dir / "config.yaml", [*weights, "TEST.AUDIO_MODE", mode])
        )
        for title, mode in (("AVSlowFast", "normal"), ("AVSlowFast, muted", "mute"))
    }
    videos = [(file, plans[video_id]) for video_id, file in [*files][:num_videos]]
    draw_comparison(path, videos, predictors)


def draw_comparison(
    path: Path, videos: Sequence[tuple[str, VideoPlan]], predictors: Mapping[str, ClipPredictor]
) -> None:
    """Draw the annotation and the predictions of several models side by side.

    Args:
        path: video to write.
        videos: files of Mini-AVA and their plans.
        predictors: title to predictor.
    """
    waveforms = []
    for file, _ in videos:
        with VideoReader(file) as reader:
            end = int(reader.duration * FPS) / FPS
            waveforms.append(reader.get_samples_played_in_range(0, end, SAMPLE_RATE))
    frames = (frame for video in videos for frame in _draw(*video, predictors))
    audio = torch.cat(waveforms).numpy()[None]
    write_video(path, frames, FPS, audio, SAMPLE_RATE, video_options={"preset": "veryfast"})


def _draw(
    file: str, plan: VideoPlan, predictors: Mapping[str, ClipPredictor]
) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB frames of one video."""
    with VideoReader(file) as reader:
        length, size = int(reader.duration * FPS), (reader.height, reader.width)
        seconds = [i / FPS for i in range(length)]
        frames = reader.get_frames_played_at(seconds)
        waveform = reader.get_samples_played_in_range(0, length / FPS, LOG_MEL.sample_rate)
    truth = annotated_keyframes(plan, size)
    predictions = {"annotation": truth}
    for title, predictor in predictors.items():
        predictions[title] = predict_keyframes(predictor, file, truth)
    panels = {title: NearestPrediction(found, 1.0) for title, found in predictions.items()}
    logmel = LOG_MEL(waveform)
    for frame, second in zip(frames, seconds, strict=True):
        images = [
            _draw_panel(title, frame, nearest.at(second)) for title, nearest in panels.items()
        ]
        image = np.concatenate(images, axis=1)
        strip = draw_logmel(logmel, image.shape[1], 64, second * FPS / length)
        yield np.concatenate([image, strip])


def _draw_panel(title: str, frame: np.ndarray, found: Instances | None) -> np.ndarray:
    image = draw_clip_frame(frame, found, ACTIONS, min_score=MIN_SCORE, min_width=PANEL_WIDTH)
    bar = np.zeros((TITLE_HEIGHT, image.shape[1], 3), np.uint8)
    draw_text(bar, title, (8, 20), 0.6, (255, 255, 255))
    return np.concatenate([bar, image])


def annotated_keyframes(plan: VideoPlan, size: tuple[int, int]) -> list[tuple[float, Instances]]:
    """Return each whole second with its annotation: boxes, actions of score 1, person ids.

    Args:
        plan: plan of the video.
        size: (height, width) of the frames in pixels.
    """
    keyframes = []
    for second in range(int(plan.duration) + 1):
        persons = annotate(plan, second)
        boxes = torch.tensor([box for _, box, _ in persons]).reshape(-1, 4)
        scores = torch.tensor([[float(a in actions) for a in ACTIONS] for *_, actions in persons])
        instances = Instances(
            size,
            pred_boxes=Boxes(boxes * torch.tensor((size[1], size[0]) * 2)),
            action_scores=scores.reshape(-1, len(ACTIONS)),
            track_ids=[person_id for person_id, _, _ in persons],
        )
        keyframes.append((float(second), instances))
    return keyframes


def predict_keyframes(
    predictor: ClipPredictor, file: str, annotated: Sequence[tuple[float, Instances]]
) -> list[Prediction]:
    """Return the predictions at the seconds and boxes of an annotation, with its person ids."""
    boxes = {}
    for second, truth in annotated:
        height, width = truth.image_size
        corners = truth.pred_boxes.tensor.numpy() / np.array((width, height) * 2, np.float32)
        boxes[second] = np.column_stack([corners.clip(0, 1), np.ones(len(corners))])
    found: list[Prediction] = []
    for (second, instances), (_, truth) in zip(
        predictor(file, boxes=boxes), annotated, strict=True
    ):
        instances.track_ids = truth.track_ids
        found.append((second, instances))
    return found
