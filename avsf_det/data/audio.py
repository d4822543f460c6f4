"""Audio as tensors: resampling, and the log-mel spectrogram with a given number of time steps."""

import functools
import logging
import math
from collections.abc import Callable
from types import ModuleType

import torch

# Added to the power before the logarithm: silence is ln(1e-8), as in the authors' code.
LOG_OFFSET = 1e-8
# A window whose peak stays below this (-80 dB of full scale) is silent.
SILENCE_PEAK = 1e-4


def resample(waveform: torch.Tensor, orig_rate: int, new_rate: int) -> torch.Tensor:
    """Resample with a polyphase filter, as the authors do (librosa's "polyphase", SciPy's filter).

    Args:
        waveform: float32 (L,).
        orig_rate: sample rate of ``waveform`` in Hz.
        new_rate: sample rate in Hz of the result, float32 (ceil(L * new_rate / orig_rate),).
    """
    if orig_rate == new_rate:
        return waveform
    from scipy.signal import resample_poly  # not above: it takes a second to load

    # SciPy divides both rates by their greatest common divisor itself.
    return torch.from_numpy(resample_poly(waveform.numpy(), new_rate, orig_rate))


def is_silent(waveform: torch.Tensor) -> bool:
    """Return whether a waveform in [-1, 1] is empty or stays below SILENCE_PEAK."""
    return waveform.numel() == 0 or waveform.abs().max().item() < SILENCE_PEAK


class LogMel:
    """Log-mel spectrogram of the AVSlowFast authors (pull request 219, docs/paper.md).

    Periodic Hann window, FFT as long as the window, no padding at the ends, power spectrum, HTK mel
    scale from 0 to half the sample rate with Slaney's area normalisation, ln(power + 1e-8).

    Attributes:
        window: length of the window in samples.

    Args:
        sample_rate: sample rate of the waveforms in Hz; an attribute too.
        window_sec: length of the window in seconds.
        hop_sec: distance of two windows in seconds.
        num_mels: number of frequency bins F.
    """

    def __init__(
        self, *, sample_rate: int, window_sec: float, hop_sec: float, num_mels: int
    ) -> None:
        # For resample: loader workers that are forked after this need not load it one by one.
        import scipy.signal  # noqa: F401

        self.sample_rate = sample_rate
        self.window = round(window_sec * sample_rate)
        hop = round(hop_sec * sample_rate)
        torchaudio = _import_torchaudio()
        self._mel_power: Callable[[torch.Tensor], torch.Tensor]
        if torchaudio is None:
            self._mel_power = _MelPower(sample_rate, self.window, hop, num_mels)
        else:
            self._mel_power = torchaudio.transforms.MelSpectrogram(
                sample_rate,
                n_fft=self.window,
                hop_length=hop,
                n_mels=num_mels,
                center=False,
                norm="slaney",
                mel_scale="htk",
            )

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return the spectrogram float32 (time steps, F), natural logarithm of power.

        Args:
            waveform: float32 (L,) in [-1, 1]. If shorter than a window, it is padded with silence.
        """
        missing = max(self.window - len(waveform), 0)
        power = self._mel_power(torch.nn.functional.pad(waveform, (0, missing)))
        return torch.log(power + LOG_OFFSET).T


class _MelPower:
    """Replacement of torchaudio's ``MelSpectrogram`` with the settings of :class:`LogMel`."""

    def __init__(self, sample_rate: int, window: int, hop: int, num_mels: int) -> None:
        self._hop = hop
        self._hann = torch.hann_window(window)
        self._triangles = mel_matrix(sample_rate, window // 2 + 1, num_mels)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return the power (F, time steps) of a waveform float32 (L,)."""
        length = len(self._hann)
        spectrum = torch.stft(
            waveform, length, self._hop, window=self._hann, center=False, return_complex=True
        )
        power = spectrum.abs().square()  # (window // 2 + 1, time steps)
        return (power.T @ self._triangles).T


def mel_matrix(sample_rate: int, num_frequencies: int, num_mels: int) -> torch.Tensor:
    """Return triangular HTK mel filters of equal area (Slaney), from 0 Hz to half the sample rate.

    They are float32 (num_frequencies, num_mels), for power spectra of ``num_frequencies`` bins.
    """
    nyquist = sample_rate / 2
    hertz = torch.linspace(0, nyquist, num_frequencies)[:, None]
    mels = torch.linspace(0, 2595 * math.log10(1 + nyquist / 700), num_mels + 2)
    # Filter i rises from edge i to edge i + 1 and falls to edge i + 2.
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (hertz - low) / (middle - low)
    falling = (high - hertz) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)


@functools.cache
def _import_torchaudio() -> ModuleType | None:
    """Return torchaudio, or None where its import fails; that is logged once."""
    try:
        import torchaudio
    # A torchaudio for another version of torch or CUDA raises one of these.
    except (ImportError, OSError, RuntimeError) as error:
        logging.getLogger(__name__).warning(
            f"torchaudio cannot be imported ({error}). Spectrograms are computed with torch.stft, "
            "with equal results. To use torchaudio, install the version for this torch."
        )
        return None
    return torchaudio


def pick_time_steps(logmel: torch.Tensor, num: int) -> torch.Tensor:
    """Pick the ``num`` time steps nearest to evenly spaced times, first and last included.

    Args:
        logmel: (t, F).
        num: number of time steps to return, (num, F); they repeat if there are fewer.
    """
    return logmel[torch.linspace(0, len(logmel) - 1, num).round().long()]
