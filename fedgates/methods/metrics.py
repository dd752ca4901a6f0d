"""Metrics of a round's masks and of a model's support, computed from counts."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Update


class MaskCounts:
    """Number of ones at each gate over the masks of a round.

    Attributes
    ----------
    ones : numpy.ndarray
        Number of ones at each gate, ``[d]`` uint32.
    masks : int
        Number of masks counted; updates without a mask are not counted.
    """

    def __init__(self, size: int) -> None:
        self.ones = np.zeros(size, dtype=np.uint32)
        self.masks = 0

    def watch(self, updates: Iterable[Update]) -> Iterator[Update]:
        """Yield the updates unchanged, counting the mask of each."""
        for update in updates:
            if update.mask is not None:
                self.ones += update.gates(len(self.ones))
                self.masks += 1
            yield update

    def among(self, part: NDArray[np.bool_]) -> "MaskCounts":
        """Return the counts restricted to the gates in ``part``, bool ``[d]``."""
        counts = MaskCounts(0)
        counts.ones, counts.masks = self.ones[part], self.masks
        return counts


def consensus(counts: MaskCounts) -> float:
    """Return the agreement of clients' masks: intersection over union, both summed over all pairs; 1 if all are equal.

    With n_i ones at gate i in K masks, ``I = sum n_i (n_i - 1) / 2`` and ``U = (K - 1) sum n_i - I``.
    """
    ones = counts.ones.astype(np.float64)
    both = float((ones * (ones - 1)).sum() / 2)
    either = (counts.masks - 1) * float(ones.sum()) - both
    return both / either if either else 1.0


def regrown_share_of_ones(before: NDArray[np.float32], counts: MaskCounts) -> float:
    """Return the share of ones in clients' masks at positions where the broadcast weights ``before [d]`` were zero."""
    total = int(counts.ones.sum(dtype=np.int64))
    return int(counts.ones[before == 0].sum(dtype=np.int64)) / total if total else 0.0


def regrown_share_of_gates(before: NDArray[np.float32], counts: MaskCounts) -> float:
    """Return the share of all mask bits that are 1 at positions where the broadcast weights ``before [d]`` were zero."""
    total = counts.masks * len(counts.ones)
    return int(counts.ones[before == 0].sum(dtype=np.int64)) / total if total else 0.0


def support_scores(kept: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Return precision, recall and F1 of a support ``kept [d]`` against the true support ``[d]``; 0 if they are disjoint.

    Examples
    --------
    >>> support_scores(np.array([True, True, False]), np.array([True, False, False]))["support_precision"]
    0.5
    """
    right = int((kept & truth).sum())
    found, wanted = int(kept.sum()), int(truth.sum())
    return {
        "support_precision": right / found if found else 0.0,
        "support_recall": right / wanted if wanted else 0.0,
        "support_f1": 2 * right / (found + wanted) if found + wanted else 0.0,
    }
