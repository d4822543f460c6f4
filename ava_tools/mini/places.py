"""Places to film at: each has its colour and its noise, and a film cuts from one to another."""

from dataclasses import dataclass
from random import Random

from ava_tools.mini.figures import Color


@dataclass(frozen=True)
class Place:
    """``noise`` is a key of ``sounds.SOUNDS``, or None where it is quiet."""

    color: Color
    noise: str | None


@dataclass(frozen=True)
class Stay:
    """At a place from ``start`` to ``end`` seconds, tenths both."""

    place: Place
    start: float
    end: float


PLACES = (
    Place((225, 200, 130), "surf"),
    Place((60, 120, 60), "birds"),
    Place((80, 80, 90), "traffic"),
    Place((70, 110, 190), "rain"),
    Place((160, 70, 50), "motor"),
    Place((215, 215, 225), None),
)


def plan_stays(rng: Random, duration: float) -> list[Stay]:
    """One place after another, for ``duration`` seconds; the first and the last may be short."""
    stays, place, start = [], None, rng.randint(-15, 0)
    while start < 10 * duration:
        place = rng.choice([other for other in PLACES if other is not place])
        end = start + rng.randint(12, 22)
        stays.append(Stay(place, max(start, 0) / 10, min(end / 10, duration)))
        start = end
    return [stay for stay in stays if stay.start < stay.end]
