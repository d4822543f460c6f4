"""UCF101: short clips of one action, with three official splits.

``classInd.txt`` has lines "1 ApplyEyeMakeup", ``trainlist01.txt`` lines
"ApplyEyeMakeup/v_x.avi 1" and ``testlist01.txt`` lines "ApplyEyeMakeup/v_x.avi". The videos lie in
one folder or in a folder per class, and may have another extension after re-encoding.
"""

import os
from collections.abc import Sequence

from ...structures import AnnotationError
from .annotation_files import read_lines
from .clips import ACTION_TASK, Loaded, attach_files, find_clip_files, register_clips

_NAMING = "<Class>/v_<Class>_g01_c01.avi"


def register_ucf101(
    name: str,
    list_file: str,
    class_file: str,
    video_dir: str,
    *,
    allow_missing: bool = False,
    source: str = "",
) -> None:
    """Register one list of UCF101. Files are read by ``DatasetCatalog.get(name)`` only.

    Args:
        name: name in the catalogs.
        list_file: ``trainlist0<n>.txt`` or ``testlist0<n>.txt``.
        class_file: ``classInd.txt``.
        video_dir: folder of ``<Class>/v_*.avi`` or ``v_*.avi``.
        allow_missing: leave out clips whose video is missing and log how many.
        source: where to get the files; shown if one is missing.
    """

    def load() -> Loaded:
        class_names = load_ucf101_classes(class_file)
        clips = load_ucf101(list_file, video_dir, class_names, allow_missing=allow_missing)
        return clips, class_names

    paths = {"annotations": list_file, "class names": class_file, "videos": video_dir}
    register_clips(name, load, paths, _NAMING, source)


def load_ucf101(
    list_file: str, video_dir: str, class_names: Sequence[str], *, allow_missing: bool = False
) -> list[dict]:
    """Read the clips, with the arguments of :func:`register_ucf101`, in the order of the list.

    The class of a clip is the folder in its path.

    Raises:
        AnnotationError: a bad line, an unknown class, a class id (from 1) that is not the one of
            the class, a clip that occurs twice, a missing video.
    """
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
        stem = os.path.splitext(file)[0]  # the file may have been re-encoded to .mp4
        clips.append(
            {"video_id": stem, "clip_id": stem, "labels": {ACTION_TASK: index}, "source": place}
        )
    files = find_clip_files(clips, video_dir, "*", "*/*")
    return attach_files(clips, files, video_dir, list_file, _NAMING, allow_missing)


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
