"""Label maps: one parser for data sets, scoring and tools."""

import io
import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from ava_tools import get_ava_performance
from avsf_det.data import register_ava_csv
from avsf_det.structures import AnnotationError
from avsf_det.structures.label_map import read_label_map, write_label_map

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
PBTXT = """\
label {
  name: "bend/bow (at the waist)"
  label_id: 1
  label_type: PERSON_MOVEMENT
}
item { name: "talk \\"to\\" {self}" id: 80 }
item {
  id: 12
  name: 'stand'
}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.pbtxt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (PBTXT, {1: "bend/bow (at the waist)", 12: "stand", 80: 'talk "to" {self}'}),
        (
            "3: crouch/kneel\n1: climb (e.g., a: b)\n",
            {1: "climb (e.g., a: b)", 3: "crouch/kneel"},
        ),
        ('item {\n name: "a"\n id: 0\n}\n\nitem {\n name: "a"\n id: 7\n}', {0: "a", 7: "a"}),
    ],
)
def test_label_map(tmp_path, text, labels):
    found = read_label_map(write(tmp_path, text))
    assert found.ids == sorted(labels)
    assert found.names == [labels[i] for i in found.ids]
    assert found == labels


@pytest.mark.parametrize(
    "text",
    [
        'item {\n  name: "sit"\n  id: 1\n}\nitem {\n  name: "talk to (a {person)"\n  id: 20\n}\n',
        'label {\n  name: "sit"\n  label_id: 1\n  label_type: X\n}\n'
        "label { label_id: 20 name: 'talk to (a {person)' }",
        "1: sit\n\n20: talk to (a person)\n",
    ],
)
def test_label_maps(tmp_path: Path, text: str) -> None:
    names = read_label_map(write(tmp_path, text.replace("{person", "person")))
    assert names == {1: "sit", 20: "talk to (a person)"}


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (r'item { name: "say \"hi\"" id: 1 } item { name: "a\\b" id: 3 }', ['say "hi"', r"a\b"]),
        ("item{name:'it\\'s'id:1}label{label_id:3,name:\"b }\"}", ["it's", "b }"]),
        ('# comment\nitem { id: 1 name: "a" }  # one\n\titem { id: 3 name: "b" }\n', ["a", "b"]),
    ],
)
def test_everyone_reads_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture, text: str, labels: list[str]
) -> None:
    path = write(tmp_path, text)
    assert dict(read_label_map(path)) == {1: labels[0], 3: labels[1]}

    (tmp_path / "gt.csv").write_text("v,1,0,0,1,1,1,0\nv,1,0,0,1,1,3,0\n")
    (tmp_path / "det.csv").write_text("v,1,0,0,1,1,1,0.9\nv,1,0,0,1,1,3,0.5\n")
    files = (path, tmp_path / "gt.csv", tmp_path / "det.csv")
    options = [str(word) for pair in zip(("-l", "-g", "-d"), files, strict=True) for word in pair]
    assert get_ava_performance.main([*options, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["per_class_by_name"]) == labels

    (tmp_path / "v.mp4").touch()
    name = f"labels_{tmp_path.name}"
    register_ava_csv(name, str(tmp_path / "gt.csv"), str(path), str(tmp_path))
    try:
        DatasetCatalog.get(name)
        assert MetadataCatalog.get(name).action_classes == labels
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            'item { name: "a" id: 1 }\nitem { name: "b" id: 1 }',
            ":2: id 1 occurs twice.*'a' and 'b'",
        ),
        ("\n1: a\n\n1: b", ":4: id 1 occurs twice"),
        ('item { name: "a" id: 1 }\nitem {\n name: "b"\n}', ":2: .*a name and an id"),
        ('item { name: "a" id: 1 }\nitem { id: 2 }', ":2: .*a name and an id"),
        ('item { name: "a" id: -1 }', ":1: .*a name and an id"),
        ('item { name: "a" id: 1 }\nitem {\n name: "b"\n id: 2', ":2: 'item {' is not a label"),
        ("sit\nstand", ":1: 'sit' is not a label"),
        ("  \n", ": no label"),
    ],
)
def test_bad_label_map(tmp_path, text, complaint):
    with pytest.raises(AnnotationError, match=rf"labels\.pbtxt{complaint}"):
        read_label_map(write(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "# my classes\n11: sit down\n3: climb (e.g., a)\n",
        "item { name: sit down id: 11 }\nitem { id: 3, name: climb (e.g., a) }",
        "item {\r\n name: sit down # x\r\n id: 11\r\n}\r\nitem { id: 3 name: 'climb (e.g., a)' }",
        'id,name\n11,sit down\n3,"climb (e.g., a)"\n',
        "name;label_id;type\nsit down;11;X\nclimb (e.g., a);3;Y\n",
        '\ufeff# x\n11,sit down\n"3","climb (e.g., a)"\n',
        "11\tsit down\n3\tclimb (e.g., a)\n",
        "11: \"sit down\"\n3: 'climb (e.g., a)'",
    ],
)
def test_label_maps_as_people_write_them(tmp_path: Path, text: str) -> None:
    assert read_label_map(write(tmp_path, text)) == {3: "climb (e.g., a)", 11: "sit down"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1: a\n99999999999: b", ":2: id 99999999999 is too large"),
        (f"1: a\n{'9' * 5000}: b", ":2: id 99.* is too large"),
        ("-1: a", ":1: '-1: a' is not a label"),
        ("1,a,b\n", ":1: 3 columns, expected 2. Put names that contain ',' in double quotes"),
        ("id,name\n1,a\n\n2,b,c\n", ":4: 3 columns, expected 2"),
        ("id,name\n1.5,a\n", r":2: '1\.5: a' is not a label"),
        ('item { name: "a id: 1 }', ":1: "),
        ('item { name: "a" name: "b" id: 1 }', ":1: "),
        ('item { name: say "hi" id: 1 }', ":1: "),
    ],
)
def test_label_maps_that_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(AnnotationError, match=rf"labels\.pbtxt{complaint}"):
        read_label_map(write(tmp_path, text))


def test_more_bad_label_maps(tmp_path: Path) -> None:
    text = 'item {\n name: "x" id: 1\n}\nitem {\n  name: "y"\n}\n'
    with pytest.raises(AnnotationError, match=r"labels\.pbtxt:4: .*a name and an id"):
        read_label_map(write(tmp_path, text))
    with pytest.raises(AnnotationError, match=r"nowhere: cannot be read"):
        read_label_map(tmp_path / "nowhere")
    assert read_label_map(write(tmp_path, "1: x\n2: x\n")).names == ["x", "x"]
    with pytest.raises(AnnotationError, match="name 'x' occurs twice"):
        read_label_map(write(tmp_path, "1: x\n2: x\n"), distinct_names=True)


def test_written_label_map_is_read_back(tmp_path: Path) -> None:
    labels, file = {7: 'say "hi"', 3: "a\\b {c}"}, io.StringIO()
    write_label_map(file, labels)
    assert file.getvalue().startswith('item {\n  name: "a\\\\b {c}"\n  id: 3\n}\nitem {\n')
    assert read_label_map(write(tmp_path, file.getvalue())) == labels


def test_official_label_maps() -> None:
    official = SHARED / "ava" / "official_v2.2"
    if not official.exists():
        pytest.skip(f"{official} is not there")
    labels = read_label_map(official / "ava_action_list_v2.2.pbtxt")
    assert labels.ids == list(range(1, 81))
    assert (labels.names[0], labels.names[79]) == ("bend/bow (at the waist)", "watch (a person)")
    scored = read_label_map(official / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").ids
    assert len(scored) == 60
    assert set(scored) < set(labels.ids)
    plain = SHARED / "ava" / "labelmaps" / "mmaction2_ava_label_map.txt"
    assert read_label_map(plain).ids == scored
