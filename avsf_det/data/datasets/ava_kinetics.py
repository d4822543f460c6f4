"""The part of AVA-Kinetics on clips of Kinetics-700: AVA's rows, one keyframe for each clip.

The csv counts seconds from the start of the whole YouTube video. Clips are named
``<youtube_id>_<start, 6 digits>_<end, 6 digits>.mp4``. Many are no longer available: keyframes
without a clip are left out and logged.
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...structures import AnnotationError, Keyframe
from ...structures.addresses import join
from ...structures.label_map import read_label_map
from ..video.formats import VIDEO_EXTENSIONS
from .annotation_files import check_present, first_few, list_matches
from .ava import load_ava_csv

_NAMING = "<youtube_id>_<start, 6 digits>_<end, 6 digits>.mp4"
_STEM = re.compile(r"(.+)_(\d{6})_(\d{6})")
# Clips in one folder, in folders of splits or classes, or in those of classes in those of splits.
_PATTERNS = ("*", "*/*", "*/*/*")

logger = logging.getLogger(__name__)


def register_ava_kinetics(
    name: str,
    csv_file: str,
    label_map: Mapping[int, str],
    video_dir: str,
    *,
    scored_label_map: str = "",
    person_boxes: str = "",
    source: str = "",
) -> None:
    """Register the keyframes of which the clip is there; see :func:`.ava.register_ava_csv`.

    Only these are scored: metadata have ``truth_in_dicts``.
    """
    metadata = MetadataCatalog.get(name).set(
        evaluator_type="ava",
        truth_in_dicts=True,
        thing_classes=["person"],
        annotation_file=csv_file,
        excluded_file="",
        label_map_file=scored_label_map,
        proposal_file=person_boxes,
        valid_sec=None,
        action_classes=[label_map[i] for i in sorted(label_map)],
        action_csv_ids=sorted(label_map),
    )

    def load() -> list[dict]:
        paths = {"annotations": csv_file, "scored label map": scored_label_map}
        check_present(name, {**paths, "videos": video_dir}, source, _NAMING)
        scored = read_label_map(scored_label_map).ids if scored_label_map else sorted(label_map)
        metadata.set(scored_action_csv_ids=scored)
        return load_ava_kinetics(csv_file, sorted(label_map), video_dir)

    DatasetCatalog.register(name, load)


def load_ava_kinetics(csv_file: str, action_csv_ids: Sequence[int], video_dir: str) -> list[dict]:
    """Read the keyframes; for the arguments see :func:`register_ava_kinetics`."""
    clips: dict[str, list[tuple[int, int, str]]] = defaultdict(list)  # start, end, file
    for pattern in _PATTERNS:
        for path in list_matches(video_dir, pattern):
            stem, extension = os.path.splitext(os.path.basename(path))
            match = _STEM.fullmatch(stem)
            if match and extension.lower() in VIDEO_EXTENSIONS:
                start, end = int(match[2]), int(match[3])
                clips[match[1]].append((start, end, join(video_dir, path)))

    def find_files(keyframes: Collection[Keyframe]) -> dict[Keyframe, tuple[str, float]]:
        found = {}
        for video_id, second in keyframes:
            for start, end, file in sorted(clips.get(video_id, ())):
                if start <= second <= end:
                    found[video_id, second] = file, float(start)
                    break
        missing = sorted({video_id for video_id, second in set(keyframes) - found.keys()})
        if missing:
            message = (
                f"{csv_file}: {len(keyframes) - len(found)} of {len(keyframes)} keyframes have no "
                f"clip in {video_dir}: {first_few(missing)}. Expected {_NAMING}"
            )
            if not found:
                raise AnnotationError(f"{message}; give another folder")
            logger.warning(f"{message}. They are left out.")
        return found

    return load_ava_csv(csv_file, action_csv_ids, video_dir, find_files=find_files)
