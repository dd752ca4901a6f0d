"""What can be said of a round's masks, and of a model's support, from counts alone."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fedgates.types import Update


class MaskCounts:
    """How often each gate was 1 in the masks of a round, counted as they go by.

    Attributes
    ----------
    ones : numpy.ndarray
        Shape ``[d]``, uint32.
    masks : int
        How many masks were counted; updates of values alone have none.
    """

    def __init__(self, size: int) -> None:
        self.ones = np.zeros(size, dtype=np.uint32)
        self.masks = 0

    def watch(self, updates: Iterable[Update]) -> Iterator[Update]:
        """The same updates, each counted before it is handed on."""
        for update in updates:
            if update.mask is not None:
                self.ones += update.gates(len(self.ones))
                self.masks += 1
            yield update

    def among(self, part: NDArray[np.bool_]) -> "MaskCounts":
        """The counts of the gates in ``part [d]`` alone."""
        counts = MaskCounts(0)
        counts.ones, counts.masks = self.ones[part], self.masks
        return counts


def consensus(counts: MaskCounts) -> float:
    """Agreement of clients' masks: intersection over union, both summed over all pairs of clients; 1 where they are the same.

    With n_i ones at gate i in K masks, ``I = sum n_i (n_i - 1) / 2`` and ``U = (K - 1) sum n_i - I``.
    """
    ones = counts.ones.astype(np.float64)
    both = float((ones * (ones - 1)).sum() / 2)
    either = (counts.masks - 1) * float(ones.sum()) - both
    return both / either if either else 1.0


def regrown_share_of_ones(before: NDArray[np.float32], counts: MaskCounts) -> float:
    """Of the ones in clients' masks, the share that the broadcast weights ``before [d]`` had at zero."""
    total = int(counts.ones.sum(dtype=np.int64))
    return int(counts.ones[before == 0].sum(dtype=np.int64)) / total if total else 0.0


def regrown_share_of_gates(before: NDArray[np.float32], counts: MaskCounts) -> float:
    """Of all gates of all masks, the share that are ones where the broadcast weights ``before [d]`` were zero."""
    total = counts.masks * len(counts.ones)
    return int(counts.ones[before == 0].sum(dtype=np.int64)) / total if total else 0.0


def support_scores(kept: NDArray[np.bool_], truth: NDArray[np.bool_]) -> dict[str, float]:
    """Precision, recall and F1 of a found support for the true one, both ``[d]``; 0 where nothing is right."""
    right = int((kept & truth).sum())
    found, wanted = int(kept.sum()), int(truth.sum())
    return {
        "support_precision": right / found if found else 0.0,
        "support_recall": right / wanted if wanted else 0.0,
        "support_f1": 2 * right / (found + wanted) if found + wanted else 0.0,
    }


def entropy(density: float) -> float:
    """Binary entropy ``H2`` in bits: the literature's rate of a mask of this density, bits per parameter."""
    return sum(-p * math.log2(p) for p in (density, 1 - density) if p > 0)
