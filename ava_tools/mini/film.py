"""A script on screen and on the sound track."""

from collections.abc import Iterator

import numpy as np

from ava_tools.mini.figures import ARM_REACH, draw_figure, draw_post, draw_prop, skeleton
from ava_tools.mini.motion import Actor, pose_at, post_tilt
from ava_tools.mini.scenery import paint_texture, view
from ava_tools.mini.script import FPS, HEIGHT, WIDTH, Movie
from ava_tools.mini.sounds import add_events, ambience


def frames(movie: Movie, first: int = 0) -> Iterator[np.ndarray]:
    """The frames from number ``first`` on, (128, 176, 3) uint8 RGB; frame i shows second i / 30."""
    textures = [paint_texture(shot.backdrop) for shot in movie.shots]
    for i in range(first, round(movie.duration * FPS)):
        shot = movie.shot_at(i / FPS)
        texture = textures[movie.shots.index(shot)]
        image = view(texture, shot.backdrop, i / FPS, (HEIGHT, WIDTH))
        for actor in shot.actors:
            _draw_actor(image, actor, i / FPS)
        yield image


def soundtrack(movie: Movie) -> np.ndarray:
    """(samples,) float32 in -1..1 at ``movie.sample_rate``."""
    track = ambience(movie.duration, movie.sample_rate, movie.ambience, movie.seed)
    add_events(track, movie.sample_rate, movie.sounds)
    return np.clip(track, -1, 1).astype(np.float32)


def _draw_actor(image: np.ndarray, actor: Actor, t: float) -> None:
    pose, size = pose_at(actor, t), actor.look.height
    if actor.arms == "strike":
        foot = (actor.x + actor.side * (ARM_REACH + 0.06) * size, actor.ground)
        draw_post(image, foot, 0.8 * size, post_tilt(actor, t), actor.post)
    draw_figure(image, actor.look, pose)
    if actor.prop is not None:
        hand = skeleton(actor.look, pose).arms[actor.side < 0][-1]
        draw_prop(image, actor.prop, hand, size)
