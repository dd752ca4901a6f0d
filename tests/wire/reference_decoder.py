"""A decoder of the whole wire format, written from FORMAT.md alone: whole numbers, no NumPy, and nothing of ours.

Masks are lists of 0 and 1, votes lists of integers, weights and values lists of the bits of float32, each an integer. It is
slow, and checks all that a reader has to check.
"""

import hashlib
import math
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from integer_range_decoder import STATE, WORD, IntegerRangeDecoder, edges

HEADER_SIZE, VERSION = 36, 2
MASK, VOTES, VALUES, BOTH, RELAY, MASK_AND_TAIL, VOTES_AND_TAIL, SUMS, DELTA = range(1, 10)
NONE, PACKED, ENTROPY, SIDE_INFO, SAMPLED, COUNTS, FLOAT32 = range(7)
Sort = tuple[int, int, int]


class RefusedError(ValueError):
    """A payload that FORMAT.md says a reader refuses."""


class Votes(NamedTuple):
    votes: list[int]
    trials: int
    scalars: tuple[float, ...] = ()
    tail: tuple[int, ...] = ()


class Weights(NamedTuple):
    values: list[int]
    scalars: tuple[float, ...] = ()


class Update(NamedTuple):
    mask: list[int] | None
    values: list[int] | None
    tail: list[int] | None = None
    examples: int = 1


@dataclass(frozen=True)
class CodingContext:
    digest: bytes
    layers: tuple[int, ...]
    round: int = 0
    state: Votes | Weights | None = None
    seed: int = 0
    client: int = 0
    scalars: int = 0
    tail: int = 0
    rows: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return sum(self.layers)

    def layer_of_gate(self) -> list[int]:
        return [layer for layer, size in enumerate(self.layers) for _ in range(size)]


def expect(sound: bool, what: str) -> None:
    if not sound:
        raise RefusedError(what)


def u32s(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def ceil(n: int, k: int) -> int:
    return -(-n // k)


def unpack_bits(data: bytes, count: int) -> list[int]:
    whole = int.from_bytes(data, "little")
    expect(len(data) == ceil(count, 8) and not whole >> count, "bits beyond the last")
    return [whole >> i & 1 for i in range(count)]


def packed(bits: Sequence[int]) -> bytes:
    return sum(bit << i for i, bit in enumerate(bits)).to_bytes(ceil(len(bits), 8), "little")


def longest(size: int, width: int = 1) -> int:
    p = width * ceil(size, 8)
    return p + p // 256 + 64


# --- streams


def philox_block(counter: int, key: int) -> list[int]:
    c = [counter >> 64 * i & STATE - 1 for i in range(4)]
    k0, k1 = key % STATE, key // STATE
    for _ in range(10):
        p, q = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [q // STATE ^ c[1] ^ k0, q % STATE, p // STATE ^ c[3] ^ k1, p % STATE]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % STATE, (k1 + 0xBB67AE8584CAA73B) % STATE
    return c


def stream(purpose: str, context: CodingContext, first: int, count: int) -> list[int]:
    """Words `first` to ``first + count - 1`` of a stream; `first` is a multiple of 4."""
    text = f"{purpose}/{context.seed}/{context.round}/{context.client}"
    key = int.from_bytes(hashlib.blake2b(text.encode("ascii"), digest_size=16).digest(), "little")
    return [word for i in range(first // 4, ceil(first + count, 4)) for word in philox_block(i + 1, key)][:count]


def coins(context: CodingContext) -> list[int]:
    words = stream("upload", context, 0, ceil(context.size, 2))
    return [words[i // 2] >> 32 * (i % 2) & WORD - 1 for i in range(context.size)]


# --- frequencies, levels, bins


def least(i: int) -> int:
    return i if i < 16 else (8 + i % 8) * 2 ** (i // 8 - 1)


def step(v: int) -> int:
    i = 0
    while least(i + 1) <= v:
        i += 1
    return i


FREQUENCIES = [least(b) if b <= 104 else 2**16 - least(208 - b) for b in range(209)]
BIN_EDGES = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
_MIDDLES = [(FREQUENCIES[b] + FREQUENCIES[b + 1] + 1) // 2 for b in range(208)]


def frequency_byte(ones: int, number: int) -> int:
    return sum(middle <= (2**16 * ones + number // 2) // number for middle in _MIDDLES)


def read_table(body: bytes, at: int, count: int) -> list[int]:
    table = list(body[at : at + count])
    expect(len(table) == count and max(table, default=0) <= 208, "a table")
    return table


def levels(context: CodingContext) -> list[int]:
    state = context.state
    if isinstance(state, Votes) and state.trials:
        half = step(state.trials // 2) + 1
        below = {v: step(v) for v in set(state.votes) if v <= state.trials // 2}
        return [below[v] if v in below else 2 * half - 1 - step(state.trials - v) for v in state.votes]
    if isinstance(state, Weights):
        exponents, layer_of = [bits >> 23 & 255 for bits in state.values], context.layer_of_gate()
        largest = Counter[int]()
        for layer, exponent in zip(layer_of, exponents, strict=True):
            largest[layer] = max(largest[layer], exponent)
        sizes = [1 + min(largest[layer] - e, 14) for layer, e in zip(layer_of, exponents, strict=True)]
        return [size if bits else 0 for size, bits in zip(sizes, state.values, strict=True)]
    return [0] * context.size


@lru_cache(maxsize=1 << 16)
def bin_of(frequency: int, leading: int) -> int:
    f, u = min(max(frequency, 1), 65535), 2 * leading + 1
    a, b = u * (2**16 - f), f * (2**13 - u)
    x = 64 * abs(a - b) // min(a, b)
    y = sum(edge <= x for edge in BIN_EDGES)
    return y + 16 if a > b else y


# --- the range code, and masks


class RangeCode(IntegerRangeDecoder):
    def finish(self) -> None:
        lower, after, point, taken = self._lower, (self._lower + self._range) % STATE, self._point, self._next - 2
        expect(point % WORD == 0 and (point - lower) % STATE < WORD, "not the code of its symbols")
        expect(len(self._words) == taken + 1 + (after // WORD == point // WORD), "not as many words as its symbols need")


def decode_gates(code: bytes, groups: list[int], table: dict[int, int], limit: int) -> list[int]:
    """Gates in order, each with its group; `table` has the frequency byte of each group, and readers check it."""
    expect(len(code) <= limit, "too long")
    decoder, gates = RangeCode(code), list[int]()
    for group in groups:
        f = FREQUENCIES[table[group]]
        gates.append(decoder.symbol(edges([2**16 - f, f], 2**16)))
    decoder.finish()
    number, ones = Counter(groups), Counter(group for group, gate in zip(groups, gates, strict=True) if gate)
    expect(all(byte == frequency_byte(ones[g], number[g]) for g, byte in table.items()), "not the frequencies of the gates")
    return gates


def entropy(body: bytes, context: CodingContext) -> list[int]:
    layers = len(context.layers)
    table = dict(enumerate(read_table(body, 0, layers)))
    return decode_gates(body[layers:], context.layer_of_gate(), table, longest(context.size))


def side_info(body: bytes, context: CodingContext) -> list[int]:
    at = 1 + ceil(len(context.layers), 8)
    expect(len(body) >= at and body[0] <= 1, "a mode")
    own, classes = unpack_bits(body[1:at], len(context.layers)), levels(context)
    if body[0]:
        present = sorted(set(classes))
        prior = dict(zip(present, read_table(body, at, len(present)), strict=True))
        at += len(present)
        tossed = zip(classes, coins(context), strict=True)
        classes = [bin_of(FREQUENCIES[prior[level]], coin // 2**20) for level, coin in tossed]
    group = [(1 + layer if own[layer] else 0, c) for layer, c in zip(context.layer_of_gate(), classes, strict=True)]
    order = sorted(range(context.size), key=lambda i: (group[i], i))
    present = sorted(set(group))
    table = dict(zip(present, read_table(body, at, len(present)), strict=True))
    ordered = decode_gates(body[at + len(present) :], [group[i] for i in order], table, longest(context.size))
    return [gate for _, gate in sorted(zip(order, ordered, strict=True))]


def sampled(body: bytes, context: CodingContext) -> list[int]:
    level = levels(context)
    present = sorted(set(level))
    start, size = 2 * len(present), context.size
    expect(start < len(body) <= start + ceil(size, 8), "a length")
    prior = dict(zip(present, struct.unpack_from(f"<{len(present)}H", body), strict=True))
    expect(all(prior.values()), "a prior of 0")
    bits = 0.0
    for gate in level:
        q = prior[gate] / 65536
        bits += 2.0**-12 - q * math.log2(q) - (1 - q) * math.log2(1 - q)
    expect(len(body) - start <= max(1, math.ceil(2 * bits)), "as many blocks as an encoder sends")
    indices = body[start:]
    blocks = len(indices)
    width = 4 * ceil(ceil(size, blocks), 16)
    rows = [stream("candidates", context, (256 * j + index) * width, width) for j, index in enumerate(indices)]
    numbers = [[word >> 16 * k & 65535 for word in row for k in range(4)] for row in rows]
    return [int(numbers[i % blocks][i // blocks] < prior[level[i]]) for i in range(size)]


MASKS: dict[int, Callable[[bytes, CodingContext], list[int]]] = {
    PACKED: lambda body, context: unpack_bits(body, context.size),
    ENTROPY: entropy,
    SIDE_INFO: side_info,
    SAMPLED: sampled,
}


# --- votes and values


def counts(body: bytes, size: int, trials: int) -> list[int]:
    if not trials:
        expect(not body, "a body without trials")
        return [0] * size
    low = max(0, trials.bit_length() - 12)
    number, plane = trials // 2**low + 1, ceil(size, 8)
    at = 2 * number + low * plane
    expect(at <= len(body) <= at + longest(size, 15), "a length")
    frequencies = list(struct.unpack_from(f"<{number}H", body))
    expect(sum(frequencies) == 2**15, "frequencies")
    code = RangeCode(body[at:])
    symbols = code.symbols(size, edges(frequencies, 2**15))
    code.finish()
    found = Counter(symbols)
    shares = [1 + found[s] * (2**15 - len(found)) // size if found[s] else 0 for s in range(number)]
    shares[shares.index(max(shares))] += 2**15 - sum(shares)
    expect(frequencies == shares, "not the frequencies of the votes")
    votes = [symbol << low for symbol in symbols]
    for i in range(low):
        start = 2 * number + i * plane
        votes = [v | bit << i for v, bit in zip(votes, unpack_bits(body[start : start + plane], size), strict=True)]
    expect(max(votes) <= trials, "more votes than trials")
    return votes


def exactly(bits: int) -> Fraction:
    """What the bits of a finite float32 stand for."""
    exponent, fraction = bits >> 23 & 255, bits % 2**23
    size = Fraction(fraction + (2**23 if exponent else 0)) * Fraction(2) ** (max(exponent, 1) - 150)
    return -size if bits >> 31 else size


def float32s(body: bytes, size: int, trials: int) -> list[int]:
    expect(trials <= 2**23, "trials")
    shares = values(body, size, 1)
    votes = [round(exactly(share) * trials) for share in shares]
    expect(all(0 <= exactly(share) <= 1 for share in shares), "a share")
    # up to 2^23 trials, both are float32, so that the float64 quotient rounds to the float32 nearest to the true one
    own = struct.unpack(f"<{size}I", struct.pack(f"<{size}f", *(v / max(trials, 1) for v in votes)))
    expect(list(own) == shares, "a share of no vote")
    return votes


def values(body: bytes, count: int, value_type: int) -> list[int]:
    """The bits of finite float32."""
    expect(len(body) == count * (4, 2)[value_type - 1], "a length")
    if value_type == 2:
        halves = struct.unpack(f"<{count}e", body)
        body = struct.pack(f"<{count}f", *halves)
    found = list(struct.unpack(f"<{count}I", body))
    expect(all(bits >> 23 & 255 != 255 for bits in found), "a value that is not finite")
    return found


def crc(state: Votes | Weights) -> int:
    trials = state.trials if isinstance(state, Votes) else 0
    scalars = struct.pack(f"<{len(state.scalars)}d", *state.scalars)
    tail = state.tail if isinstance(state, Votes) else ()
    return zlib.crc32(u32s([trials]) + scalars + u32s(tail) + u32s(state[0]))


# --- payloads


class Header(NamedTuple):
    sort: Sort
    round: int
    number: int
    check: int


def unseal(payload: bytes, context: CodingContext, *sorts: Sort) -> tuple[Header, bytes]:
    expect(len(payload) >= HEADER_SIZE, "a header")
    magic, version, *sort, size, server_round, digest, number, check, checksum = struct.unpack_from("<4s4BII8sIII", payload)
    expect(magic == b"FGTS" and version == VERSION, "magic and version")
    expect(tuple(sort) in sorts, "another sort")
    expect(size == context.size and digest == context.digest, "another network")
    expect(zlib.crc32(payload[:32] + payload[36:]) == checksum, "damaged")
    return Header(tuple(sort), server_round, number, check), payload[36:]


def masked(header: Header, body: bytes, context: CodingContext) -> tuple[list[int], list[int] | None]:
    """A mask, and the values behind it: at its ones, or a tail."""
    kind, codec, value_type = header.sort
    count = context.tail if kind == MASK_AND_TAIL else header.number
    width = (0, 4, 2)[value_type]
    expect(header.number <= context.size and count * width <= len(body), "a number")
    split = len(body) - count * width
    mask = MASKS[codec](body[:split], context)
    expect(sum(mask) == header.number, "not as many ones")
    return mask, values(body[split:], count, value_type) if value_type else None


def update_of(header: Header, body: bytes, context: CodingContext) -> Update:
    if header.sort[0] == VALUES:
        expect(not header.number and not header.check, "number and check")
        return Update(None, values(body, context.size, header.sort[2]))
    mask, found = masked(header, body, context)
    expect(zlib.crc32(packed(mask)) == header.check, "another mask")
    return Update(mask, None, found) if header.sort[0] == MASK_AND_TAIL else Update(mask, found)


def decode_update(payload: bytes, context: CodingContext, sort: Sort) -> Update:
    header, body = unseal(payload, context, sort)
    expect(header.round == context.round, "another round")
    return update_of(header, body, context)


def decode_state(payload: bytes, context: CodingContext, codec: int) -> tuple[Votes | Weights, int]:
    bare = (VOTES, codec, 0), (VALUES, NONE, 1), (BOTH, ENTROPY, 1)
    header, body = unseal(payload, context, *([(VOTES_AND_TAIL, codec, 1)] if context.tail else bare))
    at = 8 * context.scalars
    expect(len(body) >= at + 4 * context.tail, "scalars and a tail")
    scalars, body = struct.unpack_from(f"<{context.scalars}d", body), body[at:]
    expect(all(number - number == 0 for number in scalars), "a scalar that is not finite")
    tail, body = tuple(values(body[: 4 * context.tail], context.tail, 1)), body[4 * context.tail :]
    state: Votes | Weights
    if header.sort[0] in {VOTES, VOTES_AND_TAIL}:
        read = float32s if codec == FLOAT32 else counts
        state = Votes(read(body, context.size, header.number), header.number, scalars, tail)
    elif header.sort[0] == VALUES:
        expect(not header.number, "a number")
        state = Weights(values(body, context.size, 1), scalars)
    else:
        mask, found = masked(header, body, context)
        expect(0 not in (found or ()), "a weight of zero")
        rest = iter(found or ())
        state = Weights([next(rest) if gate else 0 for gate in mask], scalars)
    expect(crc(state) == header.check, "another state")
    return state, header.round


def decode_sums(payload: bytes, context: CodingContext, which: int, count: int) -> list[float]:
    header, body = unseal(payload, context, (SUMS, NONE, 3))
    expect(header.round == context.round and header.number == which and not header.check, "other sums")
    expect(len(body) == 8 * count, "a length")
    found = list(struct.unpack(f"<{count}d", body))
    expect(all(number - number == 0 for number in found), "a sum that is not finite")
    return found


Aggregate = Callable[[Votes | Weights, Iterator[Update], int], Votes | Weights]


def decode_relay(
    payload: bytes, base: tuple[Votes | Weights, int], context: CodingContext, sort: Sort, aggregate: Aggregate
) -> tuple[Votes | Weights, int]:
    header, body = unseal(payload, context, (RELAY, *sort[1:]))
    state, at = base[0], 0

    def read(form: str) -> tuple[int, ...]:
        nonlocal at
        at += struct.calcsize(form)
        expect(at <= len(body), "a length")
        return struct.unpack_from(form, body, at - struct.calcsize(form))

    expect(header.number == base[1] <= header.round and read("<I") == (crc(state),), "another base")
    for server_round in range(header.number, header.round):
        now, updates = replace(context, round=server_round, state=state), list[Update]()
        changed, number = read("<BI")
        expect(changed == bool(number), "a flag")
        for _ in range(number):
            client, examples, ones, check, length = read("<QIIII")
            expect(1 <= examples < 2**31, "examples")
            (part,) = read(f"{length}s")
            found = update_of(Header(sort, server_round, ones, check), part, replace(now, client=client))
            updates.append(found._replace(examples=examples))
        state = aggregate(state, iter(updates), server_round) if changed else state
    expect(at == len(body) and crc(state) == header.check, "another state")
    return state, header.round


Expected = Callable[[Votes | Weights, list[tuple[int, list[int]]]], Votes | Weights]


def decode_delta(
    payload: bytes, base: tuple[Votes | Weights, int], context: CodingContext, expected: Expected
) -> tuple[Votes | Weights, int]:
    header, body = unseal(payload, context, (DELTA, COUNTS, int(context.tail > 0)))
    expect(header.number == base[1] <= header.round and isinstance(base[0], Votes) and len(body) >= 11, "another base")
    old = base[0]
    own, trials, prior, flags = struct.unpack_from("<IIHB", body)
    expect(own == crc(old) and flags <= 3 and not (prior and (old.trials or flags & 2)), "another base, flags or prior")
    start = 11 if flags & 2 else 43
    expect(len(body) >= start, "a length")
    rates = [FREQUENCIES[byte] for byte in read_table(body, 11, start - 11)]
    at = start + 8 * context.scalars
    expect(len(body) >= at + 4 * context.tail, "scalars and a tail")
    scalars = struct.unpack_from(f"<{context.scalars}d", body, start)
    expect(all(number - number == 0 for number in scalars), "a scalar that is not finite")
    tail = tuple(values(body[at : at + 4 * context.tail], context.tail, 1))
    at += 4 * context.tail
    rounds = list[tuple[int, list[int]]]()
    for number in range(header.number, header.number if flags & 2 else header.round):
        count, at = seven_bit_groups(body, at)
        names, last = list[int](), -1
        for _ in range(count):
            difference, at = seven_bit_groups(body, at)
            last += difference + 1
            names.append(last)
        rounds.append((number, names))
    every = [name for _, names in rounds for name in names]
    expect(len(every) < 2**16 and max(every, default=0) < 2**64, "clients")
    code = RangeCode(body[at:])
    grids = [(size, rows) for size, rows in zip(context.layers, context.rows, strict=True)]
    runs = [count for size, rows in grids if 1 < rows < size for count in (rows, size // rows)]
    activities = iter([0] * sum(runs))
    if flags & 1:
        zero = [run for run, count in enumerate(runs) for _ in range(count)]
        found = integers(code, zero, [0] * len(zero), [0] * len(zero))
        expect(all(-6 <= activity <= 4 for activity in found), "an activity")
        activities = iter(found)
    shifts = list[int]()
    for size, rows in grids:
        if 1 < rows < size:
            columns = size // rows
            of_rows, of_columns = ([next(activities) for _ in range(count)] for count in (rows, columns))
            shifts += [of_rows[i // columns] + of_columns[i % columns] for i in range(size)]
        else:
            shifts += [0] * size
    if flags & 2:
        votes, *contexts = by_classes(old, trials, shifts, context)
    else:
        votes = [min(vote, trials) for vote in expected(old, [each for each in rounds if each[1]])[0]]
        contexts = by_coins(
            old, rounds, rates, prior, context, shifts, [1 if v == 0 else 2 if v == trials else 0 for v in votes]
        )
    votes = [vote + change for vote, change in zip(votes, integers(code, *contexts), strict=True)]
    code.finish()
    expect(all(0 <= vote <= trials for vote in votes), "votes")
    state = Votes(votes, trials, scalars, tail)
    expect(crc(state) == header.check, "another state")
    return state, header.round


def by_classes(
    old: Votes, trials: int, shifts: list[int], context: CodingContext
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Expected votes, and contexts of the differences."""
    few, activities = min(old.trials, 255), [min(max(shift, -7), 8) + 7 for shift in shifts]
    votes = [(v * trials + old.trials // 2) // old.trials if old.trials else trials // 2 for v in old.votes]
    above = [31 * kind // few for kind in kinds(old)] if few else activities
    below = [31 - side for side in above] if few else activities
    zero = [16 * level + a for level, a in zip(levels(replace(context, state=old)), activities, strict=True)]
    return votes, zero, above, below


def by_coins(
    old: Votes,
    rounds: list[tuple[int, list[int]]],
    rates: list[int],
    prior: int,
    context: CodingContext,
    shifts: list[int],
    edges_of: list[int],
) -> tuple[list[int], list[int], list[int]]:
    """Contexts of the differences."""
    few, risks = min(old.trials, 255), [[0, 0] for _ in old.votes]
    for number, names in rounds:
        for name in names:
            drawn = coins(replace(context, round=number, client=name))
            for risk, kind, coin in zip(risks, kinds(old), drawn, strict=True):
                p = (2**16 * kind + few // 2) // few if few else prior
                place = bin_of(min(max(p, 66), 2**16 - 66), coin // 2**20)
                risk[place < 16] += rates[place]

    def level(risk: int, shift: int) -> int:
        return min(max(min(risk, 2**24 - 1).bit_length() + shift - 9, 0), 15) if risk else 0

    above, below = ([level(risk[side], shift) for risk, shift in zip(risks, shifts, strict=True)] for side in (0, 1))
    zero = [256 * k + 16 * a + b for k, a, b in zip(edges_of, above, below, strict=True)]
    return zero, above, below


def kinds(old: Votes) -> list[int]:
    return [v if old.trials <= 255 else (255 * v + old.trials // 2) // old.trials for v in old.votes]


def seven_bit_groups(body: bytes, at: int) -> tuple[int, int]:
    end = at
    while end < len(body) and body[end] >= 128:
        end += 1
    expect(end < len(body) and end - at < 10 and (body[end] > 0 or end == at), "a number")
    return sum((byte & 127) << 7 * i for i, byte in enumerate(body[at : end + 1])), end + 1


def integers(code: RangeCode, zero: list[int], above: list[int], below: list[int]) -> list[int]:
    """Integers, each with its contexts."""

    def stage(contexts: list[int]) -> list[int]:
        present, number = sorted(set(contexts)), Counter(contexts)
        fair = edges([2**15, 2**15], 2**16)
        table = {context: sum(code.symbol(fair) << i for i in range(8)) for context in present}
        expect(all(byte <= 208 for byte in table.values()), "a table")
        found = [0] * len(contexts)
        for i in sorted(range(len(contexts)), key=lambda i: (contexts[i], i)):
            f = FREQUENCIES[table[contexts[i]]]
            found[i] = code.symbol(edges([2**16 - f, f], 2**16))
        ones = Counter(context for context, bit in zip(contexts, found, strict=True) if bit)
        expect(all(byte == frequency_byte(ones[c], number[c]) for c, byte in table.items()), "not the frequencies")
        return found

    result = stage(zero)
    at = [i for i, bit in enumerate(result) if bit]
    signs = dict(zip(at, stage([min(max(above[i] - below[i], -4), 4) + 4 for i in at]), strict=True))
    distance = 0
    while at:
        distance += 1
        expect(distance <= 255, "an integer beyond 255")
        for i in at:
            result[i] = distance if signs[i] else -distance
        more = stage([(above[i] if signs[i] else below[i]) + 32 * min(distance - 1, 2) for i in at])
        at = [i for i, bit in zip(at, more, strict=True) if bit]
    return result
