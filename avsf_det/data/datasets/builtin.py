"""The built-in datasets, at fixed paths under ``$DETECTRON2_DATASETS`` (default ``datasets``).

docs/data_sets.md shows the folders. Those whose name ends in ``_mini`` are generated, by
ava_tools/make_mini_dataset.py. ``DATASETS.PROPOSAL_FILES_TRAIN`` and ``_TEST`` name person boxes
elsewhere. Registration reads no file.
"""

import itertools
import os

from .active_speaker import register_active_speaker
from .ava import register_ava_csv
from .ava_kinetics import register_ava_kinetics
from .builtin_meta import (
    AVA_CUT_SECOND,
    AVA_LABEL_MAP,
    AVA_VALID_SECONDS,
    CHARADES_NUM_CLASSES,
    EPIC55_NUM_CLASSES,
    EPIC55_PARTICIPANTS,
    EPIC100_NUM_CLASSES,
    HMDB51_NUM_CLASSES,
    JHMDB_NUM_CLASSES,
    KINETICS_NUM_CLASSES,
    KINETICS_SOUNDS,
    MULTISPORTS_NUM_CLASSES,
    MULTISPORTS_UNSCORED,
    UCF24_NUM_CLASSES,
)
from .charades import register_charades
from .epic_kitchens import register_epic_kitchens
from .kinetics import register_kinetics
from .tubes import register_tubes
from .ucf_hmdb import register_hmdb51, register_ucf101

# Label maps of the evaluated classes; AVA_LABEL_MAP has all classes that are annotated.
_SCORED_LABEL_MAPS = {
    "v2.1": "ava_action_list_v2.1_for_activitynet_2018.pbtxt",
    "v2.2": "ava_action_list_v2.2_for_activitynet_2019.pbtxt",
}
# The published detections; each version and split of AVA is registered from this table.
_PERSON_BOXES = {
    ("v2.1", "train"): "ava_train_predicted_boxes.csv",
    ("v2.1", "val"): "ava_val_predicted_boxes.csv",
    ("v2.2", "train"): "person_box_67091280_iou90/"
    "ava_detection_train_boxes_and_labels_include_negative_v2.2.csv",
    ("v2.2", "val"): "person_box_67091280_iou90/ava_detection_val_boxes_and_labels.csv",
}
# Suffix of the dataset's name -> folder of the videos, csv time in seconds at which they start.
_VIDEOS = {"": ("videos_15min", AVA_CUT_SECOND), "_movies": ("videos", 0.0)}

_AVA_SITE = "https://research.google.com/ava/download.html"
_KINETICS_SITE = "https://github.com/cvdfoundation/kinetics-dataset"
_EPIC_SITE = "https://epic-kitchens.github.io"
_CHARADES_SITE = "https://prior.allenai.org/projects/charades"
_UCF_SITE = "https://www.crcv.ucf.edu/data/UCF101.php"
_HMDB_SITE = "https://serre.lab.brown.edu/hmdb51.html"
_JHMDB_SITE = "http://jhmdb.is.tue.mpg.de"
_MULTISPORTS_SITE = "https://deeperaction.github.io/datasets/multisports.html"


def _source(folder: str, site: str = "") -> str:
    """Say where to get a dataset; one without ``site`` is generated."""
    get = f"Annotations and videos: {site}."
    if not site:
        get = "Make it: python ava_tools/make_mini_dataset.py."
    return f"{get} The folder above '{folder}' is $DETECTRON2_DATASETS, or 'datasets'."


def register_all_ava(root: str) -> None:
    """Register ``ava_v2.{1,2}_{train,val}`` and their ``_movies`` siblings."""
    annotations = f"{root}/ava/annotations"
    source = (
        f"Videos cut at second {AVA_CUT_SECOND:g} go to videos_15min (ava_v2.x_train, "
        "ava_v2.x_val), whole ones to videos (ava_v2.x_train_movies, ava_v2.x_val_movies). "
        + _source("ava", _AVA_SITE)
    )
    for (version, split), person_boxes in _PERSON_BOXES.items():
        for suffix, (folder, offset) in _VIDEOS.items():
            register_ava_csv(
                f"ava_{version}_{split}{suffix}",
                f"{annotations}/ava_{split}_{version}.csv",
                AVA_LABEL_MAP,
                f"{root}/ava/{folder}",
                scored_label_map=f"{annotations}/{_SCORED_LABEL_MAPS[version]}",
                excluded=f"{annotations}/ava_{split}_excluded_timestamps_{version}.csv",
                person_boxes=f"{annotations}/{person_boxes}",
                offset=offset,
                valid_sec=AVA_VALID_SECONDS,
                source=source,
            )


def register_all_ava_mini(root: str) -> None:
    """Register ``ava_mini_train`` and ``ava_mini_val``."""
    annotations = f"{root}/ava_mini/annotations"
    # Only val has a list of excluded keyframes.
    excluded = {"val": f"{annotations}/ava_mini_val_excluded_timestamps.csv"}
    for split in ("train", "val"):
        register_ava_csv(
            f"ava_mini_{split}",
            f"{annotations}/ava_mini_{split}.csv",
            f"{annotations}/ava_mini_action_list.pbtxt",
            f"{root}/ava_mini/videos/{split}",
            excluded=excluded.get(split, ""),
            person_boxes=f"{annotations}/ava_mini_{split}_boxes.csv",
            source=_source("ava_mini"),
        )


def register_all_ava_kinetics(root: str) -> None:
    """Register ``ava_kinetics_{train,val}``, the part of AVA-Kinetics on clips of Kinetics-700."""
    folder = f"{root}/ava_kinetics/annotations"
    for split in ("train", "val"):
        register_ava_kinetics(
            f"ava_kinetics_{split}",
            f"{folder}/kinetics_{split}_v1.0.csv",
            AVA_LABEL_MAP,
            f"{root}/kinetics700/videos",
            scored_label_map=f"{root}/ava/annotations/{_SCORED_LABEL_MAPS['v2.2']}",
            person_boxes=f"{folder}/kinetics_{split}_boxes.csv",
            source=_source("ava_kinetics", _AVA_SITE),
        )


def register_all_active_speaker(root: str) -> None:
    """Register ``ava_active_speaker_{train,val}`` and their ``_movies`` siblings."""
    for split in ("train", "val"):
        for suffix, (folder, offset) in _VIDEOS.items():
            register_active_speaker(
                f"ava_active_speaker_{split}{suffix}",
                f"{root}/ava/annotations/ava_activespeaker_{split}_v1.0",
                f"{root}/ava/{folder}",
                offset=offset,
                source=_source("ava", _AVA_SITE),
            )


def register_all_tubes(root: str) -> None:
    """Register the datasets of tubes.

    They are ``ucf101_24_{train,test}``, ``multisports_{train,val}``,
    ``jhmdb_split{1,2,3}_{train,test}`` and ``jhmdb_mini_split1_{train,test}``.
    """
    sports = "multisports/trainval"
    # Pickle and folder of videos, names by (split, subset), number of classes, where to get them.
    versions: list[tuple[str, str, dict[tuple[int, str], str], int | None, str]] = [
        (
            *("ucf101_24/UCF101v2-GT.pkl", "ucf101/videos"),
            {(1, subset): f"ucf101_24_{subset}" for subset in ("train", "test")},
            *(UCF24_NUM_CLASSES, _UCF_SITE),
        ),
        (
            *(f"{sports}/multisports_GT.pkl", sports),
            # The test videos of the pickle are the validation set.
            {(1, "train"): "multisports_train", (1, "test"): "multisports_val"},
            *(MULTISPORTS_NUM_CLASSES, _MULTISPORTS_SITE),
        ),
    ]
    for name, num_splits, num_classes, site in (
        ("jhmdb", 3, JHMDB_NUM_CLASSES, _JHMDB_SITE),
        ("jhmdb_mini", 1, None, ""),
    ):
        splits = itertools.product(range(1, num_splits + 1), ("train", "test"))
        names = {(split, subset): f"{name}_split{split}_{subset}" for split, subset in splits}
        versions.append((f"{name}/JHMDB-GT.pkl", f"{name}/videos", names, num_classes, site))
    for pickle_file, videos, names, num_classes, site in versions:
        folder = os.path.dirname(pickle_file)
        for (split, subset), name in names.items():
            register_tubes(
                name,
                f"{root}/{pickle_file}",
                subset,
                f"{root}/{videos}",
                split=split,
                num_classes=num_classes,
                unscored=MULTISPORTS_UNSCORED,
                person_boxes=f"{root}/{folder}/{name}_boxes.csv",
                source=_source(folder, site),
            )


def register_all_kinetics(root: str) -> None:
    """Register ``kinetics{400,600,700,_sounds,_mini}_{train,val}``, ``places_mini_{train,val}``."""
    # Name, its folder, expected number of classes, classes that are kept (all if empty).
    versions: list[tuple[str, str, int | None, tuple[str, ...]]] = [
        *((name, name, num_classes, ()) for name, num_classes in KINETICS_NUM_CLASSES.items()),
        ("kinetics_sounds", "kinetics400", KINETICS_NUM_CLASSES["kinetics400"], KINETICS_SOUNDS),
        ("kinetics_mini", "kinetics_mini", None, ()),
        ("places_mini", "places_mini", None, ()),
    ]
    for name, folder, num_classes, keep_classes in versions:
        annotations = f"{root}/{folder}/annotations"
        for split in ("train", "val"):
            register_kinetics(
                f"{name}_{split}",
                f"{annotations}/{split}.csv",
                f"{root}/{folder}/videos/{split}",
                # The same candidates for both splits, so that class indices agree.
                class_files=[
                    f"{annotations}/{file}" for file in ("label_map.txt", "train.csv", "val.csv")
                ],
                num_classes=num_classes,
                keep_classes=keep_classes,
                source=_source(folder, _KINETICS_SITE if num_classes else ""),
            )


def register_all_epic_kitchens(root: str) -> None:
    """Register ``epic{55,100,_mini}_{train,val}`` and the lists of the test servers.

    The latter, ``epic55_test_{seen,unseen}`` and ``epic100_test``, have no labels.
    """
    labels = "train_action_labels"
    labels_55 = {"train": labels, "val": labels}
    tests_55 = {"test_seen": "test_s1_timestamps", "test_unseen": "test_s2_timestamps"}
    lists_100 = {"train": "train", "val": "validation"}
    test_100 = {"test": "test_timestamps"}
    # Name -> prefix of the files, split -> list, number of verbs and nouns, participants.
    versions: dict[str, tuple] = {
        "epic55": ("EPIC_", labels_55 | tests_55, EPIC55_NUM_CLASSES, EPIC55_PARTICIPANTS),
        "epic100": ("EPIC_100_", lists_100 | test_100, EPIC100_NUM_CLASSES, {}),
        "epic_mini": ("EPIC_100_", lists_100, (None, None), {}),
    }
    for name, (prefix, lists, (num_verbs, num_nouns), participants) in versions.items():
        path = f"{root}/{name}/annotations/{prefix}"
        for split, file in lists.items():
            register_epic_kitchens(
                f"{name}_{split}",
                f"{path}{file}.csv",
                f"{root}/{name}/videos",
                num_verbs=num_verbs,
                num_nouns=num_nouns,
                verb_file=f"{path}verb_classes.csv",
                noun_file=f"{path}noun_classes.csv",
                train_csv=f"{path}{lists['train']}.csv",
                participants=participants.get(split),
                source=_source(name, _EPIC_SITE if num_verbs else ""),
            )


def register_all_charades(root: str) -> None:
    """Register ``charades{,_mini}_{train,val}``."""
    # Charades has no official val list: its test list is labelled and serves as val.
    for name, num_classes in (("charades", CHARADES_NUM_CLASSES), ("charades_mini", None)):
        annotations = f"{root}/{name}/annotations"
        for split, file in (("train", "train"), ("val", "test")):
            register_charades(
                f"{name}_{split}",
                f"{annotations}/Charades_v1_{file}.csv",
                f"{root}/{name}/videos",
                num_classes=num_classes,
                class_file=f"{annotations}/Charades_v1_classes.txt",
                source=_source(name, _CHARADES_SITE if num_classes else ""),
            )


def register_all_ucf101(root: str) -> None:
    """Register ``ucf101_split{1,2,3}_{train,test}`` and ``ucf_mini_split1_{train,test}``."""
    for name, num_splits, site in (("ucf101", 3, _UCF_SITE), ("ucf_mini", 1, "")):
        lists = f"{root}/{name}/ucfTrainTestlist"
        for split in range(1, num_splits + 1):
            for subset in ("train", "test"):
                register_ucf101(
                    f"{name}_split{split}_{subset}",
                    f"{lists}/{subset}list{split:02d}.txt",
                    f"{lists}/classInd.txt",
                    f"{root}/{name}/videos",
                    source=_source(name, site),
                )


def register_all_hmdb51(root: str) -> None:
    """Register ``hmdb51_split{1,2,3}_{train,test}`` and ``hmdb_mini_split1_{train,test}``."""
    for name, num_splits, num_classes in (
        ("hmdb51", 3, HMDB51_NUM_CLASSES),
        ("hmdb_mini", 1, None),
    ):
        for split in range(1, num_splits + 1):
            for subset in ("train", "test"):
                register_hmdb51(
                    f"{name}_split{split}_{subset}",
                    f"{root}/{name}/testTrainMulti_7030_splits",
                    split,
                    subset,
                    f"{root}/{name}/videos",
                    num_classes=num_classes,
                    source=_source(name, _HMDB_SITE if num_classes else ""),
                )


# As in Detectron2, importing this module registers everything.
_root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_ava(_root)
register_all_ava_mini(_root)
register_all_ava_kinetics(_root)
register_all_active_speaker(_root)
register_all_tubes(_root)
register_all_kinetics(_root)
register_all_epic_kitchens(_root)
register_all_charades(_root)
register_all_ucf101(_root)
register_all_hmdb51(_root)
