"""Articulated figures of persons: joint angles to joints, tight box and anti-aliased pixels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

Point = tuple[float, float]  # x to the right, y down, pixels
Color = tuple[int, int, int]  # RGB, 0..255

# Lengths as fractions of the figure's height; of a figure standing straight they add up to 1.
THIGH = SHIN = 0.21
TORSO = 0.30
NECK = 0.02
HEAD_RADIUS = 0.13
UPPER_ARM = FOREARM = 0.17
SHOULDER = 0.11  # half the width of the shoulders
HIP = 0.055
LEG_WIDTH = 0.085
ARM_WIDTH = 0.07

ARM_REACH = SHOULDER + UPPER_ARM + FOREARM  # of a horizontal arm, from the middle of the body
MOUTH_COLOR: Color = (96, 0, 24)
_OUTLINE: Color = (16, 16, 24)
# Objects for a hand: shape, half width and half height as fractions of the figure's, colour.
PROPS: dict[str, tuple[str, Point, Color]] = {
    "aubergine": ("round", (0.08, 0.15), (130, 30, 190)),
    "bottle": ("square", (0.06, 0.16), (30, 170, 60)),
    "box": ("square", (0.11, 0.11), (40, 80, 240)),
    "plate": ("round", (0.17, 0.06), (245, 245, 245)),
    "sponge": ("square", (0.15, 0.07), (250, 220, 40)),
    "tomato": ("round", (0.11, 0.11), (230, 40, 40)),
}
_SHIFT = 4  # fractional bits of cv2's coordinates


@dataclass(frozen=True)
class Look:
    """Appearance of a person; ``height`` in pixels, standing straight."""

    height: float
    skin: Color
    shirt: Color
    trousers: Color
    hair: Color


@dataclass(frozen=True)
class Pose:
    """Joint angles at one instant.

    Angles are radians from straight down, positive towards the right of the image. A limb is
    (upper, lower); a pair of limbs is (left of the image, right of the image).
    """

    x: float  # middle of the hips, pixels
    ground: float  # y of the lower foot, pixels
    arms: tuple[Point, Point]
    legs: tuple[Point, Point]
    lean: float = 0.0  # angle of the torso, positive towards the right
    lift: float = 0.0  # height of the feet above the ground, in figure heights
    mouth: float = 0.0  # opening of the mouth, 0..1


@dataclass(frozen=True)
class Skeleton:
    """Joints in pixels: limbs from the body outwards, ``torso`` from the hips to the neck."""

    head: Point
    torso: tuple[Point, Point]
    arms: tuple[tuple[Point, ...], tuple[Point, ...]]
    legs: tuple[tuple[Point, ...], tuple[Point, ...]]


def skeleton(look: Look, pose: Pose) -> Skeleton:
    """Compute the joints of a pose; the longer of the two bent legs determines the hips' height."""
    size = look.height
    drops = [THIGH * math.cos(upper) + SHIN * math.cos(lower) for upper, lower in pose.legs]
    hips = (pose.x, pose.ground - size * (pose.lift + max(drops) + LEG_WIDTH / 2))
    neck = _along(hips, math.pi - pose.lean, size * TORSO)
    head = _along(neck, math.pi - pose.lean / 2, size * (NECK + HEAD_RADIUS))
    arms, legs = [], []
    for sign, arm, leg in zip((-1, 1), pose.arms, pose.legs, strict=True):
        shoulder = (neck[0] + sign * size * SHOULDER, neck[1] + size * ARM_WIDTH)
        hip = (hips[0] + sign * size * HIP, hips[1])
        arms.append(_limb(shoulder, arm, size * UPPER_ARM, size * FOREARM))
        legs.append(_limb(hip, leg, size * THIGH, size * SHIN))
    return Skeleton(head, (hips, neck), (arms[0], arms[1]), (legs[0], legs[1]))


def figure_box(look: Look, pose: Pose) -> tuple[float, float, float, float]:
    """Return the tight box x1, y1, x2, y2 of the figure in pixels, not clipped to the frame."""
    bones, size = skeleton(look, pose), look.height
    discs = [(bones.head, HEAD_RADIUS * size)]
    discs += [(point, LEG_WIDTH * size / 2) for limb in bones.legs for point in limb]
    discs += [(point, ARM_WIDTH * size / 2) for limb in bones.arms for point in limb]
    return (
        min(x - r for (x, _), r in discs),
        min(y - r for (_, y), r in discs),
        max(x + r for (x, _), r in discs),
        max(y + r for (_, y), r in discs),
    )


def draw_figure(image: np.ndarray, look: Look, pose: Pose) -> None:
    """Draw a person into ``image``, (H, W, 3) uint8 RGB, in place."""
    bones, size = skeleton(look, pose), look.height
    leg, arm = size * LEG_WIDTH, size * ARM_WIDTH
    for limb in bones.legs:
        _stroke(image, limb, look.trousers, leg)
    left, right = bones.arms[0][0], bones.arms[1][0]
    hips = [limb[0] for limb in bones.legs]
    _stroke(image, (hips[0], left, right, hips[1], hips[0]), look.shirt, arm, fill=True)
    for limb in bones.arms:
        _stroke(image, limb[:2], look.shirt, arm)
        _stroke(image, limb[1:], look.skin, arm)
    _draw_head(image, bones.head, size, look, pose.mouth)


def draw_post(image: np.ndarray, foot: Point, height: float, tilt: float, color: Color) -> None:
    """Draw a post, ``height`` pixels tall and tilted to the right by ``tilt`` radians, in place."""
    _stroke(image, (foot, _along(foot, math.pi - tilt, height)), color, 0.09 * height)


def draw_prop(image: np.ndarray, name: str, hand: Point, height: float) -> None:
    """Draw one of ``PROPS`` at the ``hand`` of a figure of ``height`` pixels, in place."""
    shape, (a, b), color = PROPS[name]
    for paint, inset in ((_OUTLINE, 0), (color, 1)):
        axes = (a * height - inset, b * height - inset)
        if shape == "round":
            _ellipse(image, hand, axes, paint)
        else:
            (x, y), (dx, dy) = hand, axes
            first, last = _fixed(((x - dx, y - dy), (x + dx, y + dy))).tolist()
            cv2.rectangle(image, first, last, paint, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_head(image: np.ndarray, head: Point, size: float, look: Look, mouth: float) -> None:
    radius = HEAD_RADIUS * size
    _ellipse(image, head, (radius, radius), _OUTLINE)
    _ellipse(image, head, (radius - 1, radius - 1), look.skin)
    _ellipse(image, head, (radius - 1, radius - 1), look.hair, arc=(190, 350))
    for sign in (-1, 1):
        eye = (head[0] + sign * 0.42 * radius, head[1] - 0.05 * radius)
        _ellipse(image, eye, (0.12 * radius, 0.16 * radius), _OUTLINE)
    centre = (head[0], head[1] + 0.48 * radius)
    _ellipse(image, centre, (0.44 * radius, (0.06 + 0.36 * mouth) * radius), MOUTH_COLOR)


def _along(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _limb(start: Point, angles: Point, upper: float, lower: float) -> tuple[Point, ...]:
    middle = _along(start, angles[0], upper)
    return start, middle, _along(middle, angles[1], lower)


def _fixed(points: tuple[Point, ...]) -> np.ndarray:
    return np.rint(np.array(points) * (1 << _SHIFT)).astype(np.int32)


def _stroke(
    image: np.ndarray, points: tuple[Point, ...], color: Color, width: float, fill: bool = False
) -> None:
    """Draw a line with round ends through ``points``; its dark outline lies inside ``width``."""
    corners = [_fixed(points)]
    for paint, thickness in ((_OUTLINE, width), (color, width - 2)):
        thickness = max(round(thickness), 1)
        if fill:
            cv2.fillPoly(image, corners, paint, cv2.LINE_AA, _SHIFT)
        cv2.polylines(image, corners, False, paint, thickness, cv2.LINE_AA, _SHIFT)


def _ellipse(
    image: np.ndarray, centre: Point, axes: Point, color: Color, arc: Point = (0, 360)
) -> None:
    (x, y), (a, b) = _fixed((centre, axes)).tolist()
    cv2.ellipse(image, (x, y), (a, b), 0, *arc, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
