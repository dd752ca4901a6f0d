"""Statistics of clients' reports that a single client cannot determine."""

from collections.abc import Sequence
from statistics import median


def middle(values: Sequence[float]) -> float:
    """Return the median; the smaller of two values, because one client could set their mean at will."""
    return min(values) if len(values) == 2 else median(values)


def capped(counts: Sequence[int], ratio: float) -> list[int]:
    """Cap counts at `ratio` times their :func:`middle`; the cap is at least 1."""
    most = max(1.0, ratio * middle(counts)) if counts else 0.0
    return [int(min(count, most)) for count in counts]
