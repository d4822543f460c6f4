"""The folder of a generated set: it says what it is to hold, and never holds half a file."""

import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

logger = logging.getLogger(__name__)


def claim(folder: Path, request: dict) -> None:
    """Note in ``folder`` what it is to hold; the movies of another request are removed.

    Raises:
        FileExistsError: if it holds something that was not generated.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        if folder.exists() and any(folder.glob("[!.]*")):
            raise FileExistsError(
                f"{folder} is not empty and has no manifest.json, so it is not a generated set: "
                "give another --output, or empty it"
            )
    elif json.loads(manifest.read_text()) == request:
        return
    else:
        logger.info("%s holds a set made otherwise: making it anew", folder)
        for path in [*folder.glob("videos/**/*.*"), folder / "contact_sheet.png"]:
            path.unlink(missing_ok=True)
    replace_file(manifest, partial(Path.write_text, data=json.dumps(request, indent=2)))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``path``, then rename it: there is never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    write(part)
    os.replace(part, path)
