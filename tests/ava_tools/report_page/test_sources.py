import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog

from ava_tools.report_page.sources import (
    ReportError,
    evaluated_dataset_of_config,
    evaluated_dataset_of_files,
    find_detections,
    rows_at,
)
from avsf_det import add_avsf_config
from avsf_det.data import AnnotationError, register_ava_csv

from .small_set import LABELS, OFFSET


def test_config_and_files_name_the_same(small_set, evaluated, tmp_path):
    excluded, scored = tmp_path / "excluded.csv", tmp_path / "scored.pbtxt"
    excluded.write_text("one,0102\n")
    scored.write_text("3: sing\n1: sit\n")
    register_ava_csv(
        "report_sources",
        small_set["truth"],
        small_set["labels"],
        small_set["videos"],
        excluded=str(excluded),
        scored_label_map=str(scored),
        offset=OFFSET,
    )
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.DATASETS.TEST = ("report_sources",)
    found = evaluated_dataset_of_config(cfg)
    DatasetCatalog.remove("report_sources")
    MetadataCatalog.remove("report_sources")
    assert found.label_map == {i: LABELS[i] for i in (1, 3)}
    assert found.excluded == {("one", 102.0)} and evaluated.excluded == frozenset()
    assert (
        found.files
        == evaluated.files
        == {v: (f"{small_set['videos']}/{v}.mp4", OFFSET) for v in ("one", "two")}
    )
    np.testing.assert_array_equal(found.ground_truth.boxes, evaluated.ground_truth.boxes)
    assert evaluated.label_map == LABELS and evaluated.name == "truth"


def test_a_set_of_clips_is_refused():
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.DATASETS.TEST = ("kinetics_mini_val",)
    with pytest.raises(ReportError, match="'kinetics_mini_val' has no person boxes"):
        evaluated_dataset_of_config(cfg)


def test_missing_folder_of_videos(small_set):
    with pytest.raises(AnnotationError, match="nowhere"):
        evaluated_dataset_of_files(small_set["labels"], small_set["truth"], "", "nowhere", 0)


@pytest.mark.parametrize("folder", ["", "inference", "inference/val"])
def test_the_csv_of_a_run(tmp_path, folder):
    with pytest.raises(ReportError, match="there, nor in"):
        find_detections(str(tmp_path), "val")
    csv = tmp_path / folder / "ava_predictions.csv"
    csv.parent.mkdir(parents=True, exist_ok=True)
    csv.touch()
    assert find_detections(str(tmp_path), "val") == str(csv)
    assert find_detections("any.csv", "val") == "any.csv"


def test_rows_at(evaluated):
    rows = rows_at(evaluated.ground_truth, [("two", 103.0), ("two", 7.0)])
    assert rows[("two", 7.0)].size == 0
    assert rows[("two", 103.0)].tolist() == [15, 16, 17]  # three rows a keyframe, four a video
