"""Copies between host and device."""

import torch


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move a tensor to a device without waiting for what a GPU computes meanwhile.

    A copy from ordinary memory would wait; one from pinned memory joins the queue.
    """
    if device.type != "cuda" or x.is_cuda:
        return x.to(device)
    pinned = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return pinned.copy_(x).to(device, non_blocking=True)
