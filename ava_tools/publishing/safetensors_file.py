"""Write weights as a file of safetensors, which checkpoint/safe_load.py reads.

The format is a length of 8 bytes, a header of JSON and the values; no package is needed for it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from avsf_det.checkpoint.safe_load import SAFETENSORS_DTYPES
from avsf_det.utils.atomic import atomic_path

NAMES = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors, those of the largest elements first, so that each is aligned in the file."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, x in ordered:
        start, end = end, end + x.nbytes
        entry = {"dtype": NAMES[x.dtype], "shape": list(x.shape), "data_offsets": [start, end]}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, x in ordered:
            # As bytes: NumPy has no bfloat16. (..., itemsize); values are little-endian. The view
            # needs strides of 1, as of a new tensor; weights may lie channels last.
            values = torch.empty(x.numel(), 1, dtype=x.dtype).copy_(x.detach().reshape(-1, 1))
            values = values.view(torch.uint8)
            values = values if sys.byteorder == "little" else values.flip(1)
            file.write(values.numpy().tobytes())
