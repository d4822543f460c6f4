"""Time of each distinct 3-D convolution of a model, in every form that a CPU can run it in."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from avsf_det.layers import Conv3d, is_channels_last
from avsf_det.layers.cpu_conv import (
    Form,
    choose_form,
    conv_folded,
    conv_pointwise,
    conv_spatial,
    conv_tapwise,
    conv_temporal,
    is_folded,
    is_spatial,
    is_tapwise,
    is_temporal,
    lay_out,
)

from .display import format_table
from .measure import time_interleaved
from .model_variants import Bench, autocast_options

FORM_NAMES: dict[Form | None, str] = {
    None: "3-D",
    conv_spatial: "frames",
    conv_temporal: "columns",
    conv_pointwise: "product",
    conv_tapwise: "tapwise",
    conv_folded: "folded",
}
FORMATS = {"": torch.contiguous_format, " CL": torch.channels_last_3d}


def measure_layers(bench: Bench, dtype: torch.dtype, *, training: bool, repeats: int) -> str:
    """Return a table: milliseconds of each form, contiguous and channels last (CL).

    Args:
        bench: model and batch, on a CPU.
        dtype: number format that the convolutions compute in.
        training: whether to measure forward and backward instead of inference.
        repeats: rounds.
    """
    layers: dict[str, tuple[Conv3d, torch.Size, str]] = {}
    counts: Counter[str] = Counter()

    def record(conv: Conv3d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        x = lay_out(conv, inputs[0])
        label = describe(conv, x)
        form = FORM_NAMES[choose_form(conv, x)] + (" CL" if is_channels_last(x) else "")
        layers.setdefault(label, (conv, x.shape, form))
        counts[label] += 1

    model = bench.build(*autocast_options(dtype))
    for module in model.modules():
        if isinstance(module, Conv3d):
            module.register_forward_hook(record)
    with torch.set_grad_enabled(training):
        model(**bench.batch)
    rows: list[list[object]] = []
    columns = [form + name for name in FORMATS for form in FORM_NAMES.values()]
    for label, (conv, shape, chosen) in layers.items():
        seconds = time_interleaved(_calls(conv, shape, dtype, training), repeats)
        times = [1e3 * seconds[column] if column in seconds else "" for column in columns]
        rows.append([f"{counts[label]} x {label}", *times, chosen])
    return format_table(["layer, T x H x W", *columns, "chosen"], rows)


def describe(conv: nn.Conv3d, x: torch.Tensor) -> str:
    """Return channels, kernel, stride and the size of the input (N, C, T, H, W) in one line."""
    kernel, stride, size = (
        "x".join(map(str, sizes)) for sizes in (conv.kernel_size, conv.stride, x.shape[2:])
    )
    return f"{conv.in_channels}-{conv.out_channels}, {kernel} / {stride}, {size}"


def _calls(
    conv: Conv3d, shape: torch.Size, dtype: torch.dtype, training: bool
) -> dict[str, Callable[[], object]]:
    """Return a function for each form and memory format."""
    forms: dict[Form | None, bool] = {
        # Not where it may write outside of its memory, see choose_form.
        None: conv.stride[0] <= conv.kernel_size[0],
        conv_spatial: is_spatial(conv),
        conv_temporal: is_temporal(conv),
        conv_pointwise: conv.kernel_size == (1, 1, 1) and conv.groups == 1,
        conv_tapwise: is_tapwise(conv, torch.empty(shape, device="meta")),
        conv_folded: is_folded(conv),
    }
    calls: dict[str, Callable[[], object]] = {}
    for name, memory_format in FORMATS.items():
        layer = copy.deepcopy(conv).to(dtype, memory_format=memory_format)  # type: ignore[call-overload]
        x = torch.randn(shape).to(dtype, memory_format=memory_format).requires_grad_(training)
        for form, is_possible in forms.items():
            if is_possible:
                calls[FORM_NAMES[form] + name] = partial(_run, form, x, layer, training)
    return calls


def _run(form: Form | None, x: torch.Tensor, conv: Conv3d, training: bool) -> None:
    with torch.set_grad_enabled(training):
        y = form(x, conv) if form else nn.Conv3d.forward(conv, x)
        if training:
            torch.autograd.grad(y, [x, conv.weight], y)
