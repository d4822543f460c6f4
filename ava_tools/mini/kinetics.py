"""Mini-Kinetics: one figure, one action, three seconds, in Kinetics' format. And Mini-Places: the
same for five seconds, in which sight and sound change together, to learn without labels from.

The classes are Mini-AVA's actions. Of the two sound pairs, "sing" and "talk", "hit" and "push", a
silent clip shows that it is one of them, and only its sound which; so all theirs in the validation
split are heard. Some clips of the other actions have somebody sing, talk, hit or push unseen.

In Mini-Places steps, jumps, waves and creaking floors are heard, too, and a clip cuts from place to
place, each with its colour and its noise, which say nothing about the action.
"""

from random import Random

from ava_tools.mini.acts import SOUND_ACTIONS, Track, plan_act, shoot
from ava_tools.mini.mini_set import MiniSet, csv_text
from ava_tools.mini.places import plan_stays
from ava_tools.mini.script import ACTIONS, Movie, deal

CLIP_SECONDS, PLACES_CLIP_SECONDS = 3, 5
HEADER = ("label", "youtube_id", "time_start", "time_end", "split")

_TRACKS: tuple[Track, ...] = ("heard",) * 12 + (
    "silent",
    "none",
)  # dealt to the clips of each action
_OFFSCREEN_SHARE = 0.2  # of the clips of an action without sound


def plan_kinetics(
    num_train: int = 396, num_val: int = 126, seed: int = 0, *, places: bool = False
) -> MiniSet:
    """Clips of all actions in balance: of the defaults, 44 and 14 of each.

    Args:
        places: Mini-Places instead.
    """
    movies, annotations = {}, {}
    duration = PLACES_CLIP_SECONDS if places else CLIP_SECONDS
    for split, count in (("train", num_train), ("val", num_val)):
        rng = Random(f"{seed}/kinetics/{split}")
        rows = []
        tracks = {action: iter(deal(rng, _TRACKS, count)) for action in ACTIONS}
        for i, action in enumerate(deal(rng, ACTIONS, count)):
            youtube_id = f"mini_{split[:2]}{i:04d}"  # of 11 characters, as theirs
            track = next(tracks[action])
            if split == "val" and action in SOUND_ACTIONS:
                track = "heard"
            movie = _plan_clip(youtube_id, seed, action, track, duration, places)
            start = rng.randrange(600)
            end = start + duration
            rows.append((action, youtube_id, start, end, split))
            movies[f"videos/{split}/{action}/{youtube_id}_{start:06d}_{end:06d}.mp4"] = movie
        annotations[f"annotations/{split}.csv"] = csv_text([HEADER, *sorted(rows)])
    return MiniSet(movies, annotations)


def plan_places(num_train: int = 396, num_val: int = 126, seed: int = 0) -> MiniSet:
    return plan_kinetics(num_train, num_val, seed, places=True)


def _plan_clip(
    youtube_id: str, seed: int, action: str, track: Track, duration: int, places: bool
) -> Movie:
    rng = Random(f"{seed}/{youtube_id}")
    act = plan_act(rng, action, 0.0, duration)
    strays = action not in SOUND_ACTIONS and rng.random() < _OFFSCREEN_SHARE
    return shoot(
        youtube_id,
        seed,
        duration,
        [act],
        track=track,
        offscreen=rng.choice(SOUND_ACTIONS) if strays else None,
        stays=plan_stays(rng, duration) if places else (),
        noisy=places,
    )
