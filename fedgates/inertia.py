"""How far a round moves each layer: the layer-wise inertia of training on clients that differ.

Xiao et al., arXiv 2506.00932: where clients' data differ, their updates of middle layers cancel, and those layers stall.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedgates.network import Slot


def inertia(slots: Sequence[Slot], before: NDArray[np.float32], after: NDArray[np.float32]) -> dict[str, float]:
    """The norm of each matrix's and kernel's global update, absolute and as a share of the norm that it had.

    Parameters
    ----------
    slots : sequence of Slot
        The network's parameters; those that are no matrix or kernel are passed over.
    before, after : numpy.ndarray
        The server's weights, ``[d]`` or with more behind them, around a round.

    Returns
    -------
    dict
        ``inertia_<parameter>`` and ``relative_inertia_<parameter>`` of each; the latter is 0 of a layer that was zero.
    """
    found = {}
    for slot in (slot for slot in slots if slot.is_matrix):
        part = slice(slot.offset, slot.offset + slot.size)
        start = before[part].astype(np.float64)
        moved, size = float(np.linalg.norm(after[part] - start)), float(np.linalg.norm(start))
        found[f"inertia_{slot.name}"] = moved
        found[f"relative_inertia_{slot.name}"] = moved / size if size else 0.0
    return found
