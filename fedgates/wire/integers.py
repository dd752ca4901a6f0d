"""Integers as range-coded decisions: is it 0, is it above 0, and is its distance from 0 more than 1, 2, and so on.

Each decision is a bit whose frequency depends on its context, a small integer that both ends know. A stage codes one decision
for all integers that come to it: first the table, a frequency byte (:mod:`fedgates.wire.scale`) for each context that has bits,
ascending, as eight fair bits, lowest first; then the bits in ascending order of contexts, and within one in the order of the
integers. Stages follow one another in one range code.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.wire.range_coder import BIT_SCALE, BitReader, BitWriter, read_table
from fedgates.wire.scale import FREQUENCIES, group_frequencies

LARGEST = 255
"""Largest distance from 0."""
_STEPS = 3
"""Decisions "more than j" have contexts of their own for j below this, and share the last beyond."""
_SIDES = 32
"""Upper bound of the contexts of a distance."""
_CHUNK = 1 << 16
_LEAN = 4
"""Largest difference of the contexts of the two sides that counts."""


class Contexts(NamedTuple):
    """The context of each decision about each of n integers, ``[n]``."""

    zero: NDArray[np.unsignedinteger]
    """Of "is it 0", below 2^16."""
    above: NDArray[np.uint8]
    """Of the distance of an integer above 0, below 32: the larger, the farther it is expected to be."""
    below: NDArray[np.uint8]
    """Of the distance of an integer below 0, as well. The context of "is it above 0" is the difference of the two, from -4 to
    4."""


class _Stages(Protocol):
    """Codes stages in one direction."""

    def decide(self, context: NDArray[np.integer], bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Code one stage and return its bits; a reader is given none."""


def write_integers(writer: BitWriter, values: NDArray[np.integer], contexts: Contexts) -> None:
    """Encode integers ``[n]`` from -255 to 255."""
    _code(_Writer(writer), contexts, values)


def read_integers(reader: BitReader, contexts: Contexts) -> NDArray[np.int16]:
    """Decode integers ``[n]``; the inverse of :func:`write_integers`.

    Raises
    ------
    WireError
        The code is damaged, or not one that :func:`write_integers` writes.
    """
    return _code(_Reader(reader), contexts, None)


def _code(stages: _Stages, contexts: Contexts, values: NDArray[np.integer] | None) -> NDArray[np.int16]:
    """Code the stages of all integers, given their values or not, and return the values."""
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
    """Return the order of the decisions, and how many each context has, at least one."""
    every = np.zeros(1 << 16, dtype=np.int64)
    for start in range(0, len(context), _CHUNK):  # bincount makes 64-bit integers of what it counts
        few = np.bincount(context[start : start + _CHUNK])
        every[: len(few)] += few
    return np.argsort(context, kind="stable"), every[every > 0]
