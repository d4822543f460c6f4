"""Build the HTML of a report about clip classification, from the score files of runs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ava_tools.support.html import load_template
from avsf_det.evaluation import ClipEvaluationError, ClipScores, score_clips
from avsf_det.evaluation.clip_scores import read_scores
from avsf_det.structures.addresses import is_folder, join

SCORES = "inference/scores.npz"  # in the OUTPUT_DIR of an evaluation
MAX_CONFUSIONS = 12  # listed for each task


def find_scores(paths: Mapping[str, str]) -> dict[str, str] | None:
    """Return name to score file of runs of classifiers; None if the first run is none.

    Args:
        paths: name to a score file, or to the OUTPUT_DIR of an evaluation.

    Raises:
        ClipEvaluationError: another run has no score file.
    """
    files: dict[str, str] = {}
    for name, path in paths.items():
        file = join(path, SCORES) if is_folder(path) else path
        if not (file.endswith(".npz") and Path(file).is_file()):
            if not files:
                return None
            raise ClipEvaluationError(f"{path}: no {SCORES}; all runs must be of classifiers")
        files[name] = file
    return files


def build_clip_report(files: Mapping[str, str], title: str = "") -> str:
    """Return the page: config, command, figures of each run by task and class, confusions.

    Args:
        files: name to score file. The confusions are those of the first run.
        title: title of the page; "": the name of the first run.

    Raises:
        ClipEvaluationError: a file cannot be read, or has no labels; runs of different classes.
    """
    runs = {name: read_scores(file) for name, file in files.items()}
    first = next(iter(runs.values()))
    for name, scores in runs.items():
        if scores.classes != first.classes or scores.clip_ids != first.clip_ids:
            raise ClipEvaluationError(f"{files[name]}: has other clips or classes than the first")
    results = {name: score_clips(scores) for name, scores in runs.items()}
    if not all(results.values()):
        raise ClipEvaluationError(f"{first.source}: no clip has a label, nothing can be reported")
    html = load_template(Path(__file__).with_name("clip_page.html")).render(
        title=title or next(iter(files)),
        runs=list(runs),
        results=results,
        tasks=next(iter(results.values())),
        num_clips=len(first.clip_ids),
        confusions={task: confusions(first, task) for task in first.scores},
        configs={name: read_config(file) for name, file in files.items()},
    )
    return html.encode(errors="replace").decode()


def confusions(scores: ClipScores, task: str) -> list[tuple[str, str, int, int]]:
    """Return the most frequent confusions of a task with one class per clip.

    Returns:
        true class, predicted class, confused clips, all clips of the true class.
    """
    labels, names = scores.labels[task], scores.classes[task]
    if labels.dtype == bool:
        return []
    known = labels >= 0
    best = scores.scores[task][known].argmax(axis=1)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels[known], best), 1)
    wrong = counts * ~np.eye(len(names), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSIONS]
    pairs = [divmod(int(k), len(names)) for k in order]
    return [
        (names[t], names[p], int(wrong[t, p]), int(counts[t].sum()))
        for t, p in pairs
        if wrong[t, p]
    ]


def read_config(file: str) -> tuple[str, str]:
    """Return the command that repeats an evaluation, and its config; "" where not known."""
    path = Path(file).parent.parent / "config.yaml"
    if Path(file).name != Path(SCORES).name or not path.is_file():
        return "", ""
    command = f"python train_net.py --config-file {path} --eval-only"
    return command, path.read_text(encoding="utf-8", errors="replace")
