"""What is opened as a video, and what is refused at once."""

import os
import socket
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
from PIL import Image

from ava_tools.preparation.video_check import check_video
from ava_tools.preparation.video_lists import videos_in
from avsf_det.data import VideoDecodeError, VideoReader
from avsf_det.data.video.cut import cut_video
from avsf_det.data.video.formats import FORMATS, VIDEO_EXTENSIONS
from avsf_det.data.video.write import write_video as write_frames

from ...media import paint_number, read_number, write_video

# Names that libav takes for a protocol, a pattern or a device, unless it is told otherwise.
NAMES = [
    "cam1:0.mp4",
    "2024-05-01T12:30:00.mp4",
    "-x.mp4",
    "file:a.mp4",
    "http:a.mp4",
    "http://a.mp4",
    "concat:a|b.mp4",
    "pipe:0.mp4",
    "a%03d.mp4",
    " a\nb.mp4",
    os.fsdecode(b"\xff\xfe.mp4"),
]
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nneighbour.ts\n#EXT-X-ENDLIST\n"
SDP = "v=0\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
TEXTS = {
    "concat.mp4": "ffconcat version 1.0\nfile neighbour.mp4\n",
    "playlist.m3u8": PLAYLIST,
    "playlist.mp4": PLAYLIST,
    "sdp.mp4": SDP,
    "subtitles.mp4": "1\n00:00:01,000 --> 00:00:02,000\nhello\n",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make neighbour.mp4 in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "neighbour.mp4", num_frames=6)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_file_read_and_written(here: Path, name: str):
    (here / name).parent.mkdir(exist_ok=True)
    write_frames(name, [paint_number(i, 48, 96) for i in range(6)], 30)
    with VideoReader(name) as reader:
        assert [read_number(f) for f in reader.get_frames_played_at([0.0, 0.11])] == [0, 3]
    cut_video("neighbour.mp4", name, 0.1, 0.2)
    with VideoReader(name) as reader:
        assert read_number(reader.get_frames_played_at([0.04])[0]) == 4
    (here / name).write_text("no video")
    with pytest.raises(VideoDecodeError) as error:
        VideoReader(name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", TEXTS)
def test_text_that_names_files_is_refused(here: Path, name: str):
    (here / name).write_text(TEXTS[name])
    (here / "neighbour.ts").write_bytes((here / "neighbour.mp4").read_bytes())
    with pytest.raises(VideoDecodeError, match=f"{name}: file: cannot be opened"):
        VideoReader(name)
    assert check_video(name).problems.keys() == {"undecodable"}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".mp4"])
def test_images_are_refused(here: Path, suffix: str):
    Image.new("RGB", (64, 48)).save("001.jpg")
    Image.new("RGB", (64, 48)).save(f"001{suffix}", format=None if suffix != ".mp4" else "png")
    for name in (f"001{suffix}", "%03d.jpg"):
        with pytest.raises(VideoDecodeError, match=r"cannot be opened \((it is no video|No such)"):
            VideoReader(name)


def test_what_is_no_file_is_refused_at_once(here: Path):
    os.mkfifo("pipe.mp4")
    os.mkdir("folder.mp4")
    os.symlink("loop.mp4", "loop.mp4")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        for name, problem in {
            "pipe.mp4": "it is a named pipe, not a file",
            "socket.mp4": "it is a socket, not a file",
            "folder.mp4": "it is a folder, not a file",
            "/dev/zero": "it is a device, not a file",
            "loop.mp4": "Too many levels of symbolic links",
            "": "No such file",
            "neighbour.mp4\0": "null byte",
            "file:neighbour.mp4": "No such file",
            "concat:neighbour.mp4|neighbour.mp4": "No such file",
            "rtsp://127.0.0.1/a": "no handler of rtsp://",
            "http://127.0.0.1:9/a.mp4": "Connection refused",
        }.items():
            with pytest.raises(VideoDecodeError, match=problem):
                VideoReader(name)


@pytest.mark.parametrize(
    ("container", "codec", "endings"),
    [
        ("mp4", "libx264", "M4V 3gp"),
        ("mpegts", "libx264", "ts MTS m2ts"),
        ("mpeg", "mpeg2video", "mpg MPEG"),
        ("vob", "mpeg2video", "vob"),
        ("flv", "flv", "flv"),
        ("asf", "wmv2", "wmv asf"),
        ("avi", "mpeg4", "AVI"),
        ("mxf", "mpeg2video", "mxf"),
        ("mjpeg", "mjpeg", "mjpeg"),
        ("h264", "libx264", "h264"),
        ("mpeg2video", "mpeg2video", "m2v"),
        ("dv", "dvvideo", "dv"),
    ],
)
def test_every_ending_is_found_and_read(tmp_path: Path, container: str, codec: str, endings: str):
    for ending in endings.split():
        with open(tmp_path / f"a.{ending}", "wb") as file:
            options = {"pix_fmt": "yuvj420p" if codec == "mjpeg" else "yuv420p"}
            options |= {"size": (576, 720)} if codec == "dvvideo" else {}
            write_video(file, fps=25, container=container, codec=codec, **options)
    found = videos_in(str(tmp_path))
    assert found.keys() == {f"a.{ending}" for ending in endings.split()}
    for path in found.values():
        with VideoReader(path) as reader:
            assert read_number(reader.get_frames_played_at([0.5])[0]) in (11, 12, 13)
            assert reader.fps == pytest.approx(25, rel=0.01)


def test_an_address_is_read_and_leads_to_no_file(here: Path):
    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            if "moved" not in self.path:
                return super().do_GET()
            self.send_response(302)
            self.send_header("Location", f"file://{here}/neighbour.mp4")
            return self.end_headers()

        def log_message(self, *args):
            pass

    (here / "list.m3u8").write_text(PLAYLIST)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with VideoReader(f"{address}/neighbour.mp4") as reader:
            assert read_number(reader.get_frames_played_at([0.11])[0]) == 3
        for name in ("list.m3u8", "moved.mp4", "missing.mp4"):
            with pytest.raises(VideoDecodeError, match=f"{name}: file: cannot be opened"):
                VideoReader(f"{address}/{name}")
        server.shutdown()


def test_folders_of_links_in_a_circle(here: Path):
    os.symlink(here, here / "again")
    assert list(videos_in(str(here))) == ["neighbour.mp4"]


def test_endings_are_of_formats_that_libav_knows():
    known = {part for name in av.formats_available for part in name.split(",")}
    assert set(FORMATS) <= known
    assert len(set(VIDEO_EXTENSIONS)) == len(VIDEO_EXTENSIONS) > 40
