"""Times of the frames and log-mel spectrogram of a time span of a video; clips for bad ones."""

import functools
import logging
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from detectron2.config import CfgNode

from ..structures import ConfigError
from .video import VideoDecodeError, VideoReader

# Clips that a worker must have read before the fraction of bad ones is judged.
MIN_CLIPS_TO_JUDGE = 100
AUDIO_MODES = ("normal", "mute", "swap")
# Added to the power before the logarithm: silence is ln(1e-8), as in the authors' code.
LOG_OFFSET = 1e-8
# A window whose peak stays below this (-80 dB of full scale) is silent.
SILENCE_PEAK = 1e-4


class ClipReader:
    """Number, times and spectrogram of the frames of a clip; VideoDecodeError for bad audio.

    Raises:
        ConfigError: ``TEST.AUDIO_MODE`` has a value that is not supported.
    """

    def __init__(self, cfg: CfgNode, is_train: bool = True) -> None:
        mode = "normal" if is_train else cfg.TEST.AUDIO_MODE
        if mode not in AUDIO_MODES:
            raise ConfigError(f"TEST.AUDIO_MODE must be normal, mute or swap, got '{mode}'")
        clip, audio = cfg.INPUT.CLIP, cfg.INPUT.AUDIO
        self.is_train = is_train  # hard negatives are random; else each clip has always the same
        # ``stride`` counts frames at ``fps`` per second.
        self.num_frames, self.stride, self.fps = clip.NUM_FRAMES, clip.STRIDE, clip.FPS
        self.log_mel = LogMel(
            sample_rate=audio.SAMPLE_RATE,
            window_sec=audio.WINDOW_SEC,
            hop_sec=audio.HOP_SEC,
            num_mels=audio.NUM_MELS,
        )
        self.num_audio_frames = audio.NUM_FRAMES  # time steps T_a of the spectrogram
        self.audio_offset = audio.OFFSET_SEC  # by which audio is taken later than the frames
        self.mute = mode == "mute"
        # Smallest distance of a hard negative in seconds; None if none is read.
        has_negatives = audio.NEGATIVES if is_train else cfg.TEST.AUDIO_NEGATIVES
        self.negative_gap = audio.NEGATIVE_GAP_SEC if has_negatives else None

    @property
    def clip_sec(self) -> float:
        """Length of the clip in seconds."""
        return self.num_frames * self.stride / self.fps

    def frame_times(self, start: float) -> list[float]:
        """Return the times (T,) of the frames of the clip that starts at a second."""
        return frame_times(start, self.num_frames, self.stride, self.fps)

    def read_audio(self, video: VideoReader, start: float, end: float) -> dict:
        """Read ``audio`` float32 (1, T_a, F) of a span, and ``has_audio``, False for silence."""
        audio, has_audio = self.spectrogram(self._read_samples(video, start, end))
        return {"audio": audio, "has_audio": has_audio}

    def read_negative(self, video: VideoReader, start: float) -> dict:
        """Read ``audio_negative`` float32 (1, T_a, F), a hard negative of the clip at ``start`` s.

        ``has_audio_negative`` is False for silence and where the video is too short for a negative.
        The result is empty if none is to be read.
        """
        if self.negative_gap is None:
            return {}
        uniform = np.random.uniform
        if not self.is_train:  # the same negative at each test, wherever the file lies
            seed = zlib.crc32(f"{os.path.basename(video.path)} {start:.3f}".encode())
            uniform = np.random.default_rng(seed).uniform
        span = misaligned_span(start, self.clip_sec, video.duration, self.negative_gap, uniform)
        samples = None if span is None else self._read_samples(video, *span)
        audio, has_audio = self.spectrogram(samples)
        return {"audio_negative": audio, "has_audio_negative": has_audio}

    def spectrogram(self, samples: torch.Tensor | None) -> tuple[torch.Tensor, bool]:
        """Return the log-mel spectrogram float32 (1, T_a, F), and whether it is more than silence.

        Samples are float32 (S,) in [-1, 1] at the sample rate of ``log_mel``, or None for silence.
        """
        # A nearly silent clip gives the same spectrogram as one without audio.
        has_audio = samples is not None and not is_silent(samples)
        if samples is None or not has_audio:
            samples = torch.zeros(round(self.clip_sec * self.log_mel.sample_rate))
        audio = pick_time_steps(self.log_mel(samples), self.num_audio_frames)
        return audio[None], has_audio

    def _read_samples(self, video: VideoReader, start: float, end: float) -> torch.Tensor | None:
        """Read float32 (S,); None for silence."""
        if self.mute or not video.has_audio:
            return None
        start, end = start + self.audio_offset, end + self.audio_offset
        return video.get_samples_played_in_range(start, end, self.log_mel.sample_rate)


@dataclass
class BadClipReplacer:
    """Training mapper that replaces a clip that cannot be read by a random other one of a dataset.

    Bad clips are logged and counted in each loader worker; above ``max_fraction``, 0..1, the run
    stops. Detectron2's ``MapDataset`` would replace clips, too, but does it by ``random.sample`` of
    a set, which Python 3.11 refuses.
    """

    mapper: Callable[[dict], dict]
    dataset: Sequence[dict]
    max_fraction: float
    num_clips: int = 0
    num_bad_clips: int = 0

    def __call__(self, dataset_dict: dict) -> dict:
        """Return the model input of a clip, or of its replacement.

        Raises:
            VideoDecodeError: too many clips could not be read.
        """
        while True:
            self.num_clips += 1
            try:
                return self.mapper(dataset_dict)
            except VideoDecodeError as error:
                self.num_bad_clips += 1
                counts = f"{self.num_bad_clips} of {self.num_clips}"
                message = f"Bad clip {counts} in this worker, replaced: {error}"
                logging.getLogger(__name__).warning(message)
                if self.num_bad_clips > self.max_fraction * max(self.num_clips, MIN_CLIPS_TO_JUDGE):
                    raise VideoDecodeError(
                        f"{counts} clips could not be read, more than DATALOADER.MAX_BAD_CLIPS = "
                        f"{self.max_fraction}. The last one: {error}"
                    ) from error
            dataset_dict = self.dataset[np.random.randint(len(self.dataset))]


def frame_times(start: float, num_frames: int, stride: float, fps: float) -> list[float]:
    """Return the times of a clip's frames, ``stride / fps`` apart, the first at ``start``.

    In a span of ``num_frames * stride / fps`` seconds around a keyframe, frame ``num_frames / 2``
    is the keyframe, as in PySlowFast.
    """
    return [start + i * stride / fps for i in range(num_frames)]


def misaligned_span(
    start: float,
    length: float,
    duration: float,
    gap: float,
    uniform: Callable[[float, float], float] = np.random.uniform,
) -> tuple[float, float] | None:
    """Return (start, end) of a random span that starts ``gap`` or more before or after ``start``.

    It is the span of a hard negative of audiovisual synchronisation (paper, section 3.5), as long
    as the clip at ``start``, and may overlap with it. Return None if the file is too short. All
    times are in seconds; ``uniform`` draws a number between two.
    """
    # Allowed starts on the time axis, s = start:
    #
    #   0 ======== s - gap      s      s + gap ======== duration - length
    #     before                                 after
    last = duration - length
    before = min(start - gap, last)
    after = max(start + gap, 0.0)
    room_before, room_after = max(before, 0.0), max(last - after, 0.0)
    if before < 0 and last < after:
        return None
    # One draw over both ranges, put end to end.
    drawn = uniform(0, room_before + room_after)
    start = drawn if before >= 0 and drawn <= room_before else after + drawn - room_before
    return start, start + length


def is_silent(waveform: torch.Tensor) -> bool:
    """Return whether a waveform in [-1, 1] is empty or stays below SILENCE_PEAK."""
    return waveform.numel() == 0 or waveform.abs().max().item() < SILENCE_PEAK


class LogMel:
    """Log-mel spectrogram of the AVSlowFast authors (pull request 219, docs/paper.md).

    Periodic Hann window, FFT as long as the window, no padding at the ends, power spectrum, HTK mel
    scale from 0 to half the sample rate with Slaney's area normalisation, ln(power + 1e-8).

    Args:
        sample_rate: sample rate of the waveforms in Hz; an attribute too.
        window_sec: length of the window in seconds; the attribute ``window`` is in samples.
        hop_sec: distance of two windows in seconds.
        num_mels: number of frequency bins F.
    """

    def __init__(
        self, *, sample_rate: int, window_sec: float, hop_sec: float, num_mels: int
    ) -> None:
        # To resample audio: loader workers that are forked after this need not load it one by one.
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
        """Return the spectrogram float32 (time steps, F), natural logarithm of power, of (L,).

        A waveform, float32 in [-1, 1], that is shorter than a window is padded with silence.
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
    """Pick ``num`` time steps of (t, F), nearest to evenly spaced times, first and last included.

    They repeat if there are fewer.
    """
    return logmel[torch.linspace(0, len(logmel) - 1, num).round().long()]
