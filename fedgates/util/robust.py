"""Weights of clients' reports that no single one decides."""

from collections.abc import Sequence
from statistics import median


def capped(counts: Sequence[int], ratio: float) -> list[int]:
    """Return counts, at least 1 each, and none above `ratio` times their median."""
    most = max(1.0, ratio * median(counts)) if counts else 0.0
    return [int(min(count, most)) for count in counts]
