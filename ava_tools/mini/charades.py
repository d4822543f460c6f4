"""Mini-Charades: two figures, several overlapping actions, in Charades' format.

One does something that is heard, the other two things one after the other; what their legs do
meanwhile counts as well. Standing is no class: everybody stands who does nothing else.
"""

from random import Random

from ava_tools.mini.acts import SOUND_ACTIONS, Act, plan_act, shoot, with_pauses
from ava_tools.mini.mini_set import MiniSet, csv_text
from ava_tools.mini.script import ACTIONS, deal

CLASSES = tuple(action for action in ACTIONS if action != "stand")
VIDEO_SECONDS = 8.0
HEADER = (
    *("id", "subject", "scene", "quality", "relevance", "verified", "script", "objects"),
    *("descriptions", "actions", "length"),
)

_VISIBLE = tuple(action for action in CLASSES if action not in SOUND_ACTIONS)
_TRACKS = ("heard",) * 10 + ("silent", "none")


def plan_charades(num_train: int = 80, num_val: int = 40, seed: int = 0) -> MiniSet:
    """Videos of eight seconds. In one without sound both do only what can be seen."""
    names = "".join(f"{_code(action)} {action}\n" for action in CLASSES)
    movies, annotations = {}, {"annotations/Charades_v1_classes.txt": names}
    for split, count in (("train", num_train), ("test", num_val)):
        rng = Random(f"{seed}/charades/{split}")
        tracks = deal(rng, _TRACKS, count)
        heard = iter(deal(rng, SOUND_ACTIONS, tracks.count("heard")))
        second = deal(rng, _VISIBLE, 2 * count)
        rows = []
        for i, track in enumerate(tracks):
            video_id = f"{split[:2].upper()}{i:03d}"  # of 5 characters, as theirs
            first = next(heard) if track == "heard" else rng.choice(_VISIBLE)
            people = _plan_acts(video_id, seed, first, second[2 * i : 2 * i + 2])
            rows.append(_row(video_id, sorted([*people[0], *people[1]], key=lambda act: act.start)))
            movies[f"videos/{video_id}.mp4"] = shoot(
                video_id,
                seed,
                VIDEO_SECONDS,
                [act for acts in people for act in with_pauses(acts, VIDEO_SECONDS)],
                track=track,
            )
        annotations[f"annotations/Charades_v1_{split}.csv"] = csv_text([HEADER, *rows])
    return MiniSet(movies, annotations)


def _plan_acts(video_id: str, seed: int, one: str, two: list[str]) -> tuple[list[Act], list[Act]]:
    """What each of the two does, from left to right or from right to left."""
    rng = Random(f"{seed}/{video_id}")
    left, right = rng.sample([(0, 2), (1, 2)], 2)
    start = rng.randint(5, 35)
    first = plan_act(rng, one, start / 10, (start + rng.randint(30, 40)) / 10, place=left)
    cut = rng.randint(37, 43)
    look, acts = None, []
    for action, (earliest, latest) in zip(two, ((3, cut - 2), (cut + 2, 77)), strict=True):
        start, end = earliest + rng.randint(0, 4), latest - rng.randint(0, 4)
        acts.append(plan_act(rng, action, start / 10, end / 10, place=right, look=look))
        look = acts[0].actor.look
    return [first], acts


def _row(video_id: str, acts: list[Act]) -> tuple[object, ...]:
    actions = [
        f"{_code(action)} {act.start:.2f} {act.end:.2f}"
        for act in acts
        for action in act.actions
        if action in CLASSES
    ]
    story = "Two people in a studio: one is seen to " + ", then ".join(act.action for act in acts)
    return (
        *(video_id, "MINI", "Studio", 7, 7, "Yes", f"{story}.", "", f"{story}."),
        *(";".join(actions), f"{VIDEO_SECONDS:.2f}"),
    )


def _code(action: str) -> str:
    return f"c{CLASSES.index(action):03d}"
