"""Every reader of annotations and results, on mutated files: a result, or one line about it."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ava_tools.get_ava_performance import read_detections as read_results
from avsf_det.data.datasets.ava import load_ava_csv
from avsf_det.data.datasets.charades import load_charades, load_charades_classes
from avsf_det.data.datasets.clip_csv import load_clip_csv
from avsf_det.data.datasets.clips import load_class_names
from avsf_det.data.datasets.epic_kitchens import load_epic_classes, load_epic_kitchens
from avsf_det.data.datasets.kinetics import load_kinetics, load_kinetics_classes
from avsf_det.data.datasets.ucf_hmdb import load_hmdb51, load_ucf101, load_ucf101_classes
from avsf_det.evaluation import ClipScores, read_scores, read_verb_noun_counts, write_scores
from avsf_det.structures import AnnotationError, ava_csv
from avsf_det.structures.label_map import read_label_map

from .mutate import check_reader, mutations

BOXES = b"v,0902,0.1,0.2,0.5,0.6,1,7\nv,0902,0.1,0.2,0.5,0.6,3,7\nw,1000.5,0,0,1.005,1,2,\nw,2\n"
SCORED = b"v,0902,0.1,0.2,0.5,0.6,1,0.75\nv,0903,0.1,0.2,0.5,0.6,3,1e-3\nw,1000.5,0,0,1,1,2,0.5\n"
PERSONS = b"v,0902,0.1,0.2,0.5,0.6,,0.75\nv,0902,0.1,0.2,0.5,0.6,3,0.5\nw,3,0,0,1,1,0.25\n"
ITEMS = (
    b'# mine\nitem {\n  name: "say \\"hi\\""\n  id: 1\n}\nlabel { name: sit down label_id: 3 }\n'
)
CLIPS = b'video,label,start,end\nv.mp4,walk,,\nw.mp4,"jump high",1.5,4\n"w.mp4",walk,4,5.25\n'
KINETICS = b"label,youtube_id,time_start,time_end,split\nsit,v,0,10,val\nair drumming,w,36,46,val\n"
CHARADES = b'id,length,actions\nv,30.5,c001 11.90 21.20;c000 0.00 12.60\nw,2,""\n'
EPIC = (
    b"narration_id,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    b"P01_01_0,P01,v,00:00:00.14,00:00:03.37,2,1\nP01_01_1,P01,w,00:01:00,00:01:01.5,0,0\n"
)
TASKS: dict = {"verb": 3, "noun": 2}


def make_scores() -> bytes:
    data = io.BytesIO()
    arrays = ClipScores(
        source="",
        clip_ids=["a", "b"],
        scores={task: np.full((2, k), 0.25, np.float32) for task, k in TASKS.items()},
        labels={task: np.array([-1, 1]) for task in TASKS},
        classes={task: [f"{task} {i}" for i in range(k)] for task, k in TASKS.items()},
    )
    path = Path("scores.npz")
    write_scores(arrays, str(path))
    data.write(path.read_bytes())
    return data.getvalue()


def make_pickle(*, old: bool) -> bytes:
    boxes, scores = np.full((2, 4), 0.5, np.float32), np.full((2, 3), 0.25, np.float32)
    instances = {"bboxes": boxes, "scores": scores}
    new = [{"video_id": "v", "timestamp": second, "pred_instances": instances} for second in (1, 2)]
    entries = [[np.full((2, 5), 0.5, np.float32)] * 2] * 2
    return pickle.dumps(entries if old else new)


def counts(path: str) -> np.ndarray:
    return read_verb_noun_counts(path, read_scores("scores.npz"))


def hmdb51(path: str) -> object:
    try:
        return load_hmdb51(".", 1, "train", "videos")
    except AnnotationError as error:
        assert path in str(error) or str(error).startswith(".: ")  # no clips are left
        raise AnnotationError(f"{path}: {error}") from None


def results(path: str) -> object:
    Path("gt.csv").write_text("v,1,0,0,1,1,1,0\nv,2,0,0,1,1,1,0\n")
    return read_results(path, ava_csv.read_ground_truth("gt.csv"))


# Name of the file -> its content, and its reader.
READERS: dict[str, tuple[bytes | Callable[[], bytes], Callable[[str], object]]] = {
    "boxes.csv": (BOXES, ava_csv.read_ground_truth),
    "ava.csv": (BOXES, lambda p: load_ava_csv(p, [1, 2, 3], "videos")),
    "detections.csv": (SCORED, ava_csv.read_detections),
    "persons.csv": (PERSONS, lambda p: ava_csv.read_person_boxes(p, take_ids=True)),
    "excluded.csv": (b"v,0902\nw,1000.5\n", ava_csv.read_excluded_keyframes),
    "items.pbtxt": (ITEMS, read_label_map),
    "lines.txt": (b"3: sit\n1: climb (e.g., a: b)\n# 4: x\n", read_label_map),
    "labels.csv": (b'id,name\n3,sit\n1,"climb (e.g., a)"\n', read_label_map),
    "clips.csv": (CLIPS, lambda p: load_clip_csv(p, "videos")),
    "many.csv": (
        CLIPS,
        lambda p: load_clip_csv(p, "videos", ["walk", "jump high"], multi_label=True),
    ),
    "list.txt": (b"v.mp4 0\nw 3.0\n", lambda p: load_clip_csv(p, "videos", allow_missing=True)),
    "kinetics.csv": (KINETICS, lambda p: load_kinetics(p, "videos", load_kinetics_classes(p))),
    "videos.txt": (b"v.mp4\nw.mp4\n", lambda p: load_kinetics(p, "videos", ["a"])),
    "names.txt": (b"walk\njump high\n", load_class_names),
    "charades.csv": (CHARADES, lambda p: load_charades(p, "videos", 3)),
    "charades.txt": (b"c000 Holding clothes\nc001 Sitting\n", load_charades_classes),
    "epic.csv": (EPIC, lambda p: load_epic_kitchens(p, "videos", num_verbs=3, num_nouns=2)),
    "nouns.csv": (b"noun_id,class_key\n0,pan\n1,knife\n", load_epic_classes),
    "prior.csv": (EPIC, counts),
    "ucf.txt": (b"A/v.avi 1\nB/w.avi 2\n", lambda p: load_ucf101(p, "videos", ["A", "B"])),
    "classInd.txt": (b"1 A\n2 B\n", load_ucf101_classes),
    "a_test_split1.txt": (b"v.avi 1\nw.avi 1\n", hmdb51),
    "new.pkl": (lambda: make_pickle(old=False), results),
    "old.pkl": (lambda: make_pickle(old=True), results),
    "results.csv": (SCORED, results),
    "scores.npz": (make_scores, read_scores),
}


def check(name: str, count: int, folder: Path) -> int:
    (folder / "videos").mkdir()
    for video in ("v.mp4", "w.mp4"):
        (folder / "videos" / video).touch()
    data, read = READERS[name]
    if name == "prior.csv":
        make_scores()
    data = data if isinstance(data, bytes) else data()
    path = Path(name)
    path.write_bytes(data)
    read(name)  # the file itself is valid
    return check_reader(read, path, mutations(data, count, seed=14))


@pytest.mark.parametrize("name", READERS)
def test_mutations(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(name, 100, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize("name", READERS)
def test_many_mutations(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_counts
) -> None:
    monkeypatch.chdir(tmp_path)
    num_read = check(name, 3000, tmp_path)
    refused = 3000 - num_read
    record_counts(f"list {name}", "14", f"3000 mutations: {num_read} read, {refused} refused")
