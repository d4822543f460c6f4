"""ava_tools/analyze_model.py against the figures of the paper."""

import json
from pathlib import Path

import pytest

from ava_tools.analyze_model import load_config, main
from ava_tools.measurement import paper_compute
from ava_tools.measurement.analysis import build_without_data, count_params

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# What the paper prints, cannot be had from the layers it describes.
OPEN = {"A->F->S", "Audio-only", "AVSF SSL, parameters"}


def test_all_published_figures(capsys):
    main(["--paper", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]  # one line of JSON and nothing else
    assert len(rows) == 27
    assert len({row["name"] for row in rows}) == 27
    for row in rows:
        assert (CONFIGS.parent / row["config"]).is_file()
        if row["name"] in OPEN:
            assert row["status"] == "not reproduced"
        else:
            assert row["status"] == "reproduced"
            assert row["ours"] == pytest.approx(row["published"], rel=0.005), row["name"]


def test_table_of_published_figures(monkeypatch, capsys):
    row = ("SlowFast", 40.0, "Kinetics/slowfast_r50_4x16", "a note")
    monkeypatch.setattr(paper_compute, "PAPER_GFLOPS", (row,))
    monkeypatch.setattr(paper_compute, "PAPER_PARAMS", ())
    main(["--paper"])
    first, second = capsys.readouterr().out.splitlines()
    assert (
        first.split() == "SlowFast published 40.0 ours 36.099 GFLOPs (-9.8%) not reproduced".split()
    )
    assert second.split(maxsplit=1) == ["configs/Kinetics/slowfast_r50_4x16.yaml", "(a note)"]


def test_the_classifier_for_inference_has_no_synchronisation_block(capsys):
    path = str(CONFIGS / "Kinetics" / "avsf_r50_4x16.yaml")
    main(["--config-file", path, "--json", "MODEL.AVSYNC.ENABLED", "True"])
    result = json.loads(capsys.readouterr().out)
    assert result["gflops"] == pytest.approx(39.604, abs=5e-4)
    assert result["params"] == pytest.approx(41.821e6, abs=500)


def test_what_training_adds():
    """The authors' 4x16: 44.20 M parameters, of which 2.38 M are for synchronisation."""
    path = CONFIGS / "Kinetics" / "avsf_r50_4x16.yaml"
    model = build_without_data(load_config(path, ["MODEL.AVSYNC.ENABLED", True]))
    assert count_params(model) == pytest.approx(44.20e6, abs=5e3)
    assert count_params(model.avsync_head) == (
        (640 + 1280 + 2560) * 64 * 2  # projections
        + 6 * 64
        + (256 * 5 + 2) * 512  # Fast to Slow
        + (1024 * 5 + 2) * 64  # audio
        + (64 * 5 + 2) * 2560
    )
    layers = {
        f"{level}.{kind}" for level in ("res3", "res4", "res5") for kind in ("visual", "audio")
    }
    layers |= {"f2s.conv", "f2s.conv.norm"}
    layers |= {f"a2fs.conv{i}{norm}" for i in (1, 2) for norm in ("", ".norm")}
    assert {name.rpartition(".")[0] for name in model.avsync_head.state_dict()} == layers


def test_parameters_by_pathway(capsys):
    """In millions; the head is of 80 actions."""
    main(["--config-file", str(CONFIGS / "AVA" / "avsf_r50_4x16.yaml"), "--json"])
    result = json.loads(capsys.readouterr().out)
    parts = result["by_pathway"]
    millions = {name: round(part["params"] / 1e6, 3) for name, part in parts.items()}
    assert millions == {
        "slow": 32.781,
        "fast": 0.514,
        "audio": 6.124,
        "f2s": 0.206,
        "a2fs": 0.864,
        "head": round((3328 * 80 + 80) / 1e6, 3),
    }
    assert result["gflops"] == pytest.approx(sum(part["gflops"] for part in parts.values()))
    assert result["params"] == sum(part["params"] for part in parts.values())
    # Its SlowFast has neither Audio pathway nor audio laterals, and 1024 columns less.
    added = result["added_by_audio"]
    assert added["params"] == sum(parts[x]["params"] for x in ("audio", "a2fs")) + 1024 * 80
    flops = sum(parts[x]["gflops"] for x in ("audio", "a2fs")) + 1024 * 80 / 1e9
    assert added["gflops"] == pytest.approx(flops)


def test_what_audio_adds(capsys):
    main(["--config-file", "graft/AVA/avsf_r50_8x8_audio.yaml", "MODEL.DEVICE", "cpu"])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.endswith("add 2.026 GFLOPs (1.7%) and 7.072 M parameters (20.9%)")


def test_table_for_people(capsys):
    """A quarter of the pixels, twice the frames."""
    path = str(CONFIGS / "AVA" / "slowfast_r50_4x16.yaml")
    main(["--config-file", path, "--crop-size", "128", "160", "INPUT.CLIP.NUM_FRAMES", "64"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["slow", "fast", "f2s", "head", "total"]
    assert float(lines[-1].split()[1]) == pytest.approx(65.73 / 4 * 2, rel=1e-3)
