import onnxruntime
import pytest
import torch
from detectron2.modeling import build_model

from ava_tools import export_model as tool
from ava_tools.inference import checked_export

pytestmark = pytest.mark.xdist_group("onnx")
CONFIG = "configs/mini/avsf_kinetics_mini.yaml"
# The Audio pathway alone, which is quick to export.
TINY = ("MODEL.SLOWFAST.WIDTH", "8", "MODEL.BACKBONE.NAME", "build_audio_backbone")


@pytest.fixture
def arguments(tmp_path, few_blocks):
    weights = ["MODEL.WEIGHTS", str(tmp_path / "weights.pth")]
    cfg = tool.load_config(CONFIG, [*TINY, *weights])
    torch.save({"model": build_model(cfg).state_dict()}, weights[1])

    def make(name: str, *more: str) -> list[str]:
        output = ["--config-file", CONFIG, "--output", str(tmp_path / "new" / name)]
        return [*output, *TINY, *weights, *more]

    return make


def test_onnx_file_is_checked_and_runs(arguments, tmp_path, capsys):
    assert tool.main(arguments("x.onnx")) == 0
    out = capsys.readouterr().out
    assert "audio      (N, 1, 64, 40) float32" in out and "has_audio  (N) bool" in out
    assert float(out.split("differ from the model's by ")[1].split()[0]) < 1e-5
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "new" / "x.onnx")
    clips = {"audio": torch.randn(4, 1, 64, 40).numpy(), "has_audio": torch.ones(4).bool().numpy()}
    (scores,) = session.run(["scores_action"], clips)
    assert scores.shape == (4, 9) and scores.sum(axis=1) == pytest.approx(1)


def test_a_file_that_differs_gets_no_name(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checked_export, "compare_with_eager", lambda *args: 2e-4)
    assert tool.main(arguments("x.pt2")) == 1
    error = capsys.readouterr().err
    assert "x.wrong.pt2: differs from the model by 0.0002, more than 0.0001" in error
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.wrong.pt2"]
    monkeypatch.setattr(checked_export, "compare_with_eager", lambda *args: float("nan"))
    assert tool.main(arguments("x.pt2")) == 1


def test_what_cannot_be_exported(arguments, tmp_path, capsys, monkeypatch):
    def problem(*args: str) -> str:
        assert tool.main(arguments(*args)) == 1
        return capsys.readouterr().err

    assert "must end in .onnx or .pt2" in problem("x.pt")
    assert "WEIGHTS is empty" in problem("x.pt2", "MODEL.WEIGHTS", "")
    assert "AVPretrainer cannot be exported" in problem(
        "x.pt2",
        *("MODEL.META_ARCHITECTURE", "AVPretrainer", "MODEL.BACKBONE.NAME"),
        "build_avslowfast_backbone",
    )
    state = torch.load(tmp_path / "weights.pth")["model"]
    state = {name: x for name, x in state.items() if "predictor" not in name}
    torch.save({"model": state}, tmp_path / "weights.pth")
    assert "head: head.predictors.action.weight" in problem("x.pt2")
    monkeypatch.setattr(tool, "find_spec", lambda name: None)
    assert "pip install onnx onnxscript onnxruntime" in problem("x.onnx")
