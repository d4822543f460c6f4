"""Videos that annotation files of every format name."""

import os

import pytest

from ava_tools.preparation.video_lists import read_video_ids, videos_in, videos_of
from avsf_det.structures import AnnotationError


def test_ids_of_csv_files_and_of_lists_of_files(write):
    csv = write("ava.csv", "b.1,0902,0,0,1,1,3,0\nb.1,903,0,0,1,1,3,0\n-a,902,0,0,1,1,3,0\n")
    names = write("names.txt", "c.mkv\nb.1.webm\n")
    assert read_video_ids([csv, names]) == ["-a", "b.1", "c"]
    with pytest.raises(AnnotationError, match=r"empty\.csv: names no video"):
        read_video_ids([csv, write("empty.csv", "\n")])


def test_videos_of_a_folder_at_any_depth(touch, caplog):
    folder = touch(["b/c/d.MKV", "a.mp4", ".part-x.mp4", "a.wav"])
    assert videos_in(folder) == {
        "a.mp4": os.path.join(folder, "a.mp4"),
        "b/c/d.MKV": os.path.join(folder, "b/c/d.MKV"),
    }
    others = ".part-x.mp4, a.wav, readme.txt"
    assert caplog.messages[0].startswith(f"{folder}: 3 files left out")
    assert caplog.messages[0].endswith(f": {others}")
    with pytest.raises(AnnotationError, match="b/none: cannot be read"):
        videos_in(f"{folder}/b/none")


def test_no_video_is_an_error(touch):
    with pytest.raises(AnnotationError, match="no video there"):
        videos_in(touch([]))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("v1,2,0,0,1,1,1,0\nv2,2,0,0,1,1,1,0\n", ["v1", "v2"]),
        ("video,label\nv1.mp4,a\nv2.mp4,b\nv1.mp4,c\n", ["v1.mp4", "v2.mp4"]),
        ("label,path\na,v1.mp4\nb,v2.mp4\n", ["v1.mp4", "v2.mp4"]),
        ("v1.mp4 a\nv2.mp4 b\n", ["v1.mp4", "v2.mp4"]),
    ],
)
def test_videos_of_every_kind_of_annotation(write, touch, text, names):
    folder = touch(["v1.mp4", "v3.mp4"])
    assert videos_of(write("list.csv", text), folder) == {
        names[0]: os.path.join(folder, "v1.mp4"),
        names[1]: None,
    }


def test_an_official_csv_of_kinetics_is_refused(write, touch):
    csv = write("k.csv", "label,youtube_id,time_start,time_end\na,b,1,2\n")
    with pytest.raises(AnnotationError, match=r"prepare_video_lists\.py"):
        videos_of(csv, touch(["b.mp4"]))


def test_videos_of_ava_are_found_in_subfolders(write, touch):
    folder = touch(["train/a.mp4", "b.webm", "c.mp4"])
    csv = write("ava.csv", "".join(f"{video_id},2,0,0,1,1,1,0\n" for video_id in "abz"))
    assert videos_of(csv, folder) == {
        "a": os.path.join(folder, "train/a.mp4"),
        "b": os.path.join(folder, "b.webm"),
        "z": None,
    }
