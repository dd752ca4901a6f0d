"""Activities of rows and columns: base-2 logarithms of how much more often a unit's gates change than those of other units.

Gradients are larger for some units than for others, which neither votes nor coins reveal.
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
"""Largest change of a gate for fitting activities; larger changes are clipped to it."""
_CAUTION = 2.0
"""Added to both the observed and the expected changes of a unit, so that few changes give an activity near 0."""


def _grids(context: CodingContext) -> Iterator[tuple[slice, int, int]]:
    """Yield the gates and the numbers of rows and columns of each layer with more than one row and column."""
    start = 0
    for size, rows in zip(context.layers, context.rows, strict=True):
        if 1 < rows < size:
            yield slice(start, start + size), rows, size // rows
        start += size


def of_gates(activities: NDArray[np.integer], context: CodingContext) -> NDArray[np.int8]:
    """Return the activity of each gate, ``[d]``: the sum of the activities of its row and its column."""
    found, start = np.zeros(context.size, dtype=np.int8), 0
    for gates, rows, columns in _grids(context):
        of_rows, of_columns = activities[start : start + rows], activities[start + rows : start + rows + columns]
        found[gates] = (of_rows[:, None] + of_columns[None, :]).reshape(-1)
        start += rows + columns
    return found


def fitted_activities(change: NDArray[np.integer], expected: NDArray[np.floating], context: CodingContext) -> NDArray[np.int8]:
    """Fit the activities of all rows and columns to changes, approximately by maximum likelihood.

    Only the encoder fits activities, so floats are allowed.

    Parameters
    ----------
    change : numpy.ndarray
        Absolute change of each gate, ``[d]``.
    expected : numpy.ndarray
        Expected absolute change of each gate without activities, ``[d]``.
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
        The code is damaged, or an activity is out of range.
    """
    found = read_integers(reader, _of_units(context))
    if len(found) and (int(found.min()) < _LOWEST or int(found.max()) > _HIGHEST):
        raise WireError(f"an activity outside {_LOWEST} to {_HIGHEST}")
    return found


def _of_units(context: CodingContext) -> Contexts:
    """Return the contexts of activities, which are different for the rows and the columns of each layer."""
    sizes = [size for _, rows, columns in _grids(context) for size in (rows, columns)]
    zeros = np.zeros(sum(sizes), dtype=np.uint8)
    return Contexts(np.repeat(np.arange(len(sizes), dtype=np.uint16), sizes), zeros, zeros)
