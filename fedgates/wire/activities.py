"""Activities of rows and columns: how many times 2 a unit's gates change more often than the others.

Gradients are larger for some units than for others, and what a state's votes or the coins say does not tell which.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.integers import Contexts, read_integers, write_integers
from fedgates.wire.range_coder import BitReader, BitWriter

_LOWEST, _HIGHEST = -6, 4
"""Range of activities."""
MOST_COUNTED = 2
"""Larger changes of a gate count as this one when activities are fitted."""
_CAUTION = 2.0
"""Changes of a unit, as expected, that are added to what was counted when its activity is fitted."""


def _grids(context: CodingContext) -> Iterator[tuple[slice, int, int]]:
    """Yield the gates, rows and columns of each layer with more than one of both."""
    start = 0
    for size, rows in zip(context.layers, context.rows, strict=True):
        if 1 < rows < size:
            yield slice(start, start + size), rows, size // rows
        start += size


def of_gates(activities: NDArray[np.integer], context: CodingContext) -> NDArray[np.int8]:
    """Return the activity of each gate ``[d]``: the sum of its row's and its column's."""
    found, start = np.zeros(context.size, dtype=np.int8), 0
    for gates, rows, columns in _grids(context):
        of_rows, of_columns = activities[start : start + rows], activities[start + rows : start + rows + columns]
        found[gates] = (of_rows[:, None] + of_columns[None, :]).reshape(-1)
        start += rows + columns
    return found


def fitted_activities(change: NDArray[np.integer], expected: NDArray[np.floating], context: CodingContext) -> NDArray[np.int8]:
    """Return the activities under which changes are likeliest, about; only the encoder does this, so it may use floats.

    Parameters
    ----------
    change : numpy.ndarray
        Size of each gate's change, ``[d]``.
    expected : numpy.ndarray
        The one that is expected of gates of usual activity, ``[d]``.
    context : CodingContext
        The network.
    """
    parts = [np.zeros(0, dtype=np.int8)]
    for gates, rows, columns in _grids(context):
        changed = np.minimum(change[gates], MOST_COUNTED).reshape(rows, columns).astype(np.float64)
        usual = expected[gates].reshape(rows, columns)
        of_columns = np.ones(columns)
        for _ in range(2):
            of_rows = (changed.sum(1) + _CAUTION) / (usual @ of_columns + _CAUTION)
            of_columns = (changed.sum(0) + _CAUTION) / (of_rows @ usual + _CAUTION)
        parts += [np.clip(np.rint(np.log2(each)), _LOWEST, _HIGHEST).astype(np.int8) for each in (of_rows, of_columns)]
    return np.concatenate(parts)


def write_activities(writer: BitWriter, activities: NDArray[np.int8], context: CodingContext) -> None:
    """Encode the activities of all rows and columns."""
    write_integers(writer, activities, _of_units(context))


def read_activities(reader: BitReader, context: CodingContext) -> NDArray[np.int16]:
    """Decode the activities of all rows and columns.

    Raises
    ------
    WireError
        The code is damaged, or an activity out of range.
    """
    found = read_integers(reader, _of_units(context))
    if len(found) and (int(found.min()) < _LOWEST or int(found.max()) > _HIGHEST):
        raise WireError(f"an activity that is not in {_LOWEST} to {_HIGHEST}")
    return found


def _of_units(context: CodingContext) -> Contexts:
    """Return the contexts of activities: rows and columns of each layer apart."""
    sizes = [size for _, rows, columns in _grids(context) for size in (rows, columns)]
    zeros = np.zeros(sum(sizes), dtype=np.uint8)
    return Contexts(np.repeat(np.arange(len(sizes), dtype=np.uint16), sizes), zeros, zeros)
