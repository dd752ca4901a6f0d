"""Masks by minimal random coding: send which of the samples that both ends can draw is the client's.

A client that would send one sample of its own probabilities q can, where both ends hold a prior p near q, do with about
KL(q || p) bits instead of one bit a gate (Havasi et al., ICLR 2019, arXiv 1810.00440; Isik et al., KLMS, arXiv 2306.12625;
BiCompFL, arXiv 2502.00206). The gates are dealt out to B blocks, and for each block 256 candidates are drawn from p with
randomness that both ends can regenerate; the client picks one with probability proportional to ``q(z) / p(z)`` and sends its
index in a byte. The receiver regenerates that one candidate.

**Prior.** One probability for each level of the broadcast state (:meth:`CodingContext.levels`): the mean of q there, which is
the constant nearest to it in KL, as u16 in 2^-16 and never 0. Untouched gates, which start and end at the clipped theta, then
cost nearly nothing.

**Blocks.** Gate i is in block ``i % B``: neighbours, and so layers and votes, are dealt out evenly, and every block has nearly
the same share of the whole divergence. ``B = ceil(KL / (8 - extra_bits))`` with KL in bits, so blocks are as large as the
divergence really present allows, from tens of gates in a first round to thousands later; never below eight, which would be a
bit a gate. A block with KL of 8 - t bits has 2^t times the candidates that its KL alone asks for: t = ``extra_bits`` is the one
knob, bits for closeness to q. With few of them the sample lags towards the prior: of the step from p to q, masks of real runs
keep 74 % at t = 0, 88 % at 4, 93 % at 5 and 98 % at 7 (`benchmarks/results/wire.md`).

**Candidates.** Row c of block j is a run of ``W = 4 * ceil(ceil(d/B) / 16)`` Philox words from word ``(256 * j + c) * W`` on,
keyed by (seed, "candidates", round, client); each word is four 16-bit numbers, lowest first, and gate ``r * B + j`` is kept if
number r is below its frequency. Body: the frequencies of the levels that have gates, ascending; then one byte a block.
"""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.errors import WireError
from fedgates.wire.bits import packed_size
from fedgates.wire.context import CodingContext
from fedgates.wire.range_coder import BIT_SCALE

INDEX_BITS = 8
CANDIDATES = 1 << INDEX_BITS
_STEP_WORDS, _STEP_NUMBERS = 4, 16
"""What one step of Philox's counter gives."""
N = TypeVar("N", np.uint16, np.float32)
_CHUNK = 1 << 20
"""Random numbers held at a time."""


def encode(theta: NDArray[np.float32], shared: CodingContext, extra_bits: float = 5.0) -> tuple[NDArray[np.uint8], bytes]:
    """Choose a sample of keep-probabilities ``theta [d]`` and code it.

    Returns
    -------
    tuple
        The gates ``[d]`` of 0 and 1 that the receiver will see, and the body.
    """
    q = np.clip(theta.astype(np.float64), 1 / BIT_SCALE, 1 - 1 / BIT_SCALE)
    level, levels = shared.levels()
    present = np.bincount(level, minlength=levels)
    means = np.bincount(level, weights=q, minlength=levels) / np.maximum(present, 1)
    table = np.clip(np.rint(means * BIT_SCALE), 1, BIT_SCALE - 1).astype(np.uint16)
    p = (table / BIT_SCALE)[level]
    ratio = np.log(q / p), np.log((1 - q) / (1 - p))
    divergence = float((q * ratio[0] + (1 - q) * ratio[1]).sum()) / math.log(2)
    blocks = min(max(1, math.ceil(divergence / (INDEX_BITS - extra_bits))), packed_size(shared.size, 1))
    frequencies = _deal(table[level], blocks)
    weights = _deal((ratio[0] - ratio[1]).astype(np.float32), blocks)
    gates, indices = _choose(frequencies, weights, shared)
    return _collect(gates, shared.size), table[present > 0].astype("<u2").tobytes() + indices.tobytes()


def decode(body: memoryview, shared: CodingContext) -> NDArray[np.uint8]:
    """The gates ``[d]`` of 0 and 1 that :func:`encode` chose; the same ``shared`` is needed."""
    level, levels = shared.levels()
    present = np.bincount(level, minlength=levels) > 0
    start = 2 * int(present.sum())
    most = start + packed_size(shared.size, 1)
    if not start < len(body) <= most:
        raise WireError(f"a body of {len(body)} bytes, expected {start + 1} to {most}")
    table = np.zeros(levels, dtype=np.uint16)
    table[present] = np.frombuffer(body[:start], dtype="<u2")
    if not table[present].all():
        raise WireError("a prior of 0, expected at least 1 of 65536")
    indices = np.frombuffer(body[start:], dtype=np.uint8)
    frequencies = _deal(table[level], len(indices))
    return _collect(_regenerate(indices, frequencies.shape[1], shared) < frequencies, shared.size)


def _deal(values: NDArray[N], blocks: int) -> NDArray[N]:
    """Gates ``[d]`` to blocks ``[B, ceil(d/B)]``, gate i to block ``i % B``; zeros where a block has one gate less."""
    rows = -(-len(values) // blocks)
    padded = np.zeros(rows * blocks, dtype=values.dtype)
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(rows, blocks).T)


def _collect(gates: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """The inverse of :func:`_deal`."""
    return np.ascontiguousarray(gates.T).reshape(-1)[:size].view(np.uint8)


def _philox(shared: CodingContext) -> np.random.Philox:
    return rng.philox(shared.seed, "candidates", server_round=shared.server_round, client=shared.client)


def _numbers(generator: np.random.Philox, rows: int, columns: int) -> NDArray[np.uint16]:
    """The next `rows` rows of a stream, ``[rows, columns]``: 16-bit numbers; a row ends with a whole step."""
    steps = -(-columns // _STEP_NUMBERS)
    words = np.asarray(generator.random_raw(rows * steps * _STEP_WORDS), dtype="<u8")
    return words.view("<u2").reshape(rows, steps * _STEP_NUMBERS)[:, :columns]


def _regenerate(indices: NDArray[np.uint8], columns: int, shared: CodingContext) -> NDArray[np.uint16]:
    """Row `indices[j]` of each block j: ``[B, columns]``."""
    generator, steps = _philox(shared), -(-columns // _STEP_NUMBERS)
    rows = CANDIDATES * np.arange(len(indices), dtype=np.int64) + indices
    skips = (np.diff(rows, prepend=-1) - 1) * steps
    words = np.empty((len(indices), steps * _STEP_WORDS), dtype="<u8")
    for j, skip in enumerate(skips.tolist()):
        generator.advance(skip)
        words[j] = generator.random_raw(steps * _STEP_WORDS)
    return words.view("<u2")[:, :columns]


def _choose(
    frequencies: NDArray[np.uint16], weights: NDArray[np.float32], shared: CodingContext
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Draw all candidates of each block and pick one in proportion to its importance: gates ``[B, n]``, indices ``[B]``."""
    generator, (blocks, columns) = _philox(shared), frequencies.shape
    lots = rng.words(blocks, shared.seed, "select", server_round=shared.server_round, client=shared.client)
    uniform = (lots >> np.uint64(11)) * 2.0**-53
    indices = np.empty(blocks, dtype=np.uint8)
    together = max(1, _CHUNK // (CANDIDATES * columns))
    for first in range(0, blocks, together):
        part = slice(first, min(first + together, blocks))
        log_weights = _log_weights(generator, frequencies[part], weights[part])
        cumulative = np.cumsum(np.exp(log_weights - log_weights.max(1, keepdims=True)), axis=1)
        drawn = uniform[part, None] * cumulative[:, -1:]
        indices[part] = np.minimum((cumulative <= drawn).sum(1), CANDIDATES - 1)
    return _regenerate(indices, columns, shared) < frequencies, indices


def _log_weights(
    generator: np.random.Philox, frequencies: NDArray[np.uint16], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """``log q(z)/p(z)``, up to a constant a block, of every candidate: ``[b, 256]``."""
    blocks, columns = frequencies.shape
    rows = max(1, min(CANDIDATES, _CHUNK // columns))
    found = np.empty((blocks, CANDIDATES), dtype=np.float64)
    for first in range(0, CANDIDATES, rows):
        count = min(rows, CANDIDATES - first)
        numbers = _numbers(generator, blocks * count, columns).reshape(blocks, count, columns)
        kept = (numbers < frequencies[:, None, :]).view(np.uint8).astype(np.float32)
        found[:, first : first + count] = np.matmul(kept, weights[:, :, None])[:, :, 0]
    return found
