"""Mask codec "side-info": range coding conditioned on the broadcast votes and on the coins that the mask was sampled with.

**Votes.** Training starts from the broadcast probabilities, so gates with similar votes have similar probabilities q. No model
that uses only votes can beat the entropy of q; this one is within KL(q || votes) of it, about .01 bits per gate. Earlier rounds
are not used, because they add little: the votes of the previous round, or their trend, save .2 to 1.4 % of the code with
coins, not counting the cost of tables (`benchmarks/results/wire.md`).

**Coins.** The mask is ``u < q``, where the numbers u are a function of (seed, round, client), so the server can regenerate
them. Where u is far from the broadcast probability p, the bit is almost certain; only a gate whose q moved past u costs many
bits. The code then contains only the information that training added, at most a sixth of the code with votes only, for the same
mask. This is coding with subtractive dither, with the broadcast as the reconstruction.

Body: a byte, 0 for votes only or 1 for coins; one bit per layer, packed lowest first, 1 if the layer has its own groups;
tables; the range code. All frequencies of a 1 are bytes on the scale of :mod:`fedgates.wire.scale`.

*Votes only*: the group of a gate is its level (:meth:`CodingContext.levels`). The table has the frequency of each group that
has gates: first the groups shared by layers, then those of layers with their own groups, with levels ascending.

*Coins*: the first table has a frequency F for each level that has gates, over all layers; the encoder chooses it freely. The
group of a gate is its bin, the distance of its coin from F. With U = 2 * (u >> 20) + 1 (of 8192), a = U * (65536 - F) and
b = F * (8192 - U), where F is clipped to 1..65535, the distance is ``x = 64 * (max(a, b) - min(a, b)) // min(a, b)``, about 64
times the difference of the logits. The bin is the number of edges 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384
that are at most x, plus 16 if a > b. The second table has the frequencies of the groups, as for votes; a reader checks them.

The range code has the gates group by group in the order of the table, and within a group in the order of the gates.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.types import pack, unpack
from fedgates.wire.bits import packed_size, spare_bits
from fedgates.wire.context import CodingContext
from fedgates.wire.range_coder import decode_bits, encode_bits, longest, read_table
from fedgates.wire.scale import FREQUENCIES, frequency_bytes, group_frequencies

_EDGES = np.array([2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384])
"""Two edges per doubling, the scale with the fewest bytes (tables included) among those tried on real runs."""
_SIDE = len(_EDGES) + 1
"""Number of bins on each side."""
BINS = 2 * _SIDE
"""Number of bins; the upper half is for coins above the probability."""
COIN_BITS = 12
"""Number of leading bits of a coin that determine its bin."""
_ENTRY_BITS = 8
"""Number of bits per entry of a table."""
_PIECE = 1 << 16
"""Largest number of gates to sort at a time, so that their indices stay in a core's cache."""


class _Classes(NamedTuple):
    """The class of each gate, ``[d]``, the number of classes, and the coded table that defines them."""

    of_gate: NDArray[np.uint8] | NDArray[np.uint16]
    number: int
    table: bytes


def encode(gates: NDArray[np.uint8], context: CodingContext) -> bytes:
    """Encode gates ``[d]`` of 0 and 1; ``context.state`` and ``context.coins()`` are the side information."""
    level, sizes = context.levels
    alone, present = _Classes(level, len(sizes), b""), sizes > 0
    ones = np.bincount(level, weights=gates, minlength=len(sizes)).astype(np.int64)
    by_coins = _coin_classes(context, frequency_bytes(ones[present], sizes[present]))
    choices = [(mode, classes, *_own_groups(gates, classes, context)) for mode, classes in enumerate((alone, by_coins))]
    mode, classes, own, _ = min(choices, key=lambda choice: choice[3])
    groups = Groups(classes, own, context)
    ordered = groups.ordered(gates)
    table = groups.frequencies(ordered)
    flags = pack(own).tobytes()
    code = encode_bits(ordered, groups.sizes.tolist(), FREQUENCIES[table])
    return bytes([mode]) + flags + classes.table + table.tobytes() + code


def decode(body: memoryview, context: CodingContext) -> NDArray[np.uint8]:
    """Decode the body of :func:`encode` with an equal ``context``; return gates ``[d]`` of 0 and 1.

    Raises
    ------
    WireError
        The body was not written by :func:`encode`.
    """
    groups, at = read_groups(body, context)
    table = _table(body, at, len(groups.sizes))
    at += len(table)
    if len(body) > at + longest(context.size):
        raise WireError(f"a body of {len(body)} bytes, expected at most {at + longest(context.size)}")
    ordered = decode_bits(body[at:], groups.sizes.tolist(), FREQUENCIES[table])
    if (table != groups.frequencies(ordered)).any():
        raise WireError("the frequencies do not match the decoded gates")
    return groups.restored(ordered)


def read_groups(body: memoryview, context: CodingContext) -> "tuple[Groups, int]":
    """Read the groups of the gates from a body; return them and the offset of their table in the body."""
    layers = len(context.layers)
    at = 1 + packed_size(layers, 1)
    _expect(body, at)
    if body[0] > 1:
        raise WireError(f"a body of mode {body[0]}, expected 0 or 1")
    if spare_bits(body[1:at], layers):
        raise WireError("flags beyond the last layer are not zero")
    own = unpack(np.frombuffer(body[1:at], dtype=np.uint8), layers).view(np.bool_)
    levels = context.levels
    if body[0]:
        prior = _table(body, at, int(levels.present.sum()))
        classes = _coin_classes(context, prior)
        at += len(prior)
    else:
        classes = _Classes(levels.of_gate, len(levels.sizes), b"")
    return Groups(classes, own, context), at


class _Piece(NamedTuple):
    """Consecutive gates of one layer."""

    part: slice
    groups: NDArray[np.int64]
    """Groups with gates in the piece, ascending."""
    sizes: NDArray[np.int64]
    """Number of gates of the piece in each of these groups."""


class Groups:
    """Groups of gates; gates are coded group by group, and within a group in ascending order.

    Attributes
    ----------
    sizes : numpy.ndarray
        Number of gates of each group, at least 1.
    """

    def __init__(self, classes: _Classes, own: NDArray[np.bool_], context: CodingContext) -> None:
        self._classes = classes
        first = np.where(own, np.cumsum(own) * classes.number, 0)
        self._pieces = list(_pieces(classes.of_gate, context.layers, first.tolist()))
        every = np.zeros((int(own.sum()) + 1) * classes.number, dtype=np.int64)
        for piece in self._pieces:
            every[piece.groups] += piece.sizes
        self._starts = np.cumsum(every) - every
        self.sizes = every[every > 0]

    def ordered(self, gates: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rearrange gates ``[d]`` to the order in which they are coded."""
        ordered = np.empty_like(gates)
        for part, order, places in self._sorted_pieces():
            chosen, start = gates[part][order], 0
            for place in places:
                end = start + place.stop - place.start
                ordered[place] = chosen[start:end]
                start = end
        return ordered

    def restored(self, ordered: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rearrange gates from the order in which they are coded to their own, ``[d]``; the inverse of :meth:`ordered`."""
        gates = np.empty_like(ordered)
        for part, order, places in self._sorted_pieces():
            gates[part][order] = np.concatenate([ordered[place] for place in places])
        return gates

    def frequencies(self, ordered: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frequency byte of each group, for gates in the order in which they are coded."""
        return group_frequencies(ordered, self.sizes)

    def _sorted_pieces(self) -> Iterator[tuple[slice, NDArray[np.int64] | slice, list[slice]]]:
        """Yield each piece, the order of its gates by group, and the slices of its groups in the coded order."""
        starts, narrow = self._starts.copy(), self._classes.number <= 1 << 8
        for part, groups, sizes in self._pieces:
            begins = starts[groups]
            starts[groups] = ends = begins + sizes
            places = list(map(slice, begins.tolist(), ends.tolist()))
            classes = self._classes.of_gate[part]
            if narrow:
                classes = classes.astype(np.uint8)  # sorts faster
            yield part, np.argsort(classes, kind="stable") if len(groups) > 1 else slice(None), places


def _pieces(of_gate: NDArray[np.unsignedinteger], layers: Sequence[int], first: Sequence[int]) -> Iterator[_Piece]:
    """Yield the pieces of each layer; `first` has the number of each layer's first group."""
    end = 0
    for size, group in zip(layers, first, strict=True):
        start, end = end, end + size
        for begin in range(start, end, _PIECE):
            part = slice(begin, min(begin + _PIECE, end))
            counts = np.bincount(of_gate[part])
            present = np.flatnonzero(counts)
            yield _Piece(part, group + present, counts[present])


def _coin_classes(context: CodingContext, frequencies: NDArray[np.uint8]) -> _Classes:
    """Return the bins of gates as classes, given the frequency byte of each level that has gates."""
    level, sizes = context.levels
    bins = np.zeros((len(sizes), 1 << COIN_BITS), dtype=np.uint8)
    bins[sizes > 0] = _bins(FREQUENCIES[frequencies])
    coins, of_bins = context.coins(), bins.reshape(-1)
    of_gate = np.empty(len(level), dtype=np.uint8)
    for start in range(0, len(level), _PIECE):
        part = slice(start, start + _PIECE)
        place = level[part].astype(np.intp) << COIN_BITS
        place |= coins[part] >> np.uint32(32 - COIN_BITS)
        of_gate[part] = of_bins[place]
    return _Classes(of_gate, BINS, frequencies.tobytes())


def _bins(frequencies: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the bin for each frequency and each value of a coin's leading bits: ``[n, 4096]``."""
    return np.stack([bins_around(f) for f in np.clip(frequencies, 1, (1 << 16) - 1).tolist()])


@lru_cache(maxsize=512)
def bins_around(f: int) -> NDArray[np.uint8]:
    """Return the bin for each value of a coin's leading bits, ``[4096]``, given a probability f in 2^-16."""
    u = 2 * np.arange(1 << COIN_BITS, dtype=np.int64) + 1
    above, below = u * ((1 << 16) - f), f * ((2 << COIN_BITS) - u)
    larger, smaller = np.maximum(above, below), np.minimum(above, below)
    distance = np.searchsorted(_EDGES, 64 * (larger - smaller) // smaller, side="right").astype(np.uint8)
    return distance + np.uint8(_SIDE) * (above > below)


def _own_groups(gates: NDArray[np.uint8], classes: _Classes, context: CodingContext) -> tuple[NDArray[np.bool_], float]:
    """Return the layers whose own tables save more bits than they cost, bool ``[layers]``, and the total cost in bits.

    Only the encoder decides this, so floats are allowed.
    """
    count, layers = classes.number, context.layers
    split = (classes.of_gate << np.uint16(1)) | gates  # 16 bits, even if classes have 8
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
    """Return the cost of each group in bits if a 1 has probability p, by default the group's own share of ones."""
    p = ones / np.maximum(zeros + ones, 1) if p is None else p
    p = np.clip(p, 2.0**-24, 1 - 2.0**-24)
    return -(ones * np.log2(p) + zeros * np.log2(1 - p))


def _table(body: memoryview, start: int, count: int) -> NDArray[np.uint8]:
    _expect(body, start + count)
    return read_table(body[start : start + count])


def _expect(body: memoryview, length: int) -> None:
    if len(body) < length:
        raise WireError(f"a body of {len(body)} bytes, expected at least {length}")
