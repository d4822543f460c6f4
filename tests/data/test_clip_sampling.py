import numpy as np
import pytest

from avsf_det.data.clip_reader import frame_times, misaligned_span
from avsf_det.data.keyframe_mapper import span_around
from avsf_det.data.segment_mapper import ith_span, random_span


def test_span_has_the_keyframe_at_its_middle():
    assert span_around(10.0, 3.0) == (8.5, 11.5)
    assert span_around(0.5, 2.0) == (-0.5, 1.5)


def test_frame_times():
    assert frame_times(1.0, 4, 2, 8.0) == [1.0, 1.25, 1.5, 1.75]


@pytest.mark.parametrize(
    ("num_frames", "stride", "fps"), [(32, 2, 30.0), (8, 8, 30.0), (4, 3, 25.0)]
)
def test_frames_span_the_clip_with_the_keyframe_in_it(num_frames: int, stride: int, fps: float):
    """As PySlowFast: of frames [k - L / 2, k + L / 2) every stride-th, hence k itself."""
    start, end = span_around(7.0, num_frames * stride / fps)
    times = frame_times(start, num_frames, stride, fps)
    assert times[num_frames // 2] == pytest.approx(7.0)
    assert times[0] == start
    assert times[-1] + stride / fps == pytest.approx(end)
    expected = [
        7.0 + (k - num_frames * stride / 2) / fps for k in range(0, num_frames * stride, stride)
    ]
    assert times == pytest.approx(expected)


def starts(**kwargs) -> np.ndarray:
    np.random.seed(0)
    spans = [random_span(**kwargs) for _ in range(1000)]
    length = kwargs["length"]
    assert all(end - start == pytest.approx(length) for start, end in spans)
    return np.array([start for start, _ in spans])


def test_random_spans_of_a_file_are_uniform_inside_it():
    found = starts(length=2.0, duration=10.0)
    assert found.min() >= 0 and found.max() <= 8
    assert found.min() < 0.1 and found.max() > 7.9
    assert found.mean() == pytest.approx(4, abs=0.25)  # 3 standard deviations


def test_random_spans_of_a_segment_have_their_middle_in_it():
    found = starts(length=2.0, duration=10.0, segment=(4.0, 5.0)) + 1
    assert 4 <= found.min() < 4.01 and 4.99 < found.max() <= 5


def test_random_spans_of_a_segment_stay_in_the_file():
    found = starts(length=2.0, duration=10.0, segment=(0.0, 1.0))
    assert found.min() == 0 and found.max() <= 0
    assert starts(length=2.0, duration=10.0, segment=(9.5, 10.0)).min() == 8


def test_a_file_that_is_too_short_gives_its_start():
    assert random_span(5.0, 3.0) == (0, 5)
    assert random_span(5.0, 3.0, (1.0, 2.0)) == (0, 5)
    assert ith_span(1, 3, 5.0, 3.0) == (0, 5)


def test_views_of_a_file_start_at_tenths_of_the_last_start():
    spans = [ith_span(i, 10, 2.0, 12.0) for i in range(10)]
    assert [start for start, _ in spans] == pytest.approx(list(range(10)))
    assert spans[3][1] == pytest.approx(5)


def test_one_view_is_in_the_middle():
    assert ith_span(0, 1, 2.0, 12.0) == (5, 7)
    assert ith_span(0, 1, 2.0, 12.0, (3.0, 5.0)) == (3, 5)
    assert ith_span(0, 1, 2.0, 12.0, (0.0, 1.0)) == (0, 2)


def test_views_of_a_segment_have_their_middles_in_equal_parts_of_it():
    middles = [sum(ith_span(i, 4, 1.0, 100.0, (10.0, 18.0))) / 2 for i in range(4)]
    assert middles == pytest.approx([11, 13, 15, 17])


@pytest.mark.parametrize(
    "start, duration, ranges",
    [
        (4.0, 10.0, [(0, 3.5), (4.5, 8)]),
        (0.2, 10.0, [(0.7, 8)]),
        (7.9, 10.0, [(0, 7.4)]),
        (-1.0, 4.0, [(0, 2)]),  # the clip around an early keyframe starts before the file
        (9.0, 4.0, [(0, 2)]),
        (0.5, 3.0, [(0, 0), (1, 1)]),  # of two spans, as it comes
    ],
)
def test_misaligned_spans_are_uniform_over_all_that_are_far_enough(start, duration, ranges):
    np.random.seed(0)
    spans = [misaligned_span(start, 2.0, duration, 0.5) for _ in range(1000)]
    assert all(end - begin == pytest.approx(2) for begin, end in spans)
    found = np.array([begin for begin, _ in spans])
    assert all(any(low <= x <= high for low, high in ranges) for x in found)
    total = sum(high - low for low, high in ranges)
    for low, high in ranges if total else ():
        inside = found[(found >= low) & (found <= high)]
        assert len(inside) / 1000 == pytest.approx((high - low) / total, abs=0.05)
        assert inside.min() - low < 0.1 and high - inside.max() < 0.1


def test_a_short_file_has_no_misaligned_span():
    assert misaligned_span(0.0, 2.0, 2.4, 0.5) is None
    assert misaligned_span(0.0, 2.0, 1.0, 0.5) is None
    assert misaligned_span(0.0, 2.0, 2.5, 0.5) == (0.5, 2.5)
