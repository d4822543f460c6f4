"""Motion of a person: from an actor (legs, arms, times of syllables or strikes) to its pose.

Motions are named by what is visible: "speak" is the same motion for singing, talking and miming,
and "strike" the same for hitting and pushing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ava_tools.mini.figures import Color, Look, Point, Pose

LEGS = ("stand", "walk", "jump", "crouch")
ARMS = ("idle", "wave", "speak", "strike")
Beat = tuple[float, float]  # start and duration, seconds

_SWAY_RATE, _STRIDE_RATE, _JUMP_RATE, _WAVE_RATE = 0.7, 1.4, 1.25, 2.0  # cycles per second
_FLIGHT = 0.65  # fraction of a jump in the air
# Audio of a motion: kind, rate per second, phase of that cycle (0..1), duration in seconds.
_MOTION_AUDIO = {
    "walk": ("step", 2 * _STRIDE_RATE, 0.5, 0.08),  # a foot touches down when the thighs reverse
    "jump": ("land", _JUMP_RATE, _FLIGHT, 0.2),
    "crouch": ("creak", 2 * _SWAY_RATE, 0.5, 0.25),
    "wave": ("swish", _WAVE_RATE, 0.25, 0.2),
}
_WINDUP, _HOLD, _RETURN = 0.14, 0.08, 0.20  # of a strike, seconds before and after the contact


@dataclass(frozen=True)
class Actor:
    """One person for the length of a shot. Times are seconds of the video's clock."""

    person_id: int
    look: Look
    x: float  # pixels, at ``home`` seconds
    ground: float  # pixels
    home: float  # seconds
    speed: float  # pixels / second along x; 0 unless walking
    legs: str  # one of LEGS
    arms: str  # one of ARMS
    side: int  # -1 or 1: the arm that performs the action
    tempo: float  # about 1; scales the rates of the repeated motions
    phase: float  # phase of the repeated motions at second 0, 0..1
    beats: tuple[Beat, ...] = ()  # syllables of "speak"; a beat of "strike" starts at the contact
    post: Color = (0, 0, 0)  # colour of the struck post
    prop: str | None = None  # key of figures.PROPS: object in the other hand


def pose_at(actor: Actor, t: float) -> Pose:
    """Return the pose at ``t`` seconds."""
    cycles = actor.tempo * t + actor.phase
    sway = 0.05 * math.sin(2 * math.pi * _SWAY_RATE * cycles)
    legs, arms, lift = _LEG_MOTIONS[actor.legs](cycles, sway, 1 if actor.speed >= 0 else -1)
    lean, mouth, side = 0.4 * sway, 0.0, actor.side

    if actor.arms == "wave":
        arm = (side * 2.3, side * 2.7 + 0.7 * math.sin(2 * math.pi * _WAVE_RATE * cycles))
    elif actor.arms == "speak":
        mouth = loudness(actor.beats, t)
        arm = (side * 0.5, side * (2.6 - 0.6 * mouth))
    elif actor.arms == "strike":
        reach = max((_strike_reach(t - contact) for contact, _ in actor.beats), default=0.0)
        arm = (side * (-0.6 + 2.1 * reach), side * (2.0 - 0.45 * reach))
        lean += side * 0.1 * reach
    else:
        arm = arms[side > 0]
    arms = (arm, arms[1]) if side < 0 else (arms[0], arm)
    x = actor.x + actor.speed * (t - actor.home)
    return Pose(x, actor.ground, arms, legs, lean, lift, mouth)


def motion_audio(actor: Actor, start: float, end: float) -> list[tuple[str, Beat]]:
    """Return the audio events of a motion: footsteps, landings, a creaking floor, a swinging arm.

    Args:
        actor: the person.
        start: first second.
        end: last second.

    Returns:
        (key of ``audio_synthesis.AUDIO_KINDS``, (start, duration) in seconds).
    """
    events = []
    for motion in (actor.legs, actor.arms):
        if motion in _MOTION_AUDIO:
            kind, rate, part, duration = _MOTION_AUDIO[motion]
            cycle = 1 / (rate * actor.tempo)  # seconds
            time = start + cycle * ((part - rate * (actor.tempo * start + actor.phase)) % 1.0)
            while time + duration <= end:
                events.append((kind, (time, duration)))
                time += cycle
    return events


def loudness(syllables: tuple[Beat, ...], t: float) -> float:
    """Return the opening of the mouth at ``t`` seconds, 0..1: the envelope of the voice."""
    for start, duration in syllables:
        if 0 <= t - start <= duration:
            return math.sqrt(math.sin(math.pi * (t - start) / duration))
    return 0.0


def post_tilt(actor: Actor, t: float) -> float:
    """Return the tilt of the struck post at ``t`` seconds, radians: largest at the contact."""
    since = [t - contact for contact, _ in actor.beats if contact <= t]
    return actor.side * 0.25 * math.exp(-min(since) / 0.15) if since else 0.0


def _strike_reach(since: float) -> float:
    """Return how far the arm is extended, 0..1, ``since`` seconds after the contact."""
    if since < 0:
        progress = 1 + since / _WINDUP
    else:
        progress = 1 - (since - _HOLD) / _RETURN
    progress = min(max(progress, 0.0), 1.0)
    return progress * progress * (3 - 2 * progress)


_Limbs = tuple[tuple[Point, Point], tuple[Point, Point], float]  # legs, arms, lift
# (cycles, sway, forward) -> limbs: cycles since second 0, sway in radians, direction -1 or 1.
_LegMotion = Callable[[float, float, int], _Limbs]


def _stand(cycles: float, sway: float, forward: int) -> _Limbs:
    return ((-0.08, -0.04), (0.08, 0.04)), ((-0.2 - sway, -0.1), (0.2 - sway, 0.1)), 0.0


def _crouch(cycles: float, sway: float, forward: int) -> _Limbs:
    return ((-1.45, 0.45), (1.45, -0.45)), ((-0.35 - sway, 0.1), (0.35 - sway, -0.1)), 0.0


def _walk(cycles: float, sway: float, forward: int) -> _Limbs:
    swing = 2 * math.pi * _STRIDE_RATE * cycles
    left, right = (_walking_leg(angle, forward) for angle in (swing, swing + math.pi))
    hands = 0.5 * math.sin(swing)
    bend = 0.4 * forward
    return (left, right), ((-0.15 - hands, -hands + bend), (0.15 + hands, hands + bend)), 0.0


def _walking_leg(angle: float, forward: int) -> Point:
    thigh = 0.6 * math.sin(angle)
    knee = 0.9 * max(0.0, forward * math.cos(angle))  # bent while the leg comes forward
    return thigh, thigh - forward * knee


def _jump(cycles: float, sway: float, forward: int) -> _Limbs:
    part = (_JUMP_RATE * cycles) % 1.0
    if part < _FLIGHT:
        height, bend = math.sin(math.pi * part / _FLIGHT), 0.0
    else:
        height, bend = 0.0, 0.7 * math.sin(math.pi * (part - _FLIGHT) / (1 - _FLIGHT))
    thigh, shin = 0.12 + 0.15 * height + bend, 0.1 + 0.1 * height - bend
    upper, fore = 0.3 + 1.7 * height, 0.2 + 2.1 * height
    return ((-thigh, -shin), (thigh, shin)), ((-upper, -fore), (upper, fore)), 0.24 * height


_LEG_MOTIONS: dict[str, _LegMotion] = {
    "stand": _stand,
    "walk": _walk,
    "jump": _jump,
    "crouch": _crouch,
}
