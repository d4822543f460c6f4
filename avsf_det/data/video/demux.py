"""Packets of an open container."""

from collections.abc import Iterator, Sequence

import av


def demux(
    container: av.container.InputContainer, streams: Sequence[av.stream.Stream] = ()
) -> Iterator[av.Packet]:
    """Yield the packets of the streams that the file had when it was opened.

    A transport stream or an flv file may begin another stream later. PyAV's ``demux`` ends with an
    IndexError at its first packet; that packet is read then, so that a new ``demux`` goes on
    behind it.

    Args:
        container: open file.
        streams: streams to read; all by default.
    """
    while True:
        try:
            yield from container.demux(*streams)
            return
        except IndexError:
            pass
