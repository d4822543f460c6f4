"""PyTorchVideo's own models at random weights give the scores of the zoo configs of their files."""

import importlib.util

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from avsf_det.checkpoint import AVSFCheckpointer
from avsf_det.engine.defaults import load_config

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pytorchvideo") is None,
    reason="pytorchvideo is not installed (the extra `benchmark` has it)",
)
WIDTH = 8  # of the Slow stem, in place of 64
SIZE = 64  # pixels; res5 has 2 x 2 positions in classifiers, 4 x 4 in detectors
PREFIX = "pytorchvideo://model_zoo/"
KERNELS_R101_50_50 = ((3, 1, 1),) * 6 + ((1, 1, 1),) * 17  # of res4
SLOW_KERNELS, FAST_KERNELS = ((1, 1, 1),) * 2 + ((3, 1, 1),) * 2, ((3, 1, 1),) * 4
# Zoo config to the address of its file, and to what its architecture adds to PyTorchVideo's
# defaults: depth, alpha_F and the length of the kernels of the laterals (models/hub/slowfast.py).
SLOWFAST = {
    "AVA/slowfast_r50_8x8_ptv": ("ava/SLOWFAST_8x8_R50_DETECTION.pyth", 50, 4, 7),
    "Charades/slowfast_r50_8x8_ptv": ("charades/SLOWFAST_8x8_R50.pyth", 50, 4, 7),
    "Kinetics/slowfast_r50_4x16_ptv": ("kinetics/SLOWFAST_4x16_R50.pyth", 50, 8, 5),
    "Kinetics/slowfast_r50_8x8_ptv": ("kinetics/SLOWFAST_8x8_R50.pyth", 50, 4, 7),
    "Kinetics/slowfast_r101_8x8_ptv": ("kinetics/SLOWFAST_8x8_R101.pyth", 101, 4, 5),
    "Kinetics/slowfast_r101_16x8_ptv": ("kinetics/SLOWFAST_16x8_R101_50_50.pyth", 101, 4, 5),
}
SLOW = {
    "AVA/slow_r50_4x16_ptv": "ava/SLOW_4x16_R50_DETECTION.pyth",
    "Kinetics/slow_r50_4x16_ptv": "kinetics/SLOW_4x16_R50.pyth",
    "Kinetics/slow_r50_8x8_ptv": "kinetics/SLOW_8x8_R50.pyth",
}


def build_theirs(name: str, num_classes: int, num_frames: int) -> nn.Module:
    """Build PyTorchVideo's model of a row, narrow and with pooling windows of small frames."""
    from pytorchvideo.models import resnet, slowfast

    is_detector = name.startswith("AVA")
    side = 1 if is_detector else SIZE // 32
    if name in SLOW:
        build = resnet.create_resnet_with_roi_head if is_detector else resnet.create_resnet
        return build(
            model_num_class=num_classes,
            stem_dim_out=WIDTH,
            stem_conv_kernel_size=(1, 7, 7),
            head_pool_kernel_size=(num_frames, side, side),
        )
    _, depth, alpha, kernel = SLOWFAST[name]
    kernels = (SLOW_KERNELS, FAST_KERNELS)
    if "50_50" in SLOWFAST[name][0]:
        kernels = tuple((*of[:2], KERNELS_R101_50_50, of[3]) for of in kernels)
    build = slowfast.create_slowfast
    if is_detector:
        build = slowfast.create_slowfast_with_roi_head
    return build(
        model_num_class=num_classes,
        model_depth=depth,
        stem_dim_outs=(WIDTH, WIDTH // 8),
        stage_conv_a_kernel_sizes=kernels,
        slowfast_fusion_conv_kernel_size=(kernel, 1, 1),
        slowfast_fusion_conv_stride=(alpha, 1, 1),
        head_pool_kernel_sizes=((num_frames // alpha, side, side), (num_frames, side, side)),
    )


def randomise(model: nn.Module) -> None:
    """Fill a model with random weights and statistics that keep the size of its features."""
    generator = torch.Generator().manual_seed(0)
    for name, x in model.state_dict().items():
        if x.dtype != torch.float32:
            continue
        if x.dim() > 1:
            x.normal_(std=x[0].numel() ** -0.5, generator=generator)
        elif name.endswith("running_var"):
            x.uniform_(0.5, 1.0, generator=generator)
        elif name.endswith("weight"):  # small, as each block adds to its input
            x.uniform_(0.2, 0.4, generator=generator)
        else:
            x.uniform_(-0.2, 0.2, generator=generator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*SLOWFAST, *SLOW])
@torch.no_grad()
def test_their_own_model_gives_the_same_scores(name, tmp_path):
    options = ["MODEL.SLOWFAST.WIDTH", WIDTH, "MODEL.DEVICE", "cpu"]
    cfg = load_config(f"zoo/{name}.yaml", [*options, "MODEL.CLIP_HEAD.POOL_WINDOW", SIZE // 32])
    file = SLOW[name] if name in SLOW else SLOWFAST[name][0]
    assert cfg.MODEL.WEIGHTS == PREFIX + file
    is_detector = name.startswith("AVA")
    num_classes = 80 if is_detector else cfg.MODEL.CLIP_HEAD.NUM_CLASSES[0]
    theirs = build_theirs(name, num_classes, cfg.INPUT.CLIP.NUM_FRAMES).eval()
    randomise(theirs)
    torch.save({"model_state": theirs.state_dict()}, tmp_path / "theirs.pyth")

    ours = build_model(cfg).eval()
    checkpointer = AVSFCheckpointer(ours, required="model")
    checkpointer.load(str(tmp_path / "theirs.pyth"))
    assert not checkpointer.report.unexpected and not checkpointer.report.adapted

    generator = torch.Generator().manual_seed(1)
    shape = (1, 3, cfg.INPUT.CLIP.NUM_FRAMES, SIZE, SIZE)
    frames = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    mean, std = (
        torch.tensor(x).view(3, 1, 1, 1) for x in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
    )
    fast = (frames - mean) / std
    # linspace from the first frame to the last, as in PyTorchVideo's tutorials.
    count = shape[2] // cfg.MODEL.SLOWFAST.ALPHA
    slow = fast.index_select(2, torch.linspace(0, shape[2] - 1, count).long())
    clips = fast if name in SLOW else [slow, fast]
    if is_detector:
        boxes = torch.tensor(
            [[3.0, 5.0, 40.0, 61.0], [0.0, 0.0, 64.0, 64.0], [20.0, 9.0, 29.0, 31.0]]
        )
        expected = theirs(clips, nn.functional.pad(boxes, (1, 0)))
        persons = Instances(
            (SIZE, SIZE), proposal_boxes=Boxes(boxes), objectness_logits=torch.ones(3)
        )
        (output,) = ours([{"frames": frames[0], "proposals": persons}])
        scores = output["instances"].action_scores
    else:
        logits = theirs(clips)
        expected = logits.sigmoid() if name.startswith("Charades") else logits.softmax(dim=1)
        (output,) = ours([{"frames": frames[0]}])
        scores = output["scores"]["action"][None]
    assert expected.logit().std() > 0.02 and expected.max() < 0.99  # scores that say something
    torch.testing.assert_close(scores, expected, atol=1e-6, rtol=1e-4)
