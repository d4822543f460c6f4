"""Text of a model card: README.md of a published folder, in the form of Hugging Face."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from detectron2.config import CfgNode
from tabulate import tabulate

import avsf_det

from .results import Figures

FILL_IN = "FILL IN"
# What a reader of a card asks first. The other keys are in config.yaml.
RECIPE_KEYS = """
    MODEL.META_ARCHITECTURE MODEL.BACKBONE.NAME MODEL.SLOWFAST.DEPTH MODEL.SLOWFAST.ALPHA
    INPUT.CLIP.NUM_FRAMES INPUT.CLIP.STRIDE INPUT.CLIP.FPS DATASETS.TRAIN DATASETS.TEST
    SOLVER.MAX_ITER SOLVER.IMS_PER_BATCH SOLVER.BASE_LR SOLVER.LR_SCHEDULER_NAME SOLVER.STEPS
    SOLVER.WEIGHT_DECAY SEED
""".split()
CARD = """---
library_name: avsf_det
pipeline_tag: video-classification
license: {fill_in}
tags: [action-detection, audio-visual, slowfast]
---

# {name}

{what}, a model of [avsf_det]({project}).

- Licence of the weights: {fill_in}
- Licence of the training data: {fill_in}
- Authors and contact: {fill_in}
- Intended use and limits: {fill_in}

## Use

```bash
{command}
```

```python
from avsf_det import model_zoo

model = model_zoo.get("FOLDER", trained=True)
```

FOLDER is this folder, or `hf://org/name` of its repository.

## Data

{data}

## Recipe

Initial weights: {initial_weights}.

{recipe}

`config.yaml` holds all keys that differ from the defaults.

## Figures

{figures}

## Files

{files}

Written with avsf_det {avsf_det}, PyTorch {torch}, Detectron2 {detectron2}, Python {python}.
"""
PROJECT = "https://arxiv.org/abs/2001.08740"


def format_card(
    name: str,
    cfg: CfgNode,
    figures: Sequence[Figures],
    hashes: Mapping[str, str],
    *,
    initial_weights: str,
    has_label_map: bool,
) -> str:
    """Return the text of a card, with fields that its author fills in.

    Args:
        name: title.
        cfg: config of the run.
        figures: measured figures.
        hashes: file name to SHA-256.
        initial_weights: what the training started from, "" for nothing.
        has_label_map: whether the folder has a label map.
    """
    keys = [(f"`{key}`", _value(cfg, key)) for key in RECIPE_KEYS]
    files = [(f"`{file}`", f"`{digest}`") for file, digest in hashes.items()]
    pathways = cfg.MODEL.BACKBONE.NAME.removeprefix("build_").removesuffix("_backbone")
    return CARD.format(
        name=name,
        what=f"{cfg.MODEL.META_ARCHITECTURE} on {pathways} features",
        project=PROJECT,
        fill_in=FILL_IN,
        command=_command(cfg, has_label_map=has_label_map),
        data=_describe_data(cfg),
        initial_weights=f"`{initial_weights}`" if initial_weights else "random",
        recipe=tabulate(keys, ["key", "value"], tablefmt="pipe", disable_numparse=True),
        figures="\n\n".join(map(_format_figures, figures)) or "Not measured.",
        files=tabulate(files, ["file", "SHA-256"], tablefmt="pipe"),
        avsf_det=avsf_det.__version__,
        torch=torch.__version__,
        detectron2=version("detectron2"),
        python=platform.python_version(),
    )


def _command(cfg: CfgNode, *, has_label_map: bool) -> str:
    """Return a command that uses the model on a reader's own videos."""
    if cfg.MODEL.META_ARCHITECTURE != "ActionDetector":
        return "python ava_tools/extract_features.py --config-file FOLDER --input my.mp4 --output x"
    command = "python ava_tools/demo.py --config-file FOLDER --input my.mp4 --output out.mp4"
    return command + " \\\n    --label-map FOLDER/label_map.pbtxt" * has_label_map


def _value(cfg: CfgNode, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return ", ".join(map(str, cfg)) if isinstance(cfg, list | tuple) else cfg


def _describe_data(cfg: CfgNode) -> str:
    parts = {"Training": cfg.DATASETS.TRAIN, "Evaluation": cfg.DATASETS.TEST}
    lines = [f"- {part}: {', '.join(f'`{n}`' for n in x) or 'none'}" for part, x in parts.items()]
    if any("_mini_" in name for names in parts.values() for name in names):
        lines.append(
            "- Mini datasets are generated (drawn figures, synthesised audio): figures on them say "
            "nothing about real video."
        )
    return "\n".join(lines)


def _format_figures(figures: Figures) -> str:
    rows = [(name, f"{value:.4f}") for name, value in figures.metrics.items()]
    rows += [
        (f"AP of {name}", "no ground truth" if ap is None else f"{ap:.4f}")
        for name, ap in figures.per_class.items()
    ]
    table = tabulate(rows, ["metric", "value"], tablefmt="pipe", disable_numparse=True)
    return f"Measured; from `{Path(figures.source).as_posix()}` of the run.\n\n{table}"
