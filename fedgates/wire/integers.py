"""Integers as range-coded binary decisions: is it nonzero, is it positive, is its absolute value above 1, 2, and so on.

Each decision is a bit whose frequency depends on its context, a small integer that encoder and decoder know. A stage codes one
decision for all integers that reach it. First comes a table with a frequency byte (:mod:`fedgates.wire.scale`) for each context
that has bits, ascending, as eight fair bits, lowest first; then come the bits in ascending order of contexts, and within a
context in the order of the integers. All stages are in one range code.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.range_coder import BIT_SCALE, BitReader, BitWriter, read_table
from fedgates.wire.scale import FREQUENCIES, group_frequencies

LARGEST = 255
"""Largest absolute value."""
_STEPS = 3
"""Number of decisions "above j" with different contexts; later decisions share those of the last."""
_SIDES = 32
"""Upper bound of the contexts of a side."""
_CHUNK = 1 << 16
_LEAN = 4
"""Largest difference between the contexts of the two sides; larger differences are clipped."""


class Contexts(NamedTuple):
    """Contexts of the decisions about n integers, ``[n]`` each."""

    zero: NDArray[np.unsignedinteger]
    """Context of "is it nonzero", below 2^16."""
    above: NDArray[np.uint8]
    """Context of the absolute value of a positive integer, below 32; larger contexts are for larger expected values."""
    below: NDArray[np.uint8]
    """Context of the absolute value of a negative integer, below 32. The context of "is it positive" is ``above - below``,
    clipped to -4..4."""


class _Stages(Protocol):
    """Writer or reader of stages."""

    def decide(self, context: NDArray[np.integer], bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Write or read one stage and return its bits; a reader ignores `bits`."""


def write_integers(writer: BitWriter, values: NDArray[np.integer], contexts: Contexts) -> None:
    """Encode integers ``[n]`` from -255 to 255."""
    _code(_Writer(writer), contexts, values)


def read_integers(reader: BitReader, contexts: Contexts) -> NDArray[np.int16]:
    """Decode integers ``[n]``; the inverse of :func:`write_integers`.

    Raises
    ------
    WireError
        The code is damaged, or was not written by :func:`write_integers`.
    """
    return _code(_Reader(reader), contexts, None)


def _code(stages: _Stages, contexts: Contexts, values: NDArray[np.integer] | None) -> NDArray[np.int16]:
    """Write the stages of all integers, or read them if `values` is None; return the values."""
    nonzero = stages.decide(contexts.zero, None if values is None else values != 0)
    at = np.flatnonzero(nonzero).astype(np.uint32)
    found = np.zeros(len(nonzero), dtype=np.int16)
    above, below = contexts.above[at].astype(np.int8), contexts.below[at].astype(np.int8)
    lean = (np.clip(above - below, -_LEAN, _LEAN) + _LEAN).astype(np.uint8)
    positive = stages.decide(lean, None if values is None else values[at] > 0)
    side = np.where(positive, above, below).astype(np.uint8)
    sign = np.where(positive, np.int8(1), np.int8(-1))
    distance = 0
    while len(at):
        found[at] += sign
        distance += 1
        if distance > LARGEST:
            raise WireError(f"an integer beyond {LARGEST}")
        context = side + np.uint8(_SIDES * min(distance - 1, _STEPS - 1))
        more = stages.decide(context, None if values is None else np.abs(values[at]) > distance)
        at, side, sign = at[more], side[more], sign[more]
    return found


class _Writer:
    def __init__(self, writer: BitWriter) -> None:
        self._writer = writer

    def decide(self, context: NDArray[np.integer], bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        if bits is None:
            raise TypeError("a writer needs bits")
        order, sizes = _groups(context)
        ordered = bits[order].view(np.uint8)
        table = group_frequencies(ordered, sizes)
        entries = np.unpackbits(table, bitorder="little")
        self._writer.write(entries, [len(entries)], _FAIR)
        self._writer.write(ordered, sizes.tolist(), FREQUENCIES[table])
        return bits


class _Reader:
    def __init__(self, reader: BitReader) -> None:
        self._reader = reader

    def decide(self, context: NDArray[np.integer], bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:  # noqa: ARG002
        order, sizes = _groups(context)
        table = read_table(np.packbits(self._reader.read([8 * len(sizes)], _FAIR), bitorder="little").data)
        ordered = self._reader.read(sizes.tolist(), FREQUENCIES[table])
        if (group_frequencies(ordered, sizes) != table).any():
            raise WireError("the frequencies do not match the decoded integers")
        found = np.empty(len(context), dtype=np.bool_)
        found[order] = ordered
        return found


_FAIR = np.array([BIT_SCALE // 2])


def _groups(context: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of the decisions by context, and the number of decisions of each context that has any."""
    every = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(context), _CHUNK):  # bincount converts its input to 64-bit integers
        few = np.bincount(context[start : start + _CHUNK])
        every[: len(few)] += few
    return np.argsort(context, kind="stable"), every[every > 0]
