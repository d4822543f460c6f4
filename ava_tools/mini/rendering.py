"""Render the plan of a video: its frames and its audio."""

from collections.abc import Iterator

import numpy as np

from ava_tools.mini.audio_synthesis import mix_events, room_noise
from ava_tools.mini.background import crop_background, render_texture
from ava_tools.mini.figures import ARM_REACH, draw_figure, draw_post, draw_prop, skeleton
from ava_tools.mini.motion import Actor, pose_at, post_tilt
from ava_tools.mini.video_plan import FPS, HEIGHT, WIDTH, VideoPlan


def render_frames(video: VideoPlan, first: int = 0) -> Iterator[np.ndarray]:
    """Yield the frames of a video.

    Args:
        video: plan of the video.
        first: index of the first frame to render.

    Yields:
        (128, 176, 3) uint8 RGB; frame i shows second i / 30.
    """
    textures = [render_texture(shot.background) for shot in video.shots]
    for i in range(first, round(video.duration * FPS)):
        shot = video.shot_at(i / FPS)
        texture = textures[video.shots.index(shot)]
        image = crop_background(texture, shot.background, i / FPS, (HEIGHT, WIDTH))
        for actor in shot.actors:
            _draw_actor(image, actor, i / FPS)
        yield image


def render_audio(video: VideoPlan) -> np.ndarray:
    """Return the waveform (samples,) float32 in -1..1 at ``video.sample_rate``."""
    waveform = room_noise(video.duration, video.sample_rate, video.room_noise, video.seed)
    mix_events(waveform, video.sample_rate, video.audio_events)
    return np.clip(waveform, -1, 1).astype(np.float32)


def _draw_actor(image: np.ndarray, actor: Actor, t: float) -> None:
    pose, size = pose_at(actor, t), actor.look.height
    if actor.arms == "strike":
        foot = (actor.x + actor.side * (ARM_REACH + 0.06) * size, actor.ground)
        draw_post(image, foot, 0.8 * size, post_tilt(actor, t), actor.post)
    draw_figure(image, actor.look, pose)
    if actor.prop is not None:
        hand = skeleton(actor.look, pose).arms[actor.side < 0][-1]
        draw_prop(image, actor.prop, hand, size)
