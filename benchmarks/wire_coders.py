"""Tables of ``wire.py``: size of coded masks relative to the entropy, and time of the coders of masks and states."""

import lzma
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import recordings
import zstandard
from numpy.typing import NDArray
from recordings import DIGEST, Bits, Table, h2, layers, mask_of, timed

from fedgates.types import Update, Votes, pack, unpack
from fedgates.wire import CodingContext, pack_state, pack_update, side_info, unpack_state, unpack_update
from fedgates.wire.header import HEADER_SIZE
from fedgates.wire.scale import group_ones

LARGE = 2_261_184
"""Number of gates of the synthetic masks."""


@dataclass(frozen=True)
class Case:
    """A mask, the information that both ends share, and the entropy of the probabilities it was sampled from, if known."""

    name: str
    update: Update
    shared: CodingContext
    source_bits: float | None


def coders(all_clients: Path, some_clients: Path, rounds: Sequence[int]) -> Table:
    """Return the table of bytes, ratio to the entropy under the coder's model, and times, for one client's mask."""
    cases = [
        _real(f"{name}, round {number}", folder, number)
        for name, folder in (("10 of 10", all_clients), ("4 of 20", some_clients))
        for number in rounds
    ] + [_synthetic(density) for density in (0.5, 0.1, 0.01, 0.001)]
    rows = [row for case in cases for row in _coded(case)]
    worst = max(float(str(row[-3])) for row in rows if row[1] in ("entropy", "side-info"))
    text = (
        "## Coders relative to their ideal\n\nOne client's mask. *Ideal* is the empirical entropy, in bytes, of the coder's "
        "own model: for packed bits the bits; for entropy, and for the general compressors beside it, one probability a "
        "layer; for side-info one probability a group. *Over 1.01x + 64* is bytes beyond 1.01 times the ideal plus 64, "
        f"negative is within (worst of entropy and side-info: {worst:.0f}). *Source* is the entropy in bytes of the very "
        "probabilities that the client sampled its mask from: no coder that knows votes but not coins can do better."
    )
    return (
        text,
        ["mask", "coder", "bytes", "bpp", "source", "ratio to ideal", "over 1.01x + 64", "encode ms", "decode ms"],
        rows,
    )


def _coded(case: Case) -> list[list[object]]:
    gates, size = unpack(mask_of(case.update), case.shared.size), case.shared.size
    packed = mask_of(case.update).tobytes()
    layered = _layer_ideal(gates, case.shared)
    found: list[tuple[str, bytes, float, float, float]] = []
    for name, encode, decode in (
        ("zlib 9", lambda: zlib.compress(packed, 9), zlib.decompress),
        ("zstd 19", lambda: zstandard.ZstdCompressor(19).compress(packed), zstandard.ZstdDecompressor().decompress),
        ("lzma", lambda: lzma.compress(packed), lzma.decompress),
    ):
        code, encoding = timed(encode, 1)
        decoded, decoding = timed(lambda decode=decode, code=code: decode(code))  # type: ignore[misc]
        if decoded != packed:
            raise ValueError(f"{name} does not decode")
        found.append((name, code, layered, encoding, decoding))
    for name in ("packed", "entropy", "side-info"):
        code, encoding = timed(lambda name=name: pack_update(case.update, case.shared, name))  # type: ignore[misc]
        update, decoding = timed(lambda name=name, code=code: unpack_update(code, case.shared, name))  # type: ignore[misc]
        if (mask_of(update) != mask_of(case.update)).any():
            raise ValueError(f"{name} does not decode")
        ideal = {"packed": size / 8, "entropy": layered}.get(name) or _group_ideal(code, gates, case.shared)
        found.append((name, code, ideal, encoding, decoding))
    source = "" if case.source_bits is None else round(case.source_bits / 8)
    return [
        [
            case.name,
            name,
            len(code),
            f"{8 * len(code) / size:.4f}",
            source if name == "side-info" else "",
            f"{len(code) / ideal:.4f}",
            f"{len(code) - 1.01 * ideal - 64:.0f}",
            f"{encoding:.0f}",
            f"{decoding:.0f}",
        ]
        for name, code, ideal, encoding, decoding in found
    ]


def _real(name: str, folder: Path, number: int) -> Case:
    found = recordings.read(folder, number)
    update, shared = found.updates[0], CodingContext(DIGEST, layers(), number, found.state, 1, found.clients[0])
    return Case(name, update, shared, None if update.theta is None else float(h2(update.theta.astype(np.float64)).sum()))


def _synthetic(density: float) -> Case:
    shared = CodingContext(DIGEST, (LARGE,), 1, None, 1, 0)
    theta = np.full(LARGE, density)
    gates = np.random.default_rng(7).random(LARGE) < density  # not the coins of the wire, so that only the density is known
    return Case(f"{LARGE} gates, density {density}", Update(mask=pack(gates)), shared, float(h2(theta).sum()))


def knowledge(folder: Path, rounds: Sequence[int]) -> Table:
    """Return the table of savings if the groups of side-info were split by more information that both ends share."""
    rows: list[list[object]] = []
    for number in rounds:
        case, found, before = _real("", folder, number), recordings.read(folder, number), recordings.read(folder, number - 1)
        payload = pack_update(case.update, case.shared)
        groups, _ = side_info.read_groups(memoryview(payload)[HEADER_SIZE:], case.shared)
        group = groups.restored(np.repeat(np.arange(len(groups.sizes)), groups.sizes))
        gates = unpack(mask_of(case.update), case.shared.size)
        votes, earlier = found.state.votes.astype(np.int64), before.state.votes.astype(np.int64)
        plain = _split_ideal(gates, group)
        splits = (votes, earlier, np.sign(votes - earlier) + 1)
        saved = [100 * (1 - _split_ideal(gates, group * 16 + split) / plain) for split in splits]
        rows.append([number, round(plain), *(f"{share:.2f}" for share in saved)])
    text = (
        "What side-info would save, in percent of its ideal, before any table is paid for, if its groups were split further: "
        "by the votes (whose level only sets the bins), by the votes of the round before, or by whether votes rose or fell."
    )
    return text, ["round", "ideal, bytes", "votes", "earlier votes", "trend"], rows


def _split_ideal(gates: Bits, group: NDArray[np.int64]) -> float:
    sizes, ones = np.bincount(group), np.bincount(group, weights=gates)
    return float((sizes * h2(ones / np.maximum(sizes, 1))).sum()) / 8


def _layer_ideal(gates: Bits, shared: CodingContext) -> float:
    parts = np.split(gates, np.cumsum(shared.layers)[:-1])
    return sum(float(len(part) * h2(part.mean())) for part in parts) / 8


def _group_ideal(payload: bytes, gates: Bits, shared: CodingContext) -> float:
    groups, _ = side_info.read_groups(memoryview(payload)[HEADER_SIZE:], shared)
    return float((groups.sizes * h2(group_ones(groups.ordered(gates), groups.sizes) / groups.sizes)).sum()) / 8


def server() -> Table:
    """Return the table of times to encode, and to decode and count, one client's mask of 2.26 million gates."""
    random = np.random.default_rng(7)
    chances = random.beta(0.3, 0.3, LARGE)
    state = Votes(random.binomial(10, chances).astype(np.uint32), 10)
    shared = CodingContext(DIGEST, (LARGE // 2, LARGE // 2), 5, state, 1, 3)
    start = np.clip(state.votes / 10, 0.001, 0.999)
    theta = 1 / (1 + np.exp(-np.log(start / (1 - start)) - random.normal(0, 0.25, LARGE)))
    mask = pack(shared.coins() < theta * 2.0**32)
    update = Update(mask=mask, theta=theta.astype(np.float32))
    first = replace(shared, server_round=1, state=None)
    moved = (1 / (1 + np.exp(-random.normal(0, 0.36, LARGE)))).astype(np.float32)  # the KL divergence of real first rounds
    rows: list[list[object]] = []
    for name, uplink, known, said in (
        ("packed", "packed", shared, update),
        ("entropy", "entropy", shared, update),
        ("side-info", "side-info", shared, update),
        ("sampled", "sampled", shared, update),
        ("sampled, first round", "sampled", first, Update(mask=mask, theta=moved)),
    ):
        payload, encoding = timed(partial(pack_update, said, known, uplink))
        votes = state.votes.copy()

        def count(
            payload: bytes = payload, known: CodingContext = known, uplink: str = uplink, votes: NDArray[np.uint32] = votes
        ) -> None:
            votes += unpack_update(payload, known, uplink).gates(known.size)

        _, counting = timed(count)
        rows.append([f"up, {name}", len(payload), f"{8 * len(payload) / LARGE:.4f}", f"{encoding:.0f}", f"{counting:.0f}"])
    for downlink in ("float32", "votes"):
        payload, encoding = timed(lambda downlink=downlink: pack_state(state, shared, downlink))  # type: ignore[misc]
        _, decoding = timed(lambda downlink=downlink, payload=payload: unpack_state(payload, shared, downlink))  # type: ignore[misc]
        rows.append(
            [f"down, {downlink}", len(payload), f"{8 * len(payload) / LARGE:.4f}", f"{encoding:.0f}", f"{decoding:.0f}"]
        )
    text = (
        f"## Time\n\nOne client of {LARGE:,} gates on one core, best of five: votes of 10 trials drawn from Beta(.3, .3), "
        "probabilities that training moved by a normal step of .25 in the logit; in a first round, without votes, of .36. Up: "
        "encode, and decode and count. Down: encode and decode; a relay costs the decoding of each update in it."
    )
    return text, ["payload", "bytes", "bpp", "encode ms", "decode (and count) ms"], rows
