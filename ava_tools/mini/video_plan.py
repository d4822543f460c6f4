"""Plan of a generated video: which persons do what and when, and its audio events.

A video is a few shots with hard cuts; each shot has its own background and persons. The actions of
an audio pair ("sing" and "talk", "hit" and "push") look the same and differ only in their audio.
All random numbers come from ``random.Random``, which gives the same ones on every machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

from ava_tools.mini.audio_synthesis import AudioEvent
from ava_tools.mini.background import Background
from ava_tools.mini.figures import Color, Look
from ava_tools.mini.motion import Actor, Beat

ACTIONS = ("stand", "walk", "jump", "crouch", "wave", "sing", "talk", "hit", "push")
AUDIO_PAIRS = (("sing", "talk"), ("hit", "push"))
AUDIBLE_ACTIONS = tuple(action for pair in AUDIO_PAIRS for action in pair)
ARMS_OF_PAIR = ("speak", "strike")
LEGS_OF_PAIR = (("stand", "stand", "crouch", "walk"), ("stand", "stand", "crouch"))

HEIGHT, WIDTH, FPS = 128, 176, 30

# How an audio pair appears in a shot of Mini-AVA: a person performs the action with its audio,
# without it, off screen, or not at all.
PairMode = Literal["audiovisual", "visual_only", "audio_only", "absent"]
PairModes = tuple[PairMode, PairMode]

T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """Part of a video between two cuts.

    Attributes:
        start: start, seconds.
        end: end, seconds.
        background: background of the whole shot.
        actors: visible persons.
        labels: actions of each person.
        pair_modes: mode of each audio pair; empty outside Mini-AVA.
    """

    start: float
    end: float
    background: Background
    actors: tuple[Actor, ...]
    labels: tuple[tuple[str, ...], ...]
    pair_modes: PairModes | tuple[()] = ()


@dataclass(frozen=True)
class VideoPlan:
    """Everything that one video file shows and sounds like.

    Attributes:
        video_id: name of the file.
        shots: shots in order, without gaps.
        audio_events: audio events on the video's clock.
        sample_rate: sample rate of the audio, Hz.
        channels: number of audio channels; 0 for no audio track.
        room_noise: root mean square of the background noise, full scale 1.
        seed: seed of the background noise.
    """

    video_id: str
    shots: tuple[Shot, ...]
    audio_events: tuple[AudioEvent, ...]
    sample_rate: int
    channels: int
    room_noise: float
    seed: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.shots[-1].end

    def shot_at(self, t: float) -> Shot:
        """Return the shot at ``t`` seconds; from the end of the video on, the last one."""
        return next((shot for shot in self.shots if t < shot.end), self.shots[-1])


def pair_of(action: str) -> int:
    """Return the index of the audio pair of one of ``AUDIBLE_ACTIONS``."""
    return next(i for i, pair in enumerate(AUDIO_PAIRS) if action in pair)


def sample_balanced(rng: Random, values: Sequence[T], count: int) -> list[T]:
    """Return ``count`` values from shuffled copies of ``values``, one copy after the other."""
    chosen: list[T] = []
    while len(chosen) < count:
        chosen += rng.sample(values, len(values))
    return chosen[:count]


def sample_actor(
    rng: Random,
    person_id: int,
    position: tuple[int, int],
    home: float,
    legs: str,
    arms: str,
    beats: tuple[Beat, ...],
) -> Actor:
    """Return a person with a random appearance, who acts towards the centre of the frame.

    Args:
        rng: source of random numbers.
        person_id: identity of the person within the video.
        position: index from the left, and number of persons.
        home: second at which the person is at that position.
        legs: one of ``motion.LEGS``.
        arms: one of ``motion.ARMS``.
        beats: times of syllables or strikes.
    """
    index, count = position
    side = rng.choice((-1, 1))
    if count > 1 and index in (0, count - 1):
        side = 1 if index == 0 else -1
    slack = 22 if count == 1 else 5
    return Actor(
        person_id=person_id,
        look=sample_look(rng, count),
        x=WIDTH * (index + 0.5) / count + rng.uniform(-slack, slack),
        ground=HEIGHT - rng.uniform(3, 9),
        home=home,
        speed=rng.choice((-1, 1)) * rng.uniform(4, 9) if legs == "walk" else 0.0,
        legs=legs,
        arms=arms,
        side=side,
        tempo=rng.uniform(0.85, 1.15),
        phase=rng.random(),
        beats=beats,
        post=_sample_saturated_color(rng),
    )


def sample_look(rng: Random, count: int = 1) -> Look:
    """Return a random appearance; persons are smaller in frames with more of them (``count``)."""
    return Look(
        height=rng.uniform(78, 96) - 5 * (count - 1),
        skin=rng.choice(_SKIN_COLORS),
        shirt=_sample_saturated_color(rng),
        trousers=_sample_saturated_color(rng),
        hair=rng.choice(_HAIR_COLORS),
    )


def sample_background(rng: Random) -> Background:
    """Return a random background that scrolls."""
    velocity = (rng.uniform(-24, 24), rng.uniform(-8, 8))
    return Background(rng.getrandbits(32), velocity)


def _sample_syllables(rng: Random, start: float, end: float) -> tuple[Beat, ...]:
    beats, t = [], start + rng.uniform(0, 0.3)
    while t + (duration := rng.uniform(0.22, 0.5)) < end:
        beats.append((t, duration))
        t += duration + rng.uniform(0.06, 0.18)
    return tuple(beats)


def _sample_strikes(rng: Random, start: float, end: float) -> tuple[Beat, ...]:
    beats, t = [], start + rng.uniform(0.1, 0.5)
    while t + 0.3 < end:
        beats.append((t, 0.3))
        t += rng.uniform(0.5, 0.8)
    return tuple(beats)


# For each audio pair: (rng, start, end) -> beats between two seconds.
BEAT_SAMPLERS: tuple[Callable[[Random, float, float], tuple[Beat, ...]], ...] = (
    _sample_syllables,
    _sample_strikes,
)
_SKIN_COLORS: tuple[Color, ...] = (
    (250, 214, 184),
    (232, 184, 144),
    (198, 146, 104),
    (168, 118, 84),
)
_HAIR_COLORS: tuple[Color, ...] = ((40, 30, 24), (96, 56, 24), (214, 178, 88), (150, 150, 156))


def _sample_saturated_color(rng: Random) -> Color:
    """Return a colour with one high channel, one low and one anywhere."""
    levels = [rng.randint(190, 250), rng.randint(10, 60), rng.randint(10, 250)]
    rng.shuffle(levels)
    red, green, blue = levels
    return red, green, blue
