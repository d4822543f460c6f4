from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from ava_tools.mini.acts import SOUND_ACTIONS, plan_act, shoot, with_pauses
from ava_tools.mini.figures import PROPS, Look
from ava_tools.mini.film import frames, soundtrack
from ava_tools.mini.motion import noises, pose_at
from ava_tools.mini.places import PLACES, Stay
from ava_tools.mini.script import ACTIONS, FPS, SOUND_PAIRS

LOOK = Look(90.0, skin=(250, 214, 184), shirt=(200, 20, 30), trousers=(20, 40, 210), hair=(9, 9, 9))


@pytest.mark.parametrize("action", ACTIONS)
def test_an_act_shows_its_action(action: str):
    act = plan_act(Random(1), action, 2.0, 5.0, look=LOOK, prop="box")
    assert act.action == action
    assert act.actor.legs == act.actions[0]
    assert act.actor.look == LOOK
    assert act.actor.prop == "box"
    motions = {"wave": "wave", "sing": "speak", "talk": "speak", "hit": "strike", "push": "strike"}
    assert act.actor.arms == motions.get(action, "idle")
    assert bool(act.actor.beats) == (action in SOUND_ACTIONS)
    assert all(2.0 < start and start + length < 5.0 for start, length in act.actor.beats)


@pytest.mark.parametrize(("one", "other"), SOUND_PAIRS)
def test_a_pair_looks_the_same_and_sounds_different(one: str, other: str):
    films = [shoot("film", 3, 3.0, [plan_act(Random(7), kind, 0.0, 3.0)]) for kind in (one, other)]
    for images in zip(*map(frames, films), strict=True):
        np.testing.assert_array_equal(*images)
    tracks = [soundtrack(film) for film in films]
    assert np.abs(tracks[0] - tracks[1]).max() > 0.1
    assert [{sound.kind for sound in film.sounds} for film in films] == [{one}, {other}]
    renamed = tuple(replace(sound, kind=other) for sound in films[0].sounds)
    assert renamed == films[1].sounds


def test_pauses_fill_the_time_between_acts():
    acts = [
        plan_act(Random(i), "jump", start, start + 1.5, prop="box")
        for i, start in ((1, 0.4), (2, 3.0))
    ]
    whole = with_pauses(acts, 6.0)
    assert [(act.start, act.end, act.actions) for act in whole] == [
        (0.0, 0.4, ()),
        (0.4, 1.9, ("jump",)),
        (1.9, 3.0, ()),
        (3.0, 4.5, ("jump",)),
        (4.5, 6.0, ()),
    ]
    pause = whole[2].actor
    assert (pause.legs, pause.arms, pause.prop) == ("stand", "idle", None)
    assert pause.look == acts[0].actor.look
    assert len(with_pauses(acts[:1], 1.9)) == 2


@pytest.mark.parametrize(
    ("action", "kind", "moving", "per_second"),
    [
        ("walk", "step", lambda pose: pose.legs[0][0], 2.8),
        ("crouch", "creak", lambda pose: pose.arms[0][0], 1.4),
        ("wave", "swish", lambda pose: max(pose.arms, key=lambda arm: abs(arm[0]))[1], 2.0),
    ],
)
def test_noises_are_heard_when_limbs_turn(action: str, kind: str, moving, per_second: float):
    for seed in range(10):
        actor = replace(plan_act(Random(seed), action, 1.0, 5.0).actor, tempo=1.0)
        times = [beat for name, beat in noises(actor, 1.0, 5.0) if name == kind]
        assert 4 * per_second - 2 < len(times) < 4 * per_second + 1
        assert all(1.0 <= start and start + length <= 5.0 for start, length in times)
        for start, _ in times:
            before, at, after = (moving(pose_at(actor, start + dt)) for dt in (-0.05, 0.0, 0.05))
            assert (at - before) * (after - at) < 0


def test_a_landing_is_heard_when_the_feet_are_down():
    for seed in range(10):
        actor = plan_act(Random(seed), "jump", 1.0, 5.0).actor
        heard = noises(actor, 1.0, 5.0)
        assert {kind for kind, _ in heard} == {"land"}
        for _, (start, _) in heard:
            assert pose_at(actor, start - 0.02).lift > 0.005
            assert pose_at(actor, start + 0.001).lift == 0
    assert noises(plan_act(Random(1), "stand", 0.0, 3.0).actor, 0.0, 3.0) == []


def test_only_a_noisy_film_lets_motion_be_heard():
    act = plan_act(Random(3), "jump", 1.0, 5.0)
    quiet, loud = (shoot("film", 0, 6.0, [act], noisy=noisy) for noisy in (False, True))
    assert quiet.shots == loud.shots
    assert quiet.sounds == ()
    heard = [(sound.kind, (sound.start, sound.duration)) for sound in loud.sounds]
    assert heard == noises(act.actor, 1.0, 5.0)


def test_a_film_cuts_from_place_to_place_in_sight_and_sound():
    beach, hall = PLACES[0], PLACES[-1]
    stays = [Stay(beach, 0.0, 1.2), Stay(hall, 1.2, 3.0)]
    act = plan_act(Random(1), "stand", 0.0, 3.0, look=LOOK)
    film = shoot("film", 0, 3.0, [act], stays=stays)
    assert [(shot.start, shot.end, shot.labels) for shot in film.shots] == [
        (0.0, 1.2, (("stand",),)),
        (1.2, 3.0, (("stand",),)),
    ]
    images = list(frames(film))
    for image, place in ((images[35], beach), (images[36], hall)):
        np.testing.assert_allclose(image[:, :30].mean((0, 1)), place.color, atol=25)
    track = soundtrack(film)
    cut = round(1.2 * film.sample_rate)
    assert track[:cut].std() > 5 * track[cut:].std()
    assert [(sound.kind, sound.start, sound.duration) for sound in film.sounds] == [
        ("surf", 0.0, 1.2)
    ]


def test_acts_overlap_on_screen_and_in_the_labels():
    left = plan_act(Random(1), "crouch", 0.5, 2.0, place=(0, 2))
    right = plan_act(Random(2), "jump", 1.0, 3.0, place=(1, 2))
    film = shoot("film", 0, 3.0, [left, right])
    assert [(shot.start, shot.end) for shot in film.shots] == [
        (0.0, 0.5),
        (0.5, 1.0),
        (1.0, 2.0),
        (2.0, 3.0),
    ]
    assert [shot.labels for shot in film.shots] == [
        (),
        (("crouch",),),
        (("crouch",), ("jump",)),
        (("jump",),),
    ]
    assert film.shots[2].actors == (left.actor, right.actor)
    assert film.shots[1].actors[0].x < film.shots[3].actors[0].x


def test_tracks():
    act = plan_act(Random(1), "hit", 0.0, 3.0)
    heard, silent, none = (
        shoot("film", 0, 3.0, [act], track=track) for track in ("heard", "silent", "none")
    )
    assert {sound.kind for sound in heard.sounds} == {"hit"}
    assert [beat for beat in act.actor.beats] == [(s.start, s.duration) for s in heard.sounds]
    assert soundtrack(heard).std() > 0.01
    assert not soundtrack(silent).any()
    assert (heard.channels > 0, silent.channels > 0, none.channels) == (True, True, 0)
    assert heard.shots == silent.shots == none.shots


def test_offscreen_sounds_change_no_pixel_and_no_label():
    act = plan_act(Random(1), "jump", 0.0, 3.0)
    quiet, loud = shoot("film", 0, 3.0, [act]), shoot("film", 0, 3.0, [act], offscreen="talk")
    assert quiet.shots == loud.shots
    assert quiet.sounds == ()
    assert Counter(sound.kind for sound in loud.sounds)["talk"] >= 4


def test_a_prop_is_in_the_hand_that_does_not_act():
    for prop, (_, _, color) in PROPS.items():
        films = [
            shoot("film", 0, 3.0, [plan_act(Random(5), "wave", 0.0, 3.0, look=LOOK, prop=held)])
            for held in (prop, None)
        ]
        actor = films[0].shots[0].actors[0]
        for with_prop, without in zip(*(frames(film, 2 * FPS) for film in films), strict=True):
            rows, columns = np.nonzero((with_prop != without).any(2))
            assert (np.abs(with_prop[rows, columns].astype(int) - color).max(1) < 3).sum() > 60
            middle = np.abs(with_prop.astype(int) - LOOK.shirt).max(2) < 3
            assert (columns.mean() - np.nonzero(middle)[1].mean()) * actor.side < 0
