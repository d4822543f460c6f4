"""Thresholds fitted on scores whose best threshold is known, their file, and bad files."""

import json

import pytest

from ava_tools import fit_thresholds as tool
from ava_tools.timelines.bouts import BoutRules
from ava_tools.timelines.thresholds import find_rules, read_thresholds, thresholds_path
from avsf_det.structures import AVSFError

ACTIONS = ["sit", "run"]
# Two persons at seconds 1 to 6. Person 0 sits from 1 to 3 and runs from 4 to 6; person 1 sits.
BOX = {0: "0.1,0.1,0.4,0.9", 1: "0.6,0.1,0.9,0.9"}
TRUTH = {0: ["sit"] * 3 + ["run"] * 3, 1: ["sit"] * 6}
# Scores of sit: at least 0.3 where it is true, at most 0.2 elsewhere. Of run: 0.9, 0.6 elsewhere.
SCORES = {
    0: {"sit": [0.3, 0.5, 0.4, 0.2, 0.1, 0.1], "run": [0.1, 0.6, 0.1, 0.9, 0.95, 0.9]},
    1: {"sit": [0.4, 0.35, 0.4, 0.4, 0.3, 0.3], "run": [0.1] * 6},
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "map.txt").write_text("1: sit\n2: run\n")
    truth = [
        f"v,{s},{BOX[p]},{ACTIONS.index(a) + 1},{p}"
        for p, actions in TRUTH.items()
        for s, a in enumerate(actions, 1)
    ]
    found = [
        f"v,{s},{BOX[p]},{ACTIONS.index(a) + 1},{score}"
        for p, by_action in SCORES.items()
        for a, scores in by_action.items()
        for s, score in enumerate(scores, 1)
    ]
    # A chance box that runs with 0.7, and another video: it is not annotated.
    found += ["v,2,0.4,0.5,0.6,0.9,2,0.7", "w,2,0.1,0.1,0.4,0.9,1,0.9"]
    (tmp_path / "gt.csv").write_text("\n".join(truth) + "\n")
    (tmp_path / "found.csv").write_text("\n".join(found) + "\n")
    return tmp_path


def run(folder) -> int:
    names = {"-l": "map.txt", "-g": "gt.csv", "-d": "found.csv", "--weights": "model.pth"}
    return tool.main([text for k, v in names.items() for text in (k, str(folder / v))])


def test_the_best_thresholds_are_found_and_stored_beside_the_weights(files, capsys):
    assert run(files) == 0
    path = files / "model.thresholds.json"
    found = json.loads(path.read_text())
    # Sit: 0.3, 0.35 and 0.4 are equally good, as a bout lasts to 0.7 of its threshold; at 0.5 the
    # bout of person 1 is missed. Run: 0.9 and 0.95; no score between is tried.
    assert found == {"sit": 0.35, "run": 0.9}
    assert "F1 1.000 of 2 bouts" in capsys.readouterr().out

    weights = str(files / "model.pth")
    rules, file = find_rules(None, None, weights, ACTIONS, smoothing=3)
    assert (rules.threshold, rules.thresholds, rules.smoothing, file) == (0.5, found, 3, str(path))
    assert capsys.readouterr().out == f"{path}: thresholds of 2 of 2 actions\n"
    # A threshold for all actions leaves that file aside, but not one that is named.
    assert find_rules(0.3, None, weights, ACTIONS) == (BoutRules(0.3), "")
    assert find_rules(0.3, str(path), "", ACTIONS)[0] == BoutRules(0.3, found)
    for other in ("", str(files / "other.pth"), "https://example.org/model.pth"):
        assert find_rules(None, None, other, ACTIONS) == (BoutRules(0.5), "")
    assert thresholds_path("a/model_final.pth").name == "model_final.thresholds.json"


def test_annotations_without_ids_of_persons(files, capsys):
    text = (files / "gt.csv").read_text()
    (files / "gt.csv").write_text("\n".join(r.rpartition(",")[0] for r in text.split()) + "\n")
    assert run(files) == 1
    assert "two boxes at second 1 of 'v'" in capsys.readouterr().err
    (files / "gt.csv").write_text("other,1,0.1,0.1,0.4,0.9,1,0\n")
    assert run(files) == 1
    assert "no keyframe of the detections" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"fly": 0.5}', "the model has no action 'fly'"),
        ('{"sit": "high"}', "threshold of 'sit' is \"high\""),
        ('{"sit": true}', "threshold of 'sit' is true"),
        ('{"sit": NaN}', "threshold of 'sit' is NaN"),
        ('{"sit": 1.5}', "threshold of 'sit' is 1.5"),
        ('{"sit": 0}', "threshold of 'sit' is 0"),
        ("[0.5]", "not an object"),
        ("sit: 0.5", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        ("\xff", "not JSON"),
        (None, "No such file"),
    ],
)
def test_bad_files_are_named_in_one_line(tmp_path, text, words):
    path = tmp_path / "thresholds.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(AVSFError, match=r"thresholds\.json") as found:
        read_thresholds(path, ACTIONS)
    assert words in str(found.value)
