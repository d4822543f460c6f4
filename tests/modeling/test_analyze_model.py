"""ava_tools/analyze_model.py against Table 7 of the paper."""

import json
from pathlib import Path

import pytest

from ava_tools.analyze_model import main

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "AVA"


@pytest.mark.parametrize(
    "name, gflops",
    [
        ("slowfast_r50_4x16", 65.73),
        ("avsf_r50_4x16", 67.09),
        ("slowfast_r101_8x8", 183.69),
        ("avsf_r101_8x8", 210.15),
    ],
)
def test_gflops_of_table_7(name, gflops, capsys):
    main(["--config-file", str(CONFIGS / f"{name}.yaml"), "--json"])
    result = json.loads(capsys.readouterr().out)  # one line of JSON and nothing else
    assert result["gflops"] == pytest.approx(gflops, rel=1e-4)
    parts = result["by_pathway"].values()
    assert result["gflops"] == pytest.approx(sum(part["gflops"] for part in parts))
    assert result["params"] == sum(part["params"] for part in parts)


def test_parameters_by_pathway(capsys):
    """In millions, ARCHITECTURE section 3; the head is of 80 actions and not of 400 classes."""
    main(["--config-file", str(CONFIGS / "avsf_r50_4x16.yaml"), "--json"])
    parts = json.loads(capsys.readouterr().out)["by_pathway"]
    millions = {name: round(part["params"] / 1e6, 3) for name, part in parts.items()}
    assert millions == {
        "slow": 32.781,
        "fast": 0.514,
        "audio": 6.124,
        "f2s": 0.206,
        "a2fs": 0.864,
        "head": round((3328 * 80 + 80) / 1e6, 3),
    }


def test_table_for_people(capsys):
    """A quarter of the pixels, twice the frames."""
    path = str(CONFIGS / "slowfast_r50_4x16.yaml")
    main(["--config-file", path, "--crop-size", "128", "160", "INPUT.CLIP.NUM_FRAMES", "64"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["slow", "fast", "f2s", "head", "total"]
    assert float(lines[-1].split()[1]) == pytest.approx(65.73 / 4 * 2, rel=1e-3)
