"""HMDB51: short clips of one action, with three official splits.

Each class has a file ``<class>_test_split1.txt`` with lines "x.avi 1": 1 marks a clip to train on,
2 one to test on, 0 one that is not used. The videos lie in one folder or in a folder per class, and
may have another extension after re-encoding.
"""

import os
import re
from functools import partial

from ...structures import AnnotationError
from ...structures.addresses import is_folder, join, list_folder
from .annotation_files import read_lines
from .clips import ACTION_TASK, attach_files, find_clip_files, register_clips

_NAMING = "<class>/<name>.avi"
_SUBSET_OF_FLAG = {"0": None, "1": "train", "2": "test"}


def register_hmdb51(
    name: str,
    split_dir: str,
    split: int,
    subset: str,
    video_dir: str,
    *,
    num_classes: int | None = None,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register one subset of a split. Files are read by ``DatasetCatalog.get(name)`` only.

    Args:
        name: name in the catalogs.
        split_dir: folder of ``<class>_test_split<n>.txt``.
        split: number n of the split, from 1.
        subset: "train" or "test".
        video_dir: folder of ``<class>/<name>.avi`` or ``<name>.avi``.
        num_classes: expected number of class files; None: any.
        allow_missing: leave out clips whose video is missing and log how many.
        source: where to get the files; shown if one is missing.
    """
    options: dict = {"num_classes": num_classes, "allow_missing": allow_missing}
    load = partial(load_hmdb51, split_dir, split, subset, video_dir, **options)
    paths = {"annotations": split_dir, "videos": video_dir}
    register_clips(name, load, paths, _NAMING, source)


def load_hmdb51(
    split_dir: str,
    split: int,
    subset: str,
    video_dir: str,
    *,
    num_classes: int | None = None,
    allow_missing: bool = False,
) -> tuple[list[dict], list[str]]:
    """Read the clips of one subset of a split, with the arguments of :func:`register_hmdb51`.

    Returns:
        Dataset dicts, and the sorted class names.

    Raises:
        AnnotationError: not ``num_classes`` files, a bad line, a clip that occurs twice, a missing
            video.
    """
    file_of = _class_files(split_dir, split)
    # A missing class file would shift the indices of all classes after it.
    if not file_of or num_classes not in (None, len(file_of)):
        raise AnnotationError(
            f"{split_dir}: {len(file_of)} files <class>_test_split{split}.txt, expected "
            f"{num_classes or 'at least one'}. Put those of all classes there."
        )
    # Sorted by class name: sorted by file, "kick_ball_test..." would come before "kick_test...".
    class_names = sorted(file_of)
    clips = []
    for index, name in enumerate(class_names):
        for place, line in read_lines(file_of[name]):
            *rest, flag = line.rsplit(maxsplit=1)  # file names may contain blanks
            file = "".join(rest)
            if not file or flag not in _SUBSET_OF_FLAG:
                raise AnnotationError(
                    f"{place}: '{line}'. Expected a file name and 1 (train), 2 (test) or 0 "
                    "(unused)."
                )
            if _SUBSET_OF_FLAG[flag] == subset:
                stem = os.path.splitext(file.strip())[0]
                labels = {ACTION_TASK: index}
                clips.append({"video_id": stem, "clip_id": stem, "labels": labels, "source": place})
    files = find_clip_files(clips, video_dir, "*", "*/*")
    clips = attach_files(clips, files, video_dir, split_dir, _NAMING, allow_missing)
    return clips, class_names


def _class_files(split_dir: str, split: int) -> dict[str, str]:
    """Return class name -> file of the split."""
    # Hidden files, such as those of macOS archives, are not class files.
    pattern = re.compile(rf"(?P<name>[^.].*)_test_split{split}\.txt")
    names = (list_folder(split_dir) or ()) if is_folder(split_dir) else ()
    matches = filter(None, map(pattern.fullmatch, names))
    return {match["name"]: join(split_dir, match[0]) for match in matches}
