from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg

from ava_tools.benchmark import main
from ava_tools.benchmarks import cuda, model, model_variants
from ava_tools.benchmarks.model_variants import (
    MATRIX,
    PEER,
    SMALL_MATRIX,
    Bench,
    _matmul_rate,
    matmul_rates,
)
from avsf_det import add_avsf_config
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

pytestmark = pytest.mark.usefixtures("few_blocks")
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """Number formats, which the tools choose by measured speed, are the same on all machines."""
    rates = {torch.float32: 1e9}
    monkeypatch.setattr(model_variants, "matmul_rates", lambda device: rates)
    return rates


@pytest.mark.parametrize(("half_rate", "is_measured"), [(0.002, False), (0.5, True), (2.0, True)])
def test_bfloat16_is_measured_where_it_is_not_emulated(monkeypatch, half_rate, is_measured):
    def rate(dtype, size, device):
        sizes.append((dtype, size))
        return 1.0 if dtype == torch.float32 else half_rate

    sizes = []
    monkeypatch.setattr(model_variants, "_matmul_rate", rate)
    found = matmul_rates.__wrapped__(torch.device("cpu"))
    dtypes = [torch.float32, torch.bfloat16]
    expected = dtypes[: 1 + is_measured]
    assert list(found) == expected
    assert sizes == [(x, SMALL_MATRIX) for x in dtypes] + [(x, MATRIX) for x in expected]


def test_rate_of_matrix_products():
    assert _matmul_rate(torch.float32, 64, torch.device("cpu")) > 0


def read_config(name: str):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(str(CONFIGS / name))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.mark.parametrize("name", ["avsf_mini", "slowfast_kinetics_mini"])
def test_tables(capsys, name):
    config = str(CONFIGS / f"mini/{name}.yaml")
    assert (
        main(["model", "--config-file", config, "--crop", "32", "--clips", "2", "--repeats", "1"])
        == 0
    )
    report = capsys.readouterr().out
    inference, training = report.split("Inference")[1].split("Training step")
    for row in ("| float32 ", "| float32, folded ", "| float32, channels last, folded "):
        assert row in inference
    assert "| float32, channels last " in training
    assert PEER not in inference  # it has no such model


@pytest.mark.usefixtures("few_blocks")
def test_table_of_layers(capsys):
    config = str(CONFIGS / "mini/slowfast_kinetics_mini.yaml")
    options = ("--crop", "32", "--repeats", "1", "--layers")
    assert main(["model", "--config-file", config, *options]) == 0
    tables = capsys.readouterr().out.split(", ms\n")[1:]
    for table in tables:
        lines = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
        header, _, *rows = ([cell.strip() for cell in line] for line in lines)
        assert len(rows) > 10
        assert all(float(row[header.index(row[-1])]) > 0 for row in rows)
    assert len(tables) in (2, 4)  # with bfloat16, where the CPU has instructions for it


def test_growth_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "GROWTH", {"frames": (8, 16), "boxes": (1, 2)})
    config, plot = str(CONFIGS / "mini/avsf_mini.yaml"), tmp_path / "growth.svg"
    main(["model", "--config-file", config, "--crop", "32", "--repeats", "1", "--plot", str(plot)])
    assert plot.read_text().startswith("<?xml")


def test_the_peer_is_the_same_network(monkeypatch):
    pytest.importorskip("pytorchvideo", reason="needs pip install -e '.[benchmark]'")
    monkeypatch.setitem(BLOCKS_PER_STAGE, 50, (3, 4, 6, 3))  # all of them
    cfg = read_config("Kinetics/slowfast_r50_4x16.yaml")
    cfg.INPUT.CLIP.NUM_FRAMES = 8
    bench = Bench(cfg, crop=32, clips=1, boxes=0)
    peer = bench.peer()
    ours, theirs = (sum(p.numel() for p in m.parameters()) for m in (bench.build(), peer))
    assert ours == theirs
    assert bench.peer_inference(peer).call().shape == (1, 400)


def test_every_variant_has_the_same_weights():
    bench = Bench(read_config("mini/avsf_mini.yaml"), crop=32, clips=1, boxes=2)
    plain, folded = bench.inference(fold=False), bench.inference()
    assert torch.allclose(plain.output(), folded.output(), atol=1e-5)
    assert len(plain.output()) == 2


def test_table_of_a_gpu_on_a_cpu(tmp_path, capsys, rates):
    rates[torch.bfloat16] = 2e9
    table = tmp_path / "table.md"
    sizes = ("--crop", "32", "--clips", "1", "--repeats", "1", "--output", str(table))
    sizes += ("--seconds", "100000")
    assert main(["cuda", "--configs", "mini/avsf_mini.yaml", *sizes]) == 0
    text = table.read_text()
    assert text in capsys.readouterr().out
    rows = [line.split("|") for line in text.splitlines() if "mini/avsf_mini" in line]
    names = [row[2].strip() for row in rows]
    assert names[:2] == ["bfloat16", "bfloat16, channels last"]
    assert {"float32", "float32, channels last"} <= set(names)
    assert all(float(row[3]) > 0 and float(row[6]) > 0 for row in rows)


def test_rows_of_a_table_outlive_an_interruption(tmp_path, monkeypatch):
    rows = iter([["1"] * 7, ["2"] * 7])
    monkeypatch.setattr(cuda, "measure_row", lambda *args: next(rows))  # the third raises
    table = tmp_path / "table.md"
    options = ("--crop", "32", "--clips", "1", "--output", str(table))
    with pytest.raises(StopIteration):
        main(["cuda", "--configs", "mini/avsf_mini.yaml", "mini/slowfast_mini.yaml", *options])
    assert [line.split("|")[3].strip() for line in table.read_text().splitlines()[-2:]] == [
        "1",
        "2",
    ]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])  # the latter of cuDNN
def test_the_largest_batch_is_the_last_that_fits(monkeypatch, error):
    class SmallBench(Bench):
        def __init__(self):
            self.clips = 1

        def resize(self, clips):
            self.clips = clips

        def training(self, options=()):
            return model_variants.Variant(torch.float32, self.step)

        def step(self):
            if self.clips > 32:
                raise error("too little memory")

    monkeypatch.setattr(cuda, "free_memory", lambda: None)
    bench = SmallBench()
    assert cuda.find_largest_batch(bench, ()) == 32
    assert bench.clips == 1


def test_float16_trains_with_scaled_losses():
    bench = Bench(read_config("mini/slowfast_kinetics_mini.yaml"), crop=32, clips=1, boxes=0)
    bench.resize(2)
    step = bench.training(("MODEL.AUTOCAST_DTYPE", "float16"))
    step.call()
    assert step.dtype == torch.float16 and bench.batch["frames"].shape[0] == 2
