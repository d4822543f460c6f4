"""Acts: one figure doing one thing for a while, and films made of a few of them.

Mini-AVA fills a scene and then asks who is doing what; the sets for classification go the other way
round, from an action to somebody who does it. As there, which member of a sound pair is acted takes
part in no draw of anything visible.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Literal

from ava_tools.mini.figures import Look
from ava_tools.mini.motion import Actor, Beat, noises
from ava_tools.mini.places import Stay
from ava_tools.mini.script import (
    BEATS,
    LEGS_OF_PAIR,
    MOTION_OF_PAIR,
    SOUND_PAIRS,
    Movie,
    Shot,
    cast_actor,
    draw_backdrop,
)
from ava_tools.mini.sounds import SoundEvent

SOUND_ACTIONS = tuple(action for pair in SOUND_PAIRS for action in pair)
# A sound track with what there is to hear, one of digital silence, or no sound track.
Track = Literal["heard", "silent", "none"]


@dataclass(frozen=True)
class Act:
    """``start`` to ``end`` seconds, tenths both, so that cuts fall between frames."""

    start: float
    end: float
    actor: Actor
    actions: tuple[str, ...]  # the one it was planned for last, before it what the legs do

    @property
    def action(self) -> str:
        return self.actions[-1]


def plan_act(
    rng: Random,
    action: str,
    start: float,
    end: float,
    *,
    place: tuple[int, int] = (0, 1),
    look: Look | None = None,
    prop: str | None = None,
) -> Act:
    """Somebody who does ``action``, one of ``script.ACTIONS``.

    Args:
        place: i of n from the left.
        look: random if None.
        prop: what the hand that does not act holds, a key of ``figures.PROPS``.
    """
    beats: tuple[Beat, ...] = ()
    if action in SOUND_ACTIONS:
        pair = next(i for i, kinds in enumerate(SOUND_PAIRS) if action in kinds)
        legs, arms = rng.choice(LEGS_OF_PAIR[pair]), MOTION_OF_PAIR[pair]
        beats = BEATS[pair](rng, start + 0.1, end - 0.1)
    elif action == "wave":
        legs, arms = rng.choice(("stand", "walk")), "wave"
    else:
        legs, arms = action, "idle"
    actor = cast_actor(rng, place[0], place, (start + end) / 2, legs, arms, beats)
    actor = replace(actor, look=look or actor.look, prop=prop)
    return Act(start, end, actor, (legs,) if legs == action else (legs, action))


def with_pauses(acts: Sequence[Act], duration: float) -> list[Act]:
    """``acts`` of one person, in order, who stands about before, between and after them."""
    edges = [0.0, *(time for act in acts for time in (act.start, act.end)), duration]
    pauses = []
    for act, start, end in zip((acts[0], *acts), edges[::2], edges[1::2], strict=True):
        idle = replace(act.actor, legs="stand", arms="idle", speed=0.0, beats=(), prop=None)
        pauses += [Act(start, end, idle, ())] if start < end else []
    return sorted([*acts, *pauses], key=lambda act: act.start)


def shoot(
    video_id: str,
    seed: int,
    duration: float,
    acts: Sequence[Act],
    *,
    track: Track = "heard",
    offscreen: str | None = None,
    stays: Sequence[Stay] = (),
    noisy: bool = False,
) -> Movie:
    """The film of ``acts``, a shot from each change to the next.

    Args:
        duration: seconds.
        offscreen: one of ``SOUND_ACTIONS``, heard all the time from somebody who is not seen.
        stays: where it is filmed, and heard; all on one background, without noise, if empty.
        noisy: steps, jumps, creaks and waves are heard (``motion.noises``).
    """
    visible, audible = Random(f"{seed}/{video_id}/scene"), Random(f"{seed}/{video_id}/sound")
    backdrop = draw_backdrop(visible)
    times = [time for part in (*acts, *stays) for time in (part.start, part.end)]
    cuts = sorted({0.0, duration, *times})
    shots = []
    for start, end in pairwise(cuts):
        on = [act for act in acts if act.start <= start < act.end]
        actors, labels = (act.actor for act in on), (act.actions for act in on)
        tints = [stay.place.color for stay in stays if stay.start <= start < stay.end]
        scenery = replace(backdrop, tint=tints[0]) if tints else backdrop
        shots.append(Shot(start, end, scenery, tuple(actors), tuple(labels)))

    heard = [(act.action, beat) for act in acts for beat in act.actor.beats]
    if offscreen is not None:
        pair = next(i for i, kinds in enumerate(SOUND_PAIRS) if offscreen in kinds)
        heard += [(offscreen, beat) for beat in BEATS[pair](audible, 0.1, duration - 0.1)]
    if noisy:
        heard += [noise for act in acts for noise in noises(act.actor, act.start, act.end)]
    sounds = tuple(
        SoundEvent(kind, start, length, audible.uniform(0.2, 0.5), audible.getrandbits(32))
        for kind, (start, length) in heard
    )
    sounds += tuple(
        SoundEvent(
            stay.place.noise,
            stay.start,
            stay.end - stay.start,
            audible.uniform(0.15, 0.3),
            audible.getrandbits(32),
        )
        for stay in stays
        if stay.place.noise is not None
    )
    return Movie(
        video_id,
        tuple(shots),
        sounds if track == "heard" else (),
        sample_rate=audible.choice((44100, 48000)),
        channels=0 if track == "none" else audible.choice((1, 1, 2)),
        ambience=audible.uniform(0.001, 0.004) if track == "heard" else 0.0,
        seed=audible.getrandbits(32),
    )
