"""AVA-ActiveSpeaker: its files to keyframes, and its AP against an independent computation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances

from ava_tools import get_ava_active_speaker_performance as tool
from avsf_det.data.datasets.active_speaker import load_active_speaker, register_active_speaker
from avsf_det.evaluation import ActiveSpeakerEvaluator, AVAEvaluationError, active_speaker_ap
from avsf_det.structures import AnnotationError
from avsf_det.structures.active_speaker_csv import LABELS, read_faces

HEADER = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,"
VIDEOS = ("-5KQ66BBWC4", "2bxKkUgcqpk")


def random_rows(video: str, num_frames: int, rng: np.random.Generator) -> list[str]:
    """Rows of two faces in each frame, entity after entity as in the official files."""
    rows = []
    for entity in range(2):
        for frame in range(num_frames):
            box = ",".join(f"{x:.6f}" for x in (*rng.random(2) * 0.4, *(0.5 + rng.random(2) / 2)))
            label = LABELS[rng.integers(3)]
            rows.append(f"{video},{900 + frame / 25:.2f},{box},{label},{video}_0900_{entity}:1\n")
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Annotations of two videos, the second one's with a header."""
    rng = np.random.default_rng(0)
    (tmp_path / "csv").mkdir()
    (tmp_path / "videos").mkdir()
    for video, header in zip(VIDEOS, ("", HEADER + "entity_id\n"), strict=True):
        text = header + "".join(random_rows(video, 40, rng))
        (tmp_path / "csv" / f"{video}-activespeaker.csv").write_text(text)
        (tmp_path / "videos" / f"{video}.mkv").touch()
    return tmp_path


def annotated_lines(folder: Path) -> list[str]:
    files = sorted((folder / "csv").iterdir())
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if not line.startswith("video_id")]


def write_predictions(folder: Path, seed: int = 1) -> Path:
    """Predictions in another order than the annotations, better than chance."""
    rng = np.random.default_rng(seed)
    lines = []
    for line in annotated_lines(folder):
        *start, label, entity = line.split(",")
        score = rng.random() + 0.3 * (label == "SPEAKING_AUDIBLE")
        lines.append(",".join([*start, "SPEAKING_AUDIBLE", entity, repr(score)]) + "\n")
    rng.shuffle(lines)
    path = folder / "predictions.csv"
    path.write_text("".join(lines))
    return path


def independent_ap(folder: Path, predictions: Path) -> float:
    """Integrate precision over recall, from a threshold at each score."""
    label_of = {}
    for line in annotated_lines(folder):
        _, second, *_, label, entity = line.split(",")
        label_of[float(second), entity] = label
    scored = []
    for line in predictions.read_text().splitlines():
        _, second, *_, entity, score = line.split(",")
        scored.append((float(score), label_of[float(second), entity] == "SPEAKING_AUDIBLE"))
    total = sum(right for _, right in scored)
    points = []
    for threshold in {score for score, _ in scored}:
        kept = [right for score, right in scored if score >= threshold]
        points.append((sum(kept) / total, sum(kept) / len(kept)))
    area = before = 0.0
    for recall in sorted({recall for recall, _ in points}):
        best = max(precision for other, precision in points if other >= recall)
        area, before = area + (recall - before) * best, recall
    return area


def test_ap_is_that_of_an_independent_computation(folder: Path, capsys):
    for seed in range(3):
        predictions = write_predictions(folder, seed)
        assert tool.main(["-g", f"{folder}/csv", "-p", str(predictions), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["faces"] == 160 and 0.3 < result["mAP"] < 0.9
        assert result["mAP"] == pytest.approx(independent_ap(folder, predictions), abs=1e-9)


def test_ap_in_closed_form(tmp_path: Path):
    """Hits at ranks 1 and 3 of two: (1 + 2/3) / 2; SPEAKING_NOT_AUDIBLE is no hit."""
    labels = [LABELS[1], LABELS[2], LABELS[1], LABELS[0]]
    lines = [f"v,{i},0.1,0.1,0.5,0.5,{label},v:1" for i, label in enumerate(labels)]
    (tmp_path / "gt.csv").write_text("\n".join(lines))
    faces = [*read_faces(tmp_path / "gt.csv")]
    found = [f._replace(label=LABELS[1], score=-f.second) for f in faces]
    assert active_speaker_ap(faces, found) == pytest.approx((1 + 2 / 3) / 2)
    ties = [f._replace(score=0.5) for f in found]  # rank in the order of the annotations
    assert active_speaker_ap(faces, ties[::-1]) == pytest.approx((1 + 2 / 3) / 2)


def test_predictions_must_be_of_the_annotated_faces(folder: Path, capsys):
    path = write_predictions(folder)
    lines = path.read_text().splitlines(keepends=True)
    for wrong, message in {
        "".join(lines[1:]): "159 predictions for 160 annotated faces",
        "".join([lines[1], *lines[1:]]): "has no prediction of its own",
        "".join(
            [lines[0].replace("SPEAKING", "NOT_SPEAKING").replace("_AUDIBLE", "")] + lines[1:]
        ): ("label NOT_SPEAKING, not SPEAKING_AUDIBLE"),
        "".join([lines[0].replace(",0.", ",0.9", 1), *lines[1:]]): "another box than that of",
        "".join([lines[0].rpartition(",")[0] + "\n", *lines[1:]]): "8 columns, expected video_id",
    }.items():
        path.write_text(wrong)
        assert tool.main(["-g", f"{folder}/csv", "-p", str(path)]) == 1
        assert message in capsys.readouterr().err


def test_keyframes(folder: Path):
    dicts = load_active_speaker(f"{folder}/csv", f"{folder}/videos", offset=900.0)
    assert len(dicts) == 80 and all(len(d["annotations"]) == 2 for d in dicts)
    first, line = dicts[0], annotated_lines(folder)[0].split(",")
    assert first["file_name"] == f"{folder}/videos/-5KQ66BBWC4.mkv"
    assert (first["image_id"], first["timestamp"], first["offset"]) == ("-5KQ66BBWC4,900", 900, 900)
    assert first["annotations"][0]["bbox"] == [float(x) for x in line[2:6]]
    assert first["annotations"][0]["action_ids"] == [LABELS.index(line[6])]
    assert [a["track_id"] for a in first["annotations"]] == [
        "-5KQ66BBWC4_0900_0:1",
        "-5KQ66BBWC4_0900_1:1",
    ]
    with pytest.raises(AnnotationError, match="lies before the video file"):
        load_active_speaker(f"{folder}/csv", f"{folder}/videos", offset=901.0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,1,0.1,0.1,0.5,0.5,TALKING,v:1", ":1: label 'TALKING'"),
        ("v,1,10,10,50,50,NOT_SPEAKING,v:1", ":1: box or score 10,10,50,50"),
        ("v,x,0.1,0.1,0.5,0.5,NOT_SPEAKING,v:1", ":1: timestamp 'x'"),
        ("v,1,0.1,0.1,0.5,0.5,NOT_SPEAKING", ":1: 7 columns"),
    ],
)
def test_bad_rows_are_described(tmp_path: Path, row: str, message: str):
    (tmp_path / "faces.csv").write_text(row)
    with pytest.raises(AnnotationError, match=message):
        [*read_faces(tmp_path / "faces.csv")]


@pytest.mark.parametrize("stride", [1, 3])
def test_evaluator_writes_what_the_tool_scores(folder: Path, stride: int, capsys):
    name = f"faces_{folder.name}"
    register_active_speaker(name, f"{folder}/csv", f"{folder}/videos")
    evaluator = ActiveSpeakerEvaluator(name, str(folder), keyframe_stride=stride)
    evaluator.reset()
    rng = torch.Generator().manual_seed(0)
    dicts = [*DatasetCatalog.get(name)]
    kept = dicts[:40:stride] + dicts[40::stride]  # 40 frames of each video
    for d in kept:
        instances = Instances((10, 10), action_scores=torch.rand(2, 3, generator=rng))
        evaluator.process([d], [{"instances": instances}])
    ap = evaluator.evaluate()["active_speaker"]["mAP"]
    path = folder / "active_speaker_predictions.csv"
    if stride == 1:
        assert ap == pytest.approx(independent_ap(folder, path), abs=1e-6)
        assert tool.main(["-g", f"{folder}/csv", "-p", str(path), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["mAP"] == pytest.approx(ap, abs=1e-6)
    else:
        assert len(path.read_text().splitlines()) == 2 * len(kept)
    evaluator.reset()
    with pytest.raises(AVAEvaluationError, match="0 scores for 2 annotated faces"):
        evaluator.evaluate()
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
