"""Numbers of a recipe are scaled to the processes; numbers that somebody wrote are used."""

from pathlib import Path

import pytest

from avsf_det.engine.defaults import load_config
from avsf_det.structures import ConfigError

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs" / "AVA" / "avsf_r50_4x16.yaml"
NOUN = ROOT / "configs" / "EPIC" / "avsf_r101_8x8_noun_epic100.yaml"


def numbers(cfg):
    solver = cfg.SOLVER
    return solver.IMS_PER_BATCH, solver.BASE_LR, solver.MAX_ITER, solver.REFERENCE_WORLD_SIZE


def test_a_recipe_is_scaled_and_says_before_and_after():
    notes = []
    cfg = load_config(RECIPE, num_processes=1, notes=notes)
    assert numbers(cfg) == (2, 0.003125, 6_656_000, 1)
    assert "IMS_PER_BATCH 256" in notes[-1] and "IMS_PER_BATCH 2," in notes[-1]
    assert cfg.SOLVER.CHECKPOINT_PERIOD == 2000  # not 128 times as many
    assert numbers(load_config(RECIPE, num_processes=128)) == (256, 0.4, 52_000, 128)
    # Numbers in three files of ours.
    assert numbers(load_config(NOUN, num_processes=4)) == (16, 0.0003, 174_000, 4)


@pytest.mark.parametrize("processes", [1, 2, 3, 16])
@pytest.mark.parametrize("where", ["file", "base", "options"])
def test_numbers_that_a_user_wrote_are_used(tmp_path, where, processes):
    own = "SOLVER: {IMS_PER_BATCH: 16, BASE_LR: 0.0125, MAX_ITER: 100}\n"
    options = []
    text = f"_BASE_: {RECIPE}\n" + own * (where != "options")
    if where == "base":  # a recipe of the user's own in two files
        (tmp_path / "base.yaml").write_text(text)
        text = "_BASE_: base.yaml\nOUTPUT_DIR: out\n"
    if where == "options":
        options = ["SOLVER.IMS_PER_BATCH=16", "SOLVER.BASE_LR", "0.0125", "SOLVER.MAX_ITER", "100"]
    (tmp_path / "own.yaml").write_text(text)
    notes = []
    cfg = load_config(tmp_path / "own.yaml", options, num_processes=processes, notes=notes)
    assert numbers(cfg) == (16, 0.0125, 100, 0)
    assert any("used as they are" in note for note in notes)


@pytest.mark.parametrize(
    ("key", "value"), [("BASE_LR", 0.1), ("MAX_ITER", 4), ("STEPS", (3,)), ("IMS_PER_BATCH", 8)]
)
def test_one_number_turns_scaling_off(key, value):
    solver = load_config(RECIPE, [f"SOLVER.{key}", value], num_processes=3).SOLVER
    assert (solver[key], solver.REFERENCE_WORLD_SIZE) == (value, 0)


def test_a_copied_recipe_is_scaled_and_so_are_numbers_with_their_world_size(tmp_path):
    for source in (*RECIPE.parent.glob("*.yaml"), *RECIPE.parents[1].glob("Base*.yaml")):
        copy = tmp_path / source.relative_to(RECIPE.parents[1])
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source.read_text())
    copied = load_config(tmp_path / "AVA" / RECIPE.name, num_processes=1)
    assert numbers(copied) == (2, 0.003125, 6_656_000, 1)
    options = ["SOLVER.IMS_PER_BATCH", 8, "SOLVER.REFERENCE_WORLD_SIZE", 1]
    assert numbers(load_config(RECIPE, options, num_processes=2))[0] == 16


def test_periods_that_a_user_wrote_are_used_while_the_rest_is_scaled():
    options = ["SOLVER.CHECKPOINT_PERIOD", 10, "TEST.EVAL_PERIOD", 20]
    cfg = load_config(RECIPE, options, num_processes=1)
    assert (cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD) == (10, 20)
    assert numbers(cfg) == (2, 0.003125, 6_656_000, 1)


def test_a_world_size_that_does_not_divide_is_named():
    with pytest.raises(ConfigError, match="REFERENCE_WORLD_SIZE is 7; it must be a divisor"):
        load_config(RECIPE, ["SOLVER.REFERENCE_WORLD_SIZE", 7], num_processes=1)
