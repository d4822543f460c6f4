"""Scenes of Mini-Places: each has a colour and an ambient noise, and a video cuts between them."""

from dataclasses import dataclass
from random import Random

from ava_tools.mini.figures import Color


@dataclass(frozen=True)
class Scene:
    """A location.

    Attributes:
        color: mean colour of its background.
        audio_kind: its ambient noise, a key of ``audio_synthesis.AUDIO_KINDS``; None if quiet.
    """

    color: Color
    audio_kind: str | None


@dataclass(frozen=True)
class SceneSegment:
    """Part of a video at one scene; ``start`` and ``end`` are seconds, in steps of 0.1."""

    scene: Scene
    start: float
    end: float


SCENES = (
    Scene((225, 200, 130), "surf"),
    Scene((60, 120, 60), "birds"),
    Scene((80, 80, 90), "traffic"),
    Scene((70, 110, 190), "rain"),
    Scene((160, 70, 50), "motor"),
    Scene((215, 215, 225), None),
)


def plan_scenes(rng: Random, duration: float) -> list[SceneSegment]:
    """Return random scenes of 1.2 to 2.2 s that fill a video; the first and last may be shorter.

    Args:
        rng: source of random numbers.
        duration: length of the video, seconds.
    """
    segments: list[SceneSegment] = []
    scene: Scene | None = None
    start = rng.randint(-15, 0)  # tenths of a second
    while start < 10 * duration:
        scene = rng.choice([other for other in SCENES if other is not scene])
        end = start + rng.randint(12, 22)
        segments.append(SceneSegment(scene, max(start, 0) / 10, min(end / 10, duration)))
        start = end
    return [segment for segment in segments if segment.start < segment.end]
