"""A folder of timelines against annotations, counted by hand."""

import json

import pytest

from ava_tools import evaluate_timelines as tool

# Of video v, seconds 1 to 4 and 8 to 9 are annotated. Person 5 sits all the time; 6 runs at 1 to 4.
LEFT, RIGHT = "0,0,0.4,1", "0.5,0,0.9,1"
TRUTH = [f"v,{s},{LEFT},1,5" for s in (1, 2, 3, 4, 8, 9)]
TRUTH += [f"v,{s},{RIGHT},2,6" for s in (1, 2, 3, 4)]
# Found persons: 0 is 5 until second 4, 2 is 5 from 8 on, and 1 is 6. The boxes of 1 are too low:
# IoU 0.8. There are boxes between the annotated seconds, too.
BOXES = [f"v,{s / 2},{LEFT},0,0.9" for s in range(1, 10)]
BOXES += [f"v,{s},{LEFT},2,0.9" for s in (8, 9, 10)]
BOXES += [f"v,{s},{RIGHT},,0.9" for s in (1, 2, 3)]  # without id: left out
BOXES += [f"v,{s / 2},0.5,0.2,0.9,1,1,0.9" for s in range(1, 10)]
BOUTS = [
    # All of the annotated time of 5 until 4.5 s: what is before 0.5 s and after 4.5 s is left out.
    "v,0,sit,0,6,0.9,0.9",
    # Person 2 sits at 9, not at 8: IoU 1 / 2.
    "v,2,sit,8.5,12,0.8,0.9",
    # Person 6 does not sit, and 5 to 7 s is not annotated.
    "v,1,sit,0.5,2.5,0.7,0.7",
    "v,1,sit,5,7,0.9,0.9",
    # Person 6 runs at 1 to 3: IoU 3 / 4, of the tubes 3 / 4 * 0.8 = 0.6.
    "v,1,run,0.5,3.5,0.6,0.7",
    "other,1,run,0.5,3.5,0.6,0.7",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "map.txt").write_text("1: sit\n2: run\n3: sing\n")
    (tmp_path / "gt.csv").write_text("\n".join(TRUTH) + "\n")
    (tmp_path / "persons.csv").write_text("\n".join(BOXES) + "\n")
    header = "video,person,action,start,end,mean,peak\n"
    (tmp_path / "bouts.csv").write_text(header + "\n".join(BOUTS) + "\n")
    return tmp_path


def run(folder, *arguments: str) -> int:
    files = ["-l", str(folder / "map.txt"), "-g", str(folder / "gt.csv")]
    return tool.main([str(folder), *files, *arguments])


def test_figures(folder, capsys):
    assert run(folder, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"sit", "run"}
    # Of three bouts of sit two are right, the third is of the other person.
    sit = {"F1@0.5": 4 / 5, "AP@0.3": 1, "AP@0.5": 1, "AP@0.7": 1 / 2}
    assert figures["sit"] == pytest.approx({**sit, "tube AP@0.2": 1, "tube AP@0.5": 1})
    run_figures = {"F1@0.5": 1, "AP@0.3": 1, "AP@0.5": 1, "AP@0.7": 1}
    assert figures["run"] == pytest.approx({**run_figures, "tube AP@0.2": 1, "tube AP@0.5": 1})
    assert run(folder) == 0
    table = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in table[-1].split("|")][:5] == [
        "mean",
        "3",
        "4",
        "0.900",
        "1.000",
    ]


def test_a_csv_with_another_clock(folder, capsys):
    shifted = [row.replace("v,", "v,90", 1) for row in TRUTH]
    (folder / "gt.csv").write_text("\n".join(shifted) + "\n")
    assert run(folder, "--json", "--offset", "900") == 0
    assert json.loads(capsys.readouterr().out)["sit"]["F1@0.5"] == pytest.approx(4 / 5)


def test_excluded_keyframes(folder, capsys):
    (folder / "excluded.csv").write_text("v,0001\nv,9\n")
    assert run(folder, "--json", "-x", str(folder / "excluded.csv")) == 0
    figures = json.loads(capsys.readouterr().out)
    # At 8 person 2 does not sit. Person 6 runs at 2 and 3 of 2 to 4.
    assert figures["sit"]["F1@0.5"] == pytest.approx(2 * 1 / (2 + 2))
    assert (figures["run"]["AP@0.5"], figures["run"]["AP@0.7"]) == (1, 0)


def test_other_videos(folder, capsys):
    (folder / "gt.csv").write_text("w,1,0,0,0.4,1,1,5\n")
    assert run(folder) == 1
    assert "no video of" in capsys.readouterr().err
    (folder / "persons.csv").unlink()
    assert run(folder) == 1
    assert "persons.csv" in capsys.readouterr().err
