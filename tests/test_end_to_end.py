"""train_net.py as a user runs it: generated videos, a tiny model, one AP; stop and resume."""

import json
from pathlib import Path

import pytest
import torch

from ava_tools.mini.annotations import plan_ava
from avsf_det.data import VideoReader

from .commands import ROOT, Done, run_script
from .mini import write_mini

pytestmark = pytest.mark.xdist_group("commands")

OPTIONS = [
    *("MODEL.SLOWFAST.WIDTH", "8", "MODEL.AUDIO.FUSION_WIDTH", "4", "INPUT.MIN_SIZE_TEST", "64"),
    *("INPUT.MIN_SIZE_TRAIN", "(64, 64)", "INPUT.CROP.SIZE", "[64, 64]"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "0"),
    *("DATALOADER.NUM_WORKERS", "0", "DATASETS.PROPOSAL_MIN_SCORE_TEST", "0.5"),
]


def run(script: str, *arguments: str, datasets: Path, check: bool = True) -> Done:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(datasets),
        "OMP_NUM_THREADS": "1",
        "DETECTRON2_DATASETS": str(datasets),
    }
    done = run_script(script, *arguments, environment=environment, few_blocks=True)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    """A folder with a Mini-AVA of two training videos and two validation videos."""
    root = tmp_path_factory.mktemp("datasets")
    write_mini(root / "ava_mini", plan_ava(2, 2, num_shots=1))
    return root


@pytest.fixture(scope="module")
def trained(datasets) -> Path:
    """The output of two iterations of training, stopped and resumed after the first."""
    output = datasets / "run"
    train = ["--config-file", "configs/mini/avsf_mini.yaml", *OPTIONS, "OUTPUT_DIR", str(output)]
    first = ["SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]
    run("train_net.py", *train, *first, datasets=datasets)
    done = run("train_net.py", "--resume", *train, "SOLVER.MAX_ITER", "2", datasets=datasets)
    (output / "screen.txt").write_text(done.stdout)
    return output


def metrics(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]


def test_training_resumes_where_it_stopped_and_is_evaluated(trained):
    checkpoint = torch.load(trained / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == 1
    assert checkpoint["trainer"]["_trainer"]["optimizer"]["state"]  # momentum is resumed too
    assert {row["iteration"] for row in metrics(trained) if "total_loss" in row} == {0, 1}
    results = json.loads((trained / "inference" / "ava_results.json").read_text())
    assert 0 <= results["mAP"] <= 1
    assert len(results["per_class_by_name"]) == 9


def test_the_screen_is_short_and_the_file_has_everything(trained):
    screen = (trained / "screen.txt").read_text()
    assert len(screen.splitlines()) <= 40
    for part in ("ava_mini_train: ", "Starting training", "mAP@0.5 of"):
        assert part in screen
    assert len((trained / "log.txt").read_text().splitlines()) > 800


def test_nothing_overwrites_a_trained_model(trained, datasets):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    config = ["--config-file", "configs/mini/avsf_mini.yaml", *OPTIONS, "OUTPUT_DIR", str(trained)]
    again = ["SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()"]
    done = run("train_net.py", *config, *again, datasets=datasets, check=False)
    assert done.returncode == 1 and "Give --resume" in done.stderr
    weights = ["MODEL.WEIGHTS", str(trained / "model_final.pth"), "TEST.AUDIO_MODE", "mute"]
    run("train_net.py", "--eval-only", *config, *weights, datasets=datasets)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len([*trained.glob("eval_*/inference/ava_results.json")]) == 1


def test_eval_only_gives_the_figures_of_training_and_the_tool_the_same(trained, datasets):
    output = datasets / "again"
    run(
        "train_net.py",
        *("--config-file", "configs/mini/avsf_mini.yaml", "--eval-only", *OPTIONS),
        *("MODEL.WEIGHTS", str(trained / "model_final.pth"), "OUTPUT_DIR", str(output)),
        datasets=datasets,
    )
    first, second = (
        json.loads((folder / "inference" / "ava_results.json").read_text())
        for folder in (trained, output)
    )
    assert first == second
    annotations = datasets / "ava_mini" / "annotations"
    scored = run(
        "ava_tools/get_ava_performance.py",
        *("-l", str(annotations / "ava_mini_action_list.pbtxt"), "--json"),
        *("-g", str(annotations / "ava_mini_val.csv")),
        *("-x", str(annotations / "ava_mini_val_excluded_timestamps.csv")),
        *("-d", str(output / "inference" / "ava_predictions.csv")),
        datasets=datasets,
    )
    assert abs(json.loads(scored.stdout)["mAP"] - first["mAP"]) < 1e-9


def test_the_demo_draws_a_comparison_in_a_process_that_has_read_no_dataset(trained, datasets):
    video, script = datasets / "actions.mp4", datasets / "draw.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from ava_tools.experiments.mini_demo_video import draw_video\n"
        "draw_video(Path(sys.argv[1]), Path(sys.argv[2]), num_videos=1, num_shots=1)"
    )
    run(str(script), str(trained), str(video), datasets=datasets)
    with VideoReader(str(video)) as drawn:
        assert drawn.has_audio
        source = min((datasets / "ava_mini" / "videos" / "val").glob("*.mp4"))
        with VideoReader(str(source)) as reader:
            assert drawn.duration == pytest.approx(reader.duration, abs=0.1)


def test_missing_data_set_says_what_is_expected_where(tmp_path):
    done = run(
        "train_net.py",
        *("--config-file", "configs/AVA/avsf_r50_4x16.yaml", "SOLVER.IMS_PER_BATCH", "1"),
        *("MODEL.SLOWFAST.WIDTH", "8", "OUTPUT_DIR", str(tmp_path / "out")),
        datasets=tmp_path,
        check=False,
    )
    assert done.returncode != 0
    assert "ava_train_v2.2.csv" in done.stderr
    assert f"MISSING in {tmp_path / 'ava'}: annotations" in done.stderr
