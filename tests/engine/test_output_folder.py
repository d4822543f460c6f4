"""Runs do not overwrite the results of others."""

import pytest
from detectron2.config import get_cfg

from avsf_det.engine.output_folder import (
    check_output_folder,
    check_resumed_batch,
    evaluation_folder,
    remove_checkpoints,
    trained_folder,
)
from avsf_det.structures import ConfigError


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    return cfg


@pytest.mark.parametrize("name", ["model_final.pth", "model_0000019.pth", "last_checkpoint"])
def test_a_training_into_the_folder_of_a_model_is_refused(tmp_path, name):
    check_output_folder(str(tmp_path / "none"))
    (tmp_path / "log.txt").touch()
    check_output_folder(str(tmp_path))
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"holds a trained model. Give --resume .*--overwrite"):
        check_output_folder(str(tmp_path))
    remove_checkpoints(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]


def test_a_recipe_scaled_to_other_processes_is_not_resumed(cfg, tmp_path):
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 8
    (tmp_path / "config.yaml").write_text(cfg.dump())
    cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH = 4, cfg.SOLVER.IMS_PER_BATCH // 2
    check_resumed_batch(cfg)  # there is no checkpoint
    (tmp_path / "model_0000019.pth").touch()
    with pytest.raises(ConfigError, match=r"IMS_PER_BATCH 16, .* with 8. .*WORLD_SIZE 0"):
        check_resumed_batch(cfg)
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0  # the batch is somebody's decision
    check_resumed_batch(cfg)


def test_an_evaluation_uses_a_folder_without_a_model_as_it_is(cfg):
    assert evaluation_folder(cfg, ["TEST.AUDIO_MODE", "mute"]) == cfg.OUTPUT_DIR
    assert trained_folder(cfg.OUTPUT_DIR) == cfg.OUTPUT_DIR


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", "eval"),
        ("MODEL.WEIGHTS a/model_final.pth OUTPUT_DIR a", "eval"),
        ("MODEL.WEIGHTS a/model_0000019.pth", "eval_model_0000019"),
        ("TEST.AUDIO_MODE=mute", "eval_AUDIO_MODE_mute"),
        (
            "MODEL.LOAD_PROPOSALS True DATASETS.PROPOSAL_FILES_TEST ('a/boxes.v2.csv',)",
            "eval_LOAD_PROPOSALS_True_PROPOSAL_FILES_TEST_boxes.v2",
        ),
        ("INPUT.AUDIO.OFFSET_SEC 0.0005", "eval_OFFSET_SEC_0.0005"),
    ],
)
def test_an_evaluation_of_a_trained_folder_gets_one_of_its_own(cfg, tmp_path, options, name):
    (tmp_path / "model_final.pth").touch()
    folder = evaluation_folder(cfg, options.split())
    assert folder == str(tmp_path / name)
    assert trained_folder(folder) == str(tmp_path)  # where --resume looks for the checkpoint


def test_long_options_that_differ_at_their_end_get_two_folders(cfg, tmp_path):
    (tmp_path / "model_final.pth").touch()
    names = {evaluation_folder(cfg, ["DATASETS.TEST", f"('{'x' * 200}{i}',)"]) for i in range(2)}
    assert len(names) == 2 and all(len(name) < len(str(tmp_path)) + 100 for name in names)
