from itertools import pairwise
from random import Random

from ava_tools.mini.places import PLACES, plan_stays
from ava_tools.mini.sounds import SOUNDS


def test_stays_follow_one_another_at_different_places():
    seen = set()
    for seed in range(50):
        stays = plan_stays(Random(seed), 5)
        assert stays[0].start == 0
        assert stays[-1].end == 5
        for one, other in pairwise(stays):
            assert one.end == other.start
            assert one.place is not other.place
        assert all(0 < stay.end - stay.start <= 2.2 for stay in stays)
        assert all(stay.end - stay.start > 1.19 for stay in stays[1:-1])
        seen |= {stay.place for stay in stays}
    assert seen == set(PLACES)


def test_noises_can_be_made():
    assert {place.noise for place in PLACES} - set(SOUNDS) == {None}
