"""Mini-UCF and Mini-HMDB: one person, one action, in the formats of UCF101 and HMDB51.

As in these, whole classes of Mini-UCF have no audio track, and hardly any clip of Mini-HMDB has
one. So Mini-HMDB has only classes that the frames distinguish, and one class per audio pair.
"""

from collections import Counter
from random import Random

from ava_tools.mini.action_segments import AudioTrack, build_video, plan_segment
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.video_plan import (
    ACTIONS,
    AUDIBLE_ACTIONS,
    VideoPlan,
    sample_balanced,
    sample_look,
)

CLIP_SECONDS = 2.5
UCF_ACTIONS = tuple(sorted(action for action in ACTIONS if action != "stand"))
HMDB_ACTIONS = ("crouch", "hit", "jump", "stand", "talk", "walk", "wave")

# A group contains the clips of one person: the first groups are tested, the next trained on.
_TEST_GROUPS, _TRAIN_GROUPS = 3, 7
_HMDB_TRACKS: tuple[AudioTrack, ...] = (*("none",) * 11, "audible")  # proportions


def plan_ucf(num_train: int = 112, num_val: int = 48, seed: int = 0) -> MiniDataset:
    """Return Mini-UCF, balanced over eight classes: 14 and 6 clips of each by default.

    Only the classes of the audio pairs have an audio track.
    """
    folder = "ucfTrainTestlist"
    names = [action.capitalize() for action in UCF_ACTIONS]
    index = "".join(f"{i} {name}\n" for i, name in enumerate(names, 1))
    videos: dict[str, VideoPlan] = {}
    annotations = {f"{folder}/classInd.txt": index}
    for split, count, first, groups in (
        ("train", num_train, _TEST_GROUPS + 1, _TRAIN_GROUPS),
        ("test", num_val, 1, _TEST_GROUPS),
    ):
        lines, num_clips = [], Counter[str]()
        for action in sample_balanced(Random(f"{seed}/ucf/{split}"), UCF_ACTIONS, count):
            name = action.capitalize()
            group, clip = first + num_clips[name] % groups, num_clips[name] // groups + 1
            num_clips[name] += 1
            video_id = f"v_{name}_g{group:02d}_c{clip:02d}"
            look = sample_look(Random(f"{seed}/ucf/{name}/{group}"))
            rng = Random(f"{seed}/{video_id}")
            segment = plan_segment(rng, action, 0.0, CLIP_SECONDS, look=look)
            track: AudioTrack = "audible" if action in AUDIBLE_ACTIONS else "none"
            path = f"{name}/{video_id}.avi"
            videos[f"videos/{path}"] = build_video(
                video_id, seed, CLIP_SECONDS, [segment], track=track
            )
            number = f" {names.index(name) + 1}" if split == "train" else ""
            lines.append(f"{path}{number}\n")
        annotations[f"{folder}/{split}list01.txt"] = "".join(sorted(lines))
    return MiniDataset(videos, annotations)


def plan_hmdb(num_train: int = 98, num_val: int = 42, seed: int = 0) -> MiniDataset:
    """Return Mini-HMDB, balanced over seven classes.

    By default there are 14 training and 6 test clips of each, and one that the split does not use.
    """
    videos: dict[str, VideoPlan] = {}
    lines: dict[str, list[str]] = {action: [] for action in HMDB_ACTIONS}
    rng = Random(f"{seed}/hmdb")
    for flag, count in ((1, num_train), (2, num_val), (0, len(HMDB_ACTIONS))):
        actions = sample_balanced(rng, HMDB_ACTIONS, count)
        tracks = sample_balanced(rng, _HMDB_TRACKS, count)
        for action, track in zip(actions, tracks, strict=True):
            # HMDB51's tags: full body, moving camera, one person, from the front, medium quality.
            video_id = f"Mini_{action}_f_cm_np1_fr_med_{len(lines[action])}"
            segment = plan_segment(Random(f"{seed}/{video_id}"), action, 0.0, CLIP_SECONDS)
            videos[f"videos/{action}/{video_id}.avi"] = build_video(
                video_id, seed, CLIP_SECONDS, [segment], track=track
            )
            lines[action].append(f"{video_id}.avi {flag}\n")
    folder = "testTrainMulti_7030_splits"
    annotations = {
        f"{folder}/{action}_test_split1.txt": "".join(lines[action]) for action in HMDB_ACTIONS
    }
    return MiniDataset(videos, annotations)
