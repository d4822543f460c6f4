"""Plans of Mini-AVA's videos.

For each video, one action of each audio pair is drawn ("sing" or "talk", "hit" or "push"). This
draw is independent of all visible content: another one changes audio and labels, but no pixel.
"""

from random import Random

from ava_tools.mini.audio_synthesis import AudioEvent
from ava_tools.mini.motion import Beat
from ava_tools.mini.video_plan import (
    ARMS_OF_PAIR,
    AUDIO_PAIRS,
    BEAT_SAMPLERS,
    LEGS_OF_PAIR,
    PairMode,
    PairModes,
    Shot,
    VideoPlan,
    sample_actor,
    sample_background,
    sample_balanced,
)

SHOT_SECONDS = 4
FIRST_CUT = SHOT_SECONDS + 0.5  # cuts lie half-way between keyframes, which are whole seconds
CLIP_REACH = 1.1  # seconds from a keyframe to either end of its clip of 64 frames at 30 fps

# Proportions of the modes.
PAIR_MODES: tuple[PairMode, ...] = (
    *("audiovisual",) * 5,
    "visual_only",
    "audio_only",
    *("absent",) * 3,
)
_OTHER_LEGS = ("stand", "walk", "walk", "jump", "jump", "crouch")


def plan_split(split: str, num_videos: int, num_shots: int, seed: int) -> list[VideoPlan]:
    """Return the videos of a split, with balanced actions and modes of the audio pairs."""
    rng = Random(f"{seed}/{split}")
    choices = [(voice, strike) for voice in AUDIO_PAIRS[0] for strike in AUDIO_PAIRS[1]]
    pair_actions = sample_balanced(rng, choices, num_videos)
    voices, strikes = (
        sample_balanced(rng, PAIR_MODES, num_videos * num_shots) for _ in AUDIO_PAIRS
    )
    modes = list(zip(voices, strikes, strict=True))
    return [
        plan_video(
            f"mini_{split}_{i:04d}", seed, actions, modes[i * num_shots : (i + 1) * num_shots]
        )
        for i, actions in enumerate(pair_actions)
    ]


def plan_video(
    video_id: str, seed: int, pair_actions: tuple[str, str], pair_modes: list[PairModes]
) -> VideoPlan:
    """Return the plan of one video.

    Args:
        video_id: name of the video; with ``seed`` it determines everything random.
        seed: seed of the dataset.
        pair_actions: action of each audio pair.
        pair_modes: modes of the audio pairs, one entry per shot.
    """
    # The names of these seeds are part of the dataset: others give other videos.
    visible, audible = Random(f"{seed}/{video_id}/picture"), Random(f"{seed}/{video_id}/sound")
    shots: list[Shot] = []
    events: list[AudioEvent] = []
    num_persons = 0
    for i, modes in enumerate(pair_modes):
        start = FIRST_CUT + (i - 1) * SHOT_SECONDS if i else 0.0
        end = FIRST_CUT + i * SHOT_SECONDS
        shot, beats = _plan_shot(visible, start, end, num_persons, pair_actions, modes)
        num_persons += len(shot.actors)
        shots.append(shot)
        for kind, (beat, duration) in beats:
            gain = audible.uniform(0.2, 0.5)
            events.append(AudioEvent(kind, beat, duration, gain, audible.getrandbits(32)))
    return VideoPlan(
        video_id,
        tuple(shots),
        tuple(events),
        sample_rate=audible.choice((44100, 48000)),
        channels=audible.choice((1, 1, 2)),
        room_noise=audible.uniform(0.001, 0.004),
        seed=audible.getrandbits(32),
    )


def keyframes(video: VideoPlan) -> list[int]:
    """Return the annotated seconds: those whose clip lies within one shot."""
    return [
        second
        for second in range(2, int(video.duration))
        if video.shot_at(second - CLIP_REACH) is video.shot_at(second + CLIP_REACH)
        and second + CLIP_REACH <= video.duration
    ]


def ambiguous_keyframes(video: VideoPlan) -> list[int]:
    """Return the second before the last cut, which is excluded because its clip has two shots."""
    return [int(video.shots[-1].start)] if len(video.shots) > 1 else []


def _plan_shot(
    rng: Random,
    start: float,
    end: float,
    first_id: int,
    pair_actions: tuple[str, str],
    pair_modes: PairModes,
) -> tuple[Shot, list[tuple[str, Beat]]]:
    """Return a shot, and its audible beats with their action.

    No draw depends on ``pair_actions``.
    """
    roles: list[tuple[str, str, tuple[Beat, ...], tuple[str, ...]]] = []  # legs, arms, beats, extra
    audible: list[tuple[str, Beat]] = []
    for pair, (action, mode) in enumerate(zip(pair_actions, pair_modes, strict=True)):
        beats = BEAT_SAMPLERS[pair](rng, start + 0.1, end - 0.1)
        if mode in ("audiovisual", "audio_only"):
            audible += [(action, beat) for beat in beats]
        if mode in ("audiovisual", "visual_only"):
            extra = (action,) if mode == "audiovisual" else ()
            roles.append((rng.choice(LEGS_OF_PAIR[pair]), ARMS_OF_PAIR[pair], beats, extra))
    for _ in range(max(rng.choice((1, 2, 2, 3)) - len(roles), 0)):
        legs = rng.choice(_OTHER_LEGS)
        waves = legs in ("stand", "walk") and rng.random() < 0.6
        roles.append((legs, "wave" if waves else "idle", (), ("wave",) if waves else ()))
    rng.shuffle(roles)
    actors = tuple(
        sample_actor(rng, first_id + i, (i, len(roles)), (start + end) / 2, legs, arms, beats)
        for i, (legs, arms, beats, _) in enumerate(roles)
    )
    labels = tuple((legs, *extra) for legs, _, _, extra in roles)
    return Shot(start, end, sample_background(rng), actors, labels, pair_modes), audible
