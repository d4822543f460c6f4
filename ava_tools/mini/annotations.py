"""What is written about a script, in AVA's formats: label map, labelled boxes, detected persons."""

from collections.abc import Iterable
from random import Random

from ava_tools.mini.figures import figure_box
from ava_tools.mini.mini_set import MiniSet
from ava_tools.mini.motion import pose_at
from ava_tools.mini.script import (
    ACTIONS,
    HEIGHT,
    WIDTH,
    Movie,
    doubtful_keyframes,
    keyframes,
    plan_split,
)

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 as shares of the frame, 0..1


def plan_ava(num_train: int = 152, num_val: int = 48, seed: int = 0, num_shots: int = 3) -> MiniSet:
    """Mini-AVA: movies of ``4 * num_shots + 0.5`` seconds."""
    movies, texts = {}, {"ava_mini_action_list.pbtxt": label_map()}
    for split, count in (("train", num_train), ("val", num_val)):
        planned = plan_split(split, count, num_shots, seed)
        texts |= annotation_files(split, planned, seed)
        movies |= {f"videos/{split}/{movie.video_id}.mp4": movie for movie in planned}
    return MiniSet(movies, {f"annotations/{name}": text for name, text in texts.items()})


def annotate(movie: Movie, second: float) -> list[tuple[int, Box, tuple[str, ...]]]:
    """(person id, box, actions) of everybody on screen at ``second``, from left to right."""
    shot = movie.shot_at(second)
    return [
        (actor.person_id, _to_frame(figure_box(actor.look, pose_at(actor, second))), labels)
        for actor, labels in zip(shot.actors, shot.labels, strict=True)
    ]


def detect(boxes: list[Box], rng: Random) -> list[tuple[Box, float]]:
    """(box, score) of an imperfect person detector shown people at ``boxes``: edges off by some
    per cent of the box, 2 % missed, a false box in every fourth keyframe. Scores of people are
    mostly above 0.9, those of false boxes mostly below 0.8."""
    found = []
    for x1, y1, x2, y2 in boxes:
        width, height = x2 - x1, y2 - y1
        dx1, dx2 = (width * rng.uniform(-0.06, 0.06) for _ in range(2))
        dy1, dy2 = (height * rng.uniform(-0.04, 0.04) for _ in range(2))
        box = _clip((x1 + dx1, y1 + dy1, x2 + dx2, y2 + dy2))
        score = 1 - 0.35 * rng.random() ** 12
        if rng.random() >= 0.02:
            found.append((box, score))
    if rng.random() < 0.25:
        x, y = rng.uniform(0, 0.7), rng.uniform(0, 0.4)
        box = _clip((x, y, x + rng.uniform(0.18, 0.3), y + rng.uniform(0.4, 0.6)))
        found.append((box, 0.3 + 0.65 * rng.random() ** 1.5))
    return found


def annotation_files(split: str, movies: list[Movie], seed: int) -> dict[str, str]:
    """File name -> text of every annotation file of ``split`` ("train" or "val")."""
    rng = Random(f"{seed}/{split}/detector")
    labelled, detected, excluded = [], [], []
    for movie in movies:
        doubtful = doubtful_keyframes(movie) if split == "val" else []
        for second in sorted(keyframes(movie) + doubtful):
            key = f"{movie.video_id},{second:04d}"
            people = annotate(movie, second)
            for person_id, box, actions in people:
                labelled += [
                    f"{key},{_format(box)},{ACTIONS.index(action) + 1},{person_id}"
                    for action in actions
                ]
            for box, score in detect([box for _, box, _ in people], rng):
                detected.append(f"{key},{_format(box)},,{score:.4f}")
        excluded += [f"{movie.video_id},{second:04d}" for second in doubtful]
    files = {
        f"ava_mini_{split}.csv": _lines(labelled),
        f"ava_mini_{split}_boxes.csv": _lines(detected),
    }
    if split == "val":
        files["ava_mini_val_excluded_timestamps.csv"] = _lines(excluded)
    return files


def label_map() -> str:
    """The label map, in the protobuf text of AVA's."""
    return "".join(
        f'item {{\n  name: "{name}"\n  id: {i}\n}}\n' for i, name in enumerate(ACTIONS, 1)
    )


def _to_frame(box: Box) -> Box:
    """From pixels to shares of the frame."""
    return _clip((box[0] / WIDTH, box[1] / HEIGHT, box[2] / WIDTH, box[3] / HEIGHT))


def _clip(box: Box) -> Box:
    return tuple(min(max(value, 0.0), 1.0) for value in box)


def _format(box: Box) -> str:
    return ",".join(f"{value:.3f}" for value in box)


def _lines(rows: Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in rows)
