"""Mini-AVA's annotations in AVA's formats: label map, action boxes, person boxes."""

from io import StringIO
from random import Random

from ava_tools.mini.ava_plan import ambiguous_keyframes, keyframes, plan_split
from ava_tools.mini.figures import figure_box
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.motion import pose_at
from ava_tools.mini.video_plan import ACTIONS, HEIGHT, WIDTH, VideoPlan
from avsf_det.structures import Box
from avsf_det.structures.ava_csv import (
    write_action_boxes,
    write_excluded_keyframes,
    write_person_boxes,
)
from avsf_det.structures.label_map import write_label_map


def plan_ava(
    num_train: int = 152, num_val: int = 48, seed: int = 0, num_shots: int = 3
) -> MiniDataset:
    """Return Mini-AVA, with videos of ``4 * num_shots + 0.5`` seconds."""
    videos: dict[str, VideoPlan] = {}
    texts = {"ava_mini_action_list.pbtxt": label_map()}
    for split, count in (("train", num_train), ("val", num_val)):
        planned = plan_split(split, count, num_shots, seed)
        texts |= annotation_files(split, planned, seed)
        videos |= {f"videos/{split}/{video.video_id}.mp4": video for video in planned}
    return MiniDataset(videos, {f"annotations/{name}": text for name, text in texts.items()})


def annotate(video: VideoPlan, second: float) -> list[tuple[int, Box, tuple[str, ...]]]:
    """Return (person id, box, actions) of all visible persons at a second, from left to right."""
    shot = video.shot_at(second)
    return [
        (actor.person_id, _to_fractions(figure_box(actor.look, pose_at(actor, second))), labels)
        for actor, labels in zip(shot.actors, shot.labels, strict=True)
    ]


def simulate_detections(boxes: list[Box], rng: Random) -> list[tuple[Box, float]]:
    """Simulate an imperfect person detector.

    Edges are off by a few per cent of the box, 2 % of the persons are missed, and every fourth
    keyframe has a false box. Scores of persons are mostly above 0.9, of false boxes below 0.8.

    Args:
        boxes: true boxes of the persons at a keyframe.
        rng: source of random numbers.

    Returns:
        detected boxes with their scores.
    """
    detections = []
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        dx1, dx2 = (width * rng.uniform(-0.06, 0.06) for _ in range(2))
        dy1, dy2 = (height * rng.uniform(-0.04, 0.04) for _ in range(2))
        box = _clip((x1 + dx1, y1 + dy1, x2 + dx2, y2 + dy2))
        score = 1 - 0.35 * rng.random() ** 12
        if rng.random() >= 0.02:
            detections.append((box, score))
    if rng.random() < 0.25:
        x, y = rng.uniform(0, 0.7), rng.uniform(0, 0.4)
        box = _clip((x, y, x + rng.uniform(0.18, 0.3), y + rng.uniform(0.4, 0.6)))
        detections.append((box, 0.3 + 0.65 * rng.random() ** 1.5))
    return detections


def annotation_files(split: str, videos: list[VideoPlan], seed: int) -> dict[str, str]:
    """Return file name -> text of every annotation file of a split ("train" or "val")."""
    rng = Random(f"{seed}/{split}/detector")
    labelled, detected, excluded = [], [], []
    for video in videos:
        ambiguous = ambiguous_keyframes(video) if split == "val" else []
        for second in sorted(keyframes(video) + ambiguous):
            keyframe = (video.video_id, float(second))
            people = annotate(video, second)
            labelled += [
                (keyframe, box, ACTIONS.index(action) + 1, person_id)
                for person_id, box, actions in people
                for action in actions
            ]
            found = simulate_detections([box for _, box, _ in people], rng)
            detected.append((keyframe, [(*box, score) for box, score in found]))
        excluded += [(video.video_id, float(second)) for second in ambiguous]
    files = {name: StringIO() for name in ("", "_boxes", "_excluded_timestamps")}
    write_action_boxes(files[""], labelled, digits=3)
    write_person_boxes(files["_boxes"], detected, digits=3)
    write_excluded_keyframes(files["_excluded_timestamps"], excluded)
    if split != "val":
        del files["_excluded_timestamps"]
    return {f"ava_mini_{split}{name}.csv": file.getvalue() for name, file in files.items()}


def label_map() -> str:
    """Return the label map in AVA's protobuf text format."""
    file = StringIO()
    write_label_map(file, dict(enumerate(ACTIONS, 1)))
    return file.getvalue()


def _to_fractions(box: Box) -> Box:
    """Convert pixels to fractions of the frame."""
    return _clip((box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT))


def _clip(box: Box) -> Box:
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) for value in box)
    return x1, y1, x2, y2
