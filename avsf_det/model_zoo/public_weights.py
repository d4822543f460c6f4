"""Public weights by short addresses, such as ``pyslowfast://model_zoo/ava/C2D_8x8_R50.pkl``.

``hf://org/name`` are the weights of a repository of Hugging Face that ``publish_model.py`` wrote.

Importing this module registers the addresses with Detectron2's PathManager, which
``MODEL.WEIGHTS`` goes through. A file is downloaded once, into iopath's cache.
"""

from typing import Any

from detectron2.utils.file_io import PathHandler, PathManager

from ..checkpoint.checkpointer import PUBLISHED
from ..structures.addresses import DownloadError, local_path

_SERVER = "https://dl.fbaipublicfiles.com/"
PREFIXES = {
    "pyslowfast://": f"{_SERVER}pyslowfast/",
    "pytorchvideo://": f"{_SERVER}pytorchvideo/",
}


def get_url(path: str) -> str:
    """Return the URL of a short address; other paths stay as they are."""
    for prefix, url in PREFIXES.items():
        if path.startswith(prefix):
            return url + path.removeprefix(prefix)
    return path


class PublicWeightsHandler(PathHandler):
    """Handler of the short addresses in ``PREFIXES``."""

    def _get_supported_prefixes(self) -> list[str]:
        return list(PREFIXES)

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """Return the path of the cached file, after downloading it if need be.

        Raises:
            DownloadError: the server cannot be reached, or does not have the file.
        """
        url = get_url(path)
        try:
            return local_path(url)
        except OSError as error:
            raise DownloadError(url, error) from error

    def _open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)


class HuggingFaceHandler(PathHandler):
    """Handler of ``hf://org/name[@revision][/file]``; without a file, that of the weights.

    It needs the package huggingface_hub, which keeps the files in a cache of its own.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return ["hf://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """Return the path of the cached file, after downloading it if need be.

        Raises:
            OSError: the address is wrong, or huggingface_hub is missing or cannot get the file.
        """
        try:
            from huggingface_hub import hf_hub_download
        except ImportError as error:
            raise OSError("hf:// needs a package: pip install huggingface_hub") from error
        org, _, rest = path.removeprefix("hf://").partition("/")
        repository, _, file = rest.partition("/")
        name, _, revision = repository.partition("@")
        if not org or not name:
            raise OSError("write hf://org/name or hf://org/name/file")
        return hf_hub_download(f"{org}/{name}", file or PUBLISHED, revision=revision or None)

    def _open(self, path: str, mode: str = "r", **kwargs: Any) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)


PathManager.register_handler(PublicWeightsHandler())
PathManager.register_handler(HuggingFaceHandler())
