"""A recurrent network for words."""

import torch
from torch import Tensor, nn

LETTERS = 64
"""Exclusive upper bound on the numbers of letters."""


class GRU(nn.Module):
    """Embedding of letters, bidirectional GRU, and a linear layer on the maximum of its outputs over the letters."""

    def __init__(self, num_outputs: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[n, outputs]`` for letters ``[n, length]``, int64, padded with 0."""
        outputs, _ = self.gru(self.embedding(x))
        outputs = outputs.masked_fill((x == 0)[..., None], -torch.inf)
        return self.head(outputs.amax(1).clamp_min(-1))


def gru(input_shape: tuple[int, ...], num_outputs: int) -> nn.Module:  # noqa: ARG001  # a word may have any length
    """Return the network."""
    return GRU(num_outputs)
