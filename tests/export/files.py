"""Checks of exported files."""

from pathlib import Path

import onnxruntime
from detectron2.config import CfgNode

from ava_tools.inference.checked_export import compare_with_eager, run_file
from avsf_det.export import TensorModel, make_inputs


def check_files(model: TensorModel, cfg: CfgNode, files: list[Path], size: tuple[int, int]) -> None:
    """Compare files with their model. The last is of ONNX and takes any number of boxes."""
    names = model.input_names
    for clips, boxes, some in ((3, 5, files), (1, 1, files[-1:])):
        inputs = make_inputs(cfg, names, size, num_clips=clips, num_boxes=boxes, seed=clips)
        for path in some:
            assert compare_with_eager(model, path, inputs) < 1e-5, (clips, path)
    no_boxes = make_inputs(cfg, names, size, num_boxes=0)
    num_classes = cfg.MODEL.ROI_ACTION_HEAD.NUM_CLASSES
    assert run_file(files[-1], no_boxes)["action_scores"].shape == (0, num_classes)
    session = onnxruntime.InferenceSession(files[-1])
    axes = {x.name: x.shape[0] for x in session.get_inputs()}
    assert axes == {name: "persons" if name == "boxes" else "clips" for name in names}
