"""Long runs that print the memory they hold: training, evaluation, and reading a long video.

    python -m tests.robustness.memory_runs train FOLDER 2000

Each prints lines of "step mebibytes", of this process and its loader workers together.
"""

import gc
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase, default_setup
from detectron2.evaluation import inference_on_dataset
from detectron2.modeling import build_model

from avsf_det.data import build_clip_test_loader
from avsf_det.data.video import SequentialVideoReader
from avsf_det.data.video.cut import repeat_video
from avsf_det.engine import Trainer

from ..engine import actions
from ..media import tone, write_video

FPS, SIZE = 10, (64, 96)
LONG = "long_test_set"


def train(folder: Path, iterations: int) -> None:
    """Train a tiny model, with a loader worker and checkpoints; print every 50 iterations."""
    actions.make_dataset(folder)
    cfg = actions.make_model(folder)
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.LOAD_PROPOSALS = False
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (actions.NAME,), ()
    cfg.DATALOADER.NUM_WORKERS = 1
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.CROP.SIZE = (48,), [48, 48]
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE = 2, 0
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER = 0.001, iterations
    cfg.SOLVER.CHECKPOINT_PERIOD = 200
    cfg.SEED, cfg.OUTPUT_DIR = 1, str(folder / "out")
    default_setup(cfg, None)
    trainer = Trainer(cfg)
    trainer.register_hooks([_PrintMemory()])
    trainer.train()


class _PrintMemory(HookBase):
    def after_step(self) -> None:
        if self.trainer.iter % 50 == 49:
            print_memory(self.trainer.iter + 1)


def evaluate(folder: Path, keyframes: int, minutes: int = 120) -> None:
    """Evaluate keyframes spread over a long video; print every 10 keyframes."""
    path = write_long_video(folder, minutes)
    step = 60 * minutes // keyframes
    lines = [f"{path.stem},{k * step},0.1,0.1,0.5,0.9,1" for k in range(keyframes)]
    for name, end in (("gt.csv", ",0\n"), ("boxes.csv", ",0.95\n")):
        (folder / name).write_text("".join(line + end for line in lines))
    (folder / "map.txt").write_text("1: sit\n4: run\n7: sing\n")
    actions.register_ava_csv(
        LONG,
        *(str(folder / name) for name in ("gt.csv", "map.txt", "videos")),
        person_boxes=str(folder / "boxes.csv"),
    )
    cfg = actions.make_model(folder)
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR = (LONG,), str(folder / "out")
    loader = build_clip_test_loader(cfg, LONG)
    evaluator = Trainer.build_evaluator(cfg, LONG)
    results = inference_on_dataset(build_model(cfg).eval(), _Watched(loader), evaluator)
    assert results
    DatasetCatalog.remove(LONG)
    MetadataCatalog.remove(LONG)


class _Watched:
    """Loader that prints the memory every 10 batches."""

    def __init__(self, loader: Iterable) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator:
        for k, batch in enumerate(self._loader, 1):
            yield batch
            if k % 10 == 0:
                print_memory(k)


def read(folder: Path, minutes: int) -> None:
    """Read all frames and all audio of a long video in one pass; print every two minutes."""
    with SequentialVideoReader(write_long_video(folder, minutes)) as reader:
        assert abs(reader.duration - 60 * minutes) < 1
        for second in range(60 * minutes):
            frames = reader.get_frames_played_at([second + k / FPS for k in range(FPS)])
            samples = reader.get_samples_played_in_range(second, second + 1, 16000)
            assert frames.shape == (FPS, *SIZE, 3) and samples.shape == (16000,)
            if second % 120 == 119:
                print_memory(second + 1)


def write_long_video(folder: Path, minutes: int) -> Path:
    """Write a minute of frames and sound, and repeat it."""
    (folder / "videos").mkdir()
    minute, path = folder / "minute.mp4", folder / "videos" / "long.mp4"
    write_video(
        minute, num_frames=60 * FPS, fps=FPS, size=SIZE, gop=100, sound=tone(440, 60, 48000)
    )
    repeat_video(minute, path, minutes, 60)
    return path


def print_memory(step: int) -> None:
    """Print the step and the memory of this process and its children, in MiB.

    Mapped files (libraries) are left out: other processes of the machine share them.
    """
    gc.collect()  # else what waits for the collector differs from sample to sample
    children = Path("/proc/self/task").glob("*/children")
    pids = ["self", *(pid for file in children for pid in file.read_text().split())]
    total = 0
    for pid in pids:
        # Pages that several of the processes share count once.
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(line.split()[1])
    print("memory", step, f"{total / 1024:.1f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"train": train, "evaluate": evaluate, "read": read}[sys.argv[1]](
        Path(sys.argv[2]), int(sys.argv[3])
    )
