"""Drawings in YUV equal those in RGB, up to rounding and the size of a chroma sample."""

import av
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances

from ava_tools.action_demo.drawing import NOT_SCORED, NearestPrediction, draw_frames, move_boxes
from ava_tools.action_demo.yuv import Overlay, YUVReader, planes, rgb_to_yuv, to_yuv
from ava_tools.support.visualizer import draw_persons
from avsf_det.data.video.write import write_video as write_drawn

from ...media import write_video

SIZE = 96, 128


def persons(*boxes, ids=None, size=SIZE) -> Instances:
    found = Instances(size, pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32)))
    found.action_scores = torch.full((len(boxes), 1), 0.9)
    if ids is not None:
        found.track_ids = ids
    return found


def test_matrices_are_those_of_the_standards():
    for is_hd, red in ((True, (63, 102, 240)), (False, (81, 90, 240))):  # BT.709, BT.601
        yuv = rgb_to_yuv(is_hd) @ [255, 0, 0] + [16, 128, 128]
        np.testing.assert_array_equal(np.rint(yuv), red)
        np.testing.assert_allclose(rgb_to_yuv(is_hd) @ ([255] * 3), [219, 0, 0], atol=1e-9)


@pytest.mark.parametrize("is_hd", [True, False])
def test_an_overlay_paints_what_is_drawn_in_rgb(is_hd):
    matrix, rng = rgb_to_yuv(is_hd), np.random.default_rng(0)
    colors = rng.integers(0, 256, (SIZE[0] // 2, SIZE[1] // 2, 3), np.uint8)
    frame = colors.repeat(2, axis=0).repeat(2, axis=1)  # a colour for each chroma sample

    def draw(canvas):
        draw_persons(canvas, persons([20, 30, 90, 80]), ["sit"])

    image = np.empty((SIZE[0] * 3 // 2, SIZE[1]), np.uint8)
    for plane, values in zip(planes(image), to_yuv(frame, matrix), strict=True):
        plane[:] = values
    before = image.copy()
    Overlay(draw, SIZE, matrix).paint(planes(image))
    drawn = frame.copy()
    draw(drawn)
    for found, expected in zip(planes(image), to_yuv(drawn, matrix), strict=True):
        assert np.abs(found.astype(int) - expected).max() <= 3
    untouched = (drawn == frame).all(axis=2)
    luma = planes(image)[0] == planes(before)[0]
    assert luma[untouched].all() and not untouched.all()
    Overlay(lambda canvas: None, SIZE, matrix).paint(planes(before))


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((48, 96), {}, (320, 640)),  # enlarged
        ((90, 320), {"max_height": 90}, (90, 320)),  # not enlarged beyond the limit
        ((200, 800), {"max_height": 101}, (100, 404)),
        ((66, 700), {}, (66, 700)),
    ],
)
def test_sizes_are_even_and_limited(tmp_path, size, options, expected):
    write_video(tmp_path / "a.mp4", num_frames=1, size=size)
    with YUVReader(str(tmp_path / "a.mp4"), **options) as reader:
        assert reader.size == expected
        (frame,) = reader.get_transformed_frames_played_at([0.0])
        assert frame.shape == (expected[0] * 3 // 2, expected[1])


@pytest.mark.parametrize("full_range", [False, True])
def test_white_stays_white_and_the_matrix_is_named(tmp_path, full_range):
    path, drawn = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 64, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1 + full_range
        for _ in range(3):
            frame = av.VideoFrame(640, 64, "yuv420p")
            for plane, value in zip(
                frame.planes, (255 if full_range else 235, 128, 128), strict=True
            ):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.colorspace, frame.color_range = 1, 1 + full_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with YUVReader(str(path)) as reader:
        empty = [(t, persons()) for t in (0.0, 0.2)]
        frames = draw_frames(reader, empty, [], log_mel=None, clip_sec=1, interval=1)
        write_drawn(drawn, (frame.copy() for frame in frames), 10, audio_of=path)
    with av.open(str(drawn)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert np.abs(frame.to_ndarray()[:64].astype(int) - 235).max() <= 2


def test_frames_far_from_keyframes_say_so(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", num_frames=30, fps=10, size=(32, 640))
    written = []
    monkeypatch.setattr(
        "ava_tools.action_demo.drawing.draw_text", lambda canvas, text, *_: written.append(text)
    )
    with YUVReader(str(tmp_path / "a.mp4")) as reader:
        keyframes = [(1.0, persons([0, 0, 9, 9])), (1.5, persons())]
        frames = draw_frames(reader, keyframes, ["sit"], log_mel=None, clip_sec=1, interval=0.5)
        top = [planes(frame)[0][17:19, 300:].mean() for frame in frames]
    assert set(written) == {NOT_SCORED}
    dark = [level < 80 for level in top]
    assert dark == [i < 5 or i > 20 for i in range(30)]


def test_boxes_of_a_track_move_and_others_do_not():
    first = persons([0, 0, 10, 10], [50, 50, 60, 60], ids=["a", "b"])
    second = persons([60, 0, 70, 10], [20, 20, 30, 30], ids=["c", "a"])
    nearest = NearestPrediction([(1.0, first), (2.0, second)], 1.0)
    at = [nearest.at(t).pred_boxes.tensor.tolist() for t in (0.5, 1.0, 1.25, 1.75, 2.0, 2.5)]
    assert at[0] == at[1] == first.pred_boxes.tensor.tolist()
    assert at[2] == [[5, 5, 15, 15], [50, 50, 60, 60]]
    assert at[3] == [[60, 0, 70, 10], [15, 15, 25, 25]]
    assert at[4] == at[5] == second.pred_boxes.tensor.tolist()
    assert move_boxes(persons([0, 0, 1, 1], ids=[None]), persons([5, 5, 6, 6]), 0.5).track_ids == [
        None
    ]
