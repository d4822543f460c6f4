"""Files behind addresses: an http server with ranges, and a scheme of iopath."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from detectron2.utils.file_io import PathHandler, PathManager


class RangeHandler(SimpleHTTPRequestHandler):
    """Send files, or parts of them; the server counts the bytes that it sends."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        size, found = (
            path.stat().st_size,
            re.match(r"bytes=(\d+)-(\d*)", self.headers["Range"] or ""),
        )
        start, end = (int(found[1]), int(found[2] or size - 1)) if found else (0, size - 1)
        self.send_response(206 if found else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(end - start + 1))
        if found:
            self.send_header("Content-Range", f"bytes {start}-{end}/{size}")
        self.end_headers()
        with open(path, "rb") as file:
            file.seek(start)
            try:
                while start <= end and (data := file.read(min(1 << 14, end + 1 - start))):
                    self.wfile.write(data)
                    self.server.sent += len(data)
                    start += len(data)
            except OSError:  # the reader has what it wants
                self.close_connection = True

    def log_message(self, *args) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[tuple[str, ThreadingHTTPServer]]:
    """Serve a folder; yield its address, and the server with the number of bytes ``sent``."""
    handler = lambda *args: RangeHandler(*args, directory=str(folder))  # noqa: E731
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.sent, server.daemon_threads, server.block_on_close = 0, True, False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server
        server.shutdown()


class MiniHandler(PathHandler):
    """``mini://<path>`` is a file below a folder; its local path is that of a copy.

    With ``like_s3`` there are no folders, only common starts of names, and whole names are listed.
    """

    like_s3 = False

    def __init__(self, folder: Path, cache: Path) -> None:
        super().__init__()
        self.folder, self.cache, self.fetched = folder, cache, []

    def _get_supported_prefixes(self) -> list[str]:
        return ["mini://"]

    def _path(self, path: str) -> str:
        return os.path.join(self.folder, path.removeprefix("mini://"))

    def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
        target = self.cache / f"{len(self.fetched)}"
        shutil.copyfile(self._path(path), target)
        self.fetched.append(path)
        return str(target)

    def _exists(self, path: str, **kwargs: object) -> bool:
        return (os.path.isfile if self.like_s3 else os.path.exists)(self._path(path))

    def _isdir(self, path: str, **kwargs: object) -> bool:
        return not self.like_s3 and os.path.isdir(self._path(path))

    def _ls(self, path: str, **kwargs: object) -> list[str]:
        names = os.listdir(self._path(path))
        start = path.removeprefix("mini://") if self.like_s3 else ""
        return [f"{start}{name}" for name in names]


def register_mini(folder: Path, cache: Path) -> MiniHandler:
    """Let ``mini://`` be the files of a folder."""
    cache.mkdir()
    handler = MiniHandler(folder, cache)
    PathManager.register_handler(handler)
    return handler
