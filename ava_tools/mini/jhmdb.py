"""Mini-JHMDB: the videos of Mini-HMDB with a tube for the person, in the format of JHMDB-21."""

import pickle

import numpy as np

from ava_tools.mini.annotations import annotate
from ava_tools.mini.mini_dataset import MiniDataset
from ava_tools.mini.ucf_hmdb import HMDB_ACTIONS, plan_hmdb
from ava_tools.mini.video_plan import FPS, HEIGHT, WIDTH, VideoPlan


def plan_jhmdb(num_train: int = 98, num_val: int = 42, seed: int = 0) -> MiniDataset:
    """Return Mini-JHMDB, balanced over seven classes."""
    hmdb = plan_hmdb(num_train, num_val, seed)
    videos: dict[str, VideoPlan] = {}
    halves: dict[str, list[str]] = {"1": [], "2": []}  # flags of HMDB51's lists
    for action, text in zip(HMDB_ACTIONS, hmdb.annotations.values(), strict=True):
        for line in str(text).splitlines():
            name, flag = line.split()
            if flag in halves:
                path = f"videos/{action}/{name}"
                videos[path] = hmdb.videos[path]
                halves[flag].append(f"{action}/{name.removesuffix('.avi')}")
    by_id = {path[len("videos/") : -len(".avi")]: video for path, video in videos.items()}
    data = {
        "labels": list(HMDB_ACTIONS),
        "train_videos": [halves["1"]],
        "test_videos": [halves["2"]],
        "nframes": {name: round(video.duration * FPS) for name, video in by_id.items()},
        "resolution": dict.fromkeys(by_id, (HEIGHT, WIDTH)),
        "gttubes": {name: tubes_of(name, video) for name, video in by_id.items()},
    }
    return MiniDataset(videos, {"JHMDB-GT.pkl": pickle.dumps(data, 2)})


def tubes_of(name: str, video: VideoPlan) -> dict[int, list[np.ndarray]]:
    """Return the class of a video to its one tube, (T, 5): frame from 1, x1, y1, x2, y2."""
    action = name.partition("/")[0]
    rows = [
        # Rounded, as machines compute the motion to different last bits.
        (frame, *np.round(np.multiply(box, (WIDTH, HEIGHT) * 2), 2))
        for frame in range(1, round(video.duration * FPS) + 1)
        for _, box, actions in annotate(video, (frame - 1) / FPS)
        if action in actions
    ]
    return {HMDB_ACTIONS.index(action): [np.array(rows, np.float32)]}
