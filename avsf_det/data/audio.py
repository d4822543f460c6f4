"""Sound as tensors: resampling, the log-mel spectrogram, fitting it to a number of columns."""

import torch
import torchaudio

# Added to the power before the logarithm: silence is ln(1e-8), as in the authors' code.
LOG_OFFSET = 1e-8
# A window whose peak stays below this (-80 dB of full scale) is silent.
SILENCE_PEAK = 1e-4


def resample(waveform: torch.Tensor, orig_rate: int, new_rate: int) -> torch.Tensor:
    """Polyphase resampling, as the authors' (librosa's "polyphase", which is SciPy's).

    Args:
        waveform: float32 (L,).
        orig_rate, new_rate: Hz.

    Returns:
        float32 (ceil(L * new_rate / orig_rate),).
    """
    if orig_rate == new_rate:
        return waveform
    from scipy.signal import resample_poly  # not above: it takes a second to load

    # SciPy divides both rates by their greatest common divisor itself.
    return torch.from_numpy(resample_poly(waveform.numpy(), new_rate, orig_rate))


def is_silent(waveform: torch.Tensor) -> bool:
    """Whether a waveform in [-1, 1] has nothing to hear."""
    return waveform.numel() == 0 or waveform.abs().max().item() < SILENCE_PEAK


class LogMel:
    """Log-mel spectrogram of the AVSlowFast authors (pull request 219, docs/paper.md).

    Periodic Hann window, FFT as long as the window, no padding at the ends, power spectrum, HTK mel
    scale from 0 to half the sample rate with Slaney's area normalisation, ln(power + 1e-8).
    """

    def __init__(self, *, sample_rate: int, window_sec: float, hop_sec: float, num_mels: int):
        """
        Args:
            sample_rate: Hz.
            window_sec, hop_sec: seconds.
            num_mels: frequency bins F.
        """
        # For resample: loader workers that are forked after this need not load it one by one.
        import scipy.signal  # noqa: F401

        self.sample_rate = sample_rate
        self.window = round(window_sec * sample_rate)
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate,
            n_fft=self.window,
            hop_length=round(hop_sec * sample_rate),
            n_mels=num_mels,
            center=False,
            norm="slaney",
            mel_scale="htk",
        )

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """
        Args:
            waveform: float32 (L,) in [-1, 1]; shorter than a window, it is followed by silence.

        Returns:
            float32 (frames, F), natural logarithm of power.
        """
        missing = max(self.window - len(waveform), 0)
        power = self._mel(torch.nn.functional.pad(waveform, (0, missing)))
        return torch.log(power + LOG_OFFSET).T


def fit_columns(logmel: torch.Tensor, num: int) -> torch.Tensor:
    """Pick the ``num`` columns nearest to evenly spaced times, first and last included.

    Args:
        logmel: (t, F).

    Returns:
        (num, F).
    """
    index = torch.linspace(0, len(logmel) - 1, num).round().long()
    return logmel[index]
