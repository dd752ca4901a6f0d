"""Mutate sound payloads and see what readers make of them: ``uv run python tests/wire/fuzz.py --mutations 100000``.

Of every payload that was changed in any way, a reader raises ``WireError`` or returns a valid value; and of a lossless codec
one that is written to the very bytes that were read. Side-info and sparse weights have several codings of one content, of which
the encoder picks the shortest: there the content must be the same. A quarter of the mutations keeps the old checksum, the rest
has one that fits, and half of these also the number and the CRC of whatever the body decodes to, as a forger would write them.
"""

import argparse
import random
import re
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

import numpy as np
from damage import FIELDS, peak_memory, resealed, with_field
from wire_cases import Case, aggregate, cases, content, expect_valid

from fedgates.errors import WireError
from fedgates.types import Votes, Weights, count_ones, pack
from fedgates.wire import apply_relay, delta, entropy, packed, payload_type, sampled, side_info, state_crc, values, votes
from fedgates.wire.codec import DECODE_BYTES_A_GATE
from fedgates.wire.header import HEADER_SIZE, peek

SLOWEST_SECONDS = 1.0
MEMORY_EVERY = 50
"""Tracing memory is slow, so it is done for one payload in so many."""
MEMORY_RATIO, MEMORY_SLACK = 2, 16_384
MASKS = {"packed": packed.decode, "entropy": entropy.decode, "side-info": side_info.decode, "sampled": sampled.decode}
CHOOSES = ("side-info", "weights")
"""Of whose contents there are several codings."""


@dataclass
class RoundRecord:
    """What became of a case's mutations."""

    name: str
    rejected: int = 0
    accepted: int = 0
    recoded: int = 0
    """Of those accepted: another coding of a content than the encoder's own."""
    slowest: float = 0.0
    memory: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


def _flip(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    for _ in range(draw.choice((1, 1, 2, 8))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _change(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    start, length = draw.randrange(len(data)), draw.choice((1, 1, 2, 4, 16))
    part = slice(start, min(start + length, len(data)))
    size = part.stop - part.start
    data[part] = draw.choice((draw.randbytes(size), bytes(size), b"\xff" * size))


def _truncate(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    del data[draw.choice((draw.randrange(1, len(data) + 1), max(1, len(data) - draw.randrange(1, 9)))) :]


def _extend(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    size = draw.choice((1, 2, 4, 8, 64))
    data += draw.choice((draw.randbytes(size), bytes(size)))


def _cut_out(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    start = draw.randrange(len(data))
    if len(data) > 8:
        del data[start : start + draw.choice((1, 2, 4, 8))]


def _splice(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    other = draw.choice(others)
    at = draw.choice((HEADER_SIZE, draw.randrange(len(data) + 1)))
    data[at:] = other[draw.choice((at, HEADER_SIZE, draw.randrange(len(other)))) :]


def _field(draw: random.Random, data: bytearray, others: list[bytes]) -> None:
    start, length = FIELDS[draw.choice(list(FIELDS))]
    if len(data) >= HEADER_SIZE:
        old, top = int.from_bytes(data[start : start + length], "little"), 1 << 8 * length
        new = draw.choice((0, 1, top - 1, top >> 1, old + 1, old - 1, 2 * old, draw.randrange(top), draw.randrange(256)))
        data[start : start + length] = (new % top).to_bytes(length, "little")


MUTATORS = (_flip, _flip, _change, _change, _truncate, _extend, _cut_out, _splice, _field)


def forged(case: Case, payload: bytes) -> bytes:
    """The payload with the number and CRC of what its body decodes to, as far as it can be decoded; resealed."""
    try:
        header = peek(payload)
        body = memoryview(payload)[HEADER_SIZE:]
        if case.sort == "relay":
            return _forged_relay(case, payload)
        if case.sort == "delta":
            return _forged_delta(case, payload)
        if case.sort == "sums":
            return with_field(with_field(payload, "number", case.which), "check", 0)
        if header.kind in {1, 4, 6} and case.sort == "update":
            count = case.context.tail if header.kind == 6 else header.number
            behind = count * values.width(header.value_type) if header.value_type else 0
            mask = pack(MASKS[case.codec](body[: len(body) - behind], case.context).view(np.bool_))
            payload = with_field(payload, "check", zlib.crc32(mask.data))
            return payload if header.kind == 4 else with_field(payload, "number", count_ones(mask))
        scalars, body = tuple(np.frombuffer(body[: 8 * case.context.scalars], "<f8").tolist()), body[8 * case.context.scalars :]
        if header.kind in {2, 7}:
            tail, body = np.frombuffer(body[: 4 * case.context.tail], "<f4"), body[4 * case.context.tail :]
            decode = votes.decode_float32 if case.codec == "float32" else votes.decode
            state = Votes(decode(body, case.context.size, header.number), header.number, scalars, tail=tail)
        else:
            split = len(body) - 4 * header.number
            kept = entropy.decode(body[:split], case.context).view(np.bool_) if header.kind == 4 else slice(None)
            dense = np.zeros(case.context.size, np.float32)
            dense[kept] = np.frombuffer(body[split if header.kind == 4 else 0 :], "<f4")
            state = Weights(dense, scalars)
        return with_field(payload, "check", state_crc(state)) if case.sort == "state" else payload
    except (WireError, ValueError, KeyError, IndexError, TypeError):  # the forger's own, who gives up
        return resealed(payload)


def _forged_relay(case: Case, payload: bytes) -> bytes:
    states = [case.base.state]

    def rule(state, updates, server_round):
        states.append(aggregate(state, updates, server_round))
        return states[-1]

    payload = resealed(payload)
    try:
        apply_relay(payload, case.base, case.context, payload_type(case.kind, case.codec, case.value_type), rule)
    except WireError:
        return with_field(payload, "check", state_crc(states[-1]))
    return payload


def _forged_delta(case: Case, payload: bytes) -> bytes:
    """The delta with the CRC of the state that it leads to, which a reader computes last."""
    found = []

    def noted(state: Votes) -> int:
        found.append(state_crc(state))
        return found[-1]

    payload = resealed(payload)
    with patch.object(delta, "state_crc", noted), suppress(WireError):
        case.read(payload)
    return with_field(payload, "check", found[-1]) if len(found) > 1 else payload


def mutated(draw: random.Random, case: Case, others: list[bytes]) -> tuple[bytes, bool]:
    """A changed payload, and whether its checksum was made to fit."""
    data = bytearray(case.payload)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if data:
            draw.choice(MUTATORS)(draw, data, others)
    kind = draw.randrange(8)
    if kind < 2:
        return bytes(data), False
    return (resealed(bytes(data)) if kind < 5 else forged(case, bytes(data))), True


def general(reason: str) -> str:
    """A reason without the numbers of one payload."""
    reason = re.sub(r"^a payload of (?!.*damaged).*", "a payload of another kind, codec or value type than expected", reason)
    return re.sub(r"-?\b([0-9a-f]{16}|[0-9a-f]{8}|\d+)\b|b['\"].*['\"](?=, exp)", "#", reason)


def judge(case: Case, payload: bytes, tally: RoundRecord, *, fits: bool) -> None:
    """Read a mutated payload and count what came of it; anything but a refusal or a valid value raises."""
    start = time.thread_time()
    try:
        found = case.read(payload)
    except WireError as error:
        found, reason = None, str(error)
    tally.slowest = max(tally.slowest, time.thread_time() - start)
    if found is None:
        tally.rejected += 1
        tally.reasons[general(reason)] += 1
        return
    expect_valid(case, found)
    tally.accepted += 1
    if not fits:
        raise AssertionError(f"{case.name}: a damaged payload was let through: {payload.hex()}")
    written = case.write(found)
    if written is not None and written != payload:
        tally.recoded += 1
        if not any(word in case.name for word in CHOOSES) or content(case.read(written)) != content(found):
            raise AssertionError(f"{case.name}: not what an encoder writes: {payload.hex()}")


def honest_peak(case: Case) -> int:
    """The memory that this reader needs for what an encoder may send: of side-info the larger of its two modes."""
    mode = bytearray(case.payload)
    if case.codec == "side-info" and case.kind != "values":
        mode[HEADER_SIZE + (33 if case.sort == "relay" else 0)] = 1  # after a CRC, a round and an update's numbers
    return max(peak_memory(case, case.payload), peak_memory(case, resealed(bytes(mode))))


def fuzz(name: str, mutations: int, seed: int = 0) -> RoundRecord:
    """Mutate one case so many times."""
    every = cases()
    case, tally, draw = every[name], RoundRecord(name), random.Random(f"{seed}/{name}")
    others = [other.payload for other in every.values()]
    honest = honest_peak(case)
    while tally.rejected + tally.accepted < mutations:
        payload, fits = mutated(draw, case, others)
        if payload in others:  # not changed, or spliced to another whole one
            continue
        traced = (tally.rejected + tally.accepted) % MEMORY_EVERY == 0
        if traced:
            tracemalloc.start()
        try:
            judge(case, payload, tally, fits=fits)
            peak = tracemalloc.get_traced_memory()[1] if traced else 0
        finally:
            tracemalloc.stop()
        tally.memory = max(tally.memory, peak / honest)
        most = MEMORY_RATIO * honest + MEMORY_SLACK
        if case.sort == "delta":  # one in which every gate changes takes more
            most = max(most, DECODE_BYTES_A_GATE * case.context.size + 10 * MEMORY_SLACK)
        if peak > most or tally.slowest > SLOWEST_SECONDS:
            raise AssertionError(f"{case.name}: {peak} bytes, {tally.slowest:.3f} s at most, for {payload.hex()}")
    return tally


def table(tallies: list[RoundRecord]) -> str:
    """A line a case, then the reasons of all."""
    lines = [
        f"{'payload':<39} {'mutations':>9} {'rejected':>9} {'accepted':>9} {'recoded':>8} {'slowest ms':>10} {'memory':>7}"
    ]
    for t in tallies:
        counts = f"{t.rejected + t.accepted:>9} {t.rejected:>9} {t.accepted:>9} {t.recoded:>8}"
        lines.append(f"{t.name:<39} {counts} {1000 * t.slowest:>10.1f} {t.memory:>7.2f}")
    reasons = sum((t.reasons for t in tallies), Counter())
    return "\n".join([*lines, "", *(f"{count:>9} {reason}" for reason, count in reasons.most_common())])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--mutations", type=int, default=10_000, help="of each sort of payload")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.jobs) as pool:
        run = partial(fuzz, mutations=options.mutations, seed=options.seed)
        sys.stdout.write(table(list(pool.map(run, cases()))) + "\n")
