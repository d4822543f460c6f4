import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

# Imports of torch and Detectron2 are in the fixtures: the process of pytest-xdist that starts the
# others reads this file too, and would begin with seconds of imports that it does not need.


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, which makes the fixtures of the module once.

    Some files are together: "commands" start ``commands.py``, "onnx" import its packages, and
    "long" are of few tests that take long. pytest-xdist starts groups of many tests first.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.split("::")[0]))


@pytest.fixture(autouse=True)
def loggers_keep_no_stream() -> Iterator[None]:
    """Detectron2's loggers write to the stream that was there first, which pytest then closes."""
    from detectron2.utils.logger import setup_logger

    yield
    for name in ("ava_tools", "avsf_det", "detectron2", "fvcore"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True  # caplog listens at the root
    setup_logger.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def forks_can_train() -> None:
    """The first backward pass starts threads for a GPU, also for a fake one seen before it.

    After that, no forked process can train (``ranks.py``).
    """
    import torch

    torch.ones(1, requires_grad=True).backward()


@pytest.fixture(autouse=True)
def threads_are_restored() -> Iterator[None]:
    """Benchmarks set the number of threads of the whole process."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def few_blocks() -> Iterator[None]:
    """Give ResNets of depth 50 four residual blocks instead of 16, where depth does not matter."""
    from avsf_det.modeling.backbone.resnet3d import BLOCKS_PER_STAGE

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCKS_PER_STAGE, 50, (1, 1, 1, 1))
        yield


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Return a function that writes a text to a file and returns its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


@pytest.fixture
def touch(tmp_path: Path) -> Callable[[Iterable[str]], str]:
    """Return a function that makes empty files in the folder "videos" and returns its path.

    Parsers of annotations read the names of videos only.
    """

    def touch_files(names: Iterable[str]) -> str:
        folder = tmp_path / "videos"
        for path in (folder / name for name in ["readme.txt", *names]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return str(folder)

    return touch_files
