import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ava_tools import get_ava_performance
from avsf_det.structures.ava_csv import read_detections, read_ground_truth

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "ava_tools" / "get_ava_performance.py"
MMACTION2 = ROOT / ".." / "shared" / "data" / "ava" / "mmaction2_fixture" / "eval_detection"
needs_mmaction2 = pytest.mark.skipif(not MMACTION2.exists(), reason="no files of MMAction2 here")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    texts = {
        "-l": ("map.pbtxt", 'item {\n name: "sit"\n id: 1\n}\nitem {\n name: "talk"\n id: 3\n}\n'),
        "-g": ("gt.csv", "v,0902,.1,.1,.5,.5,1,0\nv,0903,.1,.1,.5,.5,3,0\nw,0902,0,0,1,1,3,0\n"),
        "-d": ("det.csv", "v,902,.1,.1,.5,.5,1,.9\nv,903,.1,.1,.5,.5,3,.9\nv,905,0,0,1,1,1,.95\n"),
        "-x": ("excluded.csv", "w,902\n"),
    }
    args = []
    for option, (name, text) in texts.items():
        (tmp_path / name).write_text(text)
        args += [option, str(tmp_path / name)]
    return args


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the tool; -> exit code, stdout, stderr."""

    def run_tool(*args: str) -> tuple[int, str, str]:
        try:
            code = get_ava_performance.main(list(args))
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run_tool


def test_table_and_json(files: list[str], run: Callable) -> None:
    code, out, err = run(*files)
    assert code == 0 and err == ""
    # "sit" has a detection on an unknown keyframe above the right one; "talk" is right.
    assert "mAP@0.5 of 2 classes with ground truth, of 2: 0.750000" in out
    assert "excluded keyframes: 1" in out
    table = run(*files, "--intervals")[1]
    # Per sample, one keyframe each or one of both twice: AP of "talk" is 1 whenever it is drawn.
    assert "talk 1.000 to 1.000, 1 boxes: too few to say" in table
    assert "200 bootstrap samples of keyframes" in table
    line = json.loads(run(*files, "--json")[1])
    assert line["per_class"] == {"1": 0.5, "3": 1} and line["mAP"] == 0.75
    assert line["per_class_by_name"] == {"sit": 0.5, "talk": 1}
    assert line["protocol"] == "default" and line["counts"]["matched_boxes"] == 2
    line = json.loads(run(*files, "--json", "--protocol", "activitynet")[1])
    assert line["per_class"] == {"1": 1, "3": 0.5}


def test_errors_are_one_line(files: list[str], run: Callable) -> None:
    Path(files[5]).write_text("v,902,.1,.1,.5\n")
    code, out, err = run(*files)
    assert code == 1 and out == ""
    assert err.count("\n") == 1 and "det.csv:1: 5 columns" in err
    assert run("-l", "x")[0] == 2


def test_needs_neither_torch_nor_detectron2(files: list[str], tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['tool', *{files!r}]\n"
        "try:\n"
        f"    runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "assert not {'torch', 'detectron2', 'cv2', 'av'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_scoring_of_arrays_needs_neither_torch_nor_detectron2(
    files: list[str], tmp_path: Path
) -> None:
    label_map, ground_truth, detections = files[1], files[3], files[5]
    code = (
        "import sys\n"
        "from avsf_det.evaluation.ava_map import evaluate_ava\n"
        "from avsf_det.structures.ava_csv import read_detections, read_ground_truth\n"
        "from avsf_det.structures.label_map import read_label_map\n"
        f"rows = read_detections({detections!r}), read_ground_truth({ground_truth!r})\n"
        f"print(evaluate_ava(*rows, read_label_map({label_map!r})).mean_ap)\n"
        "assert not {'torch', 'detectron2', 'cv2', 'av'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert float(done.stdout) == 0.5  # 0.5 and 0.5: nothing is excluded here


def test_help_shows_an_example(run: Callable) -> None:
    code, out, _ = run("--help")
    assert code == 0 and "examples:" in out


# Files of other projects ----------------------------------------------------

GROUND_TRUTH = """\
v,0902,0.1,0.1,0.5,0.9,1,0
v,0903,0.2,0.1,0.6,0.9,2,0
w,0902,0.1,0.3,0.4,0.9,3,0
w,0902,0.5,0.3,0.9,0.9,1,1
"""
# One entry for each keyframe: x1, y1, x2, y2 and the scores of classes 1, 2 and 3.
BOXES = [
    [(0.1, 0.1, 0.5, 0.9, 0.9, 0.2, 0.1)],
    [(0.2, 0.1, 0.6, 0.9, 0.95, 0.8, 0.1), (0.7, 0.7, 0.9, 0.9, 0.1, 0.9, 0.3)],
    [(0.1, 0.3, 0.4, 0.9, 0.3, 0.1, 0.7), (0.5, 0.3, 0.9, 0.9, 0.6, 0.3, 0.4)],
]
# Class 1: wrong 0.95, right 0.9, right 0.6. Class 2: wrong 0.9, right 0.8. Class 3: right.
MEAN_AP = np.mean([2 / 3, 1 / 2, 1])
KEYFRAMES = [("v", 902), ("v", 903), ("w", 902)]


def as_csv(columns: str = "{v},{t:04d},{x1:.3f},{y1:.3f},{x2:.3f},{y2:.3f},{c},{s:.4f}") -> str:
    """What PySlowFast writes, and MMAction2 with more digits."""
    lines = [
        columns.format(v=v, t=t, x1=x1, y1=y1, x2=x2, y2=y2, c=c, s=score)
        for (v, t), boxes in zip(KEYFRAMES, BOXES, strict=True)
        for x1, y1, x2, y2, *scores in boxes
        for c, score in enumerate(scores, 1)
    ]
    return "\n".join(lines) + "\n"


def as_class_lists(boxes: list = BOXES) -> list:
    """What MMAction2 0.x pickles."""
    arrays = (np.array(rows, np.float32) for rows in boxes)
    return [[rows[:, [0, 1, 2, 3, 4 + c]] for c in range(3)] for rows in arrays]


def as_instances() -> list:
    """What MMAction2 1.x pickles."""
    entries = []
    for (video, second), boxes in zip(KEYFRAMES, BOXES, strict=True):
        table = torch.tensor(boxes)
        scores = torch.cat([torch.rand(len(boxes), 1), table[:, 4:]], dim=1)
        instances = {"bboxes": table[:, :4], "scores": scores}
        entry = {"pred_instances": instances, "video_id": video, "timestamp": second}
        entries.append({**entry, "img_shape": (256, 340)})
    return entries[::-1]  # in any order


@pytest.fixture
def score(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Score detections (text, or what is pickled); -> exit code, JSON or None, stderr."""
    (tmp_path / "gt.csv").write_text(GROUND_TRUTH)
    (tmp_path / "map.txt").write_text("1: sit\n2: run\n3: sing\n")

    def run_tool(detections: object, protocol: int = 2) -> tuple[int, dict | None, str]:
        path = tmp_path / ("d.csv" if isinstance(detections, str) else "d.pkl")
        if isinstance(detections, str):
            path.write_text(detections)
        else:
            path.write_bytes(pickle.dumps(detections, protocol))
        files = ("-l", tmp_path / "map.txt", "-g", tmp_path / "gt.csv", "-d", path)
        code = get_ava_performance.main([*map(str, files), "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return run_tool


@pytest.mark.parametrize("form", [as_csv, as_class_lists, as_instances])
@pytest.mark.parametrize("protocol", [2, 4])
def test_forms_of_other_projects_give_the_same(score, form, protocol: int) -> None:
    code, result, err = score(form(), protocol)
    assert (code, err) == (0, "")
    assert result["mAP"] == pytest.approx(MEAN_AP, abs=1e-12)
    assert result["counts"]["detections"] == 15


@needs_mmaction2
def test_csv_of_mmaction2(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files = ("action_list.txt", "gt.csv", "pred.csv")
    options = [
        str(x) for f in zip("lgd", files, strict=True) for x in ("-" + f[0], MMACTION2 / f[1])
    ]
    assert get_ava_performance.main([*options, "--json"]) == 0
    of_csv = json.loads(capsys.readouterr().out)
    assert of_csv["counts"]["matched_keyframes"] == 3
    assert of_csv["mAP"] == pytest.approx(0.09385522, abs=1e-8)

    # The same rows as its older versions pickle them.
    rows = read_detections(MMACTION2 / "pred.csv")
    by_keyframe = {}
    for i in range(len(rows)):
        classes = by_keyframe.setdefault(rows.keyframes[rows.keyframe[i]], [[], [], []])
        classes[rows.actions[i] - 1].append([*rows.boxes[i], rows.scores[i]])
    order = read_ground_truth(MMACTION2 / "gt.csv").keyframes
    arrays = [[np.array(c).reshape(-1, 5) for c in by_keyframe[k]] for k in order]
    (tmp_path / "d.pkl").write_bytes(pickle.dumps(arrays))
    assert get_ava_performance.main([*options[:-1], str(tmp_path / "d.pkl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["per_class"] == of_csv["per_class"]

    proposals = str(MMACTION2 / "proposal.pkl")
    assert get_ava_performance.main([*options[:-1], proposals]) == 1
    assert "if these are proposals, they have no actions" in capsys.readouterr().err


class Malicious:
    def __reduce__(self) -> tuple:
        return print, ("this is run",)


class MaliciousTensor:
    def __reduce__(self) -> tuple:
        inner = io.BytesIO()
        torch.save(Malicious(), inner, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (inner.getvalue(),)


def in_pixels() -> list:
    return [[(*(200 * x for x in box[:4]), *box[4:]) for box in boxes] for boxes in BOXES]


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([Malicious()], "refused, because it asks for builtins.print"),
        ([0, MaliciousTensor()], "refused, because it asks for"),
        ([torch.rand(4, 80), torch.zeros(4)], "has scores of clips"),
        (as_class_lists()[:2], "results of 2 keyframes, but the ground truth has 3"),
        (as_class_lists(in_pixels()), "looks like pixels"),
        ([{"pred_instances": {}, "img_key": "v,902"}], "without video_id and timestamp"),
        ([[np.zeros((1, 4))]] * 3, "an array (1, 4) of a class"),
        ({}, "a dict of 0 entries"),
        ([], "list; expected what MMAction2 writes"),
        (3, "int; expected what MMAction2 writes"),
        ("v,902,10,20,100,200,1,0.5\n", "as fractions of the frame: divide pixels"),
    ],
)
def test_says_what_a_wrong_file_is(score, detections: object, message: str) -> None:
    code, result, err = score(detections)
    assert (code, result) == (1, None)
    assert message in err and err.count("\n") == 1 and "this is run" not in err


RIGHT = "v,902,.1,.1,.5,.9,1,.9\nv,903,.2,.1,.6,.9,2,.9\n"


@pytest.mark.parametrize(
    ("detections", "warnings"),
    [
        # Only the class of each person, so that other ids are right nowhere.
        (RIGHT.replace(",1,", ",0,").replace(",2,", ",1,"), ["too low? Without that", "0.5000"]),
        (RIGHT.replace(",2,", ",3,").replace(",1,", ",2,"), ["too high? Without that", "0.5000"]),
        (as_csv("{v},{t},{y1},{x1},{y2},{x2},{c},{s}"), ["y1,x1,y2,x2? Without that"]),
        (RIGHT + "v,902,.1,.1,.5,.9,74,.5\n", ["1 of 3 detections are left out", "ids: 74"]),
        (RIGHT, ["1 classes have ground truth and not one detection", "ids 3"]),
        (as_csv("{v},{t},{x1},{y1},{x2},{y2},{c},{s}"), []),  # 902 for 0902
    ],
)
def test_warns_of_usual_mistakes(score, detections: str, warnings: list[str]) -> None:
    code, result, err = score(detections)
    assert code == 0 and result is not None
    assert all(text in err for text in warnings) and bool(err) == bool(warnings)
    assert all(line.startswith("warning: ") for line in err.splitlines())


def test_names_that_the_locale_lacks_are_printed_in_utf_8(tmp_path, monkeypatch):
    (tmp_path / "m.txt").write_text("1: d\u00e9j\u00e0\n", encoding="utf-8")
    (tmp_path / "g.csv").write_text("v\u00e9,1,0,0,1,1,1,0\n", encoding="utf-8")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.chdir(tmp_path)
    assert get_ava_performance.main(["-l", "m.txt", "-g", "g.csv", "-d", "g.csv"]) == 0
    terminal.seek(0)
    assert "d\u00e9j\u00e0" in terminal.read()
