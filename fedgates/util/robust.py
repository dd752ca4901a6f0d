"""Measures of clients' reports that no single one decides."""

from collections.abc import Sequence
from statistics import median


def middle(values: Sequence[float]) -> float:
    """Return the median of values; of two the smaller, because a client alone would decide their mean."""
    return min(values) if len(values) == 2 else median(values)


def capped(counts: Sequence[int], ratio: float) -> list[int]:
    """Return counts, at least 1 each, and none above `ratio` times their :func:`middle`."""
    most = max(1.0, ratio * middle(counts)) if counts else 0.0
    return [int(min(count, most)) for count in counts]
