"""UCF101 and HMDB51: short clips of one action, with three official splits.

- UCF101: ``classInd.txt`` ("1 ApplyEyeMakeup"), ``trainlist01.txt`` ("ApplyEyeMakeup/v_x.avi 1")
  and ``testlist01.txt`` ("ApplyEyeMakeup/v_x.avi");
- HMDB51: a file ``<class>_test_split1.txt`` for each class, with "x.avi 1" for a clip to train on,
  2 to test on, 0 for neither.

Videos lie in folders of their class, or all in one, and may be recoded to another extension.
"""

import glob
import os
import re
from collections.abc import Sequence

from .annotation_files import AnnotationError, find_videos, read_lines
from .clips import TASK, attach_files, register_clips

_UCF_NAMING = "<Class>/v_<Class>_g01_c01.avi"
_HMDB_NAMING = "<class>/<name>.avi"
_HMDB_FLAGS = {"0": None, "1": "train", "2": "test"}
_HMDB_FILE = re.compile(r"(?P<name>.+)_test_split\d+\.txt")


def register_ucf101(
    name: str,
    list_file: str,
    class_file: str,
    video_dir: str,
    *,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register one list of UCF101. Nothing is read before it is asked for.

    Args:
        list_file: ``trainlist0<n>.txt`` or ``testlist0<n>.txt``.
        class_file: ``classInd.txt``.
        video_dir: folder of ``<Class>/v_*.avi`` or ``v_*.avi``.
        allow_missing: leave out clips whose video is not there, and log how many.
        source: where to get the files; shown when one is missing.
    """

    def load() -> tuple[list[dict], dict[str, list[str]]]:
        class_names = load_ucf101_classes(class_file)
        clips = load_ucf101(list_file, video_dir, class_names, allow_missing=allow_missing)
        return clips, {TASK: class_names}

    register_clips(
        name,
        load,
        paths={"annotations": list_file, "class names": class_file, "videos": video_dir},
        naming=_UCF_NAMING,
        source=source,
        evaluator_type="clip",
        multi_label=False,
    )


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
    """Register one half of a split of HMDB51. Nothing is read before it is asked for.

    Args:
        split_dir: folder of ``<class>_test_split<n>.txt``.
        split: n, from 1.
        subset: "train" or "test".
        video_dir: folder of ``<class>/<name>.avi`` or ``<name>.avi``.
        num_classes: raise where there are more or fewer files.
        allow_missing: leave out clips whose video is not there, and log how many.
        source: where to get the files; shown when one is missing.
    """

    def load() -> tuple[list[dict], dict[str, list[str]]]:
        clips, class_names = load_hmdb51(
            split_dir,
            split,
            subset,
            video_dir,
            num_classes=num_classes,
            allow_missing=allow_missing,
        )
        return clips, {TASK: class_names}

    register_clips(
        name,
        load,
        paths={"annotations": split_dir, "videos": video_dir},
        naming=_HMDB_NAMING,
        source=source,
        evaluator_type="clip",
        multi_label=False,
    )


def load_ucf101(
    list_file: str, video_dir: str, class_names: Sequence[str], *, allow_missing: bool = False
) -> list[dict]:
    """Read the clips of a train or test list, in its order; the class is the folder in the path.

    Raises:
        AnnotationError: a bad line, an unknown class, an id (from 1) that is not the class's, a
            clip twice, a missing video.
    """
    index_of = {name: index for index, name in enumerate(class_names)}
    clips = []
    for place, line in read_lines(list_file):
        path, _, class_id = line.partition(" ")
        name, _, file = path.partition("/")
        if name not in index_of or not file:
            raise AnnotationError(
                f"{place}: '{line}' does not start with one of the {len(index_of)} classes of "
                "classInd.txt and '/'. Correct it, or take the files of one release."
            )
        index = index_of[name]
        if class_id.strip() not in ("", str(index + 1)):
            raise AnnotationError(
                f"{place}: class id '{class_id.strip()}', but {name} has {index + 1} in "
                "classInd.txt. Ids start at 1; take the files of one release."
            )
        clips.append(_clip(file, index, place))
    return _with_files(clips, video_dir, list_file, _UCF_NAMING, allow_missing)


def load_ucf101_classes(class_file: str) -> list[str]:
    """Read the class names in the order of their ids, which must be 1, 2, 3, ..."""
    names: list[str] = []
    for place, line in read_lines(class_file):
        class_id, _, name = line.partition(" ")
        if class_id != str(len(names) + 1) or not name.strip():
            raise AnnotationError(
                f"{place}: '{line}'. Expected id {len(names) + 1} and a class name, as in "
                "'1 ApplyEyeMakeup': ids start at 1, without a gap."
            )
        names.append(name.strip())
    return names


def load_hmdb51(
    split_dir: str,
    split: int,
    subset: str,
    video_dir: str,
    *,
    num_classes: int | None = None,
    allow_missing: bool = False,
) -> tuple[list[dict], list[str]]:
    """Read the clips of one half of a split. Arguments as of :func:`register_hmdb51`.

    Returns:
        clips, and the sorted class names.

    Raises:
        AnnotationError: not ``num_classes`` files, a bad line, a clip twice, a missing video.
    """
    files = glob.glob(f"*_test_split{split}.txt", root_dir=split_dir)
    if not files or num_classes not in (None, len(files)):
        raise AnnotationError(
            f"{split_dir}: {len(files)} files <class>_test_split{split}.txt, expected "
            f"{num_classes or 'at least one'}. Put those of all classes there."
        )
    # Sorted by name: by file, "kick_test..." would come after "kick_ball_test...".
    file_of = {_HMDB_FILE.fullmatch(file)["name"]: file for file in files}
    class_names = sorted(file_of)
    clips = []
    for index, name in enumerate(class_names):
        for place, line in read_lines(os.path.join(split_dir, file_of[name])):
            file, _, flag = line.rpartition(" ")
            if not file or flag not in _HMDB_FLAGS:
                raise AnnotationError(
                    f"{place}: '{line}'. Expected a file name and 1 (train), 2 (test) or 0 "
                    "(unused)."
                )
            if _HMDB_FLAGS[flag] == subset:
                clips.append(_clip(file.strip(), index, place))
    return _with_files(clips, video_dir, split_dir, _HMDB_NAMING, allow_missing), class_names


def _clip(file: str, index: int, place: str) -> dict:
    stem = os.path.splitext(file)[0]
    return {"video_id": stem, "clip_id": stem, "labels": {TASK: index}, "source": place}


def _with_files(
    clips: list[dict], video_dir: str, annotations: str, naming: str, allow_missing: bool
) -> list[dict]:
    found = find_videos(video_dir, ("*", "*/*"), {clip["clip_id"] for clip in clips})
    files = [found.get(clip["clip_id"]) for clip in clips]
    return attach_files(clips, files, video_dir, annotations, naming, allow_missing)
