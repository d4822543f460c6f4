"""Synthesised sound events, and mixing them into a track. Mono float arrays, -1..1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_VOWELS = np.array(  # formant frequencies in Hz: a, e, i, o, u
    [[750, 1250, 2600], [500, 1850, 2500], [300, 2250, 3000], [500, 900, 2500], [320, 800, 2300]]
)
_FORMANT_GAINS = np.array([1.0, 0.6, 0.35])
_SCALE = 277.2 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)  # a pentatonic octave, Hz


@dataclass(frozen=True)
class SoundEvent:
    """``kind`` is a key of ``SOUNDS``; ``start`` and ``duration`` in seconds, ``gain`` the peak."""

    kind: str
    start: float
    duration: float
    gain: float
    seed: int


def sing(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """One sustained note: a few harmonics of a note of the scale, with vibrato."""
    t = _times(duration, rate)
    vibrato = 1 + 0.025 * np.sin(2 * np.pi * rng.uniform(5.5, 6.5) * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(rng.choice(_SCALE) * vibrato) / rate
    return _swell(t, duration) * sum(np.sin(k * phase) / k for k in range(1, 7))


def talk(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """One syllable: a hissed consonant, then a low buzz that glides from one vowel to another."""
    t = _times(duration, rate)
    progress = t / duration
    pitch = rng.uniform(110, 190) * (1 + rng.uniform(-0.35, 0.1) * progress)
    phasor = np.exp(2j * np.pi * np.cumsum(pitch) / rate)
    vowels = _VOWELS[rng.choice(len(_VOWELS), 2, replace=False)]
    buzz, harmonic = np.zeros_like(t), np.ones_like(phasor)
    for k in range(1, 24):
        harmonic = harmonic * phasor
        first, last = np.exp(-(((k * pitch[0] - vowels) / 160) ** 2)) @ _FORMANT_GAINS
        buzz += (first + (last - first) * progress) * harmonic.imag
    hiss = np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-progress / 0.18)
    return _swell(t, duration) * (buzz + 0.35 * hiss)


def hit(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A sharp crack: broadband noise that dies within hundredths of a second."""
    t = _times(duration, rate)
    return rng.standard_normal(len(t)) * np.exp(-t / 0.03)


def push(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A dull thud: a low falling tone under muffled noise, soft at its start."""
    t = _times(duration, rate)
    tone = np.sin(2 * np.pi * (rng.uniform(80, 100) * t - 60 * t**2))
    muffler = np.hanning(rate // 120)
    muffled = np.convolve(rng.standard_normal(len(t)), muffler / np.linalg.norm(muffler), "same")
    return (tone + 0.3 * muffled) * (1 - np.exp(-t / 0.008)) * np.exp(-t / 0.08)


def step(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A sole on the floor: a click between 1 and 2 kHz."""
    t = _times(duration, rate)
    return np.sin(2 * np.pi * rng.uniform(1000, 2000) * t) * np.exp(-t / 0.012)


def land(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Two feet on boards: a low knock, and the boards rattle."""
    t = _times(duration, rate)
    rattle = np.sign(np.sin(2 * np.pi * rng.uniform(38, 46) * t)) * rng.standard_normal(len(t))
    knock = np.sin(2 * np.pi * rng.uniform(170, 230) * t)
    return (knock + 0.4 * np.convolve(rattle, np.ones(8) / 3, "same")) * np.exp(-t / 0.07)


def creak(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A floor board: a thin tone that climbs."""
    t = _times(duration, rate)
    low = rng.uniform(600, 800)
    return _swell(t, duration) * np.sin(2 * np.pi * (low * t + low / duration * t**2 / 2))


def swish(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A sleeve through the air: hiss that swells and dies."""
    t = _times(duration, rate)
    return np.diff(rng.standard_normal(len(t) + 1)) * np.sin(np.pi * t / duration) ** 2


def surf(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Waves that break, one a second: low noise that swells and sinks."""
    t = _times(duration, rate)
    noise = np.convolve(rng.standard_normal(len(t) + 63), np.hanning(64), "valid")
    return noise * (1 + 0.8 * np.sin(2 * np.pi * t + rng.uniform(0, 6)))


def birds(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Trills of 3 to 5 kHz, four a second."""
    t = _times(duration, rate)
    trill = rng.uniform(3000, 4500) * t + 50 * np.sin(2 * np.pi * 8 * t)
    return np.sin(2 * np.pi * trill) * (np.sin(2 * np.pi * 4 * t) > 0)


def traffic(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A rumble below 150 Hz."""
    t = _times(duration, rate)
    return sum(np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (60, 83, 97, 140))


def rain(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Hiss."""
    return np.diff(rng.standard_normal(len(_times(duration, rate)) + 1))


def motor(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A steady buzz of 220 Hz and its odd harmonics."""
    t = _times(duration, rate)
    return sum(np.sin(2 * np.pi * k * 220 * t) / k for k in (1, 3, 5, 7))


EVENTS = (sing, talk, hit, push, step, land, creak, swish)
NOISES = (surf, birds, traffic, rain, motor)  # of a place, for as long as it is seen
SOUNDS = {sound.__name__: sound for sound in (*EVENTS, *NOISES)}


def ambience(duration: float, rate: int, level: float, seed: int) -> np.ndarray:
    """Quiet room noise, ``level`` its root mean square; 0 is digital silence."""
    noise = np.random.default_rng(seed).standard_normal(round(duration * rate) + 8)
    smooth = np.convolve(noise, np.exp(-np.arange(8) / 2), "valid")[: round(duration * rate)]
    return level * smooth / smooth.std()


def add_events(track: np.ndarray, rate: int, events: Sequence[SoundEvent]) -> None:
    """Add ``events`` to ``track`` (samples,), in place; what runs past the end is cut."""
    for event in events:
        rng = np.random.default_rng(event.seed)
        wave = SOUNDS[event.kind](event.duration, rate, rng)
        first = round(event.start * rate)
        wave = wave[: max(len(track) - first, 0)]
        track[first : first + len(wave)] += event.gain * wave / np.abs(wave).max(initial=1e-9)


def _times(duration: float, rate: int) -> np.ndarray:
    return np.arange(round(duration * rate)) / rate


def _swell(t: np.ndarray, duration: float) -> np.ndarray:
    """The envelope of a syllable: the opening of the mouth (``motion.loudness``)."""
    return np.sqrt(np.sin(np.pi * t / duration))
