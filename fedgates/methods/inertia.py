"""How far a round moves each layer: the layer-wise inertia of training on clients that differ.

Xiao et al., arXiv 2506.00932: where clients' data differ, their updates of middle layers cancel, and those layers stall.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedgates.nn.flat_parameters import ParameterSlice


def inertia(slices: Sequence[ParameterSlice], before: NDArray[np.float32], after: NDArray[np.float32]) -> dict[str, float]:
    """Return the norm of the global update of each matrix and kernel, and its root mean square, comparable across sizes.

    Parameters
    ----------
    slices : sequence of ParameterSlice
        The network's parameters; only matrices and kernels are used.
    before, after : numpy.ndarray
        The server's weights before and after a round, ``[d]`` or longer.

    Returns
    -------
    dict
        ``inertia_<parameter>`` and ``rms_inertia_<parameter>`` of each; the latter is the norm over sqrt(size).
    """
    found = {}
    for slot in (slot for slot in slices if slot.is_matrix):
        part = slice(slot.offset, slot.offset + slot.size)
        moved = float(np.linalg.norm(after[part] - before[part].astype(np.float64)))
        found[f"inertia_{slot.name}"] = moved
        found[f"rms_inertia_{slot.name}"] = moved / math.sqrt(slot.size)
    return found
