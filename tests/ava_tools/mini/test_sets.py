"""Files of the generated datasets, compared with their plans."""

import csv
import hashlib
import pickle
from collections import Counter
from collections.abc import Callable

import pytest

from ava_tools.mini import charades, epic, jhmdb, kinetics, ucf_hmdb
from ava_tools.mini.action_segments import AUDIBLE_ACTIONS
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.video_plan import ACTIONS, AUDIO_PAIRS, VideoPlan

PLANS: dict[str, Callable[..., MiniDataset]] = {
    "kinetics": kinetics.plan_kinetics,
    "places": kinetics.plan_places,
    "epic": epic.plan_epic,
    "charades": charades.plan_charades,
    "ucf": ucf_hmdb.plan_ucf,
    "hmdb": ucf_hmdb.plan_hmdb,
    "jhmdb": jhmdb.plan_jhmdb,
}


def table(planned: MiniDataset, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(planned.annotations[name].splitlines()))


def track(video: VideoPlan) -> str:
    if not video.channels:
        return "none"
    return "audible" if video.room_noise else "silent"


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_depends_on_its_arguments_alone(name: str):
    small = [PLANS[name](7, 5, seed=seed) for seed in (0, 0, 1)]
    assert small[0] == small[1]
    assert small[0].videos != small[2].videos
    assert set(map(str, small[0].videos.values())).isdisjoint(map(str, small[2].videos.values()))


@pytest.mark.parametrize("name", PLANS)
def test_annotations_are_the_same_on_every_machine(name: str):
    contents = PLANS[name](20, 10, seed=0).annotations.values()
    text = "".join(x if isinstance(x, str) else str(pickle.loads(x)) for x in contents)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN[name]


@pytest.mark.parametrize("name", PLANS)
def test_no_two_videos_share_a_background(name: str):
    planned_videos = PLANS[name]().videos.values()
    assert len({video.shots[0].background for video in planned_videos}) == len(planned_videos)
    assert len({video.video_id for video in planned_videos}) == len(planned_videos)


@pytest.mark.parametrize(("name", "duration"), [("kinetics", 3), ("places", 5)])
def test_kinetics_rows_name_the_action(name: str, duration: int):
    planned = PLANS[name]()
    tracks = Counter()
    for split, each in (("train", 44), ("val", 14)):
        rows = table(planned, f"annotations/{split}.csv")
        assert Counter(row["label"] for row in rows) == dict.fromkeys(ACTIONS, each)
        assert {row["split"] for row in rows} == {split}
        for row in rows:
            start, end = int(row["time_start"]), int(row["time_end"])
            clip = f"{row['youtube_id']}_{start:06d}_{end:06d}.mp4"
            video = planned.videos[f"videos/{split}/{row['label']}/{clip}"]
            assert end - start == video.duration == duration
            assert len(row["youtube_id"]) == 11
            actor, labels = video.shots[0].actors[0], video.shots[0].labels[0]
            performed = labels[-1] if actor.arms != "idle" else actor.legs
            assert row["label"] == performed
            kinds = {event.kind for event in video.audio_events} & set(AUDIBLE_ACTIONS)
            if row["label"] in AUDIBLE_ACTIONS and track(video) == "audible":
                assert kinds == {row["label"]}
            tracks[split, row["label"] in AUDIBLE_ACTIONS, track(video)] += 1
            tracks["offscreen"] += bool(kinds) and row["label"] not in AUDIBLE_ACTIONS
    assert tracks["val", True, "audible"] == 4 * 14
    for split, in_pair in (("train", True), ("train", False), ("val", False)):
        for silence in ("silent", "none"):
            assert 5 <= tracks[split, in_pair, silence] <= 25
    assert 0.1 < tracks["offscreen"] / (5 * 58) < 0.3


def test_epic_segments_have_their_verb_and_noun():
    planned = epic.plan_epic()
    counts = {}
    for split in ("train", "validation"):
        rows = table(planned, f"annotations/EPIC_100_{split}.csv")
        assert tuple(rows[0]) == epic.HEADER
        assert len(rows[0]) == 15
        assert len({row["narration_id"] for row in rows}) == len(rows)
        for row in rows:
            video = planned.videos[f"videos/{row['video_id']}.MP4"]
            start, stop = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
            shot = video.shot_at((start + stop) / 2)
            assert (shot.start, shot.end) == pytest.approx((start, stop))
            assert (int(row["start_frame"]), int(row["stop_frame"])) == pytest.approx(
                (start * 30, stop * 30)
            )
            assert row["verb"] == epic.VERBS[int(row["verb_class"])] == shot.labels[0][-1]
            assert row["noun"] == epic.NOUNS[int(row["noun_class"])] == shot.actors[0].prop
            assert row["all_nouns"] == f"['{row['noun']}']"
            assert row["participant_id"] == row["video_id"].split("_")[0]
            if row["verb"] in AUDIBLE_ACTIONS and track(video) == "audible":
                inside = {s.kind for s in video.audio_events if start <= s.start < stop}
                assert inside == {row["verb"]}
        counts[split] = Counter((row["verb"], row["noun"]) for row in rows)
        labelled = sum(any(shot.labels) for m in planned.videos.values() for shot in m.shots)
    assert counts["train"] == dict.fromkeys(epic.PAIRS, 5)
    assert counts["validation"] == dict.fromkeys(epic.PAIRS, 2)
    assert labelled == 7 * 24


def test_epic_pairs_are_balanced_and_nouns_do_not_distinguish_hit_and_push():
    assert len(set(epic.PAIRS)) == 24
    assert Counter(verb for verb, _ in epic.PAIRS) == dict.fromkeys(epic.VERBS, 4)
    assert Counter(noun for _, noun in epic.PAIRS) == dict.fromkeys(epic.NOUNS, 4)
    hit, push = ({noun for verb, noun in epic.PAIRS if verb == v} for v in AUDIO_PAIRS[1])
    assert hit == push


def test_epic_people_look_alike_in_all_their_videos():
    planned = epic.plan_epic()
    looks = {}
    for path, video in planned.videos.items():
        person = path.split("/")[1].split("_")[0]
        looks.setdefault(person, set()).update(a.look for s in video.shots for a in s.actors)
    assert {len(seen) for seen in looks.values()} == {1}
    assert sorted(looks) == [f"P{i:02d}" for i in range(1, 9)]
    assert {track(m) for p, m in planned.videos.items() if "_10" in p} == {"audible"}


def test_charades_actions_are_where_they_are_visible():
    planned = charades.plan_charades()
    names = dict(
        line.split()
        for line in planned.annotations["annotations/Charades_v1_classes.txt"].splitlines()
    )
    assert set(names.values()) == set(ACTIONS) - {"stand"}
    silences = Counter()
    for split, count in (("train", 80), ("test", 40)):
        rows = table(planned, f"annotations/Charades_v1_{split}.csv")
        assert tuple(rows[0]) == charades.HEADER
        assert len(rows) == count
        videos = Counter()
        for row in rows:
            video = planned.videos[f"videos/{row['id']}.mp4"]
            assert float(row["length"]) == video.duration
            said = Counter()
            for action in row["actions"].split(";"):
                code, start, end = action.split()
                said.update(
                    (names[code], t) for t in range(80) if start_of(start) <= t < start_of(end)
                )
            shown = Counter(
                (action, t)
                for t in range(80)
                for labels in video.shot_at(t / 10).labels
                for action in labels
                if action != "stand"
            )
            assert said == shown
            videos.update({name for name, _ in said})
            silences[track(video)] += 1
            if track(video) != "audible":
                assert not {name for name, _ in said} & set(AUDIBLE_ACTIONS)
        audible = [videos[action] for action in AUDIBLE_ACTIONS]
        assert max(audible) - min(audible) <= 1
        assert min(videos.values()) > 0.18 * count
    assert min(silences["silent"], silences["none"]) >= 5


def start_of(stamp: str) -> int:
    """Tenths of a second."""
    return round(float(stamp) * 10)


def test_ucf_lists():
    planned = ucf_hmdb.plan_ucf()
    index = planned.annotations["ucfTrainTestlist/classInd.txt"].split()
    classes = dict(zip(index[1::2], map(int, index[::2]), strict=True))
    assert list(classes) == sorted(classes)
    assert list(classes.values()) == list(range(1, 9))
    train = [
        line.split()
        for line in planned.annotations["ucfTrainTestlist/trainlist01.txt"].splitlines()
    ]
    test = planned.annotations["ucfTrainTestlist/testlist01.txt"].splitlines()
    assert all(int(number) == classes[path.split("/")[0]] for path, number in train)
    paths = [path for path, _ in train] + test
    assert {f"videos/{path}" for path in paths} == set(planned.videos)
    assert len(paths) == len(planned.videos) == 112 + 48
    assert Counter(path.split("/")[0] for path in paths) == dict.fromkeys(classes, 20)

    looks, groups = {}, {"train": set(), "test": set()}
    for split, names in (("train", [path for path, _ in train]), ("test", test)):
        for path in names:
            video = planned.videos[f"videos/{path}"]
            name = path.split("/")[0]
            assert video.shots[0].labels[0][-1].capitalize() == name
            assert track(video) == ("audible" if name.lower() in AUDIBLE_ACTIONS else "none")
            group = path.split("_")[-2]
            groups[split].add(group)
            looks.setdefault((name, group), set()).add(video.shots[0].actors[0].look)
    assert groups["train"].isdisjoint(groups["test"])
    assert {len(seen) for seen in looks.values()} == {1}
    assert len(set.union(*looks.values())) == 8 * 10


def test_hmdb_lists():
    planned = ucf_hmdb.plan_hmdb()
    flags, tracks, listed = Counter(), Counter(), set()
    for name, text in planned.annotations.items():
        action = name.removeprefix("testTrainMulti_7030_splits/").removesuffix("_test_split1.txt")
        for line in text.splitlines():
            clip, flag = line.split()
            video = planned.videos[f"videos/{action}/{clip}"]
            assert video.shots[0].labels[0][-1] == action
            flags[action, flag] += 1
            tracks[track(video)] += 1
            listed.add(f"videos/{action}/{clip}")
    assert listed == set(planned.videos)
    each = {"1": 14, "2": 6, "0": 1}
    assert flags == {(a, flag): n for a in ucf_hmdb.HMDB_ACTIONS for flag, n in each.items()}
    assert set(tracks) == {"none", "audible"}
    assert 0.05 < tracks["audible"] / len(listed) < 0.12


# Of the text of the annotations; to be changed only together with the plans.
GOLDEN = {
    "kinetics": "2c8dd96219a6fb7d",
    "places": "4a38a5cb75a6be14",
    "epic": "4076117531b9295a",
    "charades": "d777c887ece47028",
    "ucf": "6193105d38ec2530",
    "hmdb": "eba29e7d25bc5abb",
    "jhmdb": "618510242f766d98",
}
