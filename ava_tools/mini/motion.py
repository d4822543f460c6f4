"""How a figure moves: an actor (legs, arms, times of its syllables or strikes) to a pose at ``t``.

Nothing here knows a name that only sound can tell: "speak" is one motion, whether it is sung, said
or mimed, and "strike" is one motion, whatever it sounds like.
"""

import math
from dataclasses import dataclass

from ava_tools.mini.figures import Color, Look, Point, Pose

LEGS = ("stand", "walk", "jump", "crouch")
ARMS = ("idle", "wave", "speak", "strike")
Beat = tuple[float, float]  # start and duration, seconds

_SWAY_RATE, _STRIDE_RATE, _JUMP_RATE, _WAVE_RATE = 0.7, 1.4, 1.25, 2.0  # cycles per second
_FLIGHT = 0.65  # share of a jump that is in the air
# Of a motion: its noise, how often per second, where in that cycle, how long in seconds.
_NOISES = {
    "walk": ("step", 2 * _STRIDE_RATE, 0.5, 0.08),  # a foot comes down when the thighs turn
    "jump": ("land", _JUMP_RATE, _FLIGHT, 0.2),
    "crouch": ("creak", 2 * _SWAY_RATE, 0.5, 0.25),
    "wave": ("swish", _WAVE_RATE, 0.25, 0.2),
}
_WINDUP, _HOLD, _RETURN = 0.14, 0.08, 0.20  # of a strike, seconds before and after the contact


@dataclass(frozen=True)
class Actor:
    """One figure for the length of a shot. Times are seconds of the film's clock."""

    person_id: int
    look: Look
    x: float  # pixels, at ``home`` seconds
    ground: float  # pixels
    home: float  # seconds
    speed: float  # pixels / second along x; 0 unless walking
    legs: str  # one of LEGS
    arms: str  # one of ARMS
    side: int  # -1 or 1: the arm that acts
    tempo: float  # about 1; scales the rates of the repeated motions
    phase: float  # 0..1, where in its cycle the figure is at second 0
    beats: tuple[Beat, ...] = ()  # syllables of "speak"; a beat of "strike" starts at the contact
    post: Color = (0, 0, 0)  # colour of what a "strike" strikes
    prop: str | None = None  # key of figures.PROPS: what the other hand holds


def pose_at(actor: Actor, t: float) -> Pose:
    """The pose at ``t`` seconds."""
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


def noises(actor: Actor, start: float, end: float) -> list[tuple[str, Beat]]:
    """What of the motion can be heard from ``start`` to ``end`` seconds: feet that touch the
    ground, the floor under one who crouches, an arm that swings down. Keys of ``sounds.SOUNDS``."""
    heard = []
    for motion in (actor.legs, actor.arms):
        if motion in _NOISES:
            kind, rate, part, duration = _NOISES[motion]
            cycle = 1 / (rate * actor.tempo)  # seconds
            time = start + cycle * ((part - rate * (actor.tempo * start + actor.phase)) % 1.0)
            while time + duration <= end:
                heard.append((kind, (time, duration)))
                time += cycle
    return heard


def loudness(syllables: tuple[Beat, ...], t: float) -> float:
    """0..1: how far the mouth is open at ``t``, and so the envelope of the voice."""
    for start, duration in syllables:
        if 0 <= t - start <= duration:
            return math.sqrt(math.sin(math.pi * (t - start) / duration))
    return 0.0


def post_tilt(actor: Actor, t: float) -> float:
    """Radians by which the struck post leans away at ``t``: at once on contact, then back."""
    since = [t - contact for contact, _ in actor.beats if contact <= t]
    return actor.side * 0.25 * math.exp(-min(since) / 0.15) if since else 0.0


def _strike_reach(since: float) -> float:
    """0 (drawn back) .. 1 (arm straight, in contact), ``since`` seconds after the contact."""
    if since < 0:
        progress = 1 + since / _WINDUP
    else:
        progress = 1 - (since - _HOLD) / _RETURN
    progress = min(max(progress, 0.0), 1.0)
    return progress * progress * (3 - 2 * progress)


_Limbs = tuple[tuple[Point, Point], tuple[Point, Point], float]  # legs, arms, lift


def _stand(cycles: float, sway: float, forward: int) -> _Limbs:
    return ((-0.08, -0.04), (0.08, 0.04)), ((-0.2 - sway, -0.1), (0.2 - sway, 0.1)), 0.0


def _crouch(cycles: float, sway: float, forward: int) -> _Limbs:
    return ((-1.45, 0.45), (1.45, -0.45)), ((-0.35 - sway, 0.1), (0.35 - sway, -0.1)), 0.0


def _walk(cycles: float, sway: float, forward: int) -> _Limbs:
    swing = 2 * math.pi * _STRIDE_RATE * cycles
    legs = []
    for angle in (swing, swing + math.pi):
        thigh = 0.6 * math.sin(angle)
        knee = 0.9 * max(0.0, forward * math.cos(angle))  # bent while the leg comes forward
        legs.append((thigh, thigh - forward * knee))
    hands = 0.5 * math.sin(swing)
    bend = 0.4 * forward
    return tuple(legs), ((-0.15 - hands, -hands + bend), (0.15 + hands, hands + bend)), 0.0


def _jump(cycles: float, sway: float, forward: int) -> _Limbs:
    part = (_JUMP_RATE * cycles) % 1.0
    if part < _FLIGHT:
        height, bend = math.sin(math.pi * part / _FLIGHT), 0.0
    else:
        height, bend = 0.0, 0.7 * math.sin(math.pi * (part - _FLIGHT) / (1 - _FLIGHT))
    thigh, shin = 0.12 + 0.15 * height + bend, 0.1 + 0.1 * height - bend
    upper, fore = 0.3 + 1.7 * height, 0.2 + 2.1 * height
    return ((-thigh, -shin), (thigh, shin)), ((-upper, -fore), (upper, fore)), 0.24 * height


_LEG_MOTIONS = {"stand": _stand, "walk": _walk, "jump": _jump, "crouch": _crouch}
