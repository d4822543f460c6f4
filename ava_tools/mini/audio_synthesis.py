"""Synthesise audio events and mix them into a waveform: mono float arrays, -1..1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_VOWELS = np.array(  # formant frequencies in Hz: a, e, i, o, u
    [[750, 1250, 2600], [500, 1850, 2500], [300, 2250, 3000], [500, 900, 2500], [320, 800, 2300]]
)
_FORMANT_GAINS = np.array([1.0, 0.6, 0.35])
_SCALE = 277.2 * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)  # pentatonic octave, Hz


@dataclass(frozen=True)
class AudioEvent:
    """One audio event of a video.

    Attributes:
        kind: key of ``AUDIO_KINDS``.
        start: start on the video's clock, seconds.
        duration: length, seconds.
        gain: peak of the waveform, 0..1.
        seed: seed of its random numbers.
    """

    kind: str
    start: float
    duration: float
    gain: float
    seed: int


def sing(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return one sustained note: six harmonics of a note of the scale, with vibrato."""
    t = _times(duration, rate)
    vibrato = 1 + 0.025 * np.sin(2 * np.pi * rng.uniform(5.5, 6.5) * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(rng.choice(_SCALE) * vibrato) / rate
    return _syllable_envelope(t, duration) * _sum([np.sin(k * phase) / k for k in range(1, 7)])


def talk(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return one syllable: a hissed consonant, then a low buzz that glides between two vowels."""
    t = _times(duration, rate)
    progress = t / duration
    pitch = rng.uniform(110, 190) * (1 + rng.uniform(-0.35, 0.1) * progress)
    phasor = np.exp(2j * np.pi * np.cumsum(pitch) / rate)
    vowels = _VOWELS[rng.choice(len(_VOWELS), 2, replace=False)]
    buzz, harmonic = np.zeros_like(t), np.ones_like(phasor)
    for k in range(1, 24):
        # Powers of the phasor give the harmonics without a sine for each of them.
        harmonic = harmonic * phasor
        first, last = np.exp(-(((k * pitch[0] - vowels) / 160) ** 2)) @ _FORMANT_GAINS
        buzz += (first + (last - first) * progress) * harmonic.imag
    hiss = np.diff(rng.standard_normal(len(t) + 1)) * np.exp(-progress / 0.18)
    return _syllable_envelope(t, duration) * (buzz + 0.35 * hiss)


def hit(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a sharp crack: broadband noise with a decay of 30 ms."""
    t = _times(duration, rate)
    return rng.standard_normal(len(t)) * np.exp(-t / 0.03)


def push(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a dull thud: a low falling tone and muffled noise, with a soft start."""
    t = _times(duration, rate)
    tone = np.sin(2 * np.pi * (rng.uniform(80, 100) * t - 60 * t**2))
    muffler = np.hanning(rate // 120)
    muffled = np.convolve(rng.standard_normal(len(t)), muffler / np.linalg.norm(muffler), "same")
    return (tone + 0.3 * muffled) * (1 - np.exp(-t / 0.008)) * np.exp(-t / 0.08)


def step(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a footstep: a click between 1 and 2 kHz."""
    t = _times(duration, rate)
    return np.sin(2 * np.pi * rng.uniform(1000, 2000) * t) * np.exp(-t / 0.012)


def land(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a landing on floorboards: a low knock and a rattle."""
    t = _times(duration, rate)
    rattle = np.sign(np.sin(2 * np.pi * rng.uniform(38, 46) * t)) * rng.standard_normal(len(t))
    knock = np.sin(2 * np.pi * rng.uniform(170, 230) * t)
    return (knock + 0.4 * np.convolve(rattle, np.ones(8) / 3, "same")) * np.exp(-t / 0.07)


def creak(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a creaking floorboard: a thin tone whose pitch rises."""
    t = _times(duration, rate)
    low = rng.uniform(600, 800)
    tone = np.sin(2 * np.pi * (low * t + low / duration * t**2 / 2))
    return _syllable_envelope(t, duration) * tone


def swish(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return the swish of a sleeve: hiss that gets louder and softer again."""
    t = _times(duration, rate)
    return np.diff(rng.standard_normal(len(t) + 1)) * np.sin(np.pi * t / duration) ** 2


def surf(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return breaking waves, one per second: low noise of changing loudness."""
    t = _times(duration, rate)
    noise = np.convolve(rng.standard_normal(len(t) + 63), np.hanning(64), "valid")
    return noise * (1 + 0.8 * np.sin(2 * np.pi * t + rng.uniform(0, 6)))


def birds(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return bird song: trills of 3 to 5 kHz, four per second."""
    t = _times(duration, rate)
    trill = rng.uniform(3000, 4500) * t + 50 * np.sin(2 * np.pi * 8 * t)
    return np.sin(2 * np.pi * trill) * (np.sin(2 * np.pi * 4 * t) > 0)


def traffic(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a rumble below 150 Hz."""
    t = _times(duration, rate)
    return _sum([np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (60, 83, 97, 140)])


def rain(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return hiss."""
    return np.diff(rng.standard_normal(len(_times(duration, rate)) + 1))


def motor(duration: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a steady buzz of 220 Hz and its odd harmonics."""
    t = _times(duration, rate)
    return _sum([np.sin(2 * np.pi * k * 220 * t) / k for k in (1, 3, 5, 7)])


ACTION_AUDIO = (sing, talk, hit, push, step, land, creak, swish)
SCENE_AUDIO = (surf, birds, traffic, rain, motor)  # lasts as long as its scene is visible
AUDIO_KINDS = {function.__name__: function for function in (*ACTION_AUDIO, *SCENE_AUDIO)}


def room_noise(duration: float, rate: int, level: float, seed: int) -> np.ndarray:
    """Return quiet background noise.

    Args:
        duration: length, seconds.
        rate: sample rate, Hz.
        level: root mean square, full scale 1; 0 gives digital silence.
        seed: seed of the random numbers.
    """
    noise = np.random.default_rng(seed).standard_normal(round(duration * rate) + 8)
    smooth = np.convolve(noise, np.exp(-np.arange(8) / 2), "valid")[: round(duration * rate)]
    return level * smooth / smooth.std()


def mix_events(waveform: np.ndarray, rate: int, events: Sequence[AudioEvent]) -> None:
    """Add audio events to a waveform in place; samples past its end are cut.

    Args:
        waveform: (samples,) float.
        rate: sample rate, Hz.
        events: audio events in any order.
    """
    for event in events:
        rng = np.random.default_rng(event.seed)
        wave = AUDIO_KINDS[event.kind](event.duration, rate, rng)
        first = round(event.start * rate)
        wave = wave[: max(len(waveform) - first, 0)]
        waveform[first : first + len(wave)] += event.gain * wave / np.abs(wave).max(initial=1e-9)


def _times(duration: float, rate: int) -> np.ndarray:
    return np.arange(round(duration * rate)) / rate


def _sum(waves: Sequence[np.ndarray]) -> np.ndarray:
    """Add waveforms one by one: np.sum would round differently."""
    total = np.zeros_like(waves[0])
    for wave in waves:
        total = total + wave
    return total


def _syllable_envelope(t: np.ndarray, duration: float) -> np.ndarray:
    """Return the loudness of a syllable, the same as ``motion.loudness`` of the mouth."""
    return np.sqrt(np.sin(np.pi * t / duration))
