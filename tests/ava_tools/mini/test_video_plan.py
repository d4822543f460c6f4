import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from ava_tools.mini.annotations import annotate, annotation_files, label_map, simulate_detections
from ava_tools.mini.ava_plan import (
    CLIP_REACH,
    PAIR_MODES,
    ambiguous_keyframes,
    keyframes,
    plan_split,
    plan_video,
)
from ava_tools.mini.contact_sheet import draw_contact_sheet
from ava_tools.mini.rendering import render_audio, render_frames
from ava_tools.mini.video_plan import ACTIONS, AUDIO_PAIRS, VideoPlan

PAIR_OF_MOTION = {"speak": 0, "strike": 1}


@pytest.fixture(scope="module")
def videos() -> list[VideoPlan]:
    return plan_split("val", 40, 3, seed=0)


def test_no_clip_holds_both_members_of_a_pair(videos: list[VideoPlan]):
    for video in videos:
        for second in np.arange(0, video.duration, 0.1):
            first, last = second - CLIP_REACH, second + CLIP_REACH
            kinds = {
                event.kind
                for event in video.audio_events
                if event.start < last and event.start + event.duration > first
            }
            for shot in video.shots:
                if shot.start < last and shot.end > first:
                    kinds.update(*shot.labels)
            assert all(not kinds.issuperset(pair) for pair in AUDIO_PAIRS)


def test_shots_of_each_pair_mode(videos: list[VideoPlan]):
    seen = Counter()
    for video in videos:
        for shot in video.shots:
            events = [event for event in video.audio_events if shot.start <= event.start < shot.end]
            for i, (pair, mode) in enumerate(zip(AUDIO_PAIRS, shot.pair_modes, strict=True)):
                audible = [(s.start, s.duration) for s in events if s.kind in pair]
                performers = [
                    (actor.beats, labels)
                    for actor, labels in zip(shot.actors, shot.labels, strict=True)
                    if PAIR_OF_MOTION.get(actor.arms) == i
                ]
                labelled = [labels for labels in shot.labels if set(labels) & set(pair)]
                assert bool(audible) == (mode in ("audiovisual", "audio_only"))
                assert len(performers) == (mode in ("audiovisual", "visual_only"))
                assert len(labelled) == (mode == "audiovisual")
                if mode == "audiovisual":
                    assert performers == [(tuple(audible), labelled[0])]
                seen[mode] += 1
    assert seen == {name: 8 * PAIR_MODES.count(name) * 3 for name in set(PAIR_MODES)}


def test_pair_actions_change_audio_and_labels_but_nothing_visible():
    pair_modes = [("audiovisual", "audiovisual"), ("visual_only", "audiovisual")]
    one = plan_video("video", 5, ("sing", "hit"), pair_modes)
    other = plan_video("video", 5, ("talk", "push"), pair_modes)
    renamed = {"sing": "talk", "hit": "push"}
    events = tuple(replace(event, kind=renamed[event.kind]) for event in one.audio_events)
    shots = tuple(
        replace(
            shot, labels=tuple(tuple(renamed.get(a, a) for a in names) for names in shot.labels)
        )
        for shot in one.shots
    )
    assert other == replace(one, audio_events=events, shots=shots)
    for i in range(0, 250, 40):
        np.testing.assert_array_equal(next(render_frames(one, i)), next(render_frames(other, i)))
    assert np.abs(render_audio(one) - render_audio(other)).max() > 0.1


def test_pair_actions_are_balanced(videos: list[VideoPlan]):
    kinds = Counter(frozenset(event.kind for event in video.audio_events) for video in videos)
    for pair in AUDIO_PAIRS:
        counts = [sum(n for kind, n in kinds.items() if member in kind) for member in pair]
        assert min(counts) >= 15  # of 20; a video may lack the audio of its action


def test_every_pose_and_motion_occurs(videos: list[VideoPlan]):
    counts = Counter(
        action for video in videos for shot in video.shots for act in shot.labels for action in act
    )
    assert set(counts) == set(ACTIONS)
    assert min(counts.values()) >= 15
    assert {len(shot.actors) for video in videos for shot in video.shots} == {1, 2, 3}


def test_clips_of_keyframes_have_one_shot_and_of_ambiguous_ones_two(videos: list[VideoPlan]):
    assert keyframes(videos[0]) == [2, 3, 6, 7, 10, 11]
    assert ambiguous_keyframes(videos[0]) == [8]
    assert ambiguous_keyframes(plan_split("val", 1, 1, seed=0)[0]) == []


def test_boxes_are_inside_the_frame_and_large(videos: list[VideoPlan]):
    for video in videos:
        people = set()
        for second in keyframes(video):
            for person_id, (x1, y1, x2, y2), actions in annotate(video, second):
                assert 0 <= x1 < x2 <= 1
                assert 0 <= y1 < y2 <= 1
                assert (x2 - x1) * 176 > 20
                assert (y2 - y1) * 128 > 50
                assert len(set(actions)) == len(actions) > 0
                people.add(person_id)
        assert people == set(range(len(people)))


def test_simulated_detector_jitters_misses_and_adds_boxes():
    rng, box = Random(0), (0.4, 0.3, 0.6, 0.9)
    found = [simulate_detections([box], rng) for _ in range(2000)]
    true, false = [], []
    for x1, y1, x2, y2, score in ((*b, s) for boxes in found for b, s in boxes):
        width, height = min(x2, 0.6) - max(x1, 0.4), min(y2, 0.9) - max(y1, 0.3)
        common = max(width, 0) * max(height, 0)
        iou = common / (0.12 + (x2 - x1) * (y2 - y1) - common)
        (true if iou > 0.7 else false).append(score)
    assert len(true) / 2000 == pytest.approx(0.98, abs=0.02)
    assert len(false) / 2000 == pytest.approx(0.25, abs=0.03)
    assert np.mean(np.array(true) > 0.9) > 0.85
    assert np.mean(np.array(false) < 0.8) > 0.7
    assert max(true + false) <= 1


def test_files_have_the_columns_of_ava(videos: list[VideoPlan]):
    files = annotation_files("val", videos[:2], seed=0)
    first = files["ava_mini_val.csv"].splitlines()[0].split(",")
    assert first[:2] == ["mini_val_0000", "0002"]
    assert len(first) == 8
    boxes = [line.split(",") for line in files["ava_mini_val_boxes.csv"].splitlines()]
    assert {(len(row), row[6]) for row in boxes} == {(8, "")}
    excluded = files["ava_mini_val_excluded_timestamps.csv"]
    assert excluded == "mini_val_0000,0008\nmini_val_0001,0008\n"
    assert "mini_val_0000,0008," in files["ava_mini_val.csv"]
    assert label_map().startswith('item {\n  name: "stand"\n  id: 1\n}\n')
    assert label_map().count("item") == len(ACTIONS)


def test_annotations_are_the_same_on_every_machine(videos: list[VideoPlan]):
    text = "".join(annotation_files("val", videos, seed=0).values())
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN


def test_contact_sheet_holds_the_tiles_asked_for(videos: list[VideoPlan]):
    sheet = draw_contact_sheet(videos[:1], columns=2, rows=1)
    assert sheet.shape == (2 * 128 + 96 + 20, 2 * 2 * 176, 3)
    assert sheet.std() > 20


# Of the text of the annotations; to be changed only together with the plans.
GOLDEN = "08b66c87b8227d44e6720aaf8299f1328ef26c11a58474f5666d714a8e00cbd0"
