"""Weights of clients' reports that no single one decides."""

from collections.abc import Sequence
from statistics import median_low


def capped(counts: Sequence[int], ratio: float) -> list[int]:
    """Return counts, at least 1 each, and none above `ratio` times their lower median, which of two is the smaller."""
    most = max(1.0, ratio * median_low(counts)) if counts else 0.0
    return [int(min(count, most)) for count in counts]
