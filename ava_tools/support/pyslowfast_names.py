"""Convert weights of this project to the names of PySlowFast, and of the authors' fork of it."""

import re
from collections.abc import Iterable, Mapping

import torch

from avsf_det.checkpoint.convert_names import AUDIO_CONVS, Rules, rename

# Our names to PySlowFast's. Names that depend on the other weights come from _authors_rules.
TO_PYSLOWFAST: Rules = [
    (r"^(head\.predictors\.action|roi_heads\.predictor)\.", "head.projection."),
    # Laterals.
    (r"^avsync_head\.(f2s|a2fs)\.", r"res5.\1."),
    (r"^avsync_head\.(\w+)\.visual\.", r"\1_fuse.avs.ref_fc."),
    (r"^avsync_head\.(\w+)\.audio\.", r"\1_fuse.avs.query_fc."),
    (r"^backbone\.(f2s|a2fs)\.(\w+)\.", r"\2.\1."),
    (r"^(\w+)\.f2s\.conv\.norm\.", r"\1_fuse.bn."),
    (r"^(\w+)\.f2s\.conv\.", r"\1_fuse.conv_f2s."),
    *[
        (rf"^(\w+)\.a2fs\.conv{i + 1}\.{ours}", rf"\1_fuse.{theirs}_a2fs_{i}.")
        for ours, theirs in (("norm\\.", "bn"), ("", "conv"))
        for i in range(2)
    ],
    (r"^pool1_fuse\.", "s1_fuse."),
    (r"^res(\d)_fuse\.", r"s\1_fuse."),
    # Stages.
    (r"^backbone\.slow\.", "pathway0."),
    (r"^backbone\.fast\.", "pathway1."),
    (r"^backbone\.audio\.", "pathway2."),
    (r"^(pathway\d)\.stem\.(conv1\.)?norm\.", r"s1.\1_stem.bn."),
    (r"^(pathway\d)\.stem\.conv1\.", r"s1.\1_stem.conv."),
    (r"^(pathway\d)\.stem\.", r"s1.\1_stem."),
    (r"^(pathway\d)\.res(\d)\.nonlocal(\d+)\.out\.norm\.", r"s\2.\1_nonlocal\3.bn."),
    (r"^(pathway\d)\.res(\d)\.nonlocal(\d+)\.", r"s\2.\1_nonlocal\3.conv_"),
    (r"^(pathway\d)\.res(\d)\.(\d+)\.", r"s\2.\1_res\3."),
    # Layers.
    (r"(_res\d+)\.shortcut\.", r"\1.branch1."),
    (r"(_res\d+)\.conv1\.", r"\1.branch2.a."),
    (r"(_res\d+)\.conv2\.", r"\1.branch2.b."),
    (r"(_res\d+)\.conv3\.", r"\1.branch2.c."),
    (r"(branch1|branch2\.\w+)\.norm\.", r"\1_bn."),
]

THEIR_NAMES = r"(s\d\.pathway\d_|s\d_fuse\.|head\.projection\.)"


def convert_to_pyslowfast(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert weights to PySlowFast's format, or, with audio, to the AVSlowFast authors' fork's.

    Inverse of :func:`avsf_det.checkpoint.convert_to_avsf`. Names that exist in this project only
    are kept.

    Args:
        state: weights by name, with this project's names.
    """
    rules = _authors_rules(state) + TO_PYSLOWFAST
    converted = {}
    for name, value in state.items():
        new_name = rename(name, rules)
        if not re.match(THEIR_NAMES, new_name):
            new_name = name
        elif value.dim() == 4 and re.match(AUDIO_CONVS, name):
            value = value.unsqueeze(2)  # (C_out, C_in, 1, k_t, k_f)
        converted[new_name] = value
    return converted


def _authors_rules(names: Iterable[str]) -> Rules:
    """Return the rules of the authors' fork that PySlowFast does not share.

    They rename the norm of the Fast-to-Slow lateral, and the layers of the audio blocks in res2 and
    res3, whose names depend on the kind of block.
    """
    audio = [name for name in names if name.startswith("backbone.audio.")]
    if not audio:
        return []
    block = r"^backbone\.audio\.res([23])\.(\d+)\."
    # A v2 block begins with a 1 x 1 convolution.
    is_v2 = any(re.match(block + r"conv1\.", name) for name in audio)
    in_block = r"backbone.audio.res\1.\2.branch2."
    return [
        (r"^backbone\.f2s\.(\w+)\.conv\.norm\.", r"\1_fuse.bn_f2s."),
        (r"^avsync_head\.f2s\.conv\.norm\.", "res5_fuse.bn_f2s."),
        (block + r"conv_([tf])\.", in_block + (r"b_\3." if is_v2 else r"\3.")),
        (block + r"conv3\.", in_block + ("c." if is_v2 else "out.")),
    ]
