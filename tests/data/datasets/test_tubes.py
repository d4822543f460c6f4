"""Tubes: the pickles of UCF101-24, JHMDB-21 and MultiSports to keyframes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from avsf_det.data import VideoReader
from avsf_det.data.datasets.tubes import load_tubes, register_tubes
from avsf_det.data.keyframe_mapper import keyframe_second
from avsf_det.structures import AnnotationError
from avsf_det.structures.ava_boxes import take_every

from ...media import read_number, write_video


def tube(first: int, last: int, box: tuple) -> np.ndarray:
    return np.array([[frame, *box] for frame in range(first, last + 1)], np.float32)


def annotations() -> dict:
    """Two videos: three tubes, two of them of the same boxes; and none."""
    return {
        "labels": ["jump", "run", "sit"],
        "train_videos": [["run/#2 b"], []],
        "test_videos": [["jump/a.b"], ["run/#2 b", "jump/a.b"]],
        "nframes": {"jump/a.b": 6, "run/#2 b": 3},
        "resolution": {"jump/a.b": (100, 200), "run/#2 b": (100, 200)},
        "gttubes": {
            "jump/a.b": {
                0: [tube(2, 4, (20, 10, 60, 90))],
                2: [tube(4, 5, (20, 10, 60, 90)), tube(4, 4, (100, 0, 200, 100))],
            },
            "run/#2 b": {},
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("jump/a.b.avi", "run/#2 b.mp4"):
        (tmp_path / "videos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / path).touch()
    return tmp_path


def load(folder: Path, data: object, subset: str = "test", **options) -> tuple[list[dict], list]:
    file = folder / "GT.pkl"
    file.write_bytes(pickle.dumps(data, 2))  # the protocol of the official files
    return load_tubes(str(file), subset, str(folder / "videos"), **options)


def test_every_frame_is_a_keyframe(folder: Path):
    dicts, labels = load(folder, annotations())
    assert labels == ["jump", "run", "sit"]
    assert [d["timestamp"] for d in dicts] == [1, 2, 3, 4, 5, 6]
    assert [len(d["annotations"]) for d in dicts] == [0, 1, 1, 2, 1, 0]
    person = {"bbox_mode": BoxMode.XYXY_REL, "category_id": 0}
    assert dicts[3] == {
        "file_name": str(folder / "videos/jump/a.b.avi"),
        "video_id": "jump-a.b",
        "image_id": "jump-a.b,4",
        "timestamp": 4.0,
        "offset": 0.5,
        "clock": "frames",
        "source": f"{folder}/GT.pkl: video jump/a.b",
        "annotations": [
            # One person who does two things: two tubes of one box.
            {**person, "bbox": [0.1, 0.1, 0.3, 0.9], "action_ids": [0, 2], "tube_ids": [0, 1]},
            {**person, "bbox": [0.5, 0, 1, 1], "action_ids": [2], "tube_ids": [2]},
        ],
    }


def test_splits_and_strides(folder: Path):
    assert [d["image_id"] for d in load(folder, annotations(), "train")[0]] == [
        f"run-#2 b,{i}" for i in (1, 2, 3)
    ]
    dicts, _ = load(folder, annotations(), split=2)
    assert [d["image_id"] for d in take_every(dicts[::-1], 2)] == [
        *("jump-a.b,1", "jump-a.b,3", "jump-a.b,5"),
        *("run-#2 b,1", "run-#2 b,3"),
    ]


@pytest.mark.parametrize("fps", [24, 25, 60])
def test_a_number_is_that_of_the_frame(tmp_path: Path, fps: int):
    write_video(tmp_path / "v.mp4", num_frames=20, fps=fps)
    with VideoReader(tmp_path / "v.mp4") as video:
        for number in range(1, 21):
            keyframe = {"timestamp": float(number), "offset": 0.5, "clock": "frames"}
            (image,) = video.get_frames_played_at([keyframe_second(keyframe, video)])
            assert read_number(image) == number - 1


def test_registration(folder: Path, name: str):
    (folder / "GT.pkl").write_bytes(pickle.dumps(annotations()))
    options = {"num_classes": 3, "unscored": ["run", "swim"]}
    register_tubes(name, f"{folder}/GT.pkl", "test", f"{folder}/videos", **options)
    assert len(DatasetCatalog.get(name)) == 6
    metadata = MetadataCatalog.get(name)
    assert (metadata.evaluator_type, metadata.truth_in_dicts) == ("tubes", True)
    assert (metadata.action_csv_ids, metadata.scored_action_csv_ids) == ([0, 1, 2], [0, 2])


class Evil:
    def __reduce__(self):
        return print, ("code of the file",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": Evil()}, "refused, because it asks for builtins.print"),
        ({"nframes": {}}, "GT.pkl: video jump/a.b: 'jump/a.b'"),
        ({"nframes": {"jump/a.b": 4}}, "tube 1 leaves the frames 1..4"),
        ({"labels": ["jump", "run"]}, "class 2 of 2"),
        ({"gttubes": {"jump/a.b": {0: [np.zeros((2, 4))]}}}, r"tube 0 is no array \(T, 5\)"),
        ({"test_videos": []}, "split 1 of 0"),
        ({"test_videos": [["jump/c"]]}, "1 of the 1 test videos .* are not in .*: jump/c"),
    ],
)
def test_bad_files_are_described(folder: Path, change: dict, message: str, capsys):
    with pytest.raises(AnnotationError, match=message):
        load(folder, {**annotations(), **change})
    assert capsys.readouterr().out == ""


def test_other_content_is_described(folder: Path):
    with pytest.raises(AnnotationError, match="has no labels, train_videos"):
        load(folder, [1])
    (folder / "GT.pkl").write_bytes(b"text")
    with pytest.raises(AnnotationError, match=r"GT.pkl: no complete pickle \("):
        load_tubes(str(folder / "GT.pkl"), "test", str(folder / "videos"))
