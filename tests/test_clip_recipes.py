"""Classification from the command line: each generated dataset by its own recipe at tiny size, and
the chain of pretraining on Mini-Kinetics and fine-tuning on Mini-AVA."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ava_tools.make_mini_dataset import PLANS
from ava_tools.mini.annotations import plan_ava
from avsf_det.evaluation import read_scores, score_clips

from .mini import write_mini
from .test_end_to_end import run

pytestmark = [
    pytest.mark.xdist_group("commands"),
    pytest.mark.usefixtures("few_blocks"),
]

TINY = [
    *("MODEL.SLOWFAST.WIDTH", "8", "MODEL.AUDIO.FUSION_WIDTH", "4", "INPUT.MIN_SIZE_TEST", "64"),
    *("INPUT.MIN_SIZE_TRAIN", "(64, 64)", "INPUT.CROP.SIZE", "[64, 64]"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.STEPS", "()", "SOLVER.WARMUP_ITERS", "0"),
    *("SOLVER.MAX_ITER", "1", "DATALOADER.NUM_WORKERS", "0", "TEST.PRECISE_BN.NUM_ITER", "1"),
]
# Videos to train on and to evaluate on: at least one of each class.
SIZES = {"ava": (2, 1), "kinetics": (9, 9), "epic": (1, 1), "charades": (8, 8), "ucf": (16, 8)}
SIZES |= {"hmdb": (14, 7), "jhmdb": (7, 7)}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    for name, (num_train, num_val) in SIZES.items():
        plan = partial(plan_ava, num_shots=1) if name == "ava" else PLANS[name]
        write_mini(root / f"{name}_mini", plan(num_train, num_val, seed=0), num_rendered=2)
    return root


def train(datasets: Path, config: str, *options: str) -> Path:
    """Returns: the output folder, whose name is the config's."""
    output = datasets / "runs" / config
    arguments = ["--config-file", f"configs/mini/{config}.yaml", *TINY]
    run("train_net.py", *arguments, *options, "OUTPUT_DIR", str(output), datasets=datasets)
    return output


@pytest.fixture(scope="module")
def pretrained(datasets) -> Path:
    return train(datasets, "avsf_kinetics_mini")


@pytest.mark.parametrize(
    "name, tasks, metric",
    [
        ("epic", {"verb", "noun"}, "top1"),
        ("charades", {"action"}, "mAP"),
        ("ucf", {"action"}, "top1"),
        ("hmdb", {"action"}, "top1"),
    ],
)
def test_each_data_set_trains_and_is_evaluated(datasets, name, tasks, metric):
    output = train(datasets, f"avsf_{name}_mini")
    scores = read_scores(str(output / "inference" / "scores.npz"))
    assert set(scores.scores) == tasks
    for task in tasks:
        assert np.isfinite(scores.scores[task]).all()
        assert metric in score_clips(scores)[task].metrics
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    assert f"{min(tasks)}/{metric}" in last


def test_tubes_train_and_are_evaluated(datasets):
    """Mini-JHMDB: 75 frames a video, of which 3 are scored."""
    output = train(datasets, "avsf_jhmdb_mini", "DATASETS.KEYFRAME_STRIDE_TEST", "25")
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    assert 0 <= last["ava/mAP"] <= 1
    assert 0 <= last["video/mAP@0.5:0.95"] <= last["video/mAP@0.5"] <= last["video/mAP@0.2"] <= 1
    predictions = (output / "inference" / "ava_predictions.csv").read_text().splitlines()
    assert {line.split(",")[1] for line in predictions} == {"0001", "0026", "0051"}
    assert len(predictions) == 7 * 3 * 7  # videos, frames, actions of the one box


def test_kinetics_pretraining_then_ava_fine_tuning_by_weights_alone(datasets, pretrained):
    """The trunk is taken over whole, the classifier of clips left out, and it is said."""
    weights = pretrained / "model_final.pth"
    output = train(
        datasets,
        "avsf_mini",
        *("MODEL.WEIGHTS", str(weights), "SOLVER.BASE_LR", "1e-50", "SOLVER.WEIGHT_DECAY", "0.0"),
        *("DATASETS.PROPOSAL_MIN_SCORE_TEST", "0.5"),
    )
    before, after = (
        torch.load(path, weights_only=True)["model"]
        for path in (weights, output / "model_final.pth")
    )
    backbone = [name for name in after if name.startswith("backbone.")]
    assert backbone == [name for name in before if name.startswith("backbone.")]
    for name in backbone:  # 1e-50 is 0 in float32: only the statistics of batch norms move
        if not name.rpartition(".")[2].startswith(("running_", "num_batches")):
            assert torch.equal(before[name], after[name]), name
    log = (output / "log.txt").read_text()
    assert "roi_heads.predictor" in log and "left out" in log


def test_views_give_the_same_scores_in_whatever_batches_and_processes(datasets, pretrained):
    """3 x 2 views by the command, 4 times a batch; by hand in batches of 4, in another order."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.modeling import build_model

    from avsf_det import add_avsf_config
    from avsf_det.checkpoint import AVSFCheckpointer
    from avsf_det.data import SegmentMapper, register_kinetics

    output = datasets / "views"
    options = ["MODEL.WEIGHTS", str(pretrained / "model_final.pth"), "OUTPUT_DIR", str(output)]
    views = ["TEST.VIEWS.TEMPORAL", "3", "TEST.VIEWS.SPATIAL", "2"]
    config = "configs/mini/avsf_kinetics_mini.yaml"
    workers = ["DATALOADER.NUM_WORKERS", "2", "TEST.BATCH_SIZE", "4"]
    arguments = ["--config-file", config, "--eval-only", *TINY, *options, *views, *workers]
    run("train_net.py", *arguments, datasets=datasets)
    scores = read_scores(str(output / "inference" / "scores.npz"))

    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_file(config)
    cfg.merge_from_list([*TINY, *options, *views])
    model = build_model(cfg).eval()
    AVSFCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    root = datasets / "kinetics_mini"
    name = "recipes_kinetics_val"
    register_kinetics(
        name,
        str(root / "annotations" / "val.csv"),
        str(root / "videos" / "val"),
        class_files=(str(root / "annotations" / "train.csv"),),
    )
    try:
        clips = DatasetCatalog.get(name)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    mapper = SegmentMapper(cfg, is_train=False)
    items = [{**clip, "view": view} for view in range(6) for clip in reversed(clips)]
    sums = dict.fromkeys(scores.clip_ids, 0.0)
    for i in range(0, len(items), 4):
        batch = [mapper(item) for item in items[i : i + 4]]
        with torch.no_grad():
            for item, result in zip(batch, model(batch), strict=True):
                sums[item["clip_id"]] += result["scores"]["action"].double().numpy()
    ours = np.stack([sums[clip_id] for clip_id in scores.clip_ids]) / 6
    np.testing.assert_allclose(scores.scores["action"], ours, atol=1e-5)
