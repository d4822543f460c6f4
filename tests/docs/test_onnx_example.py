"""docs/onnx_example.py, which knows nothing of this project, has the scores of our predictor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from ava_tools import export_model
from ava_tools.inference.checked_export import load_tensor_model
from avsf_det.engine.predictor import ClipPredictor
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from ..engine import actions
from ..export.files import check_files
from ..media import tone, write_video

pytestmark = pytest.mark.xdist_group("onnx")
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "onnx_example.py"
BOX = [0.25, 0.2, 0.7, 0.9]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with tiny.yaml, its weights and model.onnx; the config, a predictor and a model."""
    folder = tmp_path_factory.mktemp("onnx")
    actions.make_dataset(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 1, 1))
        cfg = actions.make_model(folder)
        (folder / "tiny.yaml").write_text(cfg.dump())
        paths = ["--config-file", str(folder / "tiny.yaml"), "--output", str(folder / "model.onnx")]
        assert export_model.main(paths) == 0
        yield folder, cfg, ClipPredictor(cfg), load_tensor_model(cfg)
    actions.forget()


def test_the_file_says_what_it_takes(exported):
    folder, *_ = exported
    model = onnx.load(folder / "model.onnx")
    metadata = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert metadata["classes"] == {"action": ["sit", "run", "sing"]}
    assert (metadata["num_frames"], metadata["stride"], metadata["fps"]) == (8, 4, 30)
    assert metadata["min_size"] == 48 and len(metadata["weights_sha256"]) == 64
    assert np.shape(metadata["mel_filters"]) == (257, 8)
    (frames,) = (x for x in model.graph.input if x.name == "frames")
    axes = [d.dim_param or d.dim_value for d in frames.type.tensor_type.shape.dim]
    assert axes == ["clips", 3, 8, "height", "width"]


def test_the_file_gives_the_scores_of_the_model(exported):
    folder, cfg, _, model = exported
    assert model.input_names == ("frames", "audio", "has_audio", "boxes")
    check_files(model, cfg, [folder / "model.onnx"], (61, 103))


@pytest.mark.parametrize(
    ("size", "sound", "second"),
    [((96, 170), 48000, 1.5), ((150, 72), 44100, 0.2), ((48, 96), None, 2.9)],
    ids=["wide", "upright at the start", "silent at the end"],
)
def test_scores_of_the_example_are_ours(exported, tmp_path, size, sound, second):
    folder, _, predictor, _ = exported
    path = tmp_path / "a.mp4"
    audio = None if sound is None else tone(700, 3, sound)
    write_video(path, num_frames=30, fps=10, size=size, sound=audio, sound_rate=sound or 48000)
    boxes = {second: np.array([[*BOX, 1]], np.float32)}
    ((_, persons),) = predictor(path, boxes=boxes)
    ours = dict(zip(predictor.class_names, persons.action_scores[0].tolist(), strict=True))

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, EXAMPLE, folder / "model.onnx", path, str(second), *map(str, BOX)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found = {line.split(" ", 1)[1]: float(line.split()[0]) for line in done.stdout.splitlines()}
    assert found == pytest.approx(ours, abs=1e-3)
    assert max(ours.values()) - min(ours.values()) > 0.02
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_example_is_short_and_needs_three_packages():
    lines = EXAMPLE.read_text().splitlines()
    assert len(lines) <= 40
    imported = {line.split()[1] for line in lines if line.startswith(("import", "from"))}
    assert imported == {"json", "sys", "av", "numpy", "onnxruntime"}
