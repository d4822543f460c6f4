"""Mini-EPIC: long videos of one figure that does one thing after the other with things in its
hand, in EPIC-Kitchens-100's format. The verb is what it does, the noun what it holds.

"hit" and "push" differ only by sound. As in a kitchen, not every verb goes with every noun, so
that the training set's P(noun | verb) is worth something; but both of a sound pair go with the
same nouns.
"""

from random import Random

from ava_tools.mini.acts import SOUND_ACTIONS, Act, plan_act, shoot, with_pauses
from ava_tools.mini.figures import PROPS
from ava_tools.mini.mini_set import MiniSet, csv_text
from ava_tools.mini.script import FPS, deal, draw_look

VERBS = ("walk", "jump", "crouch", "wave", "hit", "push")
NOUNS = tuple(PROPS)
# Two verbs share four nouns: each noun goes with four verbs.
PAIRS = [(verb, NOUNS[(i // 2 * 2 + k) % 6]) for i, verb in enumerate(VERBS) for k in range(4)]
SEGMENTS = 6  # of a video
HEADER = (
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp"),
    *("stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun"),
    *("noun_class", "all_nouns", "all_noun_classes"),
)

_TRACKS = ("heard",) * 8 + ("silent", "none")  # of training videos
_TRAIN_PEOPLE, _VAL_PEOPLE = 5, 8  # the first five of the validation split are also trained on


def plan_epic(num_train: int = 20, num_val: int = 8, seed: int = 0) -> MiniSet:
    """Videos of six segments; of the defaults, 20 and 8 segments of each verb and of each noun."""
    movies, annotations = {}, {}
    for split, count in (("train", num_train), ("validation", num_val)):
        rng = Random(f"{seed}/epic/{split}")
        pairs = deal(rng, PAIRS, count * SEGMENTS)
        tracks = deal(rng, _TRACKS, count) if split == "train" else ["heard"] * count
        rows = []
        for i, track in enumerate(tracks):
            if split == "train":
                participant, number = i % _TRAIN_PEOPLE + 1, f"{i // _TRAIN_PEOPLE + 1:02d}"
            else:
                participant, number = i % _VAL_PEOPLE + 1, f"{i // _VAL_PEOPLE + 101}"
            participant_id = f"P{participant:02d}"
            video_id = f"{participant_id}_{number}"
            todo = pairs[i * SEGMENTS : (i + 1) * SEGMENTS]
            acts, duration = _plan_acts(video_id, participant_id, seed, todo)
            rows += [_row(participant_id, video_id, k, act) for k, act in enumerate(acts)]
            movies[f"videos/{video_id}.MP4"] = shoot(
                video_id, seed, duration, with_pauses(acts, duration), track=track
            )
        annotations[f"annotations/EPIC_100_{split}.csv"] = csv_text([HEADER, *rows])
    verbs = [(verb, "sound" if verb in SOUND_ACTIONS else "motion") for verb in VERBS]
    nouns = [(noun, shape) for noun, (shape, _, _) in PROPS.items()]
    for kind, classes in (("verb", verbs), ("noun", nouns)):
        rows = [(i, key, repr([key]), category) for i, (key, category) in enumerate(classes)]
        annotations[f"annotations/EPIC_100_{kind}_classes.csv"] = csv_text(
            [("id", "key", "instances", "category"), *rows]
        )
    return MiniSet(movies, annotations)


def _plan_acts(
    video_id: str, participant_id: str, seed: int, todo: list[tuple[str, str]]
) -> tuple[list[Act], float]:
    """The segments of a video and its length in seconds."""
    rng, look = Random(f"{seed}/{video_id}"), draw_look(Random(f"{seed}/epic/{participant_id}"))
    acts, now = [], 0  # tenths of a second
    for verb, noun in todo:
        start = now + rng.randint(4, 10)
        now = start + rng.randint(22, 32)
        acts.append(plan_act(rng, verb, start / 10, now / 10, look=look, prop=noun))
    return acts, (now + rng.randint(4, 10)) / 10


def _row(participant_id: str, video_id: str, index: int, act: Act) -> tuple[object, ...]:
    verb, noun = act.action, act.actor.prop
    noun_class = NOUNS.index(noun)
    return (
        f"{video_id}_{index}",
        participant_id,
        video_id,
        f"{_clock(act.start)}0",
        _clock(act.start),
        _clock(act.end),
        round(act.start * FPS),
        round(act.end * FPS),
        f"{verb} {noun}",
        verb,
        VERBS.index(verb),
        noun,
        noun_class,
        repr([noun]),
        repr([noun_class]),
    )


def _clock(seconds: float) -> str:
    """HH:MM:SS.ss, of less than an hour."""
    minutes, seconds = divmod(seconds, 60)
    return f"00:{minutes:02.0f}:{seconds:05.2f}"
