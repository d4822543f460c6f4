from avsf_det.data.video.open_file import demux


class LateStream:
    """Container with packets 0 to 3, of which number 2 belongs to an unknown stream."""

    def __init__(self):
        self.position = 0

    def demux(self, *streams):
        while self.position < 4:
            self.position += 1
            if self.position - 1 == 2:
                raise IndexError("list index out of range")
            yield self.position - 1, streams


def test_packets_of_a_stream_that_begins_later_are_left_out():
    assert [packet for packet, _ in demux(LateStream())] == [0, 1, 3]
    assert next(demux(LateStream(), ["video"])) == (0, ("video",))
