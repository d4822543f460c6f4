"""Self-contained HTML pages: templates, and media as data URIs."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from PIL import Image


def load_template(path: Path) -> jinja2.Template:
    """Return a template, which may include others of its folder; all values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(path.name)


def image_uri(image: np.ndarray) -> str:
    """Return an image, (H, W, 3) uint8 RGB, as the data URI of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85)
    return data_uri("image/jpeg", buffer.getvalue())


def data_uri(mime: str, data: bytes) -> str:
    """Return bytes of a MIME type as a data URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
