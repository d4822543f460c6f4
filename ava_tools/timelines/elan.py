"""Bouts as files of ELAN (.eaf): a tier per person and action, linked to the video."""

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import ParseError

from avsf_det.structures import AnnotationError, AVSFError
from avsf_det.utils.atomic import atomic_path

from .bouts import Bout


def write_elan(path: str | Path, bouts: Sequence[Bout], media: str | Path) -> None:
    """Write the bouts of one video.

    Annotations of a tier may not overlap, but actions of a person do: so each action has a tier of
    its own. The tier's participant is the person, and the annotation's value is the action.

    Args:
        path: file that ends in ``.eaf``.
        bouts: bouts of the video.
        media: the video.
    """
    eaf = _library().Eaf(author="avsf_det")
    eaf.remove_tier("default")
    media_type = mimetypes.guess_type(str(media))[0] or "video/mp4"
    absolute = Path(media).absolute()
    eaf.add_linked_file(absolute.as_uri(), f"./{absolute.name}", media_type)
    for b in sorted(bouts, key=lambda b: (b.person, b.action, b.start)):
        tier = f"{b.person}/{b.action}"
        if tier not in eaf.get_tier_names():
            eaf.add_tier(tier, part=b.person)
        eaf.add_annotation(tier, round(1000 * b.start), round(1000 * b.end), b.action)
    with atomic_path(path) as temporary:
        eaf.to_file(str(temporary))


def read_elan(path: str | Path) -> list[Bout]:
    """Read the annotations of all time-aligned tiers; the value is the action.

    The person is the tier's participant or, where it has none, the tier's name before "/". The
    video id is the name of the linked media file without its ending or, without one, of this file.

    Raises:
        AnnotationError: not a file of ELAN, or an annotation that ends before it starts.
    """
    try:
        eaf = _library().Eaf(str(path))
    except (ParseError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise AnnotationError(f"{path}: not a file of ELAN ({error}); save it as .eaf") from None
    media = [x.get("RELATIVE_MEDIA_URL") or x.get("MEDIA_URL") for x in eaf.get_linked_files()]
    video = Path(media[0] if media and media[0] else path).stem
    bouts = []
    for tier in eaf.get_tier_names():
        person = eaf.get_parameters_for_tier(tier).get("PARTICIPANT") or tier.split("/")[0]
        for start, end, action, *_ in eaf.get_annotation_data_for_tier(tier):
            if not (action or "").strip():
                continue  # a span that is marked, and not yet named
            if not 0 <= start < end:
                raise AnnotationError(
                    f"{path}: tier '{tier}': '{action}' from {start} to {end} ms; mend it in ELAN"
                )
            bouts.append(Bout(video, person, action.strip(), start / 1000, end / 1000))
    return sorted(bouts)


def _library():  # noqa: ANN202 - a module
    try:
        from pympi import Elan  # an extra
    except ImportError:
        raise AVSFError("files of ELAN need pympi-ling: pip install pympi-ling") from None
    return Elan
