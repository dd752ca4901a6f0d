"""Tables of ``wire.py``: size and bias of sampled masks, and the effect of the extra bits on a federation."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import recordings
from numpy.typing import NDArray
from recordings import DIGEST, Bits, Table, h2, layers
from sweep import spread, sweep

from fedgates import rng
from fedgates.config import RunConfig
from fedgates.wire import CodingContext, sampled
from fedgates.wire.header import HEADER_SIZE


def limits(folder: Path, rounds: Sequence[int], workers: int) -> list[Any]:
    """Return the tables of bits over KL and bias of the samples by extra bits, and of their effect on a federation."""
    knobs = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
    real = [_limit(folder, number, knob) for number in rounds for knob in knobs]
    text = (
        "## Sampled masks relative to their limit\n\nOne client's mask on real runs. *Bits over KL*: payload without its "
        "header over the KL divergence from the best prior given the votes. *Step kept*: the slope of (mask - prior) on "
        "(theta - prior), 1 if the mask is an honest sample; below 1 the sample lags towards the prior. *Density error*: "
        "the largest difference between a layer's density and the mean of theta, in standard errors, over the layers."
    )
    header = ["round", "extra bits", "KL, bits", "bits over KL", "bpp", "step kept", "density error", "encode CPU s"]
    sizes = (4, 6, 8)
    small = [
        ["honest" if knob is None else f"{knob:g}", *(f"{_variation(size, knob):.3f}" for size in sizes)]
        for knob in (*knobs, None)
    ]
    explanation = (
        "Total variation distance between the distribution of the sent mask and the true one, for one block of a few "
        "gates whose KL is 8 bits less the extra bits (or nearly a bit per gate, if that is less), over 20,000 keys; the "
        "last row is what as many honest samples have."
    )
    return [
        text,
        header,
        real,
        *_densities(folder, rounds[-1]),
        explanation,
        ["extra bits", *(f"{size} gates" for size in sizes)],
        small,
        *_digits(knobs[:7:2], workers),
    ]


def _limit(folder: Path, number: int, extra_bits: float) -> list[object]:
    found = recordings.read(folder, number)
    theta = found.updates[0].theta
    if theta is None:
        raise ValueError(f"round {number} of {folder} has no theta")
    shared = CodingContext(DIGEST, layers(), number, found.state, 1, found.clients[0])
    start = time.process_time()
    gates, body = sampled.encode(theta, shared, extra_bits)
    seconds = time.process_time() - start
    level, sizes = shared.levels
    q = theta.astype(np.float64)
    present = np.maximum(sizes, 1)
    p = (np.bincount(level, weights=q, minlength=len(sizes)) / present)[level]
    divergence = float((q * np.log2(q / p) + (1 - q) * np.log2((1 - q) / (1 - p))).sum())
    kept = float(((gates - p) * (q - p)).sum() / ((q - p) ** 2).sum())
    return [
        number,
        f"{extra_bits:g}",
        round(divergence),
        f"{8 * len(body) / divergence:.2f}",
        f"{8 * (len(body) + HEADER_SIZE) / shared.size:.4f}",
        f"{kept:.3f}",
        f"{_density_error(gates, q, shared):.1f}",
        f"{seconds:.2f}",
    ]


def _densities(folder: Path, number: int) -> Table:
    """Return each layer's density, of the sent mask and of the probabilities that it is sampled from."""
    found = recordings.read(folder, number)
    theta = found.updates[0].theta
    if theta is None:
        raise ValueError(f"round {number} of {folder} has no theta")
    shared = CodingContext(DIGEST, layers(), number, found.state, 1, found.clients[0])
    gates, _ = sampled.encode(theta, shared, RunConfig().wire.sampled_extra_bits)
    cuts = np.cumsum(shared.layers)[:-1]
    rows: list[list[object]] = [
        [i, len(z), f"{q.mean():.4f}", f"{z.mean():.4f}", f"{np.sqrt((q * (1 - q)).sum()) / len(q):.4f}"]
        for i, (z, q) in enumerate(zip(np.split(gates, cuts), np.split(theta.astype(np.float64), cuts), strict=True))
    ]
    text = f"Layer by layer, round {number}, default extra bits: mean theta, density of the mask sent, and one standard error."
    return text, ["layer", "gates", "mean theta", "density", "standard error"], rows


def _density_error(gates: Bits, q: NDArray[np.float64], shared: CodingContext) -> float:
    cuts = np.cumsum(shared.layers)[:-1]
    parts = zip(np.split(gates, cuts), np.split(q, cuts), strict=True)
    return max(float(abs(z.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())) for z, p in parts)


def _variation(size: int, extra_bits: float | None, samples: int = 20_000) -> float:
    """Return the total variation distance for a block of gates with a KL of 8 - extra_bits bits; None for honest samples."""
    q = _with_divergence(size, 8 - (2.0 if extra_bits is None else extra_bits))
    counts = np.zeros(1 << size)
    powers = 1 << np.arange(size)
    for key in range(samples):
        shared = CodingContext(DIGEST, (size,), key, None, 1, 0)
        if extra_bits is None:
            gates = (rng.coins(size, 1, server_round=key, client=0) < q * 2.0**32).astype(np.int64)
        else:
            gates = sampled.encode(q.astype(np.float32), shared, extra_bits)[0].astype(np.int64)
        counts[int(gates @ powers)] += 1
    masks = (np.arange(1 << size)[:, None] & powers) > 0
    truth = np.where(masks, q, 1 - q).prod(1)
    return float(abs(counts / samples - truth).sum() / 2)


def _with_divergence(size: int, bits: float) -> NDArray[np.float64]:
    """Return probabilities, half of them high and half low with mean one half, that have a given KL from one half."""
    share = min(bits / size, 0.97)
    low, high = 0.5, 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - h2(middle) < share else (low, middle)
    return np.where(np.arange(size) % 2 == 0, low, 1 - low)


def _digits(knobs: Sequence[float], workers: int) -> Table:
    seeds = (1, 2, 3)
    base = {"strategy": "fedpm", "evaluations": "threshold", "num-server-rounds": 30}
    lossless = [({**base, "seed": seed}, 10) for seed in seeds]
    jobs = [({**base, "seed": seed, "uplink": "sampled", "sampled-extra-bits": knob}, 10) for knob in knobs for seed in seeds]
    runs = sweep([*lossless, *jobs], workers)
    rows = []
    for i, name in enumerate(["lossless", *(f"{knob:g}" for knob in knobs)]):
        mine = runs[3 * i : 3 * i + 3]
        rate = spread([mean(line["uplink_bpp"] for line in lines) for lines in mine], 4, 1)
        rows.append([name, rate, *(spread([lines[at - 1]["accuracy"] for lines in mine]) for at in (10, 20, 30))])
    text = "FedPM on digits, 10 clients, 3 seeds: mean uplink bits per gate over 30 rounds, and accuracy in percent."
    return text, ["extra bits", "up bpp", "round 10", "round 20", "round 30"], rows
