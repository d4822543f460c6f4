"""Your own csv of clips, and the helpers that all parsers of clips share."""

import os

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from avsf_det.data.datasets.annotation_files import find_videos, present_files, read_path_list
from avsf_det.data.datasets.clip_csv import load_clip_csv, register_clip_csv
from avsf_det.data.datasets.clips import class_names_from, load_class_names
from avsf_det.structures import AnnotationError

CLIPS = """\
video,weather,label,start,end
walk/a.mp4,sun,walk,,
walk/b.MKV,rain,walk,1.5,4
"b, c.mp4",sun,jump high,0,2.25

"b, c.mp4",sun,walk,2.25,3
"""
VIDEOS = ("walk/a.mp4", "walk/b.MKV", "b, c.mp4")


def test_columns_by_name(write, touch):
    csv, videos = write("clips.csv", CLIPS), touch(VIDEOS)
    clips, names = load_clip_csv(csv, videos)
    assert names == ["jump high", "walk"]
    assert clips == [
        {
            "file_name": os.path.join(videos, "walk/a.mp4"),
            "video_id": "walk/a",
            "clip_id": "walk/a",
            "labels": {"action": 1},
            "source": f"{csv}:2",
        },
        {
            "file_name": os.path.join(videos, "walk/b.MKV"),
            "video_id": "walk/b",
            "clip_id": "walk/b_1.5_4",
            "start_sec": 1.5,
            "end_sec": 4.0,
            "labels": {"action": 1},
            "source": f"{csv}:3",
        },
        {
            "file_name": os.path.join(videos, "b, c.mp4"),
            "video_id": "b, c",
            "clip_id": "b, c_0_2.25",
            "start_sec": 0.0,
            "end_sec": 2.25,
            "labels": {"action": 0},
            "source": f"{csv}:4",
        },
        {
            "file_name": os.path.join(videos, "b, c.mp4"),
            "video_id": "b, c",
            "clip_id": "b, c_2.25_3",
            "start_sec": 2.25,
            "end_sec": 3.0,
            "labels": {"action": 1},
            "source": f"{csv}:6",
        },
    ]


def test_path_label_lists(write):
    text = "a b.mp4 3\nc/d.webm,12\ne, f.MOV 0\ng.avi , air drumming\nh.mp4.mkv\t7\n\n"
    rows = read_path_list(write("list.txt", text))
    assert [row[1:] for row in rows] == [
        ("a b.mp4", "3"),
        ("c/d.webm", "12"),
        ("e, f.MOV", "0"),
        ("g.avi", "air drumming"),
        ("h.mp4.mkv", "7"),
    ]
    assert rows[4][0].endswith("list.txt:5")


def test_absolute_paths_and_indices(write, touch):
    videos = touch(["a.mp4", "b.mp4"])
    csv = write("list.csv", f"{videos}/a.mp4 2\n{videos}//b.mp4 0.0\n")
    clips, names = load_clip_csv(csv, "/")
    assert [clip["labels"] for clip in clips] == [{"action": 2}, {"action": 0}]
    assert names == ["0", "1", "2"] and clips[1]["clip_id"] == f"{videos}/b"[1:]
    clips, names = load_clip_csv(csv, videos, ["x", "y", "z"])
    assert [clip["labels"] for clip in clips] == [{"action": 2}, {"action": 0}]
    assert names == ["x", "y", "z"] and clips[1]["clip_id"] == "b"
    with pytest.raises(AnnotationError, match=r"list\.csv:1: path '.*a\.mp4' leaves the folder"):
        load_clip_csv(csv, "/nowhere")


@pytest.mark.parametrize(
    "path", ["../a.mp4", "walk/../../a.mp4", "..\\a.mp4", "C:\\v\\a.mp4", "/a.mp4"]
)
def test_a_path_may_not_leave_the_folder(write, touch, path):
    touch(["a.mp4"])
    videos = touch(["videos/b.mp4"]) + "/videos"
    lists = [
        write("a.csv", f"video,label\nb.mp4,x\n{path},x\n"),
        write("b.csv", f"b.mp4 0\n\n{path} 0"),
    ]
    for csv in lists:
        with pytest.raises(AnnotationError, match=r"\.csv:3: path '.*a\.mp4' leaves the folder"):
            load_clip_csv(csv, videos, ["x"])
        with pytest.raises(AnnotationError, match="leaves the folder"):
            present_files(videos, [path])


def test_links_that_the_user_made_are_followed(write, touch):
    other, videos = touch(["a.mp4"]), touch(["videos/b.mp4"]) + "/videos"
    os.symlink(other, f"{videos}/link")
    os.symlink(f"{other}/a.mp4", f"{videos}/c.mp4")
    clips, _ = load_clip_csv(write("a.csv", "link/a.mp4 0\nc.mp4 0\n"), videos)
    assert [clip["file_name"] for clip in clips] == [f"{videos}/link/a.mp4", f"{videos}/c.mp4"]


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "data",
    [
        b"walk/a 0\nb.mp4 3.0\n",
        b"walk\\a.mp4 0\r\nb.mp4\t3\r\n",
        b"\xef\xbb\xbf# mine\n\nwalk/a.mp4;0\nb.mp4 ; 3\n",
        b'"walk/a.mp4",0\n"b.mp4" 3\n',
        b"video;label\nwalk/a.mp4;0\nb.mp4;3\n",
        b"video\tlabel\nwalk/a\t0.0\nb.mp4\t3\n",
        "video,label\nwalk/a.mp4,0\nb.mp4,3\n".encode("utf-16"),
        b"video,label\rwalk/a.mp4,0\rb.mp4,3\r",
        b"# mine\nvideo,label\n# more\nwalk/a.mp4,0\nb.mp4,3",
    ],
)
def test_lists_as_people_and_tools_write_them(tmp_path, touch, data):
    csv, videos = tmp_path / "clips.csv", touch(["walk/a.mp4", "b.mp4", "walk/c.mp4"])
    csv.write_bytes(data)
    clips, names = load_clip_csv(str(csv), videos)
    assert [clip["file_name"] for clip in clips] == [f"{videos}/walk/a.mp4", f"{videos}/b.mp4"]
    assert [clip["labels"]["action"] for clip in clips] == [0, 3] and len(names) == 4


@pytest.mark.parametrize(("written", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_accents_in_either_form(tmp_path, write, touch, written, stored):
    videos = touch([f"{stored}/{stored}.mp4"])
    path = f"{videos}/{stored}/{stored}.mp4"
    (clip,), _ = load_clip_csv(
        write("a.csv", f"{written}/{written}.mp4 {stored}\n"), videos, [written]
    )
    assert clip["file_name"] == path and clip["labels"] == {"action": 0}
    assert find_videos(videos, ("*/*",), {written}) == {written: path}


def test_a_path_without_ending_finds_one_video(write, touch):
    csv, videos = write("a.csv", "a 0\n"), touch(["a.mp4", "a.mkv", "a.txt"])
    with pytest.raises(
        AnnotationError, match=r"2 files for 'a': a\.mkv, a\.mp4\. Write the ending"
    ):
        load_clip_csv(csv, videos)


def test_lists_without_labels(write, touch):
    videos = touch(["a.mp4"])
    for text in ("video\na.mp4\n", "a.mp4\n"):
        (clip,), names = load_clip_csv(write("a.csv", text), videos, ["x"])
        assert clip["labels"] == {} and names == ["x"]
        with pytest.raises(AnnotationError, match=r"a\.csv:1: no column label.*class_file"):
            load_clip_csv(write("a.csv", text), videos)


@pytest.mark.parametrize("number", ["9" * 26, "9" * 5000, "100000", "9" * 9])
def test_a_huge_index_is_refused(write, touch, number):
    csv, videos = write("a.csv", f"a.mp4 0\nb.mp4 {number}\n"), touch(["a.mp4", "b.mp4"])
    for names in (None, ["x"]):
        with pytest.raises(AnnotationError, match=r"a\.csv:2: label '9?1?0?.*indices|Indices"):
            load_clip_csv(csv, videos, names)


def test_multi_label(write, touch):
    csv = write("clips.csv", "path,label\na.mp4,walk; sing;walk\nb.mp4,\nc.mp4,jump\n")
    videos = touch(["a.mp4", "b.mp4", "c.mp4"])
    clips, names = load_clip_csv(csv, videos, multi_label=True)
    assert names == ["jump", "sing", "walk"]
    assert [clip["labels"]["action"] for clip in clips] == [[1, 2], [], [0]]
    numbers = write("numbers.csv", "a.mp4 8;1;16\n")
    (clip,), _ = load_clip_csv(numbers, videos, multi_label=True)
    assert clip["labels"]["action"] == [1, 8, 16]  # a set has them in another order
    with pytest.raises(AnnotationError, match=r"clips\.csv:2: .*multi_label=True"):
        load_clip_csv(csv, videos)


@pytest.mark.parametrize(
    ("header", "row", "complaint"),
    [
        ("video,label", "a.mp4,leap", r"label 'leap' is neither one of the 2 class names"),
        ("video,label", "a.mp4,walks", r"'walks'.*\(close: walk\)"),
        ("video,label", "a.mp4,2", r"'2'.* nor an index 0\.\.1\. .*start at 0"),
        ("video,label", "a.mp4,-1", "'-1'"),
        ("video,label", "a.mp4,", r"label ''\. A clip needs one class"),
        ("video,label", "a.mp4", "1 columns, expected the 2"),
        ("video,label,start,end", "a.mp4,walk,x,3", "start 'x'. It must be seconds"),
        ("video,label,start,end", "a.mp4,walk,1,", "end ''. It must be seconds"),
        ("video,label,start,end", "a.mp4,walk,nan,3", "start 'nan'"),
        ("video,label,start,end", "a.mp4,walk,-1,3", "start '-1'"),
        ("video,label,start,end", "a.mp4,walk,3,3", "start 3 and end 3.*must end after"),
        ("video,label", "ok.mp4,walk", r"clip 'ok' is already at .*clips\.csv:2"),
        ("ok.mp4 1", "walk a.mp4", "'walk a.mp4' has no label, unlike the first"),
        ("ok.mp4 1", "a.mp4", "'a.mp4' has no label, unlike the first"),
        ("ok.mp4 1", "a.mp4 2", "label '2'"),
    ],
)
def test_bad_row(write, touch, header, row, complaint):
    good = ",".join(["ok.mp4", "walk", "", ""][: header.count(",") + 1])
    lines = [header, good, row] if "," in header else [header, "x.mp4 walk", row]
    csv = write("clips.csv", "\n".join(lines))
    with pytest.raises(AnnotationError, match=rf"clips\.csv:3: .*{complaint}"):
        load_clip_csv(csv, touch(["ok.mp4", "x.mp4", "a.mp4"]), ["jump", "walk"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("video,name\na.mp4,walk\n", r":1: no column label"),
        ("file,label\na.mp4,walk\n", r":1: no column video; got file,label"),
        ("", ": no clip"),
        ("video,label\n", ": no clip"),
    ],
)
def test_bad_file(write, touch, text, complaint):
    with pytest.raises(AnnotationError, match=rf"clips\.csv{complaint}"):
        load_clip_csv(write("clips.csv", text), touch([]))


def test_missing_videos(write, touch, caplog):
    csv = write("clips.csv", "video,label\n" + "".join(f"{i}.mp4,walk\n" for i in range(8)))
    videos = touch(["3.mp4", "walk/4.mp4"])
    with pytest.raises(AnnotationError) as error:
        load_clip_csv(csv, videos)
    assert f"{csv}:2: 7 of the 8 clips have no video in {videos}: 0, 1" in str(error.value)
    assert "allow_missing=True" in str(error.value)
    clips, _ = load_clip_csv(csv, videos, allow_missing=True)
    assert [clip["clip_id"] for clip in clips] == ["3"]
    assert "7 of the 8 clips" in caplog.text
    os.remove(os.path.join(videos, "3.mp4"))
    with pytest.raises(AnnotationError, match=r"8 of the 8 .*give another folder"):
        load_clip_csv(csv, videos, allow_missing=True)


def test_class_names(write):
    assert load_class_names(write("names.txt", "b\n\na: c \n")) == ["b", "a: c"]
    with pytest.raises(AnnotationError, match=r"names\.txt:3: class 'b' .*names\.txt:1"):
        load_class_names(write("names.txt", "b\na\nb\n"))
    with pytest.raises(AnnotationError, match=r"names\.txt: no class name"):
        load_class_names(write("names.txt", "\n"))
    assert class_names_from([("", name) for name in ("b", "a", "b", "10")]) == ["10", "a", "b"]
    assert class_names_from([("", "1"), ("", "10.0")]) == [str(i) for i in range(11)]
    assert class_names_from([("", "1")], num_classes=4) == ["0", "1", "2", "3"]
    assert class_names_from([]) == []


def test_find_videos(touch):
    videos = touch(["a.mp4", "b.AVI", "a.srt", "c/d.webm", "c/a.b.mkv", "c/e/f.mp4", ".a.mp4"])
    stems = {"a", "b", "d", "a.b", "f", "x"}
    assert find_videos(videos, ("*",), stems) == {
        "a": os.path.join(videos, "a.mp4"),
        "b": os.path.join(videos, "b.AVI"),
    }
    assert set(find_videos(videos, ("*", "*/*"), stems)) == {"a", "b", "d", "a.b"}
    touch(["c/a.mkv"])
    with pytest.raises(AnnotationError, match=r"2 files for one video id: .*a\.mp4, .*a\.mkv"):
        find_videos(videos, ("*", "*/*"), stems)
    with pytest.raises(AnnotationError, match=r"nowhere: cannot be read"):
        find_videos("/nowhere", ("*",), stems)
    assert present_files(f"{videos}/", ["c/d.webm", "c/x.webm", "y/d.webm"]) == [
        f"{videos}/c/d.webm",
        None,
        None,
    ]


def test_registration_is_lazy(name, tmp_path, write, touch):
    csv, names = str(tmp_path / "clips.csv"), str(tmp_path / "names.txt")
    videos = str(tmp_path / "videos")
    register_clip_csv(name, csv, videos, class_file=names, source="Ask the librarian.")
    metadata = MetadataCatalog.get(name)
    assert (metadata.evaluator_type, metadata.multi_label) == ("clip", False)
    assert metadata.annotation_file == csv
    with pytest.raises(AnnotationError) as error:
        DatasetCatalog.get(name)
    missing = "clips.csv, names.txt, videos"
    assert f"MISSING in {tmp_path}: {missing}. " in str(error.value)
    assert str(error.value).endswith("Ask the librarian.")

    write("clips.csv", CLIPS)
    write("names.txt", "walk\nrun\njump high\n")
    touch(VIDEOS)
    clips = DatasetCatalog.get(name)
    assert [clip["labels"]["action"] for clip in clips] == [0, 0, 2, 0]
    assert metadata.task_classes == {"action": ["walk", "run", "jump high"]}
    # Detectron2's own loader accepts the dicts, and a second reading.
    assert len(get_detection_dataset_dicts(name, filter_empty=False)) == len(clips)
