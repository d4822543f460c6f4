"""Write the folder of a published model, and upload it."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode, get_cfg
from torch import nn

from avsf_det import add_avsf_config
from avsf_det.checkpoint.checkpointer import FINAL, PUBLISHED, SafeCheckpointer
from avsf_det.engine.config_file import all_keys
from avsf_det.engine.defaults import build_trained_model, load_config
from avsf_det.engine.predictor import PredictorError, load_action_names
from avsf_det.model_zoo.model_zoo import CONFIG_NAME
from avsf_det.structures.addresses import is_address
from avsf_det.structures.label_map import write_label_map
from avsf_det.utils.atomic import open_atomic, write_atomic

from .model_card import FILL_IN, format_card
from .results import PublishError, read_figures
from .safetensors_file import write_safetensors

CARD_NAME, LABEL_MAP_NAME = "README.md", "label_map.pbtxt"
# What holds for the machine of the run alone.
LOCAL_KEYS = """
    MODEL.DEVICE MODEL.AUDIO.WEIGHTS DATASETS.PROPOSAL_FILES_TRAIN DATASETS.PROPOSAL_FILES_TEST
    DATALOADER.NUM_WORKERS
""".split()


def write_folder(run: Path, folder: Path, *, weights: str = "", label_map: str = "") -> list[str]:
    """Write config, weights, label map and model card of a run.

    Args:
        run: OUTPUT_DIR of the run.
        folder: folder to write, new or empty.
        weights: file of the weights; "" for the last checkpoint of the run.
        label_map: label map of a detector's actions, if DATASETS.TEST is not registered here.

    Returns:
        names of the files.

    Raises:
        PublishError: ``folder`` has files, there is no run or checkpoint, or the results are older.
        AVSFError: the config, the weights or the label map cannot be used.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PublishError(f"{folder} is there already, and is not written over; choose another")
    if not (run / CONFIG_NAME).is_file():
        raise PublishError(f"{run}: no {CONFIG_NAME}; give the OUTPUT_DIR of a training")
    weights = weights or _last_checkpoint(run)
    options = ["MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cpu"]
    cfg = load_config(run / CONFIG_NAME, options)
    started_from = load_config(run / CONFIG_NAME, ["MODEL.DEVICE", "cpu"]).MODEL.WEIGHTS
    figures = read_figures(run, Path(weights))
    labels = _read_labels(cfg, label_map)
    model, _ = build_trained_model(cfg)  # all of the model, or an error

    part = folder.with_name(f".part-{folder.name}")  # renamed when it is whole
    shutil.rmtree(part, ignore_errors=True)
    write_safetensors(part / PUBLISHED, model.state_dict())
    write_atomic(part / CONFIG_NAME, _format_config(cfg, folder.name))
    if labels:
        with open_atomic(part / LABEL_MAP_NAME) as file:
            write_label_map(file, labels)
    names = sorted(path.name for path in part.iterdir())
    card = format_card(
        folder.name,
        cfg,
        figures,
        {name: _sha256(part / name) for name in names},
        initial_weights=started_from if is_address(started_from) else Path(started_from).name,
        has_label_map=bool(labels),
    )
    write_atomic(part / CARD_NAME, card)
    os.replace(part, folder)
    return [*names, CARD_NAME]


def upload_folder(folder: Path, repository: str) -> str:
    """Upload a published folder to Hugging Face; return its address.

    Args:
        folder: folder of :func:`write_folder`, whose card has been filled in.
        repository: org/name; created, private, if it does not exist.

    Raises:
        PublishError: huggingface_hub is missing, a file is missing, changed since the card was
            written, or the card has empty fields.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise PublishError("--upload needs a package: pip install huggingface_hub") from None
    missing = [x for x in (CARD_NAME, CONFIG_NAME, PUBLISHED) if not (folder / x).is_file()]
    if missing:
        raise PublishError(f"{folder}: no {missing[0]}; write the folder from a run first")
    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    for number, line in enumerate(card.splitlines(), 1):
        if FILL_IN in line:
            raise PublishError(f"{folder / CARD_NAME}:{number}: fill in '{line.strip()}'")
    for name in (CONFIG_NAME, PUBLISHED):
        if _sha256(folder / name) not in card:
            raise PublishError(f"{folder / name}: is not the file whose SHA-256 the card has")
    hub: Any = huggingface_hub.HfApi()
    hub.create_repo(repository, private=True, exist_ok=True)
    hub.upload_folder(repo_id=repository, folder_path=str(folder))
    return f"hf://{repository}"


def _last_checkpoint(run: Path) -> str:
    checkpointer = SafeCheckpointer(nn.Module(), str(run))
    file = checkpointer.get_checkpoint_file() or str(run / FINAL)
    if not os.path.isfile(file):
        raise PublishError(f"{run}: no checkpoint; name one with --weights")
    return file


def _read_labels(cfg: CfgNode, label_map: str) -> dict[int, str]:
    """Return the actions of a detector by id; {} for other models, and where they are unknown."""
    if cfg.MODEL.META_ARCHITECTURE != "ActionDetector":
        return {}
    try:
        return dict(zip(*load_action_names(cfg, label_map), strict=True))
    except PredictorError:
        if label_map:
            raise
        return {}


def _format_config(cfg: CfgNode, name: str) -> str:
    """Return the keys that differ from the defaults as yaml."""
    default = get_cfg()
    add_avsf_config(default)
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR = PUBLISHED, f"./output/{name}"
    person = cfg.MODEL.PERSON_DETECTOR
    if person.WEIGHTS and not is_address(person.WEIGHTS):  # a file of this machine
        cfg.MODEL.PERSON_DETECTOR = default.MODEL.PERSON_DETECTOR
    tree: dict[str, Any] = {"VERSION": cfg.VERSION}
    for key in all_keys(cfg):
        *groups, leaf = key.split(".")
        value, old, node = cfg, default, tree
        for part in (*groups, leaf):
            value, old = value[part], old[part]
        text = json.dumps(value)  # in which lists and tuples are equal
        if text != json.dumps(old) and key not in LOCAL_KEYS:
            for group in groups:
                node = node.setdefault(group, {})
            node[leaf] = json.loads(text)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _sha256(path: Path) -> str:
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            sha.update(part)
    return sha.hexdigest()
