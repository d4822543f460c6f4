"""Mini-Charades: two persons with several overlapping actions, in Charades' format.

One person performs an audible action, the other two actions one after the other. The posture of
their legs is an action, too, except standing, which is no class.
"""

from random import Random

from ava_tools.mini.action_segments import (
    ActionSegment,
    AudioTrack,
    add_pauses,
    build_video,
    plan_segment,
)
from ava_tools.mini.mini_dataset import MiniDataset, csv_text
from ava_tools.mini.video_plan import ACTIONS, AUDIBLE_ACTIONS, sample_balanced

CLASSES = tuple(action for action in ACTIONS if action != "stand")
VIDEO_SECONDS = 8.0
HEADER = (
    *("id", "subject", "scene", "quality", "relevance", "verified", "script", "objects"),
    *("descriptions", "actions", "length"),
)

_VISIBLE_ACTIONS = tuple(action for action in CLASSES if action not in AUDIBLE_ACTIONS)
_TRACKS: tuple[AudioTrack, ...] = (*("audible",) * 10, "silent", "none")  # proportions


def plan_charades(num_train: int = 80, num_val: int = 40, seed: int = 0) -> MiniDataset:
    """Return Mini-Charades, with videos of eight seconds.

    In videos without audio, both persons perform only actions that the frames distinguish.
    """
    names = "".join(f"{_code(action)} {action}\n" for action in CLASSES)
    videos, annotations = {}, {"annotations/Charades_v1_classes.txt": names}
    for split, count in (("train", num_train), ("test", num_val)):
        rng = Random(f"{seed}/charades/{split}")
        tracks = sample_balanced(rng, _TRACKS, count)
        audible = iter(sample_balanced(rng, AUDIBLE_ACTIONS, tracks.count("audible")))
        visible = sample_balanced(rng, _VISIBLE_ACTIONS, 2 * count)
        rows = []
        for i, track in enumerate(tracks):
            video_id = f"{split[:2].upper()}{i:03d}"  # 5 characters, as in Charades
            first = next(audible) if track == "audible" else rng.choice(_VISIBLE_ACTIONS)
            persons = _plan_persons(video_id, seed, first, visible[2 * i : 2 * i + 2])
            rows.append(_row(video_id, sorted([*persons[0], *persons[1]], key=lambda s: s.start)))
            videos[f"videos/{video_id}.mp4"] = build_video(
                video_id,
                seed,
                VIDEO_SECONDS,
                [part for segments in persons for part in add_pauses(segments, VIDEO_SECONDS)],
                track=track,
            )
        annotations[f"annotations/Charades_v1_{split}.csv"] = csv_text([HEADER, *rows])
    return MiniDataset(videos, annotations)


def _plan_persons(
    video_id: str, seed: int, action: str, later_actions: list[str]
) -> tuple[list[ActionSegment], list[ActionSegment]]:
    """Return the segments of a person with one action and of a person with two."""
    rng = Random(f"{seed}/{video_id}")
    one, other = rng.sample([(0, 2), (1, 2)], 2)  # positions
    start = rng.randint(5, 35)  # tenths of a second, as all times here
    first = plan_segment(rng, action, start / 10, (start + rng.randint(30, 40)) / 10, position=one)
    change = rng.randint(37, 43)
    look, segments = None, []
    bounds = ((3, change - 2), (change + 2, 77))
    for action, (earliest, latest) in zip(later_actions, bounds, strict=True):
        start, end = earliest + rng.randint(0, 4), latest - rng.randint(0, 4)
        segments.append(plan_segment(rng, action, start / 10, end / 10, position=other, look=look))
        look = segments[0].actor.look
    return [first], segments


def _row(video_id: str, segments: list[ActionSegment]) -> tuple[object, ...]:
    actions = [
        f"{_code(action)} {segment.start:.2f} {segment.end:.2f}"
        for segment in segments
        for action in segment.actions
        if action in CLASSES
    ]
    # Part of the dataset, so its wording stays.
    story = "Two people in a studio: one is seen to " + ", then ".join(s.action for s in segments)
    return (
        *(video_id, "MINI", "Studio", 7, 7, "Yes", f"{story}.", "", f"{story}."),
        *(";".join(actions), f"{VIDEO_SECONDS:.2f}"),
    )


def _code(action: str) -> str:
    return f"c{CLASSES.index(action):03d}"
