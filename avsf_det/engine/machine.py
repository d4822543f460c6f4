"""What this machine has: devices, and shared memory for loader workers."""

import os
import shutil

import torch
from detectron2.config import CfgNode

from avsf_det.structures import ConfigError

SHARED_MEMORY = "/dev/shm"  # where loader workers put their batches, on Linux
BATCHES_PER_WORKER = 2  # that PyTorch's loader prefetches


def choose_device(cfg: CfgNode, *, is_asked: bool) -> list[str]:
    """Check MODEL.DEVICE; replace Detectron2's default "cuda" where there is no GPU.

    ``is_asked`` says whether somebody has written MODEL.DEVICE. Returns lines for the log.

    Raises:
        ConfigError: the device is unknown or this machine lacks it.
    """
    name = cfg.MODEL.DEVICE
    if name == "cuda" and not is_asked and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
        return ["There is no CUDA device: MODEL.DEVICE is cpu"]
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"MODEL.DEVICE is '{name}', which PyTorch does not know; it can be cpu, cuda, cuda:N "
            "or mps"
        ) from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0}
    count["mps"] = int(torch.backends.mps.is_available())
    if device.type not in count:
        raise ConfigError(f"MODEL.DEVICE is '{name}'; this project runs on cpu, cuda or mps")
    if not 0 <= (device.index or 0) < count[device.type]:
        found = ["cpu", *(f"{n} of {kind}" for kind, n in count.items() if n and kind != "cpu")]
        raise ConfigError(
            f"MODEL.DEVICE is '{name}', which this machine lacks; it has {', '.join(found)}. Give "
            "one of these"
        )
    return []


def check_shared_memory(cfg: CfgNode, num_processes: int) -> list[str]:
    """Compare the batches that loader workers hold with the free shared memory.

    Docker gives a container 64 MB, and a worker that finds no room dies of SIGBUS. The training
    has ``num_processes`` on this machine. Returns lines for the log.

    Raises:
        ConfigError: there is no room for a batch of each worker.
    """
    workers = cfg.DATALOADER.NUM_WORKERS * num_processes
    if not workers or not os.path.isdir(SHARED_MEMORY):
        return []
    batch = _clip_bytes(cfg) * cfg.SOLVER.IMS_PER_BATCH // num_processes
    least, most = batch * workers, batch * workers * BATCHES_PER_WORKER
    free = shutil.disk_usage(SHARED_MEMORY).free
    message = (
        f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, {workers} loader workers need "
        f"{least / 1e6:.0f} to {most / 1e6:.0f} MB. Start the container with --shm-size=8g or "
        "--ipc=host, or set a smaller DATALOADER.NUM_WORKERS (0 needs none)"
    )
    if free < least:
        raise ConfigError(message)
    return [message] if free < most else []


def _clip_bytes(cfg: CfgNode) -> int:
    """Return the size of a training clip: uint8 frames (3, T, H, W), float32 spectrograms."""
    inputs, frames = cfg.INPUT, 0
    if inputs.FRAMES:
        height = max(inputs.MIN_SIZE_TRAIN)
        sides = inputs.CROP.SIZE if inputs.CROP.ENABLED else (height, height * 16 / 9)
        length = 1 if inputs.KIND == "frames" else inputs.CLIP.NUM_FRAMES
        frames = int(3 * length * sides[0] * sides[1])
    if inputs.KIND == "frames":
        return frames
    spectrograms = 2 if inputs.AUDIO.NEGATIVES else 1
    return frames + 4 * spectrograms * inputs.AUDIO.NUM_FRAMES * inputs.AUDIO.NUM_MELS
