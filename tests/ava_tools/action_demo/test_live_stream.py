import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import numpy as np
import pytest

from ava_tools.action_demo.live_buffer import AudioTrack
from ava_tools.action_demo.live_source import LiveSource, live_sources
from ava_tools.action_demo.live_stream import LiveStream, StreamClock
from avsf_det.data import VideoDecodeError

from ...media import read_number, write_video
from .stream_server import FPS, RATE, StreamServer, make_stream


def read(url: str, clock: StreamClock | None = None, **options):
    """Numbers and seconds of the frames, (2, N), and seconds of the clicks, of a stream."""
    stream = LiveStream(LiveSource(url), clock or StreamClock(), threading.Event(), **options)
    track, frames = AudioTrack(RATE, 1, 60), []
    for second, frame in stream:
        if isinstance(frame, av.AudioFrame):
            track.add(second, frame)
        else:
            frames.append((read_number(frame.to_ndarray(format="rgb24")), second))
    sound = np.abs(track.read(0, max(track.end, 0))[0])
    loud = np.flatnonzero(sound > 0.3) / RATE
    starts = loud[np.diff(loud, prepend=-1) > 0.5]
    return stream, np.array(frames).T, starts


def test_frames_and_audio_are_on_one_clock_until_the_end(capsys):
    with StreamServer([(make_stream(), False)]) as server:
        stream, (numbers, seconds), clicks = read(server.url)
    assert stream.has_audio
    np.testing.assert_array_equal(numbers, range(50))
    np.testing.assert_allclose(seconds, numbers / FPS, atol=1e-4)
    np.testing.assert_allclose(clicks, [0, 1], atol=2e-3)  # a frame has 0.04 s
    assert capsys.readouterr().err == ""


def test_a_stream_without_audio():
    with StreamServer([(make_stream(1, sound=False), False)]) as server:
        stream, (numbers, _), clicks = read(server.url)
    assert not stream.has_audio and not len(clicks)
    np.testing.assert_array_equal(numbers, range(25))


def test_a_microphone_is_on_the_clock_of_its_camera():
    clock = StreamClock()
    with StreamServer([(make_stream(1, sound=False, start=100.52), False)]) as camera:
        read(camera.url, clock)
    with StreamServer([(make_stream(start=100), False)]) as microphone:
        stream, frames, clicks = read(microphone.url, clock, has_video=False)
    assert stream.has_audio and not len(frames)
    np.testing.assert_allclose(clicks, [101 - 100.52], atol=2e-3)


@pytest.mark.parametrize("loss", ["reset", "new clock"])
def test_a_lost_stream_is_opened_again(loss, capsys):
    whole = make_stream()
    # The file of another clock follows, and is not read: its connection ends as a lost one.
    first = (whole, True) if loss == "reset" else (whole + make_stream(1, start=500), False)
    with StreamServer([first, (make_stream(start=3), False)]) as server:
        _, (numbers, seconds), clicks = read(server.url, wait_sec=0.01)
    (restart,) = np.flatnonzero(np.diff(numbers) < 0) + 1
    assert restart >= 45
    np.testing.assert_array_equal(numbers[restart:], range(50))
    assert (np.diff(seconds) > 0).all()
    # Audio is on the clock of the frames in each connection.
    np.testing.assert_allclose(seconds[:restart], numbers[:restart] / FPS, atol=1e-4)
    again = seconds[restart]
    np.testing.assert_allclose(seconds[restart:], again + numbers[restart:] / FPS, atol=1e-4)
    np.testing.assert_allclose(clicks[-2:], [again, again + 1], atol=2e-3)
    (message,) = capsys.readouterr().err.splitlines()
    problem = "Connection reset by peer" if loss == "reset" else "its clock jumps by 48"
    assert problem in message and "opened again in 0.01 s (try 1 of 10)" in message


def test_a_stream_that_does_not_come_back(capsys):
    with (
        StreamServer([(make_stream(), True)]) as server,
        pytest.raises(VideoDecodeError, match=r"refused.*; given up after 2 tries"),
    ):
        read(server.url, wait_sec=0.01, max_reconnects=2)
    messages = capsys.readouterr().err.splitlines()
    assert [message.rpartition("(")[2] for message in messages] == ["try 1 of 2)", "try 2 of 2)"]
    assert "in 0.02 s" in messages[1]


def test_what_is_no_stream_is_named_without_its_password():
    with pytest.raises(VideoDecodeError, match=r"^tcp://127.0.0.1:1: cannot be opened \(.*refused"):
        read("tcp://127.0.0.1:1")
    assert LiveSource("rtsp://me:secret@camera/1").name == "rtsp://camera/1"


def test_the_input_tells_what_is_live(tmp_path):
    sources = partial(live_sources, options={"video_size": "1280x720"})
    camera, microphone = sources("/dev/video0")
    assert (camera.url, camera.format) == ("/dev/video0", "v4l2")
    assert camera.options == {"timestamps": "abs", "video_size": "1280x720"}
    assert (microphone.url, microphone.format) == ("default", "alsa")
    assert len(sources("/dev/video12", microphone="")) == 1
    (mac,) = sources("avfoundation:0:1")
    assert (mac.url, mac.format) == ("0:1", "avfoundation")
    (rtsp,) = sources("rtsp://camera/1")
    assert (rtsp.format, rtsp.options["rtsp_transport"]) == (None, "tcp")
    for name in ("udp://@:1234", "tcp://127.0.0.1:9"):
        assert sources(name) == [LiveSource(name, None, {"video_size": "1280x720"})]
    for name in (str(tmp_path), "video.mp4", "v4l2.mp4", "s3://bucket/a.mp4", "tcp.mp4"):
        assert sources(name) == []


def test_http_is_live_if_it_has_no_length(tmp_path):
    write_video(tmp_path / "a.mp4", container_options={"movflags": "faststart"})
    contents = {"/live": make_stream(1), "/a.mp4": (tmp_path / "a.mp4").read_bytes()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            if self.path != "/live":
                self.send_header("Content-Length", str(len(contents[self.path])))
            self.end_headers()
            self.wfile.write(contents[self.path])

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert [s.is_paced for s in live_sources(f"{address}/live", {})] == [True]
        assert live_sources(f"{address}/a.mp4", {}) == []
        server.shutdown()
