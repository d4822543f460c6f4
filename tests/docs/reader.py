"""A reader of the documentation, who does what its pages say, in a folder like the repository's.

``python -m tests.docs.reader PAGE ...`` in that folder. All commands run in this process, each tool
as its file: importing what they need again would cost seconds for each.
"""

import json
import runpy
import shutil
import sys
from pathlib import Path

import torch
from detectron2.utils.env import setup_custom_environment

from ava_tools.mini.annotations import plan_ava
from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

from ..mini import write_mini
from .blocks import blocks_of, commands_of, files_of

DEMO = Path("output/demo/avsf")
DETECTOR = Path("output/mini/person_mini/model_final.pth")
FEW = ("SOLVER.BASE_LR", "1e-9", "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()")


def prepare() -> None:
    """Make the files of `make demo` and of a person detector, with a few videos and steps.

    All action detectors of this process have few residual blocks.
    """
    BLOCKS_PER_STAGE[50] = (1, 1, 1, 1)
    write_mini(Path("datasets/ava_mini"), plan_ava(1, 2, num_shots=1))
    for name in ("avsf_mini", "person_mini"):
        config = f"configs/mini/{name}.yaml"
        run(["train_net.py", "--config-file", config, "SOLVER.MAX_ITER", "1", *FEW])
    DEMO.mkdir(parents=True)
    shutil.copy("output/mini/avsf_mini/model_final.pth", DEMO)
    checkpoint = torch.load(DETECTOR)
    # So little training finds nobody; now all that it looks at are persons.
    checkpoint["model"]["roi_heads.box_predictor.cls_score.bias"] = torch.tensor([5.0, -5.0])
    torch.save(checkpoint, DETECTOR)


def follow(page: Path) -> None:
    """Write the files of a page, and run what is to be run, in its order."""
    for name, text in files_of(page, "file").items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    set_up = {""}
    for block in blocks_of(page):
        if not block.is_run:
            continue
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), {"__name__": page.stem})
            continue
        for module, arguments in commands_of(block):
            if module not in set_up:
                setup_custom_environment(module)
                set_up.add(module)
            run([*arguments, *block.options])


def follow_notebook(page: Path) -> None:
    """Run the cells of a notebook, with few iterations."""
    names: dict = {}
    for cell in json.loads(page.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if "parameters" in cell["metadata"].get("tags", ()):
            source = "ITERATIONS, OUTPUT = 2, 'output/quickstart'"
        exec(compile(source, page.name, "exec"), names)


def run(arguments: list[str]) -> None:
    """``python ARGUMENTS``; ends this process with an exit code that is not 0."""
    print(">>>", *arguments, flush=True)
    sys.argv, path = arguments, list(sys.path)
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    sys.path = path


if __name__ == "__main__":
    pages = [Path(name) for name in sys.argv[1:]]
    prepare()
    for page in pages:
        (follow_notebook if page.suffix == ".ipynb" else follow)(page)
