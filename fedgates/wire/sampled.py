"""Mask codec "sampled": minimal random coding, which sends the index of a sample that server and client can draw.

To send one sample of its probabilities q, a client needs only about KL(q || p) bits instead of one bit per gate if server and
client share a prior p near q (Havasi et al., ICLR 2019, arXiv 1810.00440; Isik et al., KLMS, arXiv 2306.12625; BiCompFL, arXiv
2502.00206). The gates are divided into B blocks. For each block, 256 candidates z are drawn from p with random numbers that
both can regenerate. The client picks one with probability proportional to ``q(z) / p(z)`` and sends its index, one byte; the
server regenerates that candidate.

**Prior.** One probability for each level of the broadcast state (:meth:`CodingContext.levels`): the mean of q over the level,
which is the constant nearest to q in KL, as u16 in 2^-16 and never 0. Gates that training leaves unchanged at the clipped theta
then cost almost nothing.

**Blocks.** Gate i is in block ``i % B``. This spreads neighbours, and so layers and votes, evenly, so all blocks have nearly
equal shares of the divergence. ``B = ceil(KL / (8 - extra_bits))`` with KL in bits, so blocks are as large as the divergence
allows, from tens of gates in the first round to thousands later. They have at least eight gates, which cost one bit per gate. A
block with a KL of 8 - t bits has 2^t times the candidates that its KL requires, so t = ``extra_bits`` trades bits for closeness
to q. With few extra bits, samples are biased towards the prior: in real runs, masks keep 74 % of the step from p to q at t = 0,
88 % at 4, 93 % at 5 and 98 % at 7 (`benchmarks/results/wire.md`).

**Candidates.** Candidate c of block j consists of ``W = 4 * ceil(ceil(d/B) / 16)`` Philox words starting at word
``(256 * j + c) * W``, keyed by (seed, "candidates", round, client). Each word is four 16-bit numbers, lowest first, and gate
``r * B + j`` is 1 if number r is below its frequency. Body: the frequencies of the levels that have gates, ascending; then one
byte per block.
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
MOST_EXTRA_BITS = 7.5
_STEP_WORDS, _STEP_NUMBERS = 4, 16
"""Number of 64-bit words, and of 16-bit numbers, per step of Philox's counter."""
N = TypeVar("N", np.uint16, np.float32)
_CHUNK = 1 << 20
"""Number of random numbers in memory at a time."""


def encode(theta: NDArray[np.float32], context: CodingContext, extra_bits: float = 5.0) -> tuple[NDArray[np.uint8], bytes]:
    """Choose a sample of keep-probabilities ``theta [d]`` and encode it.

    Returns
    -------
    tuple
        The sampled gates ``[d]`` of 0 and 1, and the body that decodes to them.
    """
    q = np.clip(theta.astype(np.float64), 1 / BIT_SCALE, 1 - 1 / BIT_SCALE)
    level, present = context.levels
    means = np.bincount(level, weights=q, minlength=len(present)) / np.maximum(present, 1)
    table = np.clip(np.rint(means * BIT_SCALE), 1, BIT_SCALE - 1).astype(np.uint16)
    p = (table / BIT_SCALE)[level]
    ratio = np.log(q / p), np.log((1 - q) / (1 - p))
    divergence = float((q * ratio[0] + (1 - q) * ratio[1]).sum()) / math.log(2)
    blocks = min(max(1, math.ceil(divergence / (INDEX_BITS - extra_bits))), packed_size(context.size, 1))
    frequencies = _deal(table[level], blocks)
    weights = _deal((ratio[0] - ratio[1]).astype(np.float32), blocks)
    gates, indices = _choose(frequencies, weights, context)
    return _collect(gates, context.size), table[present > 0].astype("<u2").tobytes() + indices.tobytes()


def decode(body: memoryview, context: CodingContext) -> NDArray[np.uint8]:
    """Decode the body of :func:`encode` with an equal ``context``; return gates ``[d]`` of 0 and 1.

    Raises
    ------
    WireError
        The body has a wrong length or a prior of 0.
    """
    level, counts = context.levels
    present = counts > 0
    start = 2 * int(present.sum())
    most = start + packed_size(context.size, 1)
    if not start < len(body) <= most:
        raise WireError(f"a body of {len(body)} bytes, expected {start + 1} to {most}")
    table = np.zeros(len(counts), dtype=np.uint16)
    table[present] = np.frombuffer(body[:start], dtype="<u2")
    if not table[present].all():
        raise WireError("a prior of 0, expected at least 1 of 65536")
    most = start + _most_blocks(table, counts)
    if len(body) > most:
        raise WireError(f"a body of {len(body)} bytes, expected at most {most} with these priors")
    indices = np.frombuffer(body[start:], dtype=np.uint8)
    frequencies = _deal(table[level], len(indices))
    return _collect(_regenerate(indices, frequencies.shape[1], context) < frequencies, context.size)


def _most_blocks(table: NDArray[np.uint16], counts: NDArray[np.int64]) -> int:
    """Return the largest number of blocks that an encoder may send, given the priors and the number of gates of each level.

    A prior is the mean of q over its level, so the KL of the level is at most ``counts * H2(prior)``; rounding to 2^-16 adds
    less than 2^-12 bits per gate.
    """
    p = table[counts > 0] / BIT_SCALE
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    bits = float((counts[counts > 0] * (entropy + 2.0**-12)).sum())
    return min(packed_size(int(counts.sum()), 1), max(1, math.ceil(bits / (INDEX_BITS - MOST_EXTRA_BITS))))


def _deal(values: NDArray[N], blocks: int) -> NDArray[N]:
    """Arrange gates ``[d]`` in blocks ``[B, ceil(d/B)]``, gate i in block ``i % B``; pad shorter blocks with a zero."""
    rows = -(-len(values) // blocks)
    padded = np.zeros(rows * blocks, dtype=values.dtype)
    padded[: len(values)] = values
    return np.ascontiguousarray(padded.reshape(rows, blocks).T)


def _collect(gates: NDArray[np.bool_], size: int) -> NDArray[np.uint8]:
    """Return the gates ``[d]`` of blocks; the inverse of :func:`_deal`."""
    return np.ascontiguousarray(gates.T).reshape(-1)[:size].view(np.uint8)


def _philox(context: CodingContext) -> np.random.Philox:
    return rng.philox(context.seed, "candidates", server_round=context.server_round, client=context.client)


def _numbers(generator: np.random.Philox, rows: int, columns: int) -> NDArray[np.uint16]:
    """Return the next 16-bit numbers ``[rows, columns]`` of a stream; each row takes a whole number of counter steps."""
    steps = -(-columns // _STEP_NUMBERS)
    words = np.asarray(generator.random_raw(rows * steps * _STEP_WORDS), dtype="<u8")
    return words.view("<u2").reshape(rows, steps * _STEP_NUMBERS)[:, :columns]


def _regenerate(indices: NDArray[np.uint8], columns: int, context: CodingContext) -> NDArray[np.uint16]:
    """Regenerate candidate `indices[j]` of each block j: ``[B, columns]``."""
    generator, steps = _philox(context), -(-columns // _STEP_NUMBERS)
    rows = CANDIDATES * np.arange(len(indices), dtype=np.int64) + indices
    skips = (np.diff(rows, prepend=-1) - 1) * steps
    words = np.empty((len(indices), steps * _STEP_WORDS), dtype="<u8")
    for j, skip in enumerate(skips.tolist()):
        generator.advance(skip)
        words[j] = generator.random_raw(steps * _STEP_WORDS)
    return words.view("<u2")[:, :columns]


def _choose(
    frequencies: NDArray[np.uint16], weights: NDArray[np.float32], context: CodingContext
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Draw all candidates of each block, pick one by importance weights, and return gates ``[B, n]`` and indices ``[B]``."""
    generator, (blocks, columns) = _philox(context), frequencies.shape
    uniform = rng.uniform(blocks, context.seed, "select", server_round=context.server_round, client=context.client)
    indices = np.empty(blocks, dtype=np.uint8)
    together = max(1, _CHUNK // (CANDIDATES * columns))
    for first in range(0, blocks, together):
        part = slice(first, min(first + together, blocks))
        log_weights = _log_weights(generator, frequencies[part], weights[part])
        cumulative = np.cumsum(np.exp(log_weights - log_weights.max(1, keepdims=True)), axis=1)
        drawn = uniform[part, None] * cumulative[:, -1:]
        indices[part] = np.minimum((cumulative <= drawn).sum(1), CANDIDATES - 1)
    return _regenerate(indices, columns, context) < frequencies, indices


def _log_weights(
    generator: np.random.Philox, frequencies: NDArray[np.uint16], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return ``log q(z)/p(z)`` of every candidate, up to a constant per block: ``[b, 256]``."""
    blocks, columns = frequencies.shape
    rows = max(1, min(CANDIDATES, _CHUNK // columns))
    log_weights = np.empty((blocks, CANDIDATES), dtype=np.float64)
    for first in range(0, CANDIDATES, rows):
        count = min(rows, CANDIDATES - first)
        numbers = _numbers(generator, blocks * count, columns).reshape(blocks, count, columns)
        kept = (numbers < frequencies[:, None, :]).view(np.uint8).astype(np.float32)
        log_weights[:, first : first + count] = np.matmul(kept, weights[:, :, None])[:, :, 0]
    return log_weights
