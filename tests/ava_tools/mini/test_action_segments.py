from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from ava_tools.mini.action_segments import add_pauses, build_video, plan_segment
from ava_tools.mini.figures import PROPS, Look
from ava_tools.mini.motion import motion_audio, pose_at
from ava_tools.mini.rendering import render_audio, render_frames
from ava_tools.mini.scenes import SCENES, SceneSegment
from ava_tools.mini.video_plan import ACTIONS, AUDIBLE_ACTIONS, AUDIO_PAIRS, FPS

LOOK = Look(90.0, skin=(250, 214, 184), shirt=(200, 20, 30), trousers=(20, 40, 210), hair=(9, 9, 9))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_segment_shows_its_action(action: str):
    segment = plan_segment(Random(1), action, 2.0, 5.0, look=LOOK, prop="box")
    assert segment.action == action
    assert segment.actor.legs == segment.actions[0]
    assert segment.actor.look == LOOK
    assert segment.actor.prop == "box"
    motions = {"wave": "wave", "sing": "speak", "talk": "speak", "hit": "strike", "push": "strike"}
    assert segment.actor.arms == motions.get(action, "idle")
    assert bool(segment.actor.beats) == (action in AUDIBLE_ACTIONS)
    assert all(2.0 < start and start + length < 5.0 for start, length in segment.actor.beats)


@pytest.mark.parametrize(("one", "other"), AUDIO_PAIRS)
def test_a_pair_has_the_same_frames_and_different_audio(one: str, other: str):
    videos = [
        build_video("video", 3, 3.0, [plan_segment(Random(7), kind, 0.0, 3.0)])
        for kind in (one, other)
    ]
    for images in zip(*map(render_frames, videos), strict=True):
        np.testing.assert_array_equal(*images)
    tracks = [render_audio(video) for video in videos]
    assert np.abs(tracks[0] - tracks[1]).max() > 0.1
    assert [{event.kind for event in video.audio_events} for video in videos] == [{one}, {other}]
    renamed = tuple(replace(event, kind=other) for event in videos[0].audio_events)
    assert renamed == videos[1].audio_events


def test_pauses_fill_the_time_between_segments():
    segments = [
        plan_segment(Random(i), "jump", start, start + 1.5, prop="box")
        for i, start in ((1, 0.4), (2, 3.0))
    ]
    whole = add_pauses(segments, 6.0)
    assert [(segment.start, segment.end, segment.actions) for segment in whole] == [
        (0.0, 0.4, ()),
        (0.4, 1.9, ("jump",)),
        (1.9, 3.0, ()),
        (3.0, 4.5, ("jump",)),
        (4.5, 6.0, ()),
    ]
    pause = whole[2].actor
    assert (pause.legs, pause.arms, pause.prop) == ("stand", "idle", None)
    assert pause.look == segments[0].actor.look
    assert len(add_pauses(segments[:1], 1.9)) == 2


@pytest.mark.parametrize(
    ("action", "kind", "moving", "per_second"),
    [
        ("walk", "step", lambda pose: pose.legs[0][0], 2.8),
        ("crouch", "creak", lambda pose: pose.arms[0][0], 1.4),
        ("wave", "swish", lambda pose: max(pose.arms, key=lambda arm: abs(arm[0]))[1], 2.0),
    ],
)
def test_motion_is_audible_when_limbs_reverse(action: str, kind: str, moving, per_second: float):
    for seed in range(10):
        actor = replace(plan_segment(Random(seed), action, 1.0, 5.0).actor, tempo=1.0)
        times = [beat for name, beat in motion_audio(actor, 1.0, 5.0) if name == kind]
        assert 4 * per_second - 2 < len(times) < 4 * per_second + 1
        assert all(1.0 <= start and start + length <= 5.0 for start, length in times)
        for start, _ in times:
            before, at, after = (moving(pose_at(actor, start + dt)) for dt in (-0.05, 0.0, 0.05))
            assert (at - before) * (after - at) < 0


def test_a_landing_is_audible_when_the_feet_are_down():
    for seed in range(10):
        actor = plan_segment(Random(seed), "jump", 1.0, 5.0).actor
        audible = motion_audio(actor, 1.0, 5.0)
        assert {kind for kind, _ in audible} == {"land"}
        for _, (start, _) in audible:
            assert pose_at(actor, start - 0.02).lift > 0.005
            assert pose_at(actor, start + 0.001).lift == 0
    assert motion_audio(plan_segment(Random(1), "stand", 0.0, 3.0).actor, 0.0, 3.0) == []


def test_motion_is_audible_only_on_request():
    segment = plan_segment(Random(3), "jump", 1.0, 5.0)
    quiet, loud = (
        build_video("video", 0, 6.0, [segment], with_motion_audio=noisy) for noisy in (False, True)
    )
    assert quiet.shots == loud.shots
    assert quiet.audio_events == ()
    audible = [(event.kind, (event.start, event.duration)) for event in loud.audio_events]
    assert audible == motion_audio(segment.actor, 1.0, 5.0)


def test_a_video_cuts_between_scenes_in_frames_and_audio():
    beach, hall = SCENES[0], SCENES[-1]
    scenes = [SceneSegment(beach, 0.0, 1.2), SceneSegment(hall, 1.2, 3.0)]
    segment = plan_segment(Random(1), "stand", 0.0, 3.0, look=LOOK)
    video = build_video("video", 0, 3.0, [segment], scenes=scenes)
    assert [(shot.start, shot.end, shot.labels) for shot in video.shots] == [
        (0.0, 1.2, (("stand",),)),
        (1.2, 3.0, (("stand",),)),
    ]
    images = list(render_frames(video))
    for image, scene in ((images[35], beach), (images[36], hall)):
        np.testing.assert_allclose(image[:, :30].mean((0, 1)), scene.color, atol=25)
    track = render_audio(video)
    cut = round(1.2 * video.sample_rate)
    assert track[:cut].std() > 5 * track[cut:].std()
    assert [(event.kind, event.start, event.duration) for event in video.audio_events] == [
        ("surf", 0.0, 1.2)
    ]


def test_segments_overlap_in_frames_and_labels():
    left = plan_segment(Random(1), "crouch", 0.5, 2.0, position=(0, 2))
    right = plan_segment(Random(2), "jump", 1.0, 3.0, position=(1, 2))
    video = build_video("video", 0, 3.0, [left, right])
    assert [(shot.start, shot.end) for shot in video.shots] == [
        (0.0, 0.5),
        (0.5, 1.0),
        (1.0, 2.0),
        (2.0, 3.0),
    ]
    assert [shot.labels for shot in video.shots] == [
        (),
        (("crouch",),),
        (("crouch",), ("jump",)),
        (("jump",),),
    ]
    assert video.shots[2].actors == (left.actor, right.actor)
    assert video.shots[1].actors[0].x < video.shots[3].actors[0].x


def test_audio_tracks():
    segment = plan_segment(Random(1), "hit", 0.0, 3.0)
    audible, silent, none = (
        build_video("video", 0, 3.0, [segment], track=track)
        for track in ("audible", "silent", "none")
    )
    assert {event.kind for event in audible.audio_events} == {"hit"}
    assert [beat for beat in segment.actor.beats] == [
        (s.start, s.duration) for s in audible.audio_events
    ]
    assert render_audio(audible).std() > 0.01
    assert not render_audio(silent).any()
    assert (audible.channels > 0, silent.channels > 0, none.channels) == (True, True, 0)
    assert audible.shots == silent.shots == none.shots


def test_offscreen_audio_changes_no_pixel_and_no_label():
    segment = plan_segment(Random(1), "jump", 0.0, 3.0)
    quiet, loud = (
        build_video("video", 0, 3.0, [segment]),
        build_video("video", 0, 3.0, [segment], offscreen="talk"),
    )
    assert quiet.shots == loud.shots
    assert quiet.audio_events == ()
    assert Counter(event.kind for event in loud.audio_events)["talk"] >= 4


def test_a_prop_is_in_the_free_hand():
    for prop, (_, _, color) in PROPS.items():
        videos = [
            build_video(
                "video", 0, 3.0, [plan_segment(Random(5), "wave", 0.0, 3.0, look=LOOK, prop=held)]
            )
            for held in (prop, None)
        ]
        actor = videos[0].shots[0].actors[0]
        for with_prop, without in zip(
            *(render_frames(video, 2 * FPS) for video in videos), strict=True
        ):
            rows, columns = np.nonzero((with_prop != without).any(2))
            assert (np.abs(with_prop[rows, columns].astype(int) - color).max(1) < 3).sum() > 60
            middle = np.abs(with_prop.astype(int) - LOOK.shirt).max(2) < 3
            assert (columns.mean() - np.nonzero(middle)[1].mean()) * actor.side < 0
