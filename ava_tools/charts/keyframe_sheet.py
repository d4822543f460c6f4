"""Image sheet of keyframes: detected persons and actions beside the annotated ones."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image

from ava_tools.charts.image_sheet import Item, draw_boxes, draw_sheet
from ava_tools.report_page.sources import EvaluatedDataset, ReportError, rows_at
from ava_tools.support.visualizer import draw_logmel
from avsf_det.data import VideoReader
from avsf_det.data.clip_reader import LogMel
from avsf_det.structures import ActionBoxes, Keyframe

WIDTH, SPECTROGRAM_HEIGHT = 480, 72  # pixels
AUDIO_SEC = 2.0  # of the spectrogram, around the keyframe


def choose_keyframes(
    evaluated: EvaluatedDataset, detections: ActionBoxes, video_id: str, num: int, seed: int
) -> list[Keyframe]:
    """Choose random keyframes with a detection or an annotation, sorted by video and time.

    Args:
        evaluated: dataset of the detections.
        detections: detected boxes.
        video_id: video to choose from; "" for all.
        num: largest number of keyframes.
        seed: seed of the choice.

    Raises:
        ReportError: there is no such keyframe whose video exists.
    """
    keyframes = {*evaluated.ground_truth.keyframes, *detections.keyframes} - evaluated.excluded
    candidates = sorted(k for k in keyframes if k[0] in evaluated.files and video_id in ("", k[0]))
    if not candidates:
        raise ReportError(
            f"no keyframe of {video_id or 'any video'} is in the csv files and has its video"
        )
    chosen = np.random.default_rng(seed).permutation(len(candidates))[:num]
    return [candidates[i] for i in sorted(chosen)]


def draw_keyframes(
    evaluated: EvaluatedDataset,
    detections: ActionBoxes,
    keyframes: Collection[Keyframe],
    min_score: float,
) -> Image.Image:
    """Draw keyframes twice each: with the detections, and with the annotation.

    Args:
        evaluated: dataset of the detections.
        detections: detected boxes.
        keyframes: keyframes to draw.
        min_score: lowest score of a detected action that is written.
    """
    detected, annotated = (rows_at(x, keyframes) for x in (detections, evaluated.ground_truth))
    items = []
    for keyframe in keyframes:
        found = describe_persons(detections, detected[keyframe], evaluated.label_map, min_score)
        truth = describe_persons(
            evaluated.ground_truth, annotated[keyframe], evaluated.label_map, None
        )
        items.append(
            _draw_keyframe(evaluated, keyframe, [("detected", *found), ("annotated", *truth)])
        )
    return draw_sheet(items)


def describe_persons(
    boxes: ActionBoxes, rows: np.ndarray, names: Mapping[int, str], min_score: float | None
) -> tuple[np.ndarray, list[str]]:
    """Group rows by person, and describe the actions of each.

    Args:
        boxes: all boxes.
        rows: row indices of one keyframe.
        names: action id -> name; other actions are left out.
        min_score: lowest score that is written; None for rows without scores.

    Returns:
        distinct boxes (N, 4), and a text for each with its actions, the highest score first.
    """
    persons, person_of_row = np.unique(boxes.boxes[rows], axis=0, return_inverse=True)
    texts = []
    for i in range(len(persons)):
        own = rows[person_of_row.ravel() == i]
        own = own[np.argsort(-boxes.scores[own], kind="stable")]
        texts.append(
            ", ".join(
                names[boxes.actions[r]] + ("" if min_score is None else f" {boxes.scores[r]:.2f}")
                for r in own
                if boxes.actions[r] in names and boxes.scores[r] >= (min_score or 0)
            )
        )
    return persons, texts


def _draw_keyframe(
    evaluated: EvaluatedDataset,
    keyframe: Keyframe,
    columns: Sequence[tuple[str, np.ndarray, list[str]]],
) -> Item:
    """Draw a keyframe once per column: its heading, boxes in 0..1, and a text for each box."""
    video_id, second = keyframe
    path, offset = evaluated.files[video_id]
    second -= offset
    with VideoReader(path) as reader:
        size = round(reader.height * WIDTH / reader.width), WIDTH
        (frame,) = reader.get_frames_played_at([second], size)
        strips = []
        if reader.has_audio:
            waveform = reader.get_samples_played_in_range(
                second - AUDIO_SEC / 2, second + AUDIO_SEC / 2, 16000
            )
            logmel = LogMel(sample_rate=16000, window_sec=0.032, hop_sec=0.016, num_mels=80)
            strips = [draw_logmel(logmel(waveform), 2 * WIDTH, SPECTROGRAM_HEIGHT, playhead=0.5)]
    scale = np.array([size[1], size[0]] * 2)
    return Item(
        f"{video_id}, second {keyframe[1]:g}",
        [draw_boxes(frame, boxes * scale, WIDTH) for _, boxes, _ in columns],
        [[(None, heading), *enumerate(texts)] for heading, _, texts in columns],
        strips,
    )
