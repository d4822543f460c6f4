"""A server on localhost that sends the bytes of a transport stream to whoever connects."""

import fcntl
import io
import socket
import struct
import termios
import threading
import time
from collections.abc import Sequence

from ...media import clicks, write_video

FPS = 25
RATE = 48000


def make_stream(seconds: float = 2.0, *, sound: bool = True, start: float = 10.0) -> bytes:
    """A transport stream whose frames carry their number, with clicks at whole seconds."""
    file = io.BytesIO()
    write_video(
        file,
        num_frames=round(seconds * FPS),
        fps=FPS,
        start=start,
        size=(48, 96),
        sound=clicks(range(int(seconds)), seconds, RATE) if sound else None,
        sound_rate=RATE,
        sound_start=start,
        container="mpegts",
    )
    return file.getvalue()


def outstanding(connection: socket.socket) -> int:
    """Number of bytes that the other side has not received."""
    return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]


class StreamServer:
    """Server whose connections send one item of a list each; a context manager.

    Args:
        contents: bytes to send, and whether the connection is lost (reset) after them or ends;
            None: it stays open.
    """

    def __init__(self, contents: Sequence[tuple[bytes, bool | None]]) -> None:
        self._contents = contents
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        for content, is_lost in self._contents:
            connection, _ = self._socket.accept()
            connection.sendall(content)
            if is_lost:
                while outstanding(connection):  # a reset would discard it
                    time.sleep(0.001)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if is_lost is not None:
                connection.close()
            else:
                self._open = connection
        self._socket.close()

    def __enter__(self) -> "StreamServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
