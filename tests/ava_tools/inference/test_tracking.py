import sys

import numpy as np
import pytest

from ava_tools.inference import tracking
from ava_tools.inference.tracking import link_persons, track_persons
from avsf_det.structures import AVSFError

from ..test_timeline import walking

SECONDS = [k / 5 for k in range(20)]
NOBODY = np.zeros((0, 5))


@pytest.fixture
def trackers():
    return pytest.importorskip(
        "trackers", reason="needs pip install --no-deps trackers supervision"
    )


def test_ids_along_a_video(trackers):
    ids = link_persons(SECONDS, [walking(s).astype(float) for s in SECONDS])
    assert all(found[0] == 0 for found in ids)
    assert {int(found[1]) for found in ids if len(found) > 1} == {1}
    # A box with a low score starts no track.
    assert link_persons([0, 1], [np.array([[0, 0, 1, 1, 0.3]])] * 2)[1].tolist() == [-1]
    assert link_persons([], []) == [] == track_persons([], [])
    assert [len(rows) for rows in track_persons(SECONDS, [NOBODY] * 20)] == [0] * 20


@pytest.mark.parametrize(("back", "person"), [(1.8, 0), (2.4, 2)])
def test_who_comes_back_later_is_somebody_else(trackers, back, person):
    """Gone from 1 s on; the other person of ``walking`` stays until 1.2 s."""
    found = [walking(s)[s == 1 :] if s <= 1 or s >= back else NOBODY for s in SECONDS]
    rows = dict(zip(SECONDS, track_persons(SECONDS, found), strict=True))
    assert rows[3.0][:, 5].tolist() == [person]
    # What lies between two parts of one track is filled in.
    assert [0 in rows[s][:, 5] for s in (1.0, 1.4)] == [person == 0] * 2


def test_missed_boxes_lie_between_those_around_them(monkeypatch):
    ids = [[0], [], [3, -1], [3], [3, 0]]
    monkeypatch.setattr(tracking, "link_persons", lambda *_: [np.array(i, int) for i in ids])
    boxes = [np.full((len(i), 5), k / 10) for k, i in enumerate(ids)]
    boxes[4][1] = [0.2, 0.4, 0.6, 0.8, 0.9]
    rows = track_persons([0, 1, 2, 3.5, 4], boxes)
    assert [found[:, 5].tolist() for found in rows] == [[0], [0], [3, -1, 0], [3, 0], [3, 0]]
    np.testing.assert_allclose(rows[1][0], [0.05, 0.1, 0.15, 0.2, 0, 0])
    np.testing.assert_allclose(rows[3][1], [0.175, 0.35, 0.525, 0.7, 0, 0])
    assert rows[2][:2, :5].tolist() == boxes[2].tolist()


def test_a_missing_tracker_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(AVSFError, match="pip install --no-deps trackers"):
        link_persons([], [])
