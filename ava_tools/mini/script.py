"""Who does what, when, and what is heard: seeded scripts of short movies.

A movie is a few shots with hard cuts; each shot has its own background and figures. Per movie, one
member of each sound pair is cast ("sing" or "talk", "hit" or "push"): no clip can hold both. The
cast is drawn apart from everything visible, so swapping it changes the sounds and the labels and
not one pixel. All draws are ``random.Random``'s, the same on every machine.
"""

from dataclasses import dataclass
from random import Random
from typing import TypeVar

from ava_tools.mini.figures import Color, Look
from ava_tools.mini.motion import Actor, Beat
from ava_tools.mini.scenery import Backdrop
from ava_tools.mini.sounds import SoundEvent

ACTIONS = ("stand", "walk", "jump", "crouch", "wave", "sing", "talk", "hit", "push")
SOUND_PAIRS = (("sing", "talk"), ("hit", "push"))  # they look the same and sound different

HEIGHT, WIDTH, FPS = 128, 176, 30
SHOT_SECONDS = 4
FIRST_CUT = SHOT_SECONDS + 0.5  # cuts fall half-way between keyframes, which are whole seconds
CLIP_REACH = 1.1  # a clip of 64 frames at 30 fps reaches this far to either side of its keyframe

# What becomes of a pair in a shot: an actor is seen and heard, seen and not heard, heard and not
# seen, or neither. Dealt in this proportion.
PROGRAMS = ("heard",) * 5 + ("silent", "orphan") + ("none",) * 3

MOTION_OF_PAIR = ("speak", "strike")
LEGS_OF_PAIR = (("stand", "stand", "crouch", "walk"), ("stand", "stand", "crouch"))
_LEGS_OF_OTHERS = ("stand", "walk", "walk", "jump", "jump", "crouch")

T = TypeVar("T")
Programs = tuple[str, str]  # of the two pairs


@dataclass(frozen=True)
class Shot:
    """``start`` to ``end`` seconds on one background. ``labels[i]``: the actions of actor i."""

    start: float
    end: float
    backdrop: Backdrop
    actors: tuple[Actor, ...]
    labels: tuple[tuple[str, ...], ...]
    programs: Programs | tuple[()] = ()  # dealt in Mini-AVA only


@dataclass(frozen=True)
class Movie:
    """The script of one file. Sound events have times on the movie's clock."""

    video_id: str
    shots: tuple[Shot, ...]
    sounds: tuple[SoundEvent, ...]
    sample_rate: int  # Hz
    channels: int  # 0: no sound track
    ambience: float  # root mean square of the room noise, full scale 1
    seed: int  # of the room noise

    @property
    def duration(self) -> float:
        return self.shots[-1].end

    def shot_at(self, t: float) -> Shot:
        """The shot on screen at ``t`` seconds, the last one from its end onwards."""
        return next((shot for shot in self.shots if t < shot.end), self.shots[-1])


def plan_split(split: str, num_movies: int, num_shots: int, seed: int) -> list[Movie]:
    """Scripts of a whole split, its casts and programs in balance."""
    rng = Random(f"{seed}/{split}")
    casts = deal(rng, [(v, s) for v in SOUND_PAIRS[0] for s in SOUND_PAIRS[1]], num_movies)
    pairs = [deal(rng, PROGRAMS, num_movies * num_shots) for _ in SOUND_PAIRS]
    programs = list(zip(*pairs, strict=True))
    return [
        plan_movie(
            f"mini_{split}_{i:04d}", seed, cast, programs[i * num_shots : (i + 1) * num_shots]
        )
        for i, cast in enumerate(casts)
    ]


def plan_movie(video_id: str, seed: int, cast: tuple[str, str], programs: list[Programs]) -> Movie:
    """The script of one movie: one shot per entry of ``programs``, sounds as ``cast`` names."""
    visible, audible = Random(f"{seed}/{video_id}/picture"), Random(f"{seed}/{video_id}/sound")
    shots, sounds, people = [], [], 0
    for i, program in enumerate(programs):
        start = FIRST_CUT + (i - 1) * SHOT_SECONDS if i else 0.0
        end = FIRST_CUT + i * SHOT_SECONDS
        shot, heard = _plan_shot(visible, start, end, people, cast, program)
        people += len(shot.actors)
        shots.append(shot)
        for kind, (beat, duration) in heard:
            gain = audible.uniform(0.2, 0.5)
            sounds.append(SoundEvent(kind, beat, duration, gain, audible.getrandbits(32)))
    return Movie(
        video_id,
        tuple(shots),
        tuple(sounds),
        sample_rate=audible.choice((44100, 48000)),
        channels=audible.choice((1, 1, 2)),
        ambience=audible.uniform(0.001, 0.004),
        seed=audible.getrandbits(32),
    )


def keyframes(movie: Movie) -> list[int]:
    """The seconds that are annotated: their clips lie within one shot."""
    return [
        second
        for second in range(2, int(movie.duration))
        if movie.shot_at(second - CLIP_REACH) is movie.shot_at(second + CLIP_REACH)
        and second + CLIP_REACH <= movie.duration
    ]


def doubtful_keyframes(movie: Movie) -> list[int]:
    """The second before the last cut: its clip shows two shots, so an evaluation excludes it."""
    return [int(movie.shots[-1].start)] if len(movie.shots) > 1 else []


def deal(rng: Random, deck: list[T] | tuple[T, ...], count: int) -> list[T]:
    """``count`` cards from shuffled copies of ``deck``, one copy after the other."""
    cards: list[T] = []
    while len(cards) < count:
        cards += rng.sample(deck, len(deck))
    return cards[:count]


def _plan_shot(
    rng: Random, start: float, end: float, first_id: int, cast: tuple[str, str], programs: Programs
) -> tuple[Shot, list[tuple[str, Beat]]]:
    """A shot and its sounds as (kind, (start, duration)). ``cast`` takes part in no draw."""
    roles: list[tuple[str, str, tuple[Beat, ...], tuple[str, ...]]] = []  # legs, arms, beats, extra
    heard: list[tuple[str, Beat]] = []
    for pair, (kind, program) in enumerate(zip(cast, programs, strict=True)):
        beats = BEATS[pair](rng, start + 0.1, end - 0.1)
        if program in ("heard", "orphan"):
            heard += [(kind, beat) for beat in beats]
        if program in ("heard", "silent"):
            extra = (kind,) if program == "heard" else ()
            roles.append((rng.choice(LEGS_OF_PAIR[pair]), MOTION_OF_PAIR[pair], beats, extra))
    for _ in range(max(rng.choice((1, 2, 2, 3)) - len(roles), 0)):
        legs = rng.choice(_LEGS_OF_OTHERS)
        waves = legs in ("stand", "walk") and rng.random() < 0.6
        roles.append((legs, "wave" if waves else "idle", (), ("wave",) if waves else ()))
    rng.shuffle(roles)
    actors = tuple(
        cast_actor(rng, first_id + i, (i, len(roles)), (start + end) / 2, legs, arms, beats)
        for i, (legs, arms, beats, _) in enumerate(roles)
    )
    labels = tuple((legs, *extra) for legs, _, _, extra in roles)
    return Shot(start, end, draw_backdrop(rng), actors, labels, programs), heard


def cast_actor(
    rng: Random,
    person_id: int,
    place: tuple[int, int],
    home: float,
    legs: str,
    arms: str,
    beats: tuple[Beat, ...],
) -> Actor:
    """A figure of random looks in place i of n from the left; at the edges it acts inwards."""
    index, count = place
    side = rng.choice((-1, 1))
    if count > 1 and index in (0, count - 1):
        side = 1 if index == 0 else -1
    slack = 22 if count == 1 else 5
    return Actor(
        person_id=person_id,
        look=draw_look(rng, count),
        x=WIDTH * (index + 0.5) / count + rng.uniform(-slack, slack),
        ground=HEIGHT - rng.uniform(3, 9),
        home=home,
        speed=rng.choice((-1, 1)) * rng.uniform(4, 9) if legs == "walk" else 0.0,
        legs=legs,
        arms=arms,
        side=side,
        tempo=rng.uniform(0.85, 1.15),
        phase=rng.random(),
        beats=beats,
        post=_bright(rng),
    )


def draw_look(rng: Random, count: int = 1) -> Look:
    """Random looks of one of ``count`` people on screen."""
    return Look(
        height=rng.uniform(78, 96) - 5 * (count - 1),
        skin=rng.choice(_SKINS),
        shirt=_bright(rng),
        trousers=_bright(rng),
        hair=rng.choice(_HAIRS),
    )


def draw_backdrop(rng: Random) -> Backdrop:
    """A random background that scrolls."""
    velocity = (rng.uniform(-24, 24), rng.uniform(-8, 8))
    return Backdrop(rng.getrandbits(32), velocity)


def _syllables(rng: Random, start: float, end: float) -> tuple[Beat, ...]:
    beats, t = [], start + rng.uniform(0, 0.3)
    while t + (duration := rng.uniform(0.22, 0.5)) < end:
        beats.append((t, duration))
        t += duration + rng.uniform(0.06, 0.18)
    return tuple(beats)


def _strikes(rng: Random, start: float, end: float) -> tuple[Beat, ...]:
    beats, t = [], start + rng.uniform(0.1, 0.5)
    while t + 0.3 < end:
        beats.append((t, 0.3))
        t += rng.uniform(0.5, 0.8)
    return tuple(beats)


BEATS = (_syllables, _strikes)  # of the two pairs
_SKINS: tuple[Color, ...] = ((250, 214, 184), (232, 184, 144), (198, 146, 104), (168, 118, 84))
_HAIRS: tuple[Color, ...] = ((40, 30, 24), (96, 56, 24), (214, 178, 88), (150, 150, 156))


def _bright(rng: Random) -> Color:
    """A saturated colour: one channel high, one low, one between."""
    levels = [rng.randint(190, 250), rng.randint(10, 60), rng.randint(10, 250)]
    rng.shuffle(levels)
    return tuple(levels)
