"""Convert the names of weights between other projects and this one.

Each format has one table of (regular expression, replacement). The rules are applied in order, each
to the result of the previous ones. A name that does not become one of this project's stays as it
was.

The tables follow the projects' own files (docs/paper.md).
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np
import torch

Rules = list[tuple[str, str]]

FUSION_STAGES = ("pool1", "res2", "res3", "res4")
CLASSIFIER = "head.predictors.action."

# PySlowFast, and the AVSlowFast authors' fork, which adds pathway2 (audio) and its laterals.
PYSLOWFAST: Rules = [
    # A norm is a sibling of its convolution there, and a child of it here.
    (r"_stem\.bn\.", "_stem.conv.norm."),
    # Audio's stem has one norm, after the sum of two convolutions.
    (r"^s1\.pathway2_stem\.conv\.norm\.", "s1.pathway2_stem.norm."),
    (r"_fuse\.bn(_f2s)?\.", "_fuse.conv_f2s.norm."),
    (r"_fuse\.bn_a2fs_(\d)\.", r"_fuse.conv_a2fs_\1.norm."),
    (r"(_nonlocal\d+)\.bn\.", r"\1.conv_out.norm."),
    (r"_bn\.", ".norm."),
    # Layers.
    (r"_stem\.conv\.", "_stem.conv1."),
    (r"\.branch1\.", ".shortcut."),
    (r"\.branch2\.a\.", ".conv1."),
    (r"\.branch2\.b\.", ".conv2."),
    (r"\.branch2\.(c|out)\.", ".conv3."),
    (r"\.branch2\.(b_)?([tf])\.", r".conv_\2."),
    # Stages.
    (r"^s1\.(pathway\d)_stem\.", r"\1.stem."),
    (r"^s(\d)\.(pathway\d)_res(\d+)\.", r"\2.res\1.\3."),
    (r"^s(\d)\.(pathway\d)_nonlocal(\d+)\.conv_", r"\2.res\1.nonlocal\3."),
    (r"^pathway0\.", "backbone.slow."),
    (r"^pathway1\.", "backbone.fast."),
    (r"^pathway2\.", "backbone.audio."),
    # Laterals. The block after res5 is used by the synchronisation loss only.
    (r"^s1_fuse\.", "pool1_fuse."),
    (r"^s(\d)_fuse\.", r"res\1_fuse."),
    (r"^(\w+)_fuse\.avs\.ref_fc\.", r"avsync_head.\1.visual."),
    (r"^(\w+)_fuse\.avs\.query_fc\.", r"avsync_head.\1.audio."),
    (r"_fuse\.conv_f2s\.", ".f2s.conv."),
    (r"_fuse\.conv_a2fs_0\.", ".a2fs.conv1."),
    (r"_fuse\.conv_a2fs_1\.", ".a2fs.conv2."),
    (r"^res5\.(f2s|a2fs)\.", r"avsync_head.\1."),
    (r"^(pool1|res[234])\.(f2s|a2fs)\.", r"backbone.\2.\1."),
    (r"^head\.projection\.", CLASSIFIER),
]

# Caffe2 blobs have PySlowFast's structure: convert to its names first, then to ours.
CAFFE2: Rules = [
    (r"_[ws]$", ".weight"),
    (r"_b$", ".bias"),
    (r"_rm$", ".running_mean"),
    (r"_riv$", ".running_var"),
    (r"^t_pool1_subsample\.", "s1_fuse.conv_f2s."),
    (r"^t_pool1_subsample_bn\.", "s1_fuse.bn."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample\.", r"s\1_fuse.conv_f2s."),
    (r"^t_res(\d)_\d+_branch2c_bn_subsample_bn\.", r"s\1_fuse.bn."),
    (r"^conv1\.", "s1.pathway0_stem.conv."),
    (r"^t_conv1\.", "s1.pathway1_stem.conv."),
    (r"^res_conv1_bn\.", "s1.pathway0_stem.bn."),
    (r"^t_res_conv1_bn\.", "s1.pathway1_stem.bn."),
    (r"^res(\d)_(\d+)_branch", r"s\1.pathway0_res\2.branch"),
    (r"^t_res(\d)_(\d+)_branch", r"s\1.pathway1_res\2.branch"),
    (r"\.branch2([abc])", r".branch2.\1"),
    (r"^nonlocal_conv(\d)_(\d+)_bn\.", r"s\1.pathway0_nonlocal\2.bn."),
    (r"^nonlocal_conv(\d)_(\d+)_", r"s\1.pathway0_nonlocal\2.conv_"),
    (r"^pred\.", "head.projection."),
    *PYSLOWFAST,
]

# PyTorchVideo, with one pathway or two. Its detectors contain the network as "model".
PYTORCHVIDEO: Rules = [
    (r"^model\.", ""),
    (r"^(blocks\.\d+|detection_head)\.proj\.", CLASSIFIER),
    *[
        (rf"^blocks\.{i}\.multipathway_fusion\.", f"backbone.f2s.{stage}.")
        for i, stage in enumerate(FUSION_STAGES)
    ],
    (r"\.conv_fast_to_slow\.", ".conv."),
    (r"^(backbone\.f2s\.\w+)\.norm\.", r"\1.conv.norm."),
    (r"^(blocks\.\d+)\.(conv|norm|res_blocks)\.", r"\1.multipathway_blocks.0.\2."),
    (r"^blocks\.(\d+)\.multipathway_blocks\.0\.", r"backbone.slow.\1."),
    (r"^blocks\.(\d+)\.multipathway_blocks\.1\.", r"backbone.fast.\1."),
    (r"^(backbone\.\w+)\.0\.conv\.", r"\1.stem.conv1."),
    (r"^(backbone\.\w+)\.0\.norm\.", r"\1.stem.conv1.norm."),
    *[(rf"^(backbone\.\w+)\.{i}\.res_blocks\.", rf"\1.res{i + 1}.") for i in range(1, 5)],
    (r"\.branch1_conv\.", ".shortcut."),
    (r"\.branch1_norm\.", ".shortcut.norm."),
    # Each convolution and its norm are siblings there.
    *[
        (rf"\.branch2\.{theirs}_{letter}\.", f".conv{i}.{ours}")
        for theirs, ours in (("conv", ""), ("norm", "norm."))
        for i, letter in enumerate("abc", start=1)
    ],
]

# torchvision's 2-D ResNets become the Slow pathway.
TORCHVISION: Rules = [
    (r"^conv1\.", "layer0.conv1."),
    (r"^bn1\.", "layer0.bn1."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^layer0\.", "backbone.slow.stem."),
    *[(rf"^layer{i}\.", f"backbone.slow.res{i + 1}.") for i in range(1, 5)],
    (r"^fc\.", CLASSIFIER),
]

# MMAction2's SlowFast and SlowOnly, whose modules of convolution and norm are "conv" and "bn".
MMACTION2: Rules = [
    (r"^backbone\.(conv1|layer\d)\.", r"backbone.slow_path.\1."),
    (r"^backbone\.slow_path\.conv1_lateral\.", "backbone.f2s.pool1."),
    *[
        (rf"^backbone\.slow_path\.layer{i}_lateral\.", f"backbone.f2s.{stage}.")
        for i, stage in enumerate(FUSION_STAGES[1:], start=1)
    ],
    (r"^backbone\.(slow|fast)_path\.conv1\.", r"backbone.\1.stem.conv1."),
    *[
        (rf"^backbone\.(slow|fast)_path\.layer{i}\.", rf"backbone.\1.res{i + 1}.")
        for i in range(1, 5)
    ],
    (r"\.downsample\.", ".shortcut."),
    (r"\.(conv\d|shortcut)\.conv\.", r".\1."),
    (r"\.(conv\d|shortcut)\.bn\.", r".\1.norm."),
    (r"^(cls_head|roi_head\.bbox_head)\.fc_cls\.", CLASSIFIER),
]

TABLES = {
    "avsf_det": [],
    "PySlowFast": PYSLOWFAST,
    "Caffe2": CAFFE2,
    "PyTorchVideo": PYTORCHVIDEO,
    "torchvision": TORCHVISION,
    "MMAction2": MMACTION2,
}
# Names that only one format has.
SIGNATURES = {
    "avsf_det": r"backbone\.(slow|fast|audio)\.(stem|res\d)\.",
    "PySlowFast": r"s\d\.pathway\d_(stem|res\d+)\.",
    "Caffe2": r"(t_)?(conv1_w|res_conv1_bn_\w+|res\d_\d+_branch\d[abc]?_\w+)$",
    "PyTorchVideo": r"(model\.)?blocks\.\d+\.(multipathway_blocks\.\d\.)?(conv|norm|res_blocks)\.",
    "torchvision": r"(conv1\.weight|layer[1-4]\.\d+\.(conv|bn)\d\.\w+)$",
    "MMAction2": r"backbone\.((slow|fast)_path\.)?(conv1|layer\d\.\d+\.conv\d)\.(conv|bn)\.",
}
# First class of MMAction2's detectors, which stands for background and has no meaning.
BACKGROUND = "roi_head.bbox_head.fc_cls."
# State of the optimizer.
CAFFE2_IGNORED = r"momentum|lr|model_iter"
OUR_NAMES = r"(backbone|head\.predictors|roi_heads|avsync_head)\."
# Modules whose convolutions have kernels (k_t, k_f) here and (1, k_t, k_f) in PySlowFast.
VISUAL_CONVS = r"backbone\.(slow|fast|f2s)\."
AUDIO_CONVS = r"(backbone\.(audio|a2fs)|avsync_head\.a2fs)\."


def detect_format(names: Iterable[str]) -> str:
    """Return the key in TABLES of the format that the names of weights belong to.

    Raises:
        ValueError: no format has such names.
    """
    names = list(names)
    # Formats share some names, so the one with the most matches wins.
    votes = {f: sum(bool(re.match(pattern, n)) for n in names) for f, pattern in SIGNATURES.items()}
    best = max(votes, key=votes.__getitem__)
    if not votes[best]:
        known, found = ", ".join(TABLES), ", ".join(names[:4])
        raise ValueError(
            f"the weights have unknown names ({found}, ...); known are those of {known}"
        )
    return best


def rename(name: str, rules: Rules) -> str:
    """Apply all rules to a name, in order."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def convert_to_avsf(
    state: Mapping[str, torch.Tensor | np.ndarray], name_format: str
) -> dict[str, torch.Tensor]:
    """Convert weights of another format to this project's names and ranks.

    Kernels of audio convolutions lose their first axis, of length 1; kernels of 2-D networks get a
    time axis; detectors of MMAction2 lose their class for background. Names that the format's table
    (a key of TABLES) does not know are kept.

    Raises:
        ValueError: two weights get the same name; or MMAction2's model has other layers.
    """
    converted: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        if name_format == "Caffe2" and re.search(CAFFE2_IGNORED, name):
            continue
        new_name = rename(name, TABLES[name_format])
        if not re.match(OUR_NAMES, new_name) or "non_local" in new_name:
            if name_format == "MMAction2":
                raise ValueError(f"MMAction2's layer {name} has no counterpart here")
            new_name = name
        if new_name in converted:
            raise ValueError(f"two weights become {new_name}; one is {name}")
        value = torch.as_tensor(value)
        if name.startswith(BACKGROUND):
            value = value[1:]
        if name_format == "PySlowFast" and value.dim() == 5 and re.match(AUDIO_CONVS, new_name):
            value = value.squeeze(2)  # (C_out, C_in, k_t, k_f)
        if value.dim() == 4 and re.match(VISUAL_CONVS, new_name):
            value = value.unsqueeze(2)  # (C_out, C_in, 1, k_h, k_w)
        converted[new_name] = value
    return converted
