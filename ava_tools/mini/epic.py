"""Mini-EPIC: one person who performs actions with objects, in EPIC-Kitchens-100's format.

The verb is the action, the noun the object in the free hand. "hit" and "push" differ only by audio.
As in a kitchen, not every verb occurs with every noun, so the P(noun | verb) of the training split
is informative; but both actions of an audio pair occur with the same nouns.
"""

from random import Random

from ava_tools.mini.action_segments import (
    ActionSegment,
    AudioTrack,
    add_pauses,
    build_video,
    plan_segment,
)
from ava_tools.mini.figures import PROPS
from ava_tools.mini.mini_dataset import MiniDataset, csv_text
from ava_tools.mini.video_plan import AUDIBLE_ACTIONS, FPS, sample_balanced, sample_look

VERBS = ("walk", "jump", "crouch", "wave", "hit", "push")
NOUNS = tuple(PROPS)
# Two verbs share four nouns, and each noun occurs with four verbs.
PAIRS = [(verb, NOUNS[(i // 2 * 2 + k) % 6]) for i, verb in enumerate(VERBS) for k in range(4)]
SEGMENTS_PER_VIDEO = 6
HEADER = (
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp"),
    *("stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun"),
    *("noun_class", "all_nouns", "all_noun_classes"),
)

# Proportions of the audio tracks among training videos; validation videos are all audible.
_TRACKS: tuple[AudioTrack, ...] = (*("audible",) * 8, "silent", "none")
_TRAIN_PARTICIPANTS, _VAL_PARTICIPANTS = 5, 8  # the first five are in both splits


def plan_epic(num_train: int = 20, num_val: int = 8, seed: int = 0) -> MiniDataset:
    """Return Mini-EPIC: by default, 20 and 8 segments of each verb and of each noun."""
    videos, annotations = {}, {}
    for split, count in (("train", num_train), ("validation", num_val)):
        rng = Random(f"{seed}/epic/{split}")
        pairs = sample_balanced(rng, PAIRS, count * SEGMENTS_PER_VIDEO)
        tracks = sample_balanced(rng, _TRACKS if split == "train" else ("audible",), count)
        rows = []
        for i, track in enumerate(tracks):
            participant_id, video_id = _ids(split, i)
            video_pairs = pairs[i * SEGMENTS_PER_VIDEO : (i + 1) * SEGMENTS_PER_VIDEO]
            segments, duration = _plan_segments(video_id, participant_id, seed, video_pairs)
            rows += [_row(participant_id, video_id, k, s) for k, s in enumerate(segments)]
            videos[f"videos/{video_id}.MP4"] = build_video(
                video_id, seed, duration, add_pauses(segments, duration), track=track
            )
        annotations[f"annotations/EPIC_100_{split}.csv"] = csv_text([HEADER, *rows])
    return MiniDataset(videos, annotations | _class_files())


def _ids(split: str, i: int) -> tuple[str, str]:
    """Return participant and video id of the i-th video of a split."""
    if split == "train":
        participant, number = i % _TRAIN_PARTICIPANTS + 1, f"{i // _TRAIN_PARTICIPANTS + 1:02d}"
    else:
        participant, number = i % _VAL_PARTICIPANTS + 1, f"{i // _VAL_PARTICIPANTS + 101}"
    participant_id = f"P{participant:02d}"
    return participant_id, f"{participant_id}_{number}"


def _class_files() -> dict[str, str]:
    verbs = [(verb, "sound" if verb in AUDIBLE_ACTIONS else "motion") for verb in VERBS]
    nouns = [(noun, shape) for noun, (shape, _, _) in PROPS.items()]
    files = {}
    for kind, classes in (("verb", verbs), ("noun", nouns)):
        rows = [(i, key, repr([key]), category) for i, (key, category) in enumerate(classes)]
        files[f"annotations/EPIC_100_{kind}_classes.csv"] = csv_text(
            [("id", "key", "instances", "category"), *rows]
        )
    return files


def _plan_segments(
    video_id: str, participant_id: str, seed: int, pairs: list[tuple[str, str]]
) -> tuple[list[ActionSegment], float]:
    """Return the segments of a video, one per verb and noun, and its length in seconds."""
    rng = Random(f"{seed}/{video_id}")
    look = sample_look(Random(f"{seed}/epic/{participant_id}"))
    segments, now = [], 0  # tenths of a second
    for verb, noun in pairs:
        start = now + rng.randint(4, 10)
        now = start + rng.randint(22, 32)
        segments.append(plan_segment(rng, verb, start / 10, now / 10, look=look, prop=noun))
    return segments, (now + rng.randint(4, 10)) / 10


def _row(
    participant_id: str, video_id: str, index: int, segment: ActionSegment
) -> tuple[object, ...]:
    verb, noun = segment.action, segment.actor.prop or ""
    noun_class = NOUNS.index(noun)
    return (
        f"{video_id}_{index}",
        participant_id,
        video_id,
        f"{_clock(segment.start)}0",
        _clock(segment.start),
        _clock(segment.end),
        round(segment.start * FPS),
        round(segment.end * FPS),
        f"{verb} {noun}",
        verb,
        VERBS.index(verb),
        noun,
        noun_class,
        repr([noun]),
        repr([noun_class]),
    )


def _clock(seconds: float) -> str:
    """Return HH:MM:SS.ss of a time below one hour."""
    minutes, seconds = divmod(seconds, 60)
    return f"00:{minutes:02.0f}:{seconds:05.2f}"
