"""A classifier of short texts: embeddings, a convolution over neighbouring tokens, and the largest value of each channel."""

from torch import Tensor, nn

TOKENS = 128


class Classifier(nn.Module):
    """Maps tokens ``[n, length]`` to logits ``[n, outputs]``."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, 16)
        self.convolution = nn.Conv1d(16, 64, 3, padding=1)
        self.last = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        found = self.convolution(self.embedding(x).transpose(1, 2)).relu()
        return self.last(found.amax(2))


def build(input_shape: tuple[int], num_outputs: int) -> nn.Module:  # noqa: ARG001  # any length fits
    """Return the network."""
    return Classifier(num_outputs)
