"""docs/correct_and_retrain.md as a reader follows it."""

import pytest

from .blocks import ROOT, files_of

pytestmark = pytest.mark.xdist_group("commands")
PAGE = ROOT / "docs" / "correct_and_retrain.md"


def test_results_are_those_that_are_shown(reader):
    for name, text in files_of(PAGE, "result").items():
        assert (reader / name).read_text() == text


def test_the_model_is_retrained_and_the_exports_are_made(reader):
    assert (reader / "output/retrained/model_final.pth").exists()
    made = {path.name for path in (reader / "retrain").rglob("*")}
    assert made >= {
        *("persons.csv", "bouts.boris", "mini_val_0000.eaf", "bouts.via.json"),
        *("mini_val_0000.cvat.xml", "cvat_labels.json", "mini_val_0000.vtt", "exports.json"),
    }
