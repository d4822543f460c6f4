"""One of two processes has a bad loss: both stop before the step, and say the same."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch.nn.parallel import DistributedDataParallel

from avsf_det.engine.finite_loss import FiniteLossTrainer, NonFiniteLossError

from ..engine.test_interruption import Loader, Model

pytestmark = pytest.mark.soak


def train_until_nan(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    comm._LOCAL_PROCESS_GROUP = dist.new_group([0, 1])
    factors = [1.0, float("inf") if rank == 1 else 1.0, 1.0]
    batches = Loader([{"image_id": f"r{rank},{i}", "factor": f}] for i, f in enumerate(factors))
    model = DistributedDataParallel(Model(), broadcast_buffers=False)
    trainer = FiniteLossTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.25))
    trainer.output_dir = folder
    with EventStorage():
        try:
            for trainer.iter in range(3):
                before = model.module.weight.tolist()
                trainer.run_step()
        except NonFiniteLossError as error:
            torch.save((str(error), before), f"{folder}/{rank}.pth")
    assert model.module.weight.tolist() == before
    dist.destroy_process_group()


def test_a_bad_loss_of_one_process_stops_all_before_the_step(tmp_path):
    mp.spawn(train_until_nan, args=(str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert one == two
    assert one[1] == [0.5, 0.5]  # one step was made
    assert "loss_a is inf at iteration 1 in process 1" in one[0]
    assert "clips r1,1" in one[0]
    assert [path.name for path in tmp_path.glob("bad_batch*")] == ["bad_batch_0000001_rank1.pth"]
