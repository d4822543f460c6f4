import itertools

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T

from avsf_det import add_avsf_config
from avsf_det.data.transforms import (
    ClipInput,
    ColorJitterClip,
    CropClipView,
    RandomFlipClip,
    RandomScaledCropClip,
    ResizeClipShortestEdge,
    ResizeClipTransform,
    build_clip_augmentations,
)


def clip_with_box(t: int = 3, h: int = 40, w: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A black clip with one white rectangle, and its box."""
    clip = np.zeros((t, h, w, 3), np.uint8)
    clip[:, 8:24, 12:36] = 255
    return clip, np.array([[12.0, 8.0, 36.0, 24.0]])


def white_box(clip: np.ndarray) -> np.ndarray:
    """The box of the white pixels of the last frame."""
    ys, xs = np.nonzero(clip[-1, :, :, 0] > 127)
    return np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], float)


@pytest.mark.parametrize("seed", range(8))
def test_boxes_move_with_the_pixels(seed):
    np.random.seed(seed)
    clip, boxes = clip_with_box()
    augmented = ClipInput(clip, boxes)
    T.AugmentationList([RandomScaledCropClip(60, 120, 1000, 56, 56), RandomFlipClip()])(augmented)
    assert augmented.image.shape == (3, 56, 56, 3)
    clipped = augmented.boxes.clip(0, 56)
    np.testing.assert_allclose(white_box(augmented.image), clipped, atol=1.01)
    assert (augmented.image[0] == augmented.image[2]).all(), "frames were augmented differently"


def test_flip_is_exact_and_both_outcomes_occur():
    np.random.seed(0)
    seen = set()
    for _ in range(20):
        clip, boxes = clip_with_box()
        augmented = ClipInput(clip, boxes)
        T.AugmentationList([RandomFlipClip()])(augmented)
        np.testing.assert_array_equal(white_box(augmented.image), augmented.boxes)
        seen.add(augmented.boxes[0, 0])
    assert seen == {12.0, 60.0 - 36.0}


def test_short_side_is_drawn_between_both_bounds_inclusive():
    np.random.seed(0)
    clip, _ = clip_with_box()
    augmentation = ResizeClipShortestEdge(20, 22, 1000)
    sizes = {augmentation.get_transform(clip).new_h for _ in range(60)}
    assert sizes == {20, 21, 22}
    assert ResizeClipShortestEdge(80, 80, 90).get_transform(clip).new_w == 90


def test_resize_keeps_the_array_when_the_size_is_the_same_and_inverts():
    clip, boxes = clip_with_box()
    assert ResizeClipTransform(40, 60, 40, 60).apply_image(clip) is clip
    resize = ResizeClipTransform(40, 60, 20, 90)
    np.testing.assert_allclose(resize.apply_box(boxes), [[18, 4, 54, 12]])
    np.testing.assert_allclose(resize.inverse().apply_box(resize.apply_box(boxes)), boxes)


def test_crop_larger_than_the_clip_keeps_it_whole():
    clip, _ = clip_with_box()
    crop = RandomScaledCropClip(40, 40, 1000, 100, 30).get_transform(clip)
    assert crop.apply_image(clip).shape == (3, 40, 30, 3)


def test_cropping_first_is_resizing_first_but_for_less_than_a_pixel():
    """Of a slope, on which a shift by a part of a pixel of the source is a part of a step."""
    clip = np.empty((1, 90, 160, 3), np.uint8)
    clip[:] = (np.arange(90)[:, None] + np.arange(160))[..., None]
    for low, seed in itertools.product((64, 150), range(10)):
        np.random.seed(seed)
        first = RandomScaledCropClip(low, low + 16, 1000, 56, 48).get_transform(clip)
        np.random.seed(seed)
        resize = ResizeClipShortestEdge(low, low + 16, 1000).get_transform(clip)
        y, x = np.random.randint(resize.new_h - 55), np.random.randint(resize.new_w - 47)
        expected = resize.apply_image(clip)[:, y : y + 56, x : x + 48].astype(int)
        assert np.abs(first.apply_image(clip) - expected).max() <= 2


def test_color_jitter_of_gray_pixels_in_closed_form():
    """On a constant gray clip contrast and saturation change nothing, brightness scales."""
    clip = np.full((2, 4, 4, 3), 100, np.uint8)
    np.random.seed(3)
    brightness = 1 + np.random.uniform(-0.4, 0.4, 3)[0]
    np.random.seed(3)
    out = ColorJitterClip(0.4, 0.0).get_transform(clip).apply_image(clip)
    assert out.dtype == np.uint8
    assert np.abs(out.astype(float) - 100 * brightness).max() <= 1.01


def test_color_jitter_without_strength_changes_nothing():
    clip = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    out = ColorJitterClip(0.0, 0.0).get_transform(clip).apply_image(clip)
    assert np.abs(out.astype(int) - clip).max() <= 1


def build_cfg(*options):
    cfg = get_cfg()
    add_avsf_config(cfg)
    cfg.merge_from_list(list(options))
    return cfg


def test_recipe_from_the_config():
    cfg = build_cfg(
        *("INPUT.MIN_SIZE_TRAIN", (30, 34), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"),
        *("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [24, 24]),
        *("INPUT.MIN_SIZE_TEST", 32, "INPUT.COLOR_JITTER.ENABLED", True),
    )
    names = [type(a).__name__ for a in build_clip_augmentations(cfg, is_train=True)]
    assert names == [
        "RandomScaledCropClip",
        "RandomFlipClip",
        "ColorJitterClip",
    ]
    (resize,) = build_clip_augmentations(cfg, is_train=False)
    assert (resize.low, resize.high) == (32, 32)


@pytest.mark.parametrize(
    "options, word",
    [
        (("INPUT.MIN_SIZE_TRAIN", (30, 34)), "MIN_SIZE_TRAIN_SAMPLING"),
        (("INPUT.MIN_SIZE_TRAIN", (30,), "INPUT.CROP.ENABLED", True), "CROP.TYPE"),
        (("INPUT.MIN_SIZE_TRAIN", (30,), "INPUT.RANDOM_FLIP", "vertical"), "RANDOM_FLIP"),
    ],
)
def test_unknown_choices_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        build_clip_augmentations(build_cfg(*options), is_train=True)


@pytest.mark.parametrize("upright", [False, True])
def test_views_are_windows_along_the_longer_side(upright):
    clip = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, None, :, None], (2, 4, 10, 3))
    if upright:
        clip = clip.transpose(0, 2, 1, 3)
    firsts = []
    for view in range(3):
        image = CropClipView(4, view, 3).get_transform(clip).apply_image(clip)
        assert image.shape == (2, 4, 4, 3)
        firsts.append(int(image[0, 0, 0, 0]))
    assert firsts == [0, 3, 6]
    (centre,) = {int(CropClipView(4).get_transform(clip).apply_image(clip)[0, 0, 0, 0])}
    assert centre == 3
