from fractions import Fraction

import pytest

from avsf_det.data.video.times import Clock


def test_second_zero_lies_whole_frame_periods_before_the_first_frame():
    """The example of the class."""
    tick, start = Fraction(1, 90000), Fraction("1.2")
    clock = Clock(first_pts=134100, tick=tick, frame_rate=Fraction(25), container_start=start)
    assert clock.zero == Fraction("1.21")
    assert [clock.pts_played_at(second) * tick for second in (0.28, 0.32)] == [
        pytest.approx(1.49, abs=1e-5),
        pytest.approx(1.53, abs=1e-5),
    ]
    assert clock.pts_played_at(0) == 134100


@pytest.mark.parametrize("container_start", [None, Fraction("0.97")])
def test_a_gap_of_less_than_a_frame_counts_as_none(container_start: Fraction | None):
    tick, rate = Fraction(1, 1000), Fraction(25)
    clock = Clock(first_pts=1000, tick=tick, frame_rate=rate, container_start=container_start)
    assert clock.zero == 1
    # A millisecond clock: up to half a tick after a second counts as reached.
    assert [clock.pts_played_at(s) for s in (0.0394, 0.0396, 0.0404)] == [1039, 1040, 1040]
