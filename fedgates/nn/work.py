"""What a network is and does, whatever its weights are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """How large a network is."""

    parameters: int
    multiply_adds: int
    """Of its linear and convolution layers, for one image."""
