import hashlib
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from ava_tools.mini.annotations import annotate, annotation_files, detect, label_map
from ava_tools.mini.contact_sheet import contact_sheet
from ava_tools.mini.film import frames, soundtrack
from ava_tools.mini.script import (
    ACTIONS,
    CLIP_REACH,
    PROGRAMS,
    SOUND_PAIRS,
    Movie,
    doubtful_keyframes,
    keyframes,
    plan_movie,
    plan_split,
)

PAIR_OF_MOTION = {"speak": 0, "strike": 1}


@pytest.fixture(scope="module")
def movies() -> list[Movie]:
    return plan_split("val", 40, 3, seed=0)


def test_no_clip_holds_both_members_of_a_pair(movies: list[Movie]):
    for movie in movies:
        for second in np.arange(0, movie.duration, 0.1):
            first, last = second - CLIP_REACH, second + CLIP_REACH
            kinds = {
                sound.kind
                for sound in movie.sounds
                if sound.start < last and sound.start + sound.duration > first
            }
            for shot in movie.shots:
                if shot.start < last and shot.end > first:
                    kinds.update(*shot.labels)
            assert all(not kinds.issuperset(pair) for pair in SOUND_PAIRS)


def test_heard_silent_and_orphan_shots(movies: list[Movie]):
    seen = Counter()
    for movie in movies:
        for shot in movie.shots:
            sounds = [sound for sound in movie.sounds if shot.start <= sound.start < shot.end]
            for i, (pair, program) in enumerate(zip(SOUND_PAIRS, shot.programs, strict=True)):
                heard = [(s.start, s.duration) for s in sounds if s.kind in pair]
                performers = [
                    (actor.beats, labels)
                    for actor, labels in zip(shot.actors, shot.labels, strict=True)
                    if PAIR_OF_MOTION.get(actor.arms) == i
                ]
                labelled = [labels for labels in shot.labels if set(labels) & set(pair)]
                assert bool(heard) == (program in ("heard", "orphan"))
                assert len(performers) == (program in ("heard", "silent"))
                assert len(labelled) == (program == "heard")
                if program == "heard":
                    assert performers == [(tuple(heard), labelled[0])]
                seen[program] += 1
    assert seen == {name: 8 * PROGRAMS.count(name) * 3 for name in set(PROGRAMS)}


def test_the_cast_changes_sounds_and_labels_but_nothing_visible():
    programs = [("heard", "heard"), ("silent", "heard")]
    one = plan_movie("movie", 5, ("sing", "hit"), programs)
    other = plan_movie("movie", 5, ("talk", "push"), programs)
    renamed = {"sing": "talk", "hit": "push"}
    sounds = tuple(replace(sound, kind=renamed[sound.kind]) for sound in one.sounds)
    shots = tuple(
        replace(
            shot, labels=tuple(tuple(renamed.get(a, a) for a in names) for names in shot.labels)
        )
        for shot in one.shots
    )
    assert other == replace(one, sounds=sounds, shots=shots)
    for i in range(0, 250, 40):
        np.testing.assert_array_equal(next(frames(one, i)), next(frames(other, i)))
    assert np.abs(soundtrack(one) - soundtrack(other)).max() > 0.1


def test_casts_are_in_balance(movies: list[Movie]):
    kinds = Counter(frozenset(sound.kind for sound in movie.sounds) for movie in movies)
    for pair in SOUND_PAIRS:
        counts = [sum(n for kind, n in kinds.items() if member in kind) for member in pair]
        assert min(counts) >= 15  # of 20; a movie of the cast may happen to be without its sound


def test_every_pose_and_motion_occurs(movies: list[Movie]):
    counts = Counter(
        action for movie in movies for shot in movie.shots for act in shot.labels for action in act
    )
    assert set(counts) == set(ACTIONS)
    assert min(counts.values()) >= 15
    assert {len(shot.actors) for movie in movies for shot in movie.shots} == {1, 2, 3}


def test_keyframes_see_one_shot_and_doubtful_ones_two(movies: list[Movie]):
    assert keyframes(movies[0]) == [2, 3, 6, 7, 10, 11]
    assert doubtful_keyframes(movies[0]) == [8]
    assert doubtful_keyframes(plan_split("val", 1, 1, seed=0)[0]) == []


def test_boxes_are_inside_the_frame_and_large(movies: list[Movie]):
    for movie in movies:
        people = set()
        for second in keyframes(movie):
            for person_id, (x1, y1, x2, y2), actions in annotate(movie, second):
                assert 0 <= x1 < x2 <= 1
                assert 0 <= y1 < y2 <= 1
                assert (x2 - x1) * 176 > 20
                assert (y2 - y1) * 128 > 50
                assert len(set(actions)) == len(actions) > 0
                people.add(person_id)
        assert people == set(range(len(people)))


def test_detector_jitters_misses_and_invents():
    rng, box = Random(0), (0.4, 0.3, 0.6, 0.9)
    found = [detect([box], rng) for _ in range(2000)]
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


def test_files_have_the_columns_of_ava(movies: list[Movie]):
    files = annotation_files("val", movies[:2], seed=0)
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


def test_annotations_are_the_same_on_every_machine(movies: list[Movie]):
    text = "".join(annotation_files("val", movies, seed=0).values())
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN


def test_contact_sheet_holds_the_tiles_asked_for(movies: list[Movie]):
    sheet = contact_sheet(movies[:1], columns=2, rows=1)
    assert sheet.shape == (2 * 128 + 96 + 20, 2 * 2 * 176, 3)
    assert sheet.std() > 20


# Of the text of the annotations; to be changed only together with the script.
GOLDEN = "08b66c87b8227d44e6720aaf8299f1328ef26c11a58474f5666d714a8e00cbd0"
