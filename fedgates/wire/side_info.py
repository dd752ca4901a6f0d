"""Masks range-coded with all that both ends know: the broadcast votes, and the coins that the mask was sampled with.

**Votes.** A round's masks are samples of probabilities that started from the broadcast ones, so gates whose votes are alike
share a probability. No model that knows votes alone can do better than the entropy of the probabilities q that the mask was
sampled from, and the votes come within KL(q || votes) of that, some .01 bits a gate.

What earlier rounds tell beside that is little: the votes of the round before, or their trend, save .2 to 1.4 % of the
code below, before any table is paid for (`benchmarks/results/wire.md`), so they are not used.

**Coins.** The mask is ``u < q`` with numbers u that are a function of (seed, round, client), so the server has them. Where u is
far from the broadcast probability p the bit is all but known; only a gate whose q moved across u is a surprise. What is left is
the information that training added, and it costs a sixth of the former or less; the mask is the same. This is coding with
subtractive dither, with the broadcast as the reconstruction.

Body: a byte, 0 for votes alone or 1 for coins; one bit a layer, whether it has groups of its own, packed lowest first; tables;
the range code. All frequencies of a 1 are bytes on the scale of :mod:`fedgates.wire.scale`.

*Votes alone*: a gate's group is its level (:meth:`CodingContext.levels`). The table has the frequency of each group that has
gates, the common groups first, then those of the layers that have their own, levels ascending.

*Coins*: first a frequency F for each level that has gates, over all layers (which is the encoder's choice; the groups' are
checked). A gate's group is its bin, which says how far its coin lies from F. With U = 2 * (u >> 20) + 1 (of 8192), a = U *
(65536 - F) and b = F * (8192 - U), where F is held within 1 to 65535, the distance is ``x = 64 * (max(a, b) - min(a, b)) //
min(a, b)``, some 64 times the difference of the logits. The bin is the number of edges 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96,
128, 192, 256, 384 that are at most x, and 16 more where a > b. Then the table of the groups, as above.

The range code has the gates group after group in the order of the table, each group's in the order of the gates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import pack, unpack
from fedgates.wire.bits import packed_size, spare_bits
from fedgates.wire.context import CodingContext
from fedgates.wire.range_coder import decode_bits, encode_bits, longest, read_table
from fedgates.wire.scale import FREQUENCIES, frequency_bytes

_EDGES = np.array([2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384])
"""Two to a doubling: of the scales tried on real runs, the one with the fewest bytes, tables included."""
_BINS = len(_EDGES) + 1
"""On either side."""
_COIN_BITS = 12
_ENTRY_BITS = 8
"""What a table's entry costs."""


class _Classes(NamedTuple):
    """A class for each gate, ``[d]``, the number of classes, and the table from which they follow."""

    of_gate: NDArray[np.uint8] | NDArray[np.uint16]
    number: int
    table: bytes


def encode(gates: NDArray[np.uint8], shared: CodingContext) -> bytes:
    """Gates ``[d]`` of 0 and 1 to tables and a range code; ``shared.state`` and ``shared.coins()`` are the side information."""
    level, levels = shared.levels()
    alone = _Classes(level, levels, b"")
    sizes = np.bincount(level, minlength=levels)
    present = sizes > 0
    ones = np.bincount(level, weights=gates, minlength=levels).astype(np.int64)
    frequencies = frequency_bytes(ones[present], sizes[present])
    tossed = _tossed(shared, alone, present, frequencies)
    choices = [(mode, classes, *_worth_own_groups(gates, classes, shared)) for mode, classes in enumerate((alone, tossed))]
    mode, classes, own, _ = min(choices, key=lambda choice: choice[3])
    groups = Groups(classes, own, shared)
    ordered = gates[groups.order]
    table = groups.frequencies(ordered)
    flags = pack(own).tobytes()
    code = encode_bits(ordered, groups.sizes.tolist(), FREQUENCIES[table])
    return bytes([mode]) + flags + classes.table + table.tobytes() + code


def decode(body: memoryview, shared: CodingContext) -> NDArray[np.uint8]:
    """The inverse of :func:`encode`; the same ``shared`` is needed."""
    groups, at = read_groups(body, shared)
    table = _table(body, at, len(groups.sizes))
    at += len(table)
    if len(body) > at + longest(shared.size):
        raise WireError(f"a body of {len(body)} bytes, expected at most {at + longest(shared.size)}")
    ordered = decode_bits(body[at:], groups.sizes.tolist(), FREQUENCIES[table])
    if (table != groups.frequencies(ordered)).any():
        raise WireError("the frequencies are not those of the gates")
    gates = np.empty_like(ordered)
    gates[groups.order] = ordered
    return gates


def read_groups(body: memoryview, shared: CodingContext) -> "tuple[Groups, int]":
    """The groups that a body says its gates are in, and where in it their table starts."""
    layers = len(shared.layers)
    at = 1 + packed_size(layers, 1)
    _expect(body, at)
    if body[0] > 1:
        raise WireError(f"a body of mode {body[0]}, expected 0 or 1")
    if spare_bits(body[1:at], layers):
        raise WireError("flags beyond the last layer are not zero")
    own = unpack(np.frombuffer(body[1:at], dtype=np.uint8), layers).view(np.bool_)
    level, levels = shared.levels()
    classes = _Classes(level, levels, b"")
    if body[0]:
        present = np.bincount(level, minlength=levels) > 0
        found = _table(body, at, int(present.sum()))
        classes = _tossed(shared, classes, present, found)
        at += len(found)
    return Groups(classes, own, shared), at


class Groups:
    """The order in which gates are coded, and how many gates each group has; none is empty."""

    def __init__(self, classes: _Classes, own: NDArray[np.bool_], shared: CodingContext) -> None:
        group: NDArray[np.unsignedinteger] = classes.of_gate
        if own.any():
            wide = np.uint16 if (int(own.sum()) + 1) * classes.number <= 1 << 16 else np.uint32
            first = np.where(own, np.cumsum(own) * classes.number, 0).astype(wide)
            group = group + np.repeat(first, shared.layers)
        elif classes.number <= 1 << 8:
            group = group.astype(np.uint8)  # sorts faster
        every = np.bincount(group)
        self.sizes = every[every > 0]
        self.order = np.argsort(group, kind="stable") if len(self.sizes) > 1 else slice(None)

    def frequencies(self, ordered: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The table's bytes for gates in the order of the groups."""
        return frequency_bytes(self.ones(ordered), self.sizes)

    def ones(self, ordered: NDArray[np.uint8]) -> NDArray[np.int64]:
        """How many ones each group has."""
        return np.add.reduceat(ordered, np.cumsum(self.sizes) - self.sizes, dtype=np.int64)


def _tossed(shared: CodingContext, level: _Classes, present: NDArray[np.bool_], frequencies: NDArray[np.uint8]) -> _Classes:
    """The bin of each gate, given the frequency of each level that is present."""
    bins = np.zeros((level.number, 1 << _COIN_BITS), dtype=np.uint8)
    bins[present] = _bins(FREQUENCIES[frequencies])
    place = level.of_gate.astype(np.uint32) << np.uint32(_COIN_BITS)
    place |= shared.coins() >> np.uint32(32 - _COIN_BITS)
    return _Classes(bins.reshape(-1)[place], 2 * _BINS, frequencies.tobytes())


def _bins(frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bin of each coin's leading bits for each frequency: ``[n, 4096]``."""
    different, place = np.unique(np.clip(frequencies, 1, (1 << 16) - 1), return_inverse=True)
    return np.stack([_bins_around(f) for f in different.tolist()])[place]


def _bins_around(f: int) -> NDArray[np.uint8]:
    u = 2 * np.arange(1 << _COIN_BITS, dtype=np.int64) + 1
    above, below = u * ((1 << 16) - f), f * ((2 << _COIN_BITS) - u)
    larger, smaller = np.maximum(above, below), np.minimum(above, below)
    distance = np.searchsorted(_EDGES, 64 * (larger - smaller) // smaller, side="right").astype(np.uint8)
    return distance + np.uint8(_BINS) * (above > below)


def _worth_own_groups(gates: NDArray[np.uint8], classes: _Classes, shared: CodingContext) -> tuple[NDArray[np.bool_], float]:
    """Which layers' own tables save more bits than they cost, bool ``[layers]``, and the bits that all costs then.

    Only an encoder decides this, so it may use floats.
    """
    count, layers = classes.number, shared.layers
    split = (classes.of_gate << np.uint16(1)) | gates  # 16 bits where classes are 8, too
    both, start = np.empty((len(layers), 2 * count), dtype=np.int64), 0
    for i, size in enumerate(layers):
        both[i] = np.bincount(split[start : start + size], minlength=2 * count)
        start += size
    zeros, ones = both[:, ::2], both[:, 1::2]
    entries = _ENTRY_BITS * (zeros + ones > 0).sum(1)
    alone = _bits(zeros, ones).sum(1) + entries
    together = ones.sum(0) / np.maximum(zeros.sum(0) + ones.sum(0), 1)
    own: NDArray[np.bool_] = alone < _bits(zeros, ones, together).sum(1)
    rest = zeros[~own].sum(0), ones[~own].sum(0)
    common = float(_bits(*rest).sum()) + _ENTRY_BITS * int((rest[0] + rest[1] > 0).sum())
    return own, common + float(alone[own].sum()) + _ENTRY_BITS * len(classes.table)


def _bits(zeros: NDArray[np.int64], ones: NDArray[np.int64], p: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """What groups cost when a 1 is given the probability p, by default each group's own."""
    p = ones / np.maximum(zeros + ones, 1) if p is None else p
    p = np.clip(p, 2.0**-24, 1 - 2.0**-24)
    return -(ones * np.log2(p) + zeros * np.log2(1 - p))


def _table(body: memoryview, start: int, count: int) -> NDArray[np.uint8]:
    _expect(body, start + count)
    return read_table(body[start : start + count])


def _expect(body: memoryview, length: int) -> None:
    if len(body) < length:
        raise WireError(f"a body of {len(body)} bytes, expected at least {length}")
