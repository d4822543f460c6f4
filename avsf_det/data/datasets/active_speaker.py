"""AVA-ActiveSpeaker: faces of every frame of AVA's videos, and which of them speak.

The three labels are actions of a face box; see :mod:`avsf_det.structures.active_speaker_csv`.
Annotations are a csv, or a folder with one for each video, as in the official archives.
"""

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ...structures import AnnotationError
from ...structures.active_speaker_csv import LABELS, SCORED_LABEL, read_faces
from ...structures.addresses import is_folder, join, list_folder
from .annotation_files import check_present, find_videos, first_few, without_garbage_collection


def register_active_speaker(
    name: str, annotations: str, video_dir: str, *, offset: float = 0.0, source: str = ""
) -> None:
    """Register a dataset; ``DatasetCatalog.get(name)`` reads the files.

    Args:
        name: name in the catalogs.
        annotations: csv file, or folder of csv files.
        video_dir: folder of ``<video_id>.mp4`` (or mkv, ...).
        offset: second of the csv's clock at which the video files start.
        source: where to get the files; shown if one is missing.
    """
    MetadataCatalog.get(name).set(
        evaluator_type="active_speaker",
        thing_classes=["person"],
        action_classes=list(LABELS),
        action_csv_ids=list(range(len(LABELS))),
        scored_action_csv_ids=[LABELS.index(SCORED_LABEL)],
        annotation_file=annotations,
        excluded_file="",
        label_map_file="",
        proposal_file="",
        valid_sec=None,
    )

    def load() -> list[dict]:
        paths = {"annotations": annotations, "videos": video_dir}
        check_present(name, paths, source, "<video_id>.mp4")
        return load_active_speaker(annotations, video_dir, offset=offset)

    DatasetCatalog.register(name, load)


@without_garbage_collection()
def load_active_speaker(annotations: str, video_dir: str, *, offset: float = 0.0) -> list[dict]:
    """Read the frames with faces, with the arguments of :func:`register_active_speaker`."""
    files = [annotations]
    if is_folder(annotations):
        names = sorted(n for n in list_folder(annotations) or () if n.endswith(".csv"))
        files = [join(annotations, name) for name in names]
    dicts: dict[tuple[str, float], dict] = {}
    for face in (face for file in files for face in read_faces(file)):
        if face.second < offset:
            raise AnnotationError(
                f"{face.place}: timestamp {face.second:g} s lies before the video file, which "
                f"starts at {offset:g} s. Use the datasets of whole videos, or another offset."
            )
        keyframe = face.video_id, face.second
        if keyframe not in dicts:
            dicts[keyframe] = {
                "video_id": face.video_id,
                "image_id": f"{face.video_id},{face.second:.15g}",
                "timestamp": face.second,
                "offset": offset,
                "source": face.place,
                "annotations": [],
            }
        dicts[keyframe]["annotations"].append(
            {
                "bbox": list(face.box),
                "bbox_mode": BoxMode.XYXY_REL,
                "category_id": 0,
                "action_ids": [LABELS.index(face.label)],
                "track_id": face.entity,
            }
        )
    if not dicts:
        raise AnnotationError(f"{annotations}: no face. Unpack the official csv files there.")
    videos = {video_id for video_id, _ in dicts}
    file_of = find_videos(video_dir, ("*", "*/*"), videos)
    if missing := sorted(videos - file_of.keys()):
        raise AnnotationError(
            f"{annotations}: {len(missing)} of the {len(videos)} videos are not in {video_dir}: "
            f"{first_few(missing)}. Add <video_id>.mp4, or remove their rows"
        )
    return [{"file_name": file_of[key[0]], **dicts[key]} for key in sorted(dicts)]
