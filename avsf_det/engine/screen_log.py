"""The log of a training on the screen: some 40 lines. The file log.txt has everything."""

import logging
import re
import sys
import time

from detectron2.utils.logger import setup_logger

from .defaults import write_utf8

LOGGERS = ("fvcore", "detectron2", "avsf_det")
HEAD, TAIL = 12, 3  # lines of a long message that the screen shows
STEPS = 10  # lines of progress in a training, ...
PAUSE = 600.0  # ... more if one takes longer than these seconds
EVALUATION_PAUSE = 60.0  # seconds between two lines of an evaluation's progress
# Lines of Detectron2 and fvcore, below warnings, that the screen shows beside ours.
_SHOWN = re.compile(
    r"Starting training from|Total training time|Saving checkpoint to .*model_final|"
    r"Start inference|Weights of |.*[Ll]oading from "
)
_PROGRESS, _EVALUATION = re.compile(r".*\biter: (\d+)"), "Inference done"


class ScreenFilter(logging.Filter):
    """Filter that lets pass warnings, our lines, and a few of Detectron2's.

    Args:
        max_iter: iterations of the training.
    """

    def __init__(self, max_iter: int) -> None:
        super().__init__()
        self._step, self._next = max(1, max_iter // STEPS), 0
        self._shown_at = {"training": 0.0, "evaluation": 0.0}  # seconds

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the screen shows a record."""
        ours = record.name.startswith(("avsf_det", "ava_tools"))
        if record.levelno >= logging.WARNING or ours:
            return True
        message = record.getMessage()
        if found := _PROGRESS.match(message):
            iteration = int(found[1]) + 1
            is_shown = iteration >= self._next or self._has_paused("training", PAUSE)
            if is_shown:
                self._next = (iteration // self._step + 1) * self._step
                self._shown_at["training"] = time.monotonic()
            return is_shown
        if message.startswith(_EVALUATION):
            is_shown = self._has_paused("evaluation", EVALUATION_PAUSE)
            if is_shown:
                self._shown_at["evaluation"] = time.monotonic()
            return is_shown
        return _SHOWN.match(message) is not None

    def _has_paused(self, what: str, seconds: float) -> bool:
        return time.monotonic() - self._shown_at[what] > seconds


class ShortFormatter(logging.Formatter):
    """Formatter that cuts the middle out of long messages, which are in the file as a whole.

    Args:
        inner: formatter of the lines.
        path: file with all lines.
    """

    def __init__(self, inner: logging.Formatter, path: str) -> None:
        super().__init__()
        self._inner, self._path = inner, path

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        lines = self._inner.format(record).splitlines()
        if (cut := len(lines) - HEAD - TAIL) > 1:
            lines[HEAD:-TAIL] = [f"... {cut} more lines in {self._path}"]
        return "\n".join(lines)


def set_up_training_log(folder: str, rank: int, max_iter: int) -> logging.Logger:
    """Log everything to ``log.txt`` in a folder, and what matters to the screen of the first rank.

    Returns:
        the logger of this project.
    """
    for name in LOGGERS:
        # Once for each name, so that these handlers stay. The default name must not be given:
        # Detectron2's set-up leaves it out, and each way of calling adds handlers.
        named = {} if name == "detectron2" else {"name": name}
        logger = setup_logger(folder, distributed_rank=rank, **named)
        for handler in logger.handlers:
            if not isinstance(handler, logging.StreamHandler):
                continue
            write_utf8(handler.stream)  # Detectron2 opens log.txt as the locale says
            if handler.stream is sys.stdout:
                handler.addFilter(ScreenFilter(max_iter))
                inner = handler.formatter or logging.Formatter()
                handler.setFormatter(ShortFormatter(inner, f"{folder}/log.txt"))
    return logger
