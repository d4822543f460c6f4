import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ava_tools import prepare_video_lists
from avsf_det.data import register_clip_csv


@pytest.fixture
def folder(tmp_path):
    """Videos in folders of their class; three parts of one video in two of them."""
    names = [f"{c}/{c}_{i}.mp4" for c in ("walk", "jump high") for i in range(5)]
    names += [f"walk/yt_00000{i}_00001{i}.mp4" for i in range(2)]
    names += ["jump high/yt_000020_000030.mkv", "sit/only.webm", "sit/notes.txt"]
    for name in names:
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).touch()
    return tmp_path / "clips"


def prepare(folder, *options: str):
    output = folder.parent / "lists"
    code = prepare_video_lists.main(["--videos", str(folder), "--output", str(output), *options])
    return code, {path.name: path.read_text().splitlines() for path in output.glob("*")}


def test_class_folders_are_divided_by_class_and_video(folder):
    code, lists = prepare(folder, "--val-share", "0.4")
    assert code == 0
    assert lists.keys() == {"train.csv", "val.csv", "classes.txt"}
    assert lists["classes.txt"] == ["jump high", "sit", "walk"]
    train, val = lists["train.csv"], lists["val.csv"]
    assert train[0] == val[0] == "video,label"
    assert len(train) + len(val) == 2 + 14 and not set(train[1:]) & set(val)
    for row in train[1:] + val[1:]:
        path, label = row.split(",")
        assert path.split("/")[0] == label and (folder / path).exists()
    assert "sit/only.webm,sit" in train  # the only one is to train on
    assert len({name for name, rows in lists.items() for row in rows if "yt_" in row}) == 1
    labels = [row.split(",")[1] for row in val[1:] if "yt_" not in row]
    assert set(labels) == {"walk", "jump high"}


def test_the_seed_decides(folder):
    lists = [prepare(folder, "--seed", seed)[1]["val.csv"] for seed in "0011234"]
    assert lists[0] == lists[1] and lists[2] == lists[3]
    assert len({tuple(rows) for rows in lists}) > 2
    assert prepare(folder, "--val-share", "0")[1]["val.csv"] == ["video,label"]


def test_the_lists_are_read_by_the_data_set(folder):
    prepare(folder)
    lists = folder.parent / "lists"
    try:
        for split in ("train", "val"):
            register_clip_csv(
                f"listed_{split}",
                str(lists / f"{split}.csv"),
                str(folder),
                class_file=str(lists / "classes.txt"),
            )
        clips = [
            clip for split in ("train", "val") for clip in DatasetCatalog.get(f"listed_{split}")
        ]
    finally:
        for split in ("train", "val"):
            DatasetCatalog.remove(f"listed_{split}")
            MetadataCatalog.remove(f"listed_{split}")
    assert len(clips) == 14
    assert all(
        f"/{['jump high', 'sit', 'walk'][c['labels']['action']]}/" in c["file_name"] for c in clips
    )


def test_an_official_csv_of_kinetics(folder, capsys):
    csv = folder.parent / "official.csv"
    csv.write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        "walk,yt,0,10,train,0\njump high,yt,20,30,validate,0\nwalk,gone,5,15,train,0\n"
        "sit,only,1,11,train,1\n"
    )
    code, lists = prepare(folder, "--csv", str(csv))
    assert code == 1
    assert lists["train.csv"][1:] == ["walk/yt_000000_000010.mp4,walk", "sit/only.webm,sit"]
    assert lists["val.csv"][1:] == ["jump high/yt_000020_000030.mkv,jump high"]
    assert lists["missing.csv"][1:] == ["walk,gone,5,15,train"]
    assert "3 classes, 2 clips to train on, 1 to evaluate on, 1 missing" in capsys.readouterr().out
    csv.write_text("label,youtube_id,time_start,time_end\nwalk,walk_0,0,1\nwalk,walk_1,0,1\n")
    code, lists = prepare(folder, "--csv", str(csv))  # does not say what is to train on
    assert code == 0 and len(lists["train.csv"]) == len(lists["val.csv"]) == 2


def test_files_of_one_name_are_different_videos(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "clips" / name / f"{i}.mp4").touch()
    _, lists = prepare(tmp_path / "clips", "--val-share", "0.5")
    assert sorted(row.split(",")[1] for row in lists["val.csv"][1:]) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("walk/a.txt", "clips: no video there. There are 1 .txt; videos end in mp4 m4v"),
        ("a.mp4", "clips/a.mp4: is in no folder of a class"),
    ],
)
def test_no_class_folder_is_an_error(tmp_path, content, message, capsys):
    folder = tmp_path / "clips"
    (folder / content).parent.mkdir(parents=True)
    (folder / content).touch()
    assert prepare(folder)[0] == 1
    assert message in capsys.readouterr().err
