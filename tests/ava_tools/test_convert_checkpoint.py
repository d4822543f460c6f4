"""The tool that converts files."""

import importlib.util
import os
import pickle
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from ava_tools.support.pyslowfast_names import convert_to_pyslowfast
from avsf_det.checkpoint import read_checkpoint

from ..checkpoint.originals import tensors_of
from ..modeling.builders import make_cfg

TOOL = Path(__file__).resolve().parents[2] / "ava_tools" / "convert_checkpoint.py"


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("convert_checkpoint", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.main


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return tensors_of(build_model(make_cfg()))


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    cfg = make_cfg(FUSION_STAGES=["res3", "res4"])
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return str(tmp_path / "config.yaml")


def test_there_and_back(main, state, tmp_path: Path, capsys):
    a, b, c = (str(tmp_path / x) for x in ("a.pyth", "b.pth", "c.pyth"))
    theirs = {**convert_to_pyslowfast(state), "strange": torch.zeros(1)}
    torch.save({"model_state": theirs, "epoch": 3}, a)
    assert main([a, b]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{a}: {len(theirs)} tensors with names of PySlowFast",
        "kept under names that are not known: strange",
        f"{b}: {len(theirs)} tensors",
    ]
    assert torch.load(b, weights_only=True).keys() == {"model"}
    assert main([b, c, "--to", "pyslowfast"]) == 0
    back = torch.load(c, weights_only=True)["model_state"]
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], value) for name, value in theirs.items())


def test_with_a_config_the_weights_are_matched(main, state, config_file, tmp_path: Path, capsys):
    source, output = str(tmp_path / "a.pyth"), str(tmp_path / "b.pth")
    torch.save({"model_state": convert_to_pyslowfast(state)}, source)
    classes = ["MODEL.ROI_ACTION_HEAD.NUM_CLASSES", "6"]
    assert main([source, output, "--config-file", config_file, *classes]) == 0
    assert "input channels of the lateral after pool1 cut" in capsys.readouterr().out
    matched, _, _ = read_checkpoint(output)
    assert matched["backbone.slow.res2.0.conv1.weight"].shape[1] == 8
    lost = ("backbone.f2s.pool1.", "backbone.f2s.res2.", "roi_heads.predictor.")
    assert matched.keys() == {name for name in state if not name.startswith(lost)}


def test_the_fraction_of_the_backbone(main, state, config_file, tmp_path: Path, capsys):
    source, output = str(tmp_path / "a.pth"), tmp_path / "b.pth"
    torch.save({k: v for k, v in state.items() if "fast" not in k}, source)
    args = [source, str(output), "--config-file", config_file]
    assert main(args) == 1
    assert "backbone.fast.res4" in capsys.readouterr().err and not output.exists()
    assert main([*args, "--min-matched", "0.5"]) == 0
    assert main([*args, "MODEL.WEIGHTS_MIN_MATCHED", "0.5"]) == 0


def test_bad_input(main, config_file, tmp_path: Path, capsys):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'marker'}",)

    output = tmp_path / "out.pth"
    for name, content in {"evil.pkl": pickle.dumps(Evil()), "text.pth": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        assert main([str(tmp_path / name), str(output)]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: {tmp_path / name}: ") and error.count("\n") == 1
    assert main([str(tmp_path / "absent"), str(output)]) == 1
    assert "absent" in capsys.readouterr().err
    assert not output.exists() and not (tmp_path / "marker").exists()


def test_the_input_is_not_written_over(main, state, tmp_path: Path, capsys):
    path, link = tmp_path / "a.pth", tmp_path / "link.pth"
    torch.save(state, path)
    link.symlink_to(path)
    before = path.read_bytes()
    assert main([str(path), str(link)]) == 1
    assert "not written over" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_options_of_the_config_need_one(main, capsys):
    with pytest.raises(SystemExit):
        main(["a", "b", "--min-matched", "0.5"])
    assert "need --config-file" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    assert "python ava_tools/convert_checkpoint.py SLOWFAST_8x8_R50.pkl" in capsys.readouterr().out
