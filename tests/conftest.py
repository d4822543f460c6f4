import logging
from collections.abc import Iterator

import pytest
import torch
from detectron2.utils.logger import setup_logger


@pytest.fixture(autouse=True)
def loggers_keep_no_stream() -> Iterator[None]:
    """Detectron2's loggers write to the stream that was there first, which pytest then closes."""
    yield
    for name in ("ava_tools", "avsf_det", "detectron2", "fvcore"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True  # caplog listens at the root
    setup_logger.cache_clear()


@pytest.fixture(autouse=True)
def threads_are_restored() -> Iterator[None]:
    """Benchmarks set the number of threads of the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
