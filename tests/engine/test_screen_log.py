"""The log on the screen is short; the file has everything."""

import logging
import sys

import pytest

from avsf_det.engine.screen_log import HEAD, LOGGERS, STEPS, TAIL, set_up_training_log


@pytest.fixture
def log(tmp_path, capsys):
    """A function that logs (logger, message, level), and returns the lines of screen and file."""

    def emit(*records):
        for name in LOGGERS:
            logging.getLogger(name).handlers.clear()
        set_up_training_log(str(tmp_path), 0, max_iter=400)
        for name, message, *level in records:
            logging.getLogger(name).log(*level or [logging.INFO], message)
        for name in LOGGERS:
            for handler in logging.getLogger(name).handlers:
                handler.flush()
        return capsys.readouterr().out.splitlines(), (tmp_path / "log.txt").read_text().splitlines()

    return emit


def test_the_screen_shows_what_matters_and_the_file_everything(log):
    screen, file = log(
        ("detectron2", "Running with full config:\n" + "SEED: 1\n" * 400),
        ("detectron2.engine.defaults", "Model:\n" + "conv\n" * 800),
        ("detectron2.evaluation.testing", "copypaste: 0.3"),
        ("avsf_det.data.preflight", "own_train: 3 keyframes"),
        ("fvcore.common.checkpoint", "MODEL.WEIGHTS is empty", logging.WARNING),
        ("detectron2.engine.train_loop", "Starting training from iteration 0"),
    )
    assert len(screen) == 3 and len(file) > 1200
    for line, part in zip(screen, ("own_train", "is empty", "Starting"), strict=True):
        assert part in line


def test_progress_is_shown_at_the_start_and_in_equal_steps(log):
    progress = " eta: 0:00:19  iter: {}  total_loss: 0.5"
    name = "detectron2.utils.events"
    screen, file = log(*((name, progress.format(i)) for i in range(3, 400, 4)))
    shown = [int(line.split("iter: ")[1].split()[0]) for line in screen]
    assert shown == [3, *range(39, 400, 40)]
    assert len(file) == 100 and len(shown) == STEPS + 1


def test_the_middle_of_a_long_message_is_in_the_file_only(log, tmp_path):
    table = "\n".join(["mAP", *(f"class {i}" for i in range(80)), "0.5"])
    screen, file = log(("avsf_det.evaluation", table))
    assert len(screen) == HEAD + 1 + TAIL
    assert screen[HEAD] == f"... {82 - HEAD - TAIL} more lines in {tmp_path}/log.txt"
    assert screen[-1] == "0.5" and len(file) == 82


def test_other_processes_write_no_line_to_the_screen(tmp_path, capsys):
    set_up_training_log(str(tmp_path), 1, max_iter=10)
    logging.getLogger("avsf_det").info("hello")
    assert capsys.readouterr().out == ""
    streams = [h.stream for h in logging.getLogger("avsf_det").handlers]
    assert sys.stdout not in streams
