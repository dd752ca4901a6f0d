"""Layer-wise inertia: how far a round moves the weights of each layer.

Xiao et al., arXiv 2506.00932: if clients' data differ, their updates of the middle layers cancel, and these layers stall.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedgates.nn.flat_parameters import ParameterSlice


def inertia(slices: Sequence[ParameterSlice], before: NDArray[np.float32], after: NDArray[np.float32]) -> dict[str, float]:
    """Return the norm and the root mean square of the global update of each matrix and kernel.

    Parameters
    ----------
    slices : sequence of ParameterSlice
        The network's parameters; only matrices and kernels are used.
    before, after : numpy.ndarray
        The server's weights before and after a round, ``[d]`` or longer.

    Returns
    -------
    dict
        ``inertia_<parameter>``, the L2 norm, and ``rms_inertia_<parameter>``, the norm divided by sqrt(size), which is
        comparable across layers of different sizes.
    """
    found = {}
    for slot in (slot for slot in slices if slot.is_matrix):
        part = slice(slot.offset, slot.offset + slot.size)
        moved = float(np.linalg.norm(after[part] - before[part].astype(np.float64)))
        found[f"inertia_{slot.name}"] = moved
        found[f"rms_inertia_{slot.name}"] = moved / math.sqrt(slot.size)
    return found
