"""UCF101 and HMDB51: short clips of one action, with three official splits.

UCF101: ``classInd.txt`` has lines "1 ApplyEyeMakeup", ``trainlist01.txt`` lines
"ApplyEyeMakeup/v_x.avi 1" and ``testlist01.txt`` lines "ApplyEyeMakeup/v_x.avi".

HMDB51: each class has a file ``<class>_test_split1.txt`` with lines "x.avi 1": 1 marks a clip to
train on, 2 one to test on, 0 one that is not used.

The videos lie in one folder or in a folder per class, and may have another extension after
re-encoding.
"""

import os
import re
from collections.abc import Sequence
from functools import partial

from ...structures import AnnotationError
from ...structures.addresses import is_folder, join, list_folder
from .annotation_files import read_lines
from .clips import ACTION_TASK, Loaded, find_and_attach, make_clip, register_clips

_UCF_NAMING, _HMDB_NAMING = "<Class>/v_<Class>_g01_c01.avi", "<class>/<name>.avi"
_SUBSET_OF_FLAG = {"0": None, "1": "train", "2": "test"}


def register_ucf101(
    name: str,
    list_file: str,
    class_file: str,
    video_dir: str,
    *,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register one list, ``trainlist0<n>.txt`` or ``testlist0<n>.txt``; see :func:`register_clips`.

    ``class_file`` is ``classInd.txt``, ``video_dir`` has ``<Class>/v_*.avi`` or ``v_*.avi``.
    """

    def load() -> Loaded:
        class_names = load_ucf101_classes(class_file)
        clips = load_ucf101(list_file, video_dir, class_names, allow_missing=allow_missing)
        return clips, class_names

    paths = {"annotations": list_file, "class names": class_file, "videos": video_dir}
    register_clips(name, load, paths, _UCF_NAMING, source)


def load_ucf101(
    list_file: str, video_dir: str, class_names: Sequence[str], *, allow_missing: bool = False
) -> list[dict]:
    """Read the clips in the order of the list; the class of a clip is the folder in its path."""
    index_of = {name: index for index, name in enumerate(class_names)}
    clips = []
    # "ApplyEyeMakeup/v_x.avi 1": class, file, class id.
    for place, line in read_lines(list_file):
        path, *rest = line.split(maxsplit=1)
        class_id = "".join(rest)
        name, _, file = path.replace("\\", "/").partition("/")
        if name not in index_of or not file:
            raise AnnotationError(
                f"{place}: '{line}' does not start with one of the {len(index_of)} classes of "
                "classInd.txt and '/'. Correct it, or take the files of one release."
            )
        index = index_of[name]
        if class_id not in ("", str(index + 1)):  # test lists have no class id
            raise AnnotationError(
                f"{place}: class id '{class_id}', but {name} has {index + 1} in "
                "classInd.txt. Ids start at 1; take the files of one release."
            )
        clips.append(_clip(file, index, place))
    return find_and_attach(clips, video_dir, ("*", "*/*"), list_file, _UCF_NAMING, allow_missing)


def load_ucf101_classes(class_file: str) -> list[str]:
    """Read the class names in the order of their ids, which must be 1, 2, 3, ..."""
    names: list[str] = []
    for place, line in read_lines(class_file):
        class_id, *name = line.split(maxsplit=1)
        if class_id != str(len(names) + 1) or not name:
            raise AnnotationError(
                f"{place}: '{line}'. Expected id {len(names) + 1} and a class name, as in "
                "'1 ApplyEyeMakeup': ids start at 1, without a gap."
            )
        names.append(name[0])
    return names


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
    """Register a subset, "train" or "test", of a split of HMDB51; see :func:`register_clips`.

    ``split_dir`` has ``<class>_test_split<n>.txt``, ``num_classes`` in number (None: any), and
    ``video_dir`` has ``<class>/<name>.avi`` or ``<name>.avi``. Splits count from 1.
    """
    options: dict = {"num_classes": num_classes, "allow_missing": allow_missing}
    load = partial(load_hmdb51, split_dir, split, subset, video_dir, **options)
    register_clips(
        name, load, {"annotations": split_dir, "videos": video_dir}, _HMDB_NAMING, source
    )


def load_hmdb51(
    split_dir: str,
    split: int,
    subset: str,
    video_dir: str,
    *,
    num_classes: int | None = None,
    allow_missing: bool = False,
) -> tuple[list[dict], list[str]]:
    """Read the clips of one subset of a split, and the sorted class names."""
    # Hidden files, such as those of macOS archives, are not class files.
    pattern = re.compile(rf"(?P<name>[^.].*)_test_split{split}\.txt")
    names = (list_folder(split_dir) or ()) if is_folder(split_dir) else ()
    matches = filter(None, map(pattern.fullmatch, names))
    file_of = {match["name"]: join(split_dir, match[0]) for match in matches}
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
                clips.append(_clip(file.strip(), index, place))
    clips = find_and_attach(clips, video_dir, ("*", "*/*"), split_dir, _HMDB_NAMING, allow_missing)
    return clips, class_names


def _clip(file: str, index: int, place: str) -> dict:
    stem = os.path.splitext(file)[0]  # the file may have been re-encoded to .mp4
    return make_clip(place, stem, {ACTION_TASK: index})
