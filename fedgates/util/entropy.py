"""Binary entropy."""

import math


def binary_entropy(density: float) -> float:
    """Return the binary entropy ``H2(density)``, the ideal rate of a mask of this density in bits per parameter."""
    return sum(-p * math.log2(p) for p in (density, 1 - density) if p > 0)
