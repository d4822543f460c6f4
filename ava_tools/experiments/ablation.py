"""Ablations: variants of a config, trained over several seeds and compared in a table."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tabulate import tabulate

from ava_tools.experiments.training_runs import read_metrics, train
from ava_tools.measurement.run_scores import fuse_scores, select_classes
from avsf_det.engine.defaults import load_config
from avsf_det.evaluation import ClipScores, read_scores, score_clips

# Metrics of an AVPretrainer (avsf_det.evaluation.SyncEvaluator) that are compared.
SELF_SUPERVISED = ("sync/all_easy", "sync/all_hard", "rotation/accuracy")
TRAIN_NET = Path(__file__).resolve().parents[2] / "train_net.py"

# (metric, variant) -> seed -> percent
Results = dict[tuple[str, str], dict[str, float]]
Variants = dict[str, tuple[str, ...]]
AVS_ON = ("MODEL.AVSYNC.ENABLED", "True", "INPUT.AUDIO.NEGATIVES", "True")
AVS_OFF = ("MODEL.AVSYNC.ENABLED", "False", "INPUT.AUDIO.NEGATIVES", "False")
GRAFT = (  # audio on the SlowFast of MODEL.WEIGHTS, which is an option of all variants
    *("MODEL.SLOWFAST.FUSION_STAGES", "['pool1', 'res2', 'res3', 'res4']"),
    *("MODEL.WEIGHTS_MIN_MATCHED", "0.5", "MODEL.AUDIO.LATERAL_GAIN"),
)
# Name -> trained variants (config options of each) and fused variants (trained parts of each).
ABLATIONS: dict[str, tuple[Variants, Variants]] = {
    "audio_width": (  # beta_A, Table 5b of the paper
        {f"beta_1/{n}": ("MODEL.AUDIO.BETA_INV", n) for n in ("8", "4", "2", "1")},
        {},
    ),
    "avs": (  # AVS beside the loss of a classifier, as in Table 5d of the paper
        {"avs_True": AVS_ON, "avs_False": AVS_OFF},
        {},
    ),
    "avs_levels": (  # levels of the loss, Table 5d
        {
            f"avs_{'_'.join(levels)}": (*AVS_ON, "MODEL.AVSYNC.LEVELS", str([*levels]))
            for levels in (("res5",), ("res4", "res5"), ("res3", "res4", "res5"))
        },
        {},
    ),
    "connection": (  # of audio and visual features, Table 5a
        {name: ("MODEL.AUDIO.FUSION_TYPE", name) for name in ("a_f_s", "a_fs", "av_nonlocal")},
        {},
    ),
    "curriculum": (  # of an AVPretrainer: easy negatives first, or the final mix from the start
        {"easy_first": (), "mixed": ("MODEL.AVSYNC.HARD_AFTER", "0.0")},
        {},
    ),
    "drop_pathway": (  # Table 5c of the paper
        {f"drop_{p}": ("MODEL.AUDIO.DROP_PATHWAY", p) for p in ("0.8", "0.5", "0.2", "0.0")},
        {},
    ),
    "fusion": (  # "late" is the row "SlowFast+Audio" of Table 6
        {
            "hierarchical": (),
            "pool5": (  # as configs/Kinetics/ablations/avsf_r50_4x16_pool5.yaml: no laterals
                *("MODEL.AUDIO.FUSION_STAGES", "['pool5']"),
                *("MODEL.SLOWFAST.FUSION_STAGES", "[]"),
            ),
            "slowfast": (
                *AVS_OFF,  # a single modality has nothing to synchronise
                *("MODEL.BACKBONE.NAME", "build_slowfast_backbone"),
                *("MODEL.SLOWFAST.FUSION_STAGES", "['pool1', 'res2', 'res3', 'res4']"),
            ),
            "audio": (
                *AVS_OFF,
                *("MODEL.BACKBONE.NAME", "build_audio_backbone", "INPUT.FRAMES", "False"),
            ),
        },
        {"late": ("slowfast", "audio")},
    ),
    "graft": (
        {
            "gain_0": (*GRAFT, "True"),
            "random_laterals": (*GRAFT, "False"),
            "scratch": (*GRAFT, "False", "MODEL.WEIGHTS", ""),
        },
        {},
    ),
    "misalignment": (  # tolerance of misaligned audio, which the paper claims for A->FS
        {
            f"{connection}_{seconds}s": (
                *("MODEL.AUDIO.FUSION_TYPE", connection),
                *("INPUT.AUDIO.OFFSET_SEC", seconds),
            )
            for seconds in ("0.0", "0.5", "1.0")
            for connection in ("a_fs", "a_f_s")
        },
        {},
    ),
}


def run_ablation(
    name: str,
    config_file: str,
    options: Sequence[str],
    *,
    seeds: Sequence[int],
    classes: Sequence[str],
    output: Path,
) -> dict[str, Any]:
    """Train and score all variants of an ablation; finished runs are skipped.

    Args:
        name: key of ``ABLATIONS``.
        config_file: config of all variants.
        options: config options KEY, VALUE, ... of all variants.
        seeds: seeds of the runs.
        classes: classes whose clips are also scored alone; empty for none.
        output: folder; the runs go to ``<output>/<name>/<variant>_seed<seed>``.

    Returns:
        the table and its description, ready for JSON.
    """
    from avsf_det.data.checks import check_datasets  # not for --help: it needs torch

    cfg = load_config(config_file, options)
    check_datasets(cfg.DATASETS.TEST, "DATASETS.TEST", needed=True)
    dataset = cfg.DATASETS.TEST[0]
    trained, fused = ABLATIONS[name]
    common = ["--config-file", config_file, *options]
    iterations: set[float] = set()
    results: Results = {}
    for i, seed in enumerate(seeds, 1):
        scores: dict[str, ClipScores] = {}
        for variant, variant_options in trained.items():
            print(f"Seed {seed} ({i} of {len(seeds)}), {variant}", flush=True)
            folder = output / name / f"{variant}_seed{seed}"
            train(TRAIN_NET, folder, [*common, *variant_options, "SEED", str(seed)])
            metrics = read_metrics(folder)
            iterations.add(metrics["iteration"] + 1)
            if cfg.MODEL.META_ARCHITECTURE == "AVPretrainer":
                found = {metric: metrics[metric] for metric in metrics if metric in SELF_SUPERVISED}
            else:
                scores[variant] = read_scores(str(folder / "inference" / "scores.npz"))
                found = measure(scores[variant], classes)
            _record(results, variant, seed, found)
        for variant, parts in fused.items():
            scores[variant] = fuse_scores([scores[part] for part in parts])
            _record(results, variant, seed, measure(scores[variant], classes))
    return {
        "ablation": name,
        "dataset": dataset + " (generated data)" * ("mini" in dataset.split("_")),
        "run": "train_net.py " + " ".join(common),
        "iterations": sorted(iterations),
        "variants": {variant: " ".join(keys) for variant, keys in trained.items()}
        | {variant: f"mean scores of {', '.join(parts)}" for variant, parts in fused.items()},
        # Sorted by metric only, so that variants keep their order.
        "rows": [_row(*key, results[key]) for key in sorted(results, key=lambda key: key[0])],
    }


def measure(scores: ClipScores, classes: Sequence[str]) -> dict[str, float]:
    """Return top-1 accuracy or mAP of each task in percent, over all clips and over some classes.

    Args:
        scores: scores of a run.
        classes: classes whose clips are also scored alone; empty for none.
    """
    subsets = {"all clips": scores}
    if classes:
        subsets[f"clips of {', '.join(classes)}"] = select_classes(scores, classes)
    return {
        f"{task} {metric}, {subset}": result.metrics[metric]
        for subset, chosen in subsets.items()
        for task, result in score_clips(chosen).items()
        for metric in [*result.metrics][:1]
    }


def format_table(result: dict[str, Any]) -> str:
    """Return the result of :func:`run_ablation` as Markdown."""
    variants = "\n".join(f"- {v}: {text or 'no change'}" for v, text in result["variants"].items())
    return (
        f"{result['ablation']} on {result['dataset']}, {result['iterations']} iterations of "
        f"`{result['run']}`. Spread: standard deviation over the seeds.\n\n"
        f"{tabulate(result['rows'], headers='keys', tablefmt='pipe', floatfmt='.2f')}"
        f"\n\n{variants}\n"
    )


def _record(results: Results, variant: str, seed: int, found: dict[str, float]) -> None:
    for metric, percent in found.items():
        results.setdefault((metric, variant), {})[f"seed {seed}"] = percent


def _row(metric: str, variant: str, by_seed: dict[str, float]) -> dict[str, Any]:
    values = [*by_seed.values()]
    spread = stdev(values) if len(values) > 1 else None
    return {
        "percent": metric,
        "variant": variant,
        "mean": fmean(values),
        "spread": spread,
        **by_seed,
    }
