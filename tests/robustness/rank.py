"""One process of a training on the CPU: ``python -m tests.robustness.rank RANK SIZE FILE OPTIONS``.

FILE is where the processes meet. OPTIONS are those of ``train_net.py``.
"""

import functools
import sys

import torch
import torch.distributed as dist
from detectron2.engine import create_ddp_model, defaults
from detectron2.utils import comm

from avsf_det.engine import train
from avsf_det.engine.defaults import run_command


def main() -> int:
    rank, size = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", f"file://{sys.argv[3]}", rank=rank, world_size=size)
        comm._LOCAL_PROCESS_GROUP = dist.new_group(list(range(size)))
        # Detectron2 gives the model of each process a GPU.
        defaults.create_ddp_model = functools.partial(create_ddp_model, device_ids=None)
    args = train.build_parser().parse_args(sys.argv[4:])
    return run_command(lambda args: 0 * bool(train.train(args)), args)


if __name__ == "__main__":
    sys.exit(main())
