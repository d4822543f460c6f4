import numpy as np
import pytest

from ava_tools.mini.background import Background, crop_background, render_texture
from ava_tools.mini.figures import Look, draw_figure, figure_box
from ava_tools.mini.motion import ARMS, LEGS, Actor, loudness, pose_at, post_tilt

LOOK = Look(90.0, skin=(250, 214, 184), shirt=(200, 20, 30), trousers=(20, 40, 210), hair=(9, 9, 9))


def make_actor(**changes) -> Actor:
    values = {"person_id": 0, "look": LOOK, "x": 100.0, "ground": 140.0, "home": 0.0, "speed": 0.0}
    values |= {"legs": "stand", "arms": "idle", "side": 1, "tempo": 1.0, "phase": 0.0}
    return Actor(**(values | changes))


@pytest.mark.parametrize("legs", LEGS)
@pytest.mark.parametrize("arms", ARMS)
def test_box_is_tight_around_what_is_drawn(legs: str, arms: str):
    actor = make_actor(legs=legs, arms=arms, beats=((0.5, 0.4), (1.2, 0.3)))
    for t in np.arange(0, 2, 0.23):
        pose = pose_at(actor, t)
        image = np.full((160, 200, 3), 128, np.uint8)
        draw_figure(image, LOOK, pose)
        rows, columns = np.nonzero((image != 128).any(2))
        drawn = (columns.min(), rows.min(), columns.max(), rows.max())
        np.testing.assert_allclose(figure_box(LOOK, pose), drawn, atol=2.5)


def test_height_is_that_of_the_standing_figure():
    _, top, _, bottom = figure_box(LOOK, pose_at(make_actor(), 0.0))
    assert bottom - top == pytest.approx(LOOK.height, rel=0.05)
    assert bottom == pytest.approx(140, abs=0.1)


def test_jump_leaves_the_ground_and_crouch_is_low():
    times = np.arange(0, 2, 1 / 30)
    feet = [figure_box(LOOK, pose_at(make_actor(legs="jump"), t))[3] for t in times]
    assert max(feet) == pytest.approx(140, abs=0.1)
    assert min(feet) < 140 - 0.2 * LOOK.height
    heads = [figure_box(LOOK, pose_at(make_actor(legs="crouch"), t))[1] for t in times]
    assert min(heads) > 140 - 0.87 * LOOK.height


def test_walk_crosses_the_frame():
    actor = make_actor(legs="walk", speed=-8.0, home=1.0)
    assert pose_at(actor, 1.0).x == 100
    assert pose_at(actor, 3.0).x == 84


def test_mouth_follows_the_syllables():
    syllables = ((1.0, 0.5), (2.0, 0.2))
    assert loudness(syllables, 0.99) == loudness(syllables, 1.6) == 0
    assert loudness(syllables, 1.25) == pytest.approx(1)
    assert loudness(syllables, 2.05) == pytest.approx(0.5**0.25)


def test_strike_is_farthest_and_moves_the_post_at_the_contact():
    actor = make_actor(arms="strike", beats=((1.0, 0.3),))
    times = np.arange(0.5, 1.5, 1 / 100)
    hands = [figure_box(LOOK, pose_at(actor, t))[2] for t in times]
    assert abs(times[int(np.argmax(hands))] - 1.0) <= 0.09
    assert post_tilt(actor, 0.999) == 0
    assert post_tilt(actor, 1.0) == pytest.approx(0.25)
    assert 0 < post_tilt(actor, 1.2) < 0.1


def test_background_scrolls_by_its_velocity_and_repeats():
    background = Background(seed=3, velocity=(8.0, -5.0))
    texture = render_texture(background)
    start, later = (crop_background(texture, background, t, (60, 80)) for t in (1.0, 2.0))
    assert start.shape == (60, 80, 3)
    assert start.dtype == np.uint8
    assert start.std() > 3
    np.testing.assert_array_equal(later[5:, :-8], start[:-5, 8:])
    np.testing.assert_array_equal(crop_background(texture, background, 257.0, (60, 80)), start)
