"""Linear layers of classifiers."""

import torch
import torch.nn.functional as F
from torch import nn


class AudioVisualLinear(nn.Linear):
    """Linear layer whose input is visual features, then audio features.

    The two parts are multiplied apart and summed. With audio weights of zero the result is then
    bit-equal to that of the visual features alone; one product would round differently.

    Args:
        in_features: number of all features.
        out_features: number of outputs.
        audio_features: number of audio features among ``in_features``; 0 for none.
    """

    def __init__(self, in_features: int, out_features: int, *, audio_features: int = 0) -> None:
        super().__init__(in_features, out_features)
        self.audio_features = audio_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in_features) to (..., out_features)."""
        if self.audio_features in (0, self.in_features):
            return super().forward(x)
        sizes = (self.in_features - self.audio_features, self.audio_features)
        visual, audio = x.split(sizes, dim=-1)
        visual_weight, audio_weight = self.weight.split(sizes, dim=1)
        return F.linear(visual, visual_weight, self.bias) + F.linear(audio, audio_weight)
