"""Files behind an address, ``<scheme>://...``: the one place that asks for them.

Any handler of iopath that is registered with Detectron2's ``PathManager`` serves its scheme, such
as iopath's own for ``s3://``. Detectron2 is imported only when there is an address. All functions
also take local paths. A local file that is named like an address wins over the address.
"""

import logging
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from .errors import MAX_MESSAGE, AVSFError, one_line

HTTP = ("http://", "https://")
TIMEOUT_SEC = 20  # until a server answers
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")
_DETECTRON2_FILES = "https://dl.fbaipublicfiles.com/"
# Address to local file: handlers may ask the server again each time.
_FETCHED: dict[str, str] = {}
# Python prints what no handler takes: iopath logs each download that fails, which is our error.
logging.getLogger("iopath.common.download").addHandler(logging.NullHandler())
_LOCK = threading.Lock()  # the default timeout of sockets belongs to the process


class DownloadError(AVSFError):
    """File of a URL that cannot be downloaded, for ``reason``; says where to put a copy of it."""

    def __init__(self, url: str, reason: object) -> None:
        from iopath.common.file_io import get_cache_dir

        # As iopath names the file.
        cache = _cache_of(url).get("cache_dir") or get_cache_dir()
        folder = os.path.dirname(urlsplit(url).path.lstrip("/"))
        place = os.path.join(cache, folder, url.rpartition("/")[2])
        rest = f"{url}: cannot be downloaded (). Put a copy to {place}"
        # A long reason is cut here, so that the paths are not.
        short = one_line(str(reason), max(24, MAX_MESSAGE - len(rest)))
        super().__init__(rest.replace("()", f"({short})"))


def is_address(path: str | os.PathLike) -> bool:
    """Return whether a path is an address; a Path, which joins the two slashes, is none."""
    return isinstance(path, str) and bool(_SCHEME.match(path)) and not os.path.exists(path)


def local_path(path: str | os.PathLike) -> str:
    """Return the path of a local file with the content; files of addresses are fetched once.

    Raises:
        OSError: the file cannot be fetched; the message does not name the address.
        DownloadError: the file of a short address such as pyslowfast:// cannot be fetched.
    """
    if not is_address(path):
        return os.fspath(path)
    address = str(path)
    if not os.path.exists(_FETCHED.get(address, "")):
        if address.startswith(HTTP):
            with _LOCK:
                before = socket.getdefaulttimeout()
                socket.setdefaulttimeout(TIMEOUT_SEC)  # iopath's download waits for ever
                try:
                    local = _ask("get_local_path", address, **_cache_of(address))
                finally:
                    socket.setdefaulttimeout(before)
        else:
            local = _ask("get_local_path", address)
        if local is None or local == address:
            raise OSError(_no_handler(address))
        _FETCHED[address] = local
    return _FETCHED[address]


def exists(path: str) -> bool:
    """Return whether there is a file or folder; True where the handler of an address cannot say."""
    if not is_address(path):
        return os.path.exists(path)
    return _ask("exists", path) is not False or is_folder(path)


def is_folder(path: str) -> bool:
    """Return whether a path is a folder; False where the handler of an address cannot say."""
    if not is_address(path):
        return os.path.isdir(path)
    if _ask("isdir", _folder(path)):
        return True
    try:  # a folder of s3:// is only a common start of names
        return list_folder(path) not in (None, [], [name_of(path)])
    except OSError:
        return False


def list_folder(path: str) -> list[str] | None:
    """Return the names in a folder; None where the handler of an address cannot list, as for http.

    Raises:
        OSError: the folder cannot be read.
    """
    if not is_address(path):
        return os.listdir(path)
    names = _ask("ls", _folder(path))
    # iopath's handler of s3:// gives whole keys, those of folders with a slash.
    return None if names is None else [name.rstrip("/").rpartition("/")[2] for name in names]


def join(folder: str, name: str) -> str:
    """Return the path or address of a file in a folder; http needs escapes in names."""
    if not is_address(folder):
        return os.path.join(folder, name)
    return _folder(folder) + (quote(name) if folder.startswith(HTTP) else name)


def beside(path: str, name: str) -> str:
    """Return the path of the file that ``path`` calls ``name``: one in its folder, if there is one.

    A name with a folder stays as it is, and so does one of a file in the working folder.
    """
    folder = os.path.dirname(path)
    inside = os.path.join(folder, name)
    if not name or os.path.basename(name) != name or os.path.exists(name):
        return name
    return inside if is_address(path) or os.path.isfile(inside) else name


def name_of(path: str | os.PathLike) -> str:
    """Return the name of a file, without the query of an address, and without escapes of http."""
    if is_address(path) and str(path).startswith(HTTP):
        path = unquote(urlsplit(str(path)).path)
    return Path(path).name


def stem_of(path: str | os.PathLike) -> str:
    """Return the name of a file without its extension: the video id of a video."""
    return Path(name_of(path)).stem


def _folder(address: str) -> str:
    return address.rstrip("/") + "/"  # without the slash, s3:// lists the folder's own name


def _cache_of(address: str) -> dict[str, str]:
    """Return the argument that keeps files of different servers apart in iopath's cache."""
    if address.startswith(_DETECTRON2_FILES):
        return {}  # where Detectron2 keeps them
    from iopath.common.file_io import get_cache_dir

    host = urlsplit(address).netloc.rpartition("@")[2]  # without a password
    return {"cache_dir": os.path.join(get_cache_dir(), host)}


def _ask(question: str, address: str, **options: str) -> Any:
    """Ask the handler of an address; None if it cannot answer."""
    from detectron2.utils.file_io import PathManager

    try:
        return getattr(PathManager, question)(address, **options)
    except NotImplementedError:
        return None
    except DownloadError:  # of a handler that knows the URL
        raise
    # Handlers of users raise the errors of their libraries, such as boto3's, which have no base
    # class but Exception. None is lost: the cause is kept, and its type is in the message.
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}".rstrip(": ")) from error


def _no_handler(address: str) -> str:
    scheme = address.partition("://")[0]
    return f"no handler of {scheme}:// is registered with detectron2.utils.file_io.PathManager"
