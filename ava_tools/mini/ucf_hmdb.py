"""Mini-UCF and Mini-HMDB: one figure, one action, in UCF101's and HMDB51's formats.

As in these, whole classes of Mini-UCF have no sound track, and nearly all of Mini-HMDB has none.
So its classes are what can be seen: to talk and to hit, by the look of it.
"""

from collections import Counter
from random import Random

from ava_tools.mini.acts import SOUND_ACTIONS, plan_act, shoot
from ava_tools.mini.mini_set import MiniSet
from ava_tools.mini.script import ACTIONS, deal, draw_look

CLIP_SECONDS = 2.5
UCF_ACTIONS = tuple(sorted(action for action in ACTIONS if action != "stand"))
HMDB_ACTIONS = ("crouch", "hit", "jump", "stand", "talk", "walk", "wave")

# Groups of clips that show one person: so many to test on, then so many to train on.
_TEST_GROUPS, _TRAIN_GROUPS = 3, 7
_HMDB_TRACKS = ("none",) * 11 + ("heard",)


def plan_ucf(num_train: int = 112, num_val: int = 48, seed: int = 0) -> MiniSet:
    """Clips of eight classes in balance: of the defaults, 14 and 6 of each. The classes that are
    seen have no sound track, those that are heard have one."""
    lists = "ucfTrainTestlist"
    names = [action.capitalize() for action in UCF_ACTIONS]
    index = "".join(f"{i} {name}\n" for i, name in enumerate(names, 1))
    movies, annotations = {}, {f"{lists}/classInd.txt": index}
    for split, count, first, groups in (
        ("train", num_train, _TEST_GROUPS + 1, _TRAIN_GROUPS),
        ("test", num_val, 1, _TEST_GROUPS),
    ):
        lines, made = [], Counter()
        for action in deal(Random(f"{seed}/ucf/{split}"), UCF_ACTIONS, count):
            name = action.capitalize()
            group, clip = first + made[name] % groups, made[name] // groups + 1
            made[name] += 1
            video_id = f"v_{name}_g{group:02d}_c{clip:02d}"
            look = draw_look(Random(f"{seed}/ucf/{name}/{group}"))
            act = plan_act(Random(f"{seed}/{video_id}"), action, 0.0, CLIP_SECONDS, look=look)
            track = "heard" if action in SOUND_ACTIONS else "none"
            path = f"{name}/{video_id}.avi"
            movies[f"videos/{path}"] = shoot(video_id, seed, CLIP_SECONDS, [act], track=track)
            number = f" {names.index(name) + 1}" if split == "train" else ""
            lines.append(f"{path}{number}\n")
        annotations[f"{lists}/{split}list01.txt"] = "".join(sorted(lines))
    return MiniSet(movies, annotations)


def plan_hmdb(num_train: int = 98, num_val: int = 42, seed: int = 0) -> MiniSet:
    """Clips of seven classes in balance: of the defaults, 14 and 6 of each, and one of each that
    the split does not use."""
    movies, lines = {}, {action: [] for action in HMDB_ACTIONS}
    rng = Random(f"{seed}/hmdb")
    for flag, count in ((1, num_train), (2, num_val), (0, len(HMDB_ACTIONS))):
        actions, tracks = deal(rng, HMDB_ACTIONS, count), deal(rng, _HMDB_TRACKS, count)
        for action, track in zip(actions, tracks, strict=True):
            # Theirs end so, too: full body, moving camera, one person, from the front, medium.
            video_id = f"Mini_{action}_f_cm_np1_fr_med_{len(lines[action])}"
            act = plan_act(Random(f"{seed}/{video_id}"), action, 0.0, CLIP_SECONDS)
            movies[f"videos/{action}/{video_id}.avi"] = shoot(
                video_id, seed, CLIP_SECONDS, [act], track=track
            )
            lines[action].append(f"{video_id}.avi {flag}\n")
    folder = "testTrainMulti_7030_splits"
    annotations = {
        f"{folder}/{action}_test_split1.txt": "".join(lines[action]) for action in HMDB_ACTIONS
    }
    return MiniSet(movies, annotations)
