"""Bouts as files of ELAN (.eaf, format 3.0): a tier per person and action, linked to the video."""

import mimetypes
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from avsf_det.utils.atomic import atomic_path

from .bouts import Bout

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_TYPE, _LIST, _LANGUAGE = "action", "actions", "und"


def write_elan(
    path: str | Path,
    bouts: Sequence[Bout],
    media: str | Path,
    actions: Sequence[str] = (),
    persons: Sequence[str] = (),
) -> None:
    """Write the bouts of one video.

    Annotations of a tier may not overlap, but actions of a person do: so each action has a tier of
    its own. The tier's participant is the person, and the annotation's value is the action, chosen
    from a list. Each person also has an empty tier, for actions that were missed.

    Args:
        path: file that ends in ``.eaf``.
        bouts: bouts of the video.
        media: the video.
        actions: names of all actions, to choose from.
        persons: ids of all persons.
    """
    tiers: dict[tuple[str, str], list[Bout]] = {
        (person, "other"): [] for person in {*persons, *(b.person for b in bouts)}
    }
    for b in sorted(bouts, key=lambda b: (b.person, b.action, b.start)):
        tiers.setdefault((b.person, b.action), []).append(b)
    names = list(dict.fromkeys([*actions, *(b.action for b in bouts)]))
    root = Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "avsf_det",
            "DATE": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            f"{{{_INSTANCE}}}noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    _add_header(root, Path(media).absolute(), len(bouts))
    # The schema has all time slots before all tiers.
    times = SubElement(root, "TIME_ORDER")
    number = 0
    for (person, action), spans in sorted(tiers.items()):
        tier = SubElement(root, "TIER", TIER_ID=f"{person}/{action}", LINGUISTIC_TYPE_REF=_TYPE)
        if person:
            tier.set("PARTICIPANT", person)
        for b in spans:
            number += 1
            slots = (f"ts{2 * number - 1}", f"ts{2 * number}")
            for slot, second in zip(slots, (b.start, b.end), strict=True):
                SubElement(
                    times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(round(1000 * second))
                )
            references = {"TIME_SLOT_REF1": slots[0], "TIME_SLOT_REF2": slots[1]}
            annotation = SubElement(
                SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {"ANNOTATION_ID": f"a{number}", **references},
            )
            SubElement(annotation, "ANNOTATION_VALUE").text = b.action
    _add_list(root, names)
    indent(root)
    with atomic_path(path) as temporary:
        ElementTree(root).write(temporary, encoding="UTF-8", xml_declaration=True)


def _add_header(root: Element, media: Path, num_annotations: int) -> None:
    header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=media.as_uri(),
        MIME_TYPE=mimetypes.guess_type(media.name)[0] or "video/mp4",
        RELATIVE_MEDIA_URL=f"./{media.name.replace('%', '%25')}",
    )
    last = SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(num_annotations)


def _add_list(root: Element, names: Sequence[str]) -> None:
    """Add the type of the tiers, and the list from which ELAN offers their values."""
    SubElement(
        root,
        "LINGUISTIC_TYPE",
        LINGUISTIC_TYPE_ID=_TYPE,
        TIME_ALIGNABLE="true",
        GRAPHIC_REFERENCES="false",
        CONTROLLED_VOCABULARY_REF=_LIST,
    )
    SubElement(root, "LANGUAGE", LANG_ID=_LANGUAGE, LANG_LABEL="undetermined (und)")
    vocabulary = SubElement(root, "CONTROLLED_VOCABULARY", CV_ID=_LIST)
    SubElement(vocabulary, "DESCRIPTION", LANG_REF=_LANGUAGE)
    for i, name in enumerate(names):
        entry = SubElement(vocabulary, "CV_ENTRY_ML", CVE_ID=f"cveid{i}")
        SubElement(entry, "CVE_VALUE", LANG_REF=_LANGUAGE).text = name
