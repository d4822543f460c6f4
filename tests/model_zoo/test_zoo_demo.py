"""demo.py with a zoo config: weights put into iopath's cache by hand, and none without network."""

import json
import os
import pickle
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from detectron2.modeling import build_model
from detectron2.utils.file_io import PathManager
from iopath.common import download

from ava_tools import demo
from avsf_det.data.datasets.builtin_meta import AVA_LABEL_MAP
from avsf_det.engine import predictor
from avsf_det.engine.defaults import load_config
from avsf_det.structures import addresses

from ..media import write_video
from .test_public_weights import file_of
from .test_pytorchvideo import randomise

NAME = "zoo/AVA/slowfast_r101_8x8_k600.yaml"
URL = "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/ava/SLOWFAST_32x2_R101_50_50.pkl"
# A width of 8, for speed.
OPTIONS = ["MODEL.SLOWFAST.WIDTH", "8", "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu"]
PERSON = np.array([[0.25, 0.25, 0.75, 0.75, 0.9]], np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Empty folder with a video and an empty cache, without AVA's files and without network."""
    cache = tempfile.TemporaryDirectory(prefix="c")  # short: a message has 300 characters
    monkeypatch.setenv("FVCORE_CACHE", cache.name)
    (tmp_path / "cache").symlink_to(cache.name)
    # What this process has downloaded, in our list and in iopath's.
    monkeypatch.setattr(addresses, "_FETCHED", {})
    monkeypatch.setattr(PathManager._path_handlers["https://"], "cache_map", {})

    def refuse(*args, **kwargs):
        raise URLError("no network here")

    for module in (urllib.request, download.request):
        monkeypatch.setattr(module, "urlopen", refuse)
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "my.mp4", num_frames=24, fps=12, size=(64, 96))
    yield tmp_path
    cache.cleanup()


def run(*options: str) -> int:
    files = ["--config-file", NAME, "--input", "my.mp4", "--output", "out.mp4", "--json"]
    return demo.main([*files, *OPTIONS, *options])


def put_weights(folder: Path) -> None:
    """Write a file of PySlowFast's names and a narrow model's shapes to its place in the cache."""
    cfg = load_config(NAME, OPTIONS)
    model = build_model(cfg)
    randomise(model)
    place = folder / "cache" / URL.partition("dl.fbaipublicfiles.com/")[2]
    place.parent.mkdir(parents=True, exist_ok=True)
    blobs = {name: x.numpy() for name, x in file_of(cfg, model, "caffe2").items()}
    place.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))


def test_weights_in_the_cache_and_avas_action_names(folder, monkeypatch):
    put_weights(folder)
    monkeypatch.setattr(predictor, "PersonDetector", lambda cfg: lambda frames: [PERSON])
    assert run() == 0
    assert (folder / "out.mp4").stat().st_size > 0
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line["second"] for line in lines] == [0, 1]
    for line in lines:
        (person,) = line["persons"]
        assert list(person["actions"]) == list(AVA_LABEL_MAP.values())
        assert len(set(person["actions"].values())) == 80
    assert not (folder / "datasets").exists()


def errors_of(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]


def test_without_network_each_error_is_a_line_with_url_and_place(folder, capsys):
    assert run() == 1
    cache = os.environ["FVCORE_CACHE"]
    place = f"{cache}/pyslowfast/model_zoo/ava/SLOWFAST_32x2_R101_50_50.pkl"
    (line,) = errors_of(capsys)
    assert line.startswith(f"error: {URL}: cannot be downloaded (URLError: ")
    assert line.endswith(f"). Put a copy to {place}")

    # Then the person detector of Detectron2's zoo.
    put_weights(folder)
    assert run() == 1
    zoo = "detectron2/COCO-Detection/faster_rcnn_R_50_FPN_3x/137849458/model_final_280758.pkl"
    (line,) = errors_of(capsys)
    assert line.startswith(f"error: https://dl.fbaipublicfiles.com/{zoo}: cannot be downloaded (")
    assert line.endswith(f"Put a copy to {cache}/{zoo}")
    assert not (folder / "out.mp4").exists()


def test_the_paths_of_a_long_message_are_whole():
    name = "pyslowfast/model_zoo/multigrid/model_zoo/Charades/SLOWFAST_16x8_R50.pkl"
    url = f"https://dl.fbaipublicfiles.com/pyslowfast/{name}"
    message = str(addresses.DownloadError(url, "URLError: " + "long reason " * 30))
    assert message.startswith(f"{url}: cannot be downloaded (URLError: long")
    assert message.endswith(f"/pyslowfast/{name}") and len(message) <= 300
