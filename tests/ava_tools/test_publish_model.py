"""A published folder is what the run is, from disk, from http and from Hugging Face."""

import hashlib
import json
import os
import re
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager

from ava_tools import publish_model
from ava_tools.publishing.model_card import format_card
from ava_tools.publishing.results import read_figures
from ava_tools.publishing.safetensors_file import write_safetensors
from avsf_det import model_zoo
from avsf_det.checkpoint import AVSFCheckpointer, CheckpointError, safe_load
from avsf_det.engine import Trainer
from avsf_det.engine.defaults import load_config
from avsf_det.engine.feature_extractor import FeatureExtractor
from avsf_det.engine.predictor import ClipPredictor
from avsf_det.evaluation import ClipScores, write_scores
from avsf_det.model_zoo.model_zoo import ModelZooError
from avsf_det.structures import addresses

from ..addresses import serve
from ..engine import actions

FILES = ["README.md", "config.yaml", "label_map.pbtxt", "model.safetensors"]
DTYPES = (torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)
TENSORS = {
    "scalar": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
    **{str(dtype): torch.arange(-1, 5).view(2, 3).to(dtype) for dtype in DTYPES},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """OUTPUT_DIR of a run: config.yaml, weights and the results of an evaluation."""
    path = tmp_path_factory.mktemp("run")
    actions.make_dataset(path)
    cfg = actions.make_model(path)
    cfg.OUTPUT_DIR = str(path)
    cfg.MODEL.WEIGHTS = str(path / "model_final.pth")
    cfg.MODEL.DEVICE = "cpu"
    (path / "weights.pth").rename(cfg.MODEL.WEIGHTS)
    model = build_model(cfg)
    AVSFCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    Trainer.test(cfg, model)
    cfg.MODEL.WEIGHTS = "/data/private/kinetics.pyth"  # what the training started from
    (path / "config.yaml").write_text(cfg.dump())
    yield path
    actions.forget()


@pytest.fixture(scope="module")
def published(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "shared"
    assert publish_model.main([str(run), "--output", str(path)]) == 0
    return path


@pytest.fixture
def folder(published, tmp_path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "shared"))


def original(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model_final.pth")["model"]


def assert_is(model: torch.nn.Module, run: Path) -> None:
    state, expected = model.state_dict(), original(run)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], x) for name, x in expected.items())


def test_the_folder_is_the_model_of_the_run(run, folder, monkeypatch):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert_is(model_zoo.get(str(folder), trained=True, device="cpu"), run)
    assert model_zoo.get_checkpoint_url(str(folder)) == str(folder / "model.safetensors")
    # All keys of the run but those of its machine.
    ours, theirs = load_config(folder), load_config(run / "config.yaml")
    assert ours.MODEL.WEIGHTS == str(folder / "model.safetensors")
    for cfg in (ours, theirs):
        cfg.MODEL.WEIGHTS = cfg.OUTPUT_DIR = cfg.MODEL.DEVICE = ""
        cfg.DATALOADER.NUM_WORKERS = 0
    assert json.dumps(ours) == json.dumps(theirs)  # in which lists and tuples are equal
    assert "private" not in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("weights", ["", "model.safetensors"])
def test_model_weights_takes_the_folder_and_the_file(run, folder, weights):
    options = ["MODEL.WEIGHTS", str(folder / weights), "MODEL.DEVICE", "cpu"]
    cfg = load_config(run / "config.yaml", options)
    label_map = str(folder / "label_map.pbtxt")
    predictor = ClipPredictor(cfg, label_map=label_map)
    assert (predictor.class_ids, predictor.class_names) == ([1, 4, 7], ["sit", "run", "sing"])
    cfg.MODEL.WEIGHTS = str(run / "model_final.pth")
    assert_same = ClipPredictor(cfg).model.state_dict()
    assert all(torch.equal(assert_same[n], x) for n, x in predictor.model.state_dict().items())
    extractor = FeatureExtractor(load_config(run / "config.yaml", options), ["slow_res5"])
    assert_is(extractor.model, run)


def test_from_http(run, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(addresses, "_FETCHED", {})
    with serve(folder.parent) as (address, _):
        for name in (f"{address}/shared", f"{address}/shared/config.yaml"):
            cfg = load_config(name, ["MODEL.DEVICE", "cpu"])
            assert cfg.MODEL.WEIGHTS == f"{address}/shared/model.safetensors"
            assert_is(model_zoo.get(name, trained=True, device="cpu"), run)


@pytest.fixture
def hub(folder, monkeypatch) -> list[tuple]:
    """Replacement of huggingface_hub whose repositories are the folder; its calls."""
    calls: list[tuple] = []

    def hf_hub_download(repo_id: str, filename: str, revision: str | None = None) -> str:
        calls.append((repo_id, filename, revision))
        return str(folder / filename)

    class HfApi:
        def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
            calls.append(("create", repo_id, private, exist_ok))

        def upload_folder(self, repo_id: str, folder_path: str) -> None:
            calls.append(("upload", repo_id, folder_path))

    module = types.ModuleType("huggingface_hub")
    vars(module).update(hf_hub_download=hf_hub_download, HfApi=HfApi)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setattr(addresses, "_FETCHED", {})
    return calls


def test_from_hugging_face(run, folder, hub):
    assert_is(model_zoo.get("hf://org/name", trained=True, device="cpu"), run)
    assert set(hub) == {("org/name", f, None) for f in ("config.yaml", "model.safetensors")}
    hub.clear()
    options = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "hf://org/name@v1"]
    model = build_model(cfg := load_config("hf://org/name/config.yaml", options))
    AVSFCheckpointer(model, required="model").load(cfg.MODEL.WEIGHTS)
    assert_is(model, run)
    assert ("org/name", "model.safetensors", "v1") in hub
    with PathManager.open("hf://org/name/README.md") as file:
        assert file.read() == (folder / "README.md").read_text()


def test_without_the_package_and_wrong_addresses(run, monkeypatch, hub):
    with pytest.raises(CheckpointError, match="write hf://org/name or hf://org/name/file"):
        AVSFCheckpointer(torch.nn.Module()).load("hf://org")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match="pip install huggingface_hub"):
        AVSFCheckpointer(torch.nn.Module()).load("hf://org/name")
    with pytest.raises(ModelZooError, match=r"hf://org/name/config\.yaml: cannot be read .*pip"):
        model_zoo.get_config("hf://org/name")


@pytest.mark.skipif(
    not os.environ.get("AVSF_HF_REPOSITORY"),
    reason="needs a network and a published repository: AVSF_HF_REPOSITORY=org/name",
)
def test_a_repository_on_hugging_face():
    model_zoo.get(f"hf://{os.environ['AVSF_HF_REPOSITORY']}", trained=True, device="cpu")


def test_the_card_has_the_measured_figures_and_the_hashes(run, folder):
    card = (folder / "README.md").read_text()
    results = json.loads((run / "inference" / "ava_results.json").read_text())
    assert f"| frame-mAP at IoU 0.5 (default protocol) | {results['mAP']:.4f}" in card
    for name, ap in results["per_class_by_name"].items():
        assert f"| AP of {name} " in card and f"{ap:.4f}" in card
    for name in FILES[1:]:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert f"| `{name}`" in card and digest in card
    assert "Initial weights: `kinetics.pyth`." in card
    assert "out.mp4 \\\n    --label-map FOLDER/label_map.pbtxt\n" in card
    assert torch.__version__ in card and card.startswith("---\nlibrary_name: avsf_det\n")
    # A description of generated data says so.
    assert "generated" not in card


def test_figures_of_clips_and_of_pretraining(tmp_path):
    weights = tmp_path / "w.pth"
    weights.touch()
    line = {"iteration": 9, "sync/all_easy": 87.5, "total_loss": 1.0}
    (tmp_path / "metrics.json").write_text(json.dumps(line) + "\n")
    (figures,) = read_figures(tmp_path, weights)
    assert (figures.source, figures.metrics) == ("metrics.json", {"sync/all_easy": 87.5})

    scores = np.eye(6, dtype=np.float32)[[0, 1, 1, 3]]
    labels = np.array([0, 1, 2, -1])  # the last clip has none
    classes = [f"class {i}" for i in range(6)]
    (tmp_path / "inference").mkdir()
    write_scores(
        ClipScores("x", list("abcd"), {"verb": scores}, {"verb": labels}, {"verb": classes}),
        str(tmp_path / "inference" / "scores.npz"),
    )
    (figures,) = read_figures(tmp_path, weights)
    assert figures.source == "inference/scores.npz"
    assert figures.metrics["verb top1, percent of 3 clips"] == pytest.approx(200 / 3)

    cfg = model_zoo.get_config("mini/avsf_kinetics_mini.yaml")
    card = format_card("a", cfg, [figures], {}, initial_weights="", has_label_map=False)
    assert "66.6667" in card and "Mini datasets are generated" in card
    assert "Initial weights: random." in card and "--label-map" not in card
    assert "extract_features.py --config-file FOLDER" in card


def error_of(capsys, *arguments: object) -> str:
    capsys.readouterr()
    assert publish_model.main([*map(str, arguments)]) == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    return line


def test_a_card_with_empty_fields_or_other_files_is_not_uploaded(folder, hub, capsys):
    upload = ("--output", folder, "--upload", "org/name")
    assert re.search(r"README.md:4: fill in 'license: FILL IN'", error_of(capsys, *upload))
    card = folder / "README.md"
    card.write_text(card.read_text().replace("FILL IN", "CC0-1.0"))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights + b" ")
    assert "model.safetensors: is not the file" in error_of(capsys, *upload)
    assert hub == []
    (folder / "model.safetensors").write_bytes(weights)
    assert publish_model.main([*map(str, upload)]) == 0
    assert "to hf://org/name" in capsys.readouterr().out
    assert hub == [("create", "org/name", True, True), ("upload", "org/name", str(folder))]


def test_nothing_is_written_over_and_old_results_are_refused(run, folder, tmp_path, capsys):
    assert "is there already" in error_of(capsys, run, "--output", folder)
    assert "no config.yaml; give the OUTPUT_DIR" in error_of(capsys, tmp_path, "--output", "x")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    os.utime(copy / "inference" / "ava_results.json", (0, 0))
    message = error_of(capsys, copy, "--output", tmp_path / "new")
    assert "ava_results.json is older than" in message and "--eval-only" in message
    (copy / "model_final.pth").unlink()
    assert "no checkpoint; name one with --weights" in error_of(capsys, copy, "--output", "x")
    assert not (tmp_path / "new").exists() and not Path("x").exists()
    with pytest.raises(SystemExit):
        publish_model.main(["--output", "x"])


def test_safetensors_are_read_back(tmp_path):
    write_safetensors(tmp_path / "w", TENSORS)
    found = safe_load(str(tmp_path / "w"))
    assert found.keys() == TENSORS.keys()
    for name, x in TENSORS.items():
        assert found[name].dtype == x.dtype and torch.equal(found[name], x), name


def test_safetensors_are_those_of_the_package(tmp_path):
    package = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    write_safetensors(tmp_path / "ours", TENSORS)
    package.save_file(TENSORS, tmp_path / "theirs", metadata={"a": "b"})
    theirs, ours = package.load_file(tmp_path / "ours"), safe_load(str(tmp_path / "theirs"))
    for name, x in TENSORS.items():
        assert torch.equal(theirs[name], x) and torch.equal(ours[name], x), name


@pytest.mark.parametrize("seed", range(40))
def test_damaged_safetensors_are_refused_or_read_in_bounds(seed, tmp_path):
    path = tmp_path / "w"
    write_safetensors(path, {"a.weight": torch.ones(4, 5), "b": torch.zeros(3)})
    data = bytearray(path.read_bytes())
    generator = torch.Generator().manual_seed(seed)
    end = int.from_bytes(data[:8], "little") + 8
    if seed % 2:
        del data[int(torch.randint(len(data), (1,), generator=generator)) :]
    else:
        place, value = (int(torch.randint(n, (1,), generator=generator)) for n in (end, 256))
        data[place] = value
    path.write_bytes(data)
    try:
        found = safe_load(str(path))
    except CheckpointError:
        return
    assert not seed % 2 and sum(x.nbytes for x in found.values()) <= len(data)


def test_safetensors_with_gaps_wrong_sizes_or_types_are_refused(tmp_path):
    path = tmp_path / "w"
    for change in (
        {"dtype": "F31"},
        {"shape": [5]},
        {"shape": [-2, -2]},
        {"data_offsets": [4, 20]},
        {"data_offsets": [0, 12]},
        {"shape": [1 << 40], "data_offsets": [0, 4 << 40]},
    ):
        entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | change
        header = json.dumps({"a": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
        with pytest.raises(CheckpointError, match="neither a complete file"):
            safe_load(str(path))
