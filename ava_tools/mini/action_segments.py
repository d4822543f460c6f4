"""Action segments, and videos made of a few of them, for the classification datasets.

Mini-AVA fills a scene with persons and then labels it; here an action is given and a person is
planned who performs it. As there, no visible content depends on which action of an audio pair is
performed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Literal

from ava_tools.mini.audio_synthesis import AudioEvent
from ava_tools.mini.background import Background
from ava_tools.mini.figures import Look
from ava_tools.mini.motion import Actor, Beat, motion_audio
from ava_tools.mini.scenes import SceneSegment
from ava_tools.mini.video_plan import (
    ARMS_OF_PAIR,
    AUDIBLE_ACTIONS,
    BEAT_SAMPLERS,
    LEGS_OF_PAIR,
    Shot,
    VideoPlan,
    pair_of,
    sample_actor,
    sample_background,
)

# An audio track with audio events, a track of digital silence, or no audio track.
AudioTrack = Literal["audible", "silent", "none"]


@dataclass(frozen=True)
class ActionSegment:
    """One person who performs one action for a while.

    Attributes:
        start: start, seconds, in steps of 0.1, so that cuts lie between frames.
        end: end, seconds, in steps of 0.1.
        actor: the person.
        actions: all actions of the person; the planned one is the last, the legs' comes before.
    """

    start: float
    end: float
    actor: Actor
    actions: tuple[str, ...]

    @property
    def action(self) -> str:
        """The planned action."""
        return self.actions[-1]


def plan_segment(
    rng: Random,
    action: str,
    start: float,
    end: float,
    *,
    position: tuple[int, int] = (0, 1),
    look: Look | None = None,
    prop: str | None = None,
) -> ActionSegment:
    """Plan a person who performs an action.

    Args:
        rng: source of random numbers.
        action: one of ``video_plan.ACTIONS``.
        start: start, seconds.
        end: end, seconds.
        position: index from the left, and number of persons.
        look: appearance; random if None.
        prop: object in the hand that is free, a key of ``figures.PROPS``.
    """
    beats: tuple[Beat, ...] = ()
    if action in AUDIBLE_ACTIONS:
        pair = pair_of(action)
        legs, arms = rng.choice(LEGS_OF_PAIR[pair]), ARMS_OF_PAIR[pair]
        beats = BEAT_SAMPLERS[pair](rng, start + 0.1, end - 0.1)
    elif action == "wave":
        legs, arms = rng.choice(("stand", "walk")), "wave"
    else:
        legs, arms = action, "idle"
    actor = sample_actor(rng, position[0], position, (start + end) / 2, legs, arms, beats)
    actor = replace(actor, look=look or actor.look, prop=prop)
    return ActionSegment(start, end, actor, (legs,) if legs == action else (legs, action))


def add_pauses(segments: Sequence[ActionSegment], duration: float) -> list[ActionSegment]:
    """Fill the time before, between and after the segments of one person with idle standing.

    Args:
        segments: segments of the person in order.
        duration: length of the video, seconds.
    """
    edges = [
        0.0,
        *(time for segment in segments for time in (segment.start, segment.end)),
        duration,
    ]
    pauses = []
    for segment, start, end in zip((segments[0], *segments), edges[::2], edges[1::2], strict=True):
        idle = replace(segment.actor, legs="stand", arms="idle", speed=0.0, beats=(), prop=None)
        pauses += [ActionSegment(start, end, idle, ())] if start < end else []
    return sorted([*segments, *pauses], key=lambda segment: segment.start)


def build_video(
    video_id: str,
    seed: int,
    duration: float,
    segments: Sequence[ActionSegment],
    *,
    track: AudioTrack = "audible",
    offscreen: str | None = None,
    scenes: Sequence[SceneSegment] = (),
    with_motion_audio: bool = False,
) -> VideoPlan:
    """Plan a video with a cut at each start and end of a segment.

    Args:
        video_id: name of the video; with ``seed`` it determines everything random.
        seed: seed of the dataset.
        duration: length, seconds.
        segments: action segments, which may overlap.
        track: kind of audio track.
        offscreen: audible all the time without a visible person, one of ``AUDIBLE_ACTIONS``.
        scenes: scenes that fill the video; if empty, it has one background and no ambient noise.
        with_motion_audio: whether steps, jumps, creaking floors and waves are audible.
    """
    # The names of these seeds are part of the dataset: others give other videos.
    visible, audible = Random(f"{seed}/{video_id}/scene"), Random(f"{seed}/{video_id}/sound")
    shots = _plan_shots(sample_background(visible), duration, segments, scenes)

    beats = [(segment.action, beat) for segment in segments for beat in segment.actor.beats]
    if offscreen is not None:
        sampler = BEAT_SAMPLERS[pair_of(offscreen)]
        beats += [(offscreen, beat) for beat in sampler(audible, 0.1, duration - 0.1)]
    if with_motion_audio:
        beats += [
            beat
            for segment in segments
            for beat in motion_audio(segment.actor, segment.start, segment.end)
        ]
    events = tuple(
        AudioEvent(kind, start, length, audible.uniform(0.2, 0.5), audible.getrandbits(32))
        for kind, (start, length) in beats
    )
    events += tuple(
        AudioEvent(
            part.scene.audio_kind,
            part.start,
            part.end - part.start,
            audible.uniform(0.15, 0.3),
            audible.getrandbits(32),
        )
        for part in scenes
        if part.scene.audio_kind is not None
    )
    return VideoPlan(
        video_id,
        tuple(shots),
        events if track == "audible" else (),
        sample_rate=audible.choice((44100, 48000)),
        channels=0 if track == "none" else audible.choice((1, 1, 2)),
        room_noise=audible.uniform(0.001, 0.004) if track == "audible" else 0.0,
        seed=audible.getrandbits(32),
    )


def _plan_shots(
    background: Background,
    duration: float,
    segments: Sequence[ActionSegment],
    scenes: Sequence[SceneSegment],
) -> list[Shot]:
    parts: list[ActionSegment | SceneSegment] = [*segments, *scenes]
    edges = [time for part in parts for time in (part.start, part.end)]
    shots = []
    for start, end in pairwise(sorted({0.0, duration, *edges})):
        active = [segment for segment in segments if segment.start <= start < segment.end]
        actors, labels = (s.actor for s in active), (s.actions for s in active)
        tints = [part.scene.color for part in scenes if part.start <= start < part.end]
        tinted = replace(background, tint=tints[0]) if tints else background
        shots.append(Shot(start, end, tinted, tuple(actors), tuple(labels)))
    return shots
