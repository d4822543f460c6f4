"""Configs are found by name."""

from pathlib import Path

import pytest

from avsf_det import model_zoo
from avsf_det.model_zoo.model_zoo import ModelZooError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_every_config_of_the_checkout_is_found():
    for path in CONFIGS.glob("**/*.yaml"):
        found = Path(model_zoo.get_config_file(str(path.relative_to(CONFIGS))))
        assert found.read_bytes() == path.read_bytes()


def test_a_config_is_merged_into_the_defaults():
    cfg = model_zoo.get_config("AVA/avsf_r50_4x16.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "ActionDetector"
    assert cfg.MODEL.SLOWFAST.DEPTH == 50


@pytest.mark.parametrize("name", ["AVA/avsf_r18.yaml", "AVA", ""])
def test_an_unknown_name_is_refused_with_the_groups(name: str):
    with pytest.raises(ModelZooError, match=r"There is no config .* AVA, Charades, EPIC"):
        model_zoo.get_config_file(name)
