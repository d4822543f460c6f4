"""Read the annotations of ELAN files (.eaf)."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from urllib.parse import unquote

from ava_tools.annotation_import.drawn_boxes import quote, short, video_id_of
from ava_tools.timelines.bouts import Bout
from avsf_det.structures import AnnotationError

ROOT_TAG = "ANNOTATION_DOCUMENT"
_TIME = re.compile(r"[0-9]{1,10}")  # milliseconds


def read_elan(path: str, root: ElementTree.Element, left_out: Counter[str]) -> list[Bout]:
    """Return the annotations of all tiers that are aligned to time; the value is the action.

    The person is the tier's participant or, where it has none, the tier's name before "/". The
    video id is the name of the linked video without its ending or, without one, of the file.

    Args:
        path: file, for messages.
        root: its root element.
        left_out: counter of what is no bout.

    Raises:
        AnnotationError: an annotation without a time, or a video that starts at another time.
    """
    video = _video_of(path, root)
    times = {
        slot.get("TIME_SLOT_ID"): int(value)
        for slot in root.iterfind("TIME_ORDER/TIME_SLOT")
        if _TIME.fullmatch(value := slot.get("TIME_VALUE", ""))
    }
    bouts = []
    for tier in root.iterfind("TIER"):
        name = tier.get("TIER_ID", "")
        person = (tier.get("PARTICIPANT") or name.partition("/")[0]).strip()
        left_out["annotations of tiers that depend on another one"] += len(
            tier.findall("ANNOTATION/REF_ANNOTATION")
        )
        for annotation in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            action = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
            if not action:
                left_out["annotations without a value"] += 1
                continue
            place = f"{path}: tier {quote(name)}, {quote(action)}"
            start, end = (times.get(annotation.get(f"TIME_SLOT_REF{i}")) for i in (1, 2))
            if start is None or end is None or start >= end:
                raise AnnotationError(
                    f"{place}: from {start} to {end} ms. Give it a start and a later end in ELAN."
                )
            bouts.append(Bout(video, person, action, start / 1000, end / 1000))
    left_out += Counter()  # without zeros
    return bouts


def _video_of(path: str, root: ElementTree.Element) -> str:
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    if media is None:
        return video_id_of(path)
    if media.get("TIME_ORIGIN", "0") != "0":
        raise AnnotationError(
            f"{path}: the video has an offset ({short(media.get('TIME_ORIGIN', ''))} ms). Set it "
            "to 0 in ELAN (Options, Media Synchronization Mode), and move the annotations."
        )
    # Addresses may have percent-encoded characters.
    name = unquote(media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or path)
    return video_id_of(name)
