"""A tiny dataset of videos with boxes, and a tiny model with weights in a file."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from avsf_det.data import register_ava_csv

from ..media import tone, write_video
from ..modeling.builders import make_cfg, randomize

NAME = "actions_test_set"
FPS = 10
ANNOTATIONS = """\
a,1,0.1,0.1,0.5,0.9,1,0
a,1,0.1,0.1,0.5,0.9,7,0
a,2,0.6,0.1,0.9,0.9,4,1
b,0,0.2,0.2,0.8,0.8,4,0
b,1.5,0.2,0.2,0.8,0.8,7,0
"""
# The third is not confident enough to count.
PERSON_BOXES = """\
a,1,0.1,0.1,0.5,0.9,,0.95
a,1,0.61,0.15,0.93,0.9,,0.85
a,1,0.3,0.1,0.4,0.9,,0.5
a,2,0.6,0.1,0.9,0.9,,0.9
b,0,0.2,0.2,0.8,0.8,,0.9
b,1.5,0.21,0.2,0.8,0.77,,0.87
"""


def make_dataset(folder: Path) -> None:
    """Videos a and b of three seconds with csv files, registered as ``NAME`` until ``forget``."""
    (folder / "videos").mkdir()
    for name, hertz in (("a", 440), ("b", 700)):
        sound = tone(hertz, 3, 48000)
        path = folder / "videos" / f"{name}.mp4"
        write_video(path, num_frames=3 * FPS, fps=FPS, size=(64, 128), sound=sound)
    (folder / "gt.csv").write_text(ANNOTATIONS)
    (folder / "boxes.csv").write_text(PERSON_BOXES)
    (folder / "map.txt").write_text("1: sit\n4: run\n7: sing\n")
    register_ava_csv(
        NAME,
        str(folder / "gt.csv"),
        str(folder / "map.txt"),
        str(folder / "videos"),
        person_boxes=str(folder / "boxes.csv"),
    )


def forget() -> None:
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def make_model(folder: Path) -> CfgNode:
    """A config whose MODEL.WEIGHTS exist."""
    cfg = make_cfg(audio=True)
    cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES = 3
    cfg.MODEL.LOAD_PROPOSALS = True
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.CLIP.STRIDE = 8, 4
    cfg.INPUT.AUDIO.NUM_FRAMES, cfg.INPUT.AUDIO.NUM_MELS = 32, 8
    cfg.INPUT.MIN_SIZE_TEST = 48
    cfg.DATASETS.TEST = (NAME,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.MODEL.WEIGHTS = str(folder / "weights.pth")
    torch.manual_seed(0)
    model = randomize(build_model(cfg))
    torch.nn.init.normal_(model.roi_heads.predictor.weight, std=0.5)
    torch.save({"model": model.state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg
