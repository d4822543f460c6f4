import csv
import os
import signal
import threading
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from ava_tools.action_demo.demo import ActionDemo
from ava_tools.action_demo.live import LiveScorer
from ava_tools.action_demo.live_buffer import AudioTrack, LiveBuffer
from ava_tools.action_demo.live_demo import LiveDemo
from ava_tools.action_demo.live_source import LiveSource
from ava_tools.action_demo.live_stream import LiveItem, LiveStream, StreamClock
from avsf_det.data import VideoReader
from avsf_det.engine.predictor import ClipPredictor, PredictorError

from ...engine import actions
from ...media import paint_number, read_number
from .stream_server import FPS, RATE, StreamServer, make_stream

pytestmark = pytest.mark.usefixtures("few_blocks")
WHOLE = np.array([[0, 0, 1, 1, 1]], np.float32)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("actions")
    actions.make_dataset(path)
    yield ClipPredictor(
        actions.make_model(path), person_detector=lambda frames: [WHOLE for _ in frames]
    )
    actions.forget()


def video_item(number: int, second: float) -> LiveItem:
    return LiveItem(second, av.VideoFrame.from_ndarray(paint_number(number, 16, 48), "rgb24"))


def audio_item(second: float, samples: np.ndarray, rate: int) -> LiveItem:
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate = rate
    return LiveItem(second, frame)


def test_scores_are_those_of_the_same_stream_in_a_file(predictor, tmp_path):
    content = make_stream(3)
    (tmp_path / "a.ts").write_bytes(content)
    ((_, expected),) = predictor(tmp_path / "a.ts", boxes={1.0: WHOLE})
    ((_, silent),) = predictor(tmp_path / "a.ts", boxes={0.5: WHOLE})
    buffer = LiveBuffer(10, AudioTrack(RATE, 1, 10))
    scorer = LiveScorer(predictor, buffer, 1.0)
    with StreamServer([(content, False)]) as server:
        stream = LiveStream(LiveSource(server.url), StreamClock(), threading.Event())
        for item in stream:
            buffer.add(item)
    found = scorer.score(1.0, stream.first_frame)
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.action_scores, expected.action_scores, atol=1e-5, rtol=0)
    assert (found.action_scores - silent.action_scores).abs().max() > 1e-3


def test_the_newest_clip_is_scored_and_others_are_left_out():
    clips = []

    def predict(frames, persons, samples):
        clips.append(([read_number(frame) for frame in frames], samples))
        return Instances((1, 1))

    predictor = SimpleNamespace(
        clip_reader=SimpleNamespace(clip_sec=1.0, log_mel=SimpleNamespace(sample_rate=100)),
        frame_times=lambda second: [second - 0.5, second - 0.25, second, second + 0.25],
        audio_span=lambda second: (second - 0.5, second + 0.5),
        find_persons=lambda frame: read_number(frame),
        predict_frames=predict,
    )
    buffer = LiveBuffer(4.0, AudioTrack(100, 1, 10))
    scorer = LiveScorer(predictor, buffer, 1.0)
    first = SimpleNamespace(height=16, width=48, quarter_turns=0, mirrored=False)
    assert scorer.newest_keyframe() is None
    for i in range(41):  # 8 frames a second, up to second 5
        buffer.add(video_item(i, i / 8))
    for i in range(45):  # the audio ends at 4.5 s
        buffer.add(audio_item(i / 10, np.full(10, i / 100), 100))
    assert scorer.newest_keyframe() == 3  # the filter looks beyond 4.5 s
    buffer.add(audio_item(4.5, np.full(10, 0.45), 100))
    assert scorer.newest_keyframe() == 4
    scorer.score(4, first)
    numbers, samples = clips[0]
    assert numbers == [28, 30, 32, 34]
    np.testing.assert_allclose(samples, np.repeat(np.arange(35, 45) / 100, 10), atol=1e-6)
    assert scorer.newest_keyframe() is None
    assert (scorer.scored, scorer.skipped) == (1, 4)
    # Audio that is a second late is missing.
    for i in range(41, 54):
        buffer.add(video_item(i, i / 8))
    assert scorer.newest_keyframe() == 5
    assert scorer.score(1, first) is None  # not kept
    # At the end the last frame stays on screen.
    buffer.end()
    assert scorer.newest_keyframe() == 6


def test_the_buffer_is_bounded_and_skips_to_the_newest_frame():
    now = [100.0]
    audio = AudioTrack(100, 1, 5)
    buffer = LiveBuffer(2.0, audio, lambda: now[0])
    assert buffer.next_frame(-1, np.inf, 1) is None
    for i in range(1000):
        buffer.add(video_item(i % 64, i / 8))
        buffer.add(audio_item(i / 8, np.zeros(12), 100))
        now[0] += 1 / 8
    assert len(buffer._frames) <= 18 and len(audio._chunks) <= 42
    assert buffer.received == 1000
    assert buffer.latency(124.0) == pytest.approx(1)  # second 0 came at 100
    assert buffer.next_frame(-1, 124.0, max_behind=10).number == 982
    assert buffer.next_frame(987, 124.0, max_behind=0.25).number == 992
    assert buffer.next_frame(989, 124.0, max_behind=0.25).number == 990
    assert buffer.next_frame(992, 124.0, max_behind=0.25) is None
    assert buffer.frames_on_screen([100.0, 124.0]) is None
    shown = buffer.frames_on_screen([124.0, 124.07])
    assert [read_number(frame.to_ndarray()) for frame in shown] == [992 % 64, 992 % 64]
    buffer.add(video_item(0, 3.0))  # goes back
    assert buffer.newest == 999 / 8


def read_output(path):
    """Seconds and numbers of the frames of a drawn stream."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    return np.array([time for time, _ in frames]), [read_number(image) for _, image in frames]


def test_a_stream_is_drawn_with_its_audio(predictor, tmp_path, capsys):
    output = tmp_path / "out.mp4"
    demo = ActionDemo(predictor, min_score=2, keep_scores=True)
    with StreamServer([(make_stream(), False)]) as server:
        LiveDemo(demo, [LiveSource(server.url)]).run(output)
        with pytest.raises(PredictorError, match=r"out.mp4 exists"):
            LiveDemo(demo, []).run(output)
        (tmp_path / "b.part.mp4").touch()  # of a killed run
        with pytest.raises(PredictorError, match=r"b.part.mp4 exists"):
            LiveDemo(demo, []).run(tmp_path / "b.mp4")
        (tmp_path / "b.part.mp4").unlink()
    assert {p.name for p in tmp_path.iterdir()} == {"out.mp4", "out.jsonl", "out.csv"}
    seconds, numbers = read_output(output)
    np.testing.assert_allclose(seconds, np.array(numbers) / FPS, atol=1e-3)
    printed = capsys.readouterr().out
    assert f"{output}: {len(numbers)} frames, {50 - len(numbers)} dropped; latency" in printed
    with VideoReader(output) as reader:
        assert (reader.width, reader.height) == (640, 320)
        sound = reader.get_samples_played_in_range(0, 2, RATE).abs().numpy()
    loud = np.flatnonzero(sound > 0.3) / RATE
    np.testing.assert_allclose(loud[np.diff(loud, prepend=-1) > 0.5], [0, 1], atol=2e-3)
    rows = list(csv.reader((tmp_path / "out.csv").open()))
    assert {row[0] for row in rows} == {"out"} and float(rows[-1][1]) == 1


def test_ctrl_c_leaves_a_file_that_plays(predictor, tmp_path, capsys):
    shown = []

    def show(image) -> bool:
        shown.append(image.shape)
        if len(shown) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    before = signal.getsignal(signal.SIGINT)
    with StreamServer([(make_stream(sound=False), None)]) as server:  # which then says nothing
        demo = ActionDemo(predictor, min_score=2)
        LiveDemo(demo, [LiveSource(server.url)], show=show).run(tmp_path / "out.mp4")
    assert signal.getsignal(signal.SIGINT) is before
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert "no audio: the model receives silence" in capsys.readouterr().out
    seconds, numbers = read_output(tmp_path / "out.mp4")
    assert shown == [(320, 640, 3)] * len(numbers) and numbers
    np.testing.assert_allclose(seconds, np.array(numbers) / FPS, atol=1e-3)
