import numpy as np
import pytest

from ava_tools.mini.audio_synthesis import AUDIO_KINDS, AudioEvent, mix_events, room_noise

RATE = 44100


def spectrum(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the fraction of the power at each."""
    power = np.abs(np.fft.rfft(wave)) ** 2
    return np.fft.rfftfreq(len(wave), 1 / RATE), power / power.sum()


def mean_of(kind: str, statistic) -> float:
    return float(
        np.mean(
            [statistic(AUDIO_KINDS[kind](0.3, RATE, np.random.default_rng(i))) for i in range(20)]
        )
    )


def centroid(wave: np.ndarray) -> float:
    frequency, fraction = spectrum(wave)
    return float((frequency * fraction).sum())


def test_hit_is_bright_and_push_is_dull():
    assert mean_of("hit", centroid) > 5000
    assert mean_of("push", centroid) < 200


def test_sing_is_pitched_and_talk_is_spread():
    def top_ten(wave: np.ndarray) -> float:
        return float(np.sort(spectrum(wave)[1])[-10:].sum())

    assert mean_of("sing", top_ten) > 0.65
    assert mean_of("talk", top_ten) < 0.45


def test_spectra_of_motion_audio():
    assert 1000 < mean_of("step", centroid) < 2100
    assert 100 < mean_of("land", centroid) < 2500
    assert mean_of("swish", centroid) > 8000
    halves = [mean_of("creak", lambda wave, i=i: centroid(np.split(wave, 2)[i])) for i in (0, 1)]
    assert halves[0] < 1000 < halves[1]


@pytest.mark.parametrize("kind", AUDIO_KINDS)
def test_event_is_where_and_as_loud_as_asked(kind: str):
    waveform = np.zeros(RATE)
    mix_events(waveform, RATE, [AudioEvent(kind, start=0.4, duration=0.3, gain=0.5, seed=7)])
    assert np.abs(waveform).max() == pytest.approx(0.5)
    audible = np.nonzero(np.abs(waveform) > 0.02)[0] / RATE
    assert 0.4 <= audible[0] < 0.4 + 1 / 30
    assert audible[-1] < 0.7


def test_event_past_the_end_is_cut():
    waveform = np.zeros(1000)
    mix_events(
        waveform, RATE, [AudioEvent("hit", 0.01, 0.3, 0.5, 1), AudioEvent("hit", 9, 1, 1, 1)]
    )
    assert np.abs(waveform[441:]).max() > 0.1


def test_room_noise_has_the_level_and_length_asked():
    noise = room_noise(0.5, RATE, 0.003, seed=1)
    assert noise.shape == (RATE // 2,)
    assert noise.std() == pytest.approx(0.003)
