"""Datasets that a config describes: DATASETS.OWN."""

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from .ava import register_ava_csv
from .clip_csv import register_clip_csv


def register_own(cfg: CfgNode) -> None:
    """Register ``own_train`` and ``own_val``, those of which DATASETS.OWN names the csv.

    A later config replaces the datasets of an earlier one.
    """
    own = cfg.DATASETS.OWN
    for name, csv_file in (("own_train", own.TRAIN_CSV), ("own_val", own.VAL_CSV)):
        if not csv_file:
            continue
        if name in DatasetCatalog.list():
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        if cfg.INPUT.KIND == "clips":
            register_clip_csv(name, csv_file, own.VIDEOS, class_file=own.LABEL_MAP)
        else:
            register_ava_csv(name, csv_file, own.LABEL_MAP, own.VIDEOS)
