"""Sound payloads of every kind and codec over one small network, and how each is read and written again.

Tests damage them, the fuzz mutates them, and the golden files keep them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedgates import rng
from fedgates.types import State, Update, Votes, Weights, pack
from fedgates.wire import (
    AcceptedUpdate,
    CodingContext,
    Coupling,
    VersionedState,
    apply_delta,
    apply_relay,
    pack_delta,
    pack_relay,
    pack_state,
    pack_sums,
    pack_update,
    payload_type,
    state_crc,
    sums,
    unpack_state,
    unpack_sums,
    unpack_update,
)
from fedgates.wire.flips import NO_FLIPS, count_flips

DIGEST = bytes.fromhex("0123456789abcdef")
SEED, ROUND, CLIENT = 11, 7, 3
LAYERS = (7, 70, 40, 1, 12)
LOSSLESS = ("packed", "entropy", "side-info")
TAIL = 5
Found = Update | tuple[State, int] | NDArray[np.float64]
"""What a payload is read to: an update, a state and its round, or sums."""


def floats(values) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def votes_of(random: np.random.Generator, size: int, trials: int) -> Votes:
    """Votes of gates that have mostly made up their minds."""
    return Votes(random.binomial(trials, random.beta(0.4, 0.4, size)).astype(np.uint32), trials)


def weights_of(random: np.random.Generator, size: int, density: float = 1.0) -> Weights:
    return Weights(np.where(random.random(size) < density, random.normal(size=size), 0).astype(np.float32))


def theta_of(random: np.random.Generator, state: State, shift: float = 0.3) -> NDArray[np.float32]:
    """Probabilities that training moved away from those of a state."""
    p = (state.votes + 1) / (state.trials + 2) if isinstance(state, Votes) else np.full(state.size, 0.5)
    return floats(1 / (1 + np.exp(np.log(1 / p - 1) + shift * random.normal(size=state.size))))


def sampled_by_coins(theta: NDArray[np.float32], context: CodingContext) -> NDArray[np.bool_]:
    return context.coins() < theta.astype(np.float64) * 2.0**32


def update_of(random: np.random.Generator, kind: str, context: CodingContext) -> Update:
    """A client's answer to the state that `context` holds."""
    theta = theta_of(random, context.state)
    mask = sampled_by_coins(theta, context)
    values = floats(random.normal(size=context.size))
    if kind == "mask":
        return Update(mask=pack(mask), theta=theta)
    if kind == "mask and tail":
        return Update(mask=pack(mask), theta=theta, tail=floats(random.normal(size=context.tail)))
    return Update(mask=None, values=values) if kind == "values" else Update(mask=pack(mask), values=values[mask])


def aggregate(state: State, updates: Iterable[Update], server_round: int) -> State:
    """The server's rule of both sorts of methods: votes are added, weights and tails averaged by examples."""
    if isinstance(state, Votes):
        votes, trials = state.votes.copy(), state.trials
        tails, examples = np.zeros(len(state.tail)), 0
        for update in updates:
            votes, trials = votes + update.gates(state.size), trials + 1
            if update.tail is not None:
                tails, examples = tails + update.num_examples * update.tail.astype(float), examples + update.num_examples
        tail = (tails / examples).astype(np.float32) if examples else state.tail
        return replace(state, votes=votes, trials=trials, tail=tail)
    total, examples = np.zeros(state.size), 0
    for update in updates:
        total, examples = total + update.num_examples * update.dense(state.size).astype(float), examples + update.num_examples
    return replace(state, values=(total / examples).astype(np.float32)) if examples else state


def start_theta(state: Votes) -> NDArray[np.float64]:
    """What clients start from: .5 without trials."""
    return state.votes / state.trials if state.trials else np.full(state.size, 0.5)


def untrained(state: Votes, rounds: Sequence[tuple[int, Sequence[int]]]) -> Votes:
    """The state after rounds in which nobody trained; masks are sampled with the coins of the run."""
    theta = start_theta(state)
    for server_round, clients in rounds:
        drawn = (rng.coins(state.size, SEED, server_round=server_round, client=client) for client in clients)
        state = aggregate(state, (Update(mask=pack(coins < theta * 2.0**32)) for coins in drawn), server_round)
    return state


COUPLING = Coupling(Votes(np.zeros(0, np.uint32), 0), 0.5, untrained)


@dataclass(frozen=True)
class Case:
    """A payload and all that its reader needs."""

    name: str
    sort: str
    """update, state, delta, relay or sums"""
    kind: str
    """Of the update, or of a relay's updates."""
    codec: str
    """The uplink, or a state's downlink."""
    value_type: str
    context: CodingContext
    payload: bytes = b""
    base: VersionedState | None = None
    which: int = 0
    """Which sums."""
    count: int = 0
    """Number of sums."""

    def read(self, payload: bytes) -> Found:
        if self.sort == "sums":
            return unpack_sums(payload, self.context, self.which, self.count)
        if self.sort == "update":
            return unpack_update(payload, self.context, self.codec, self.kind, value_type=self.value_type)
        if self.sort == "state":
            return unpack_state(payload, self.context, self.codec)
        if self.sort == "delta":
            return apply_delta(payload, self.base, self.context, untrained)
        return apply_relay(payload, self.base, self.context, payload_type(self.kind, self.codec, self.value_type), aggregate)

    def write(self, found: Found) -> bytes | None:
        """The bytes of what was read; None where they do not follow from it."""
        if self.sort in {"delta", "relay"} or self.codec == "sampled":
            return None
        if isinstance(found, np.ndarray):
            return pack_sums(found, self.context, self.which)
        if isinstance(found, Update):
            return pack_update(found, self.context, self.codec, value_type=self.value_type)
        return pack_state(found[0], replace(self.context, server_round=found[1]), self.codec)


def content(found: Found) -> tuple:
    """What a reader has in hand, bit for bit."""
    if isinstance(found, np.ndarray):
        return found.shape, found.tobytes()
    if isinstance(found, Update):
        return tuple(None if part is None else part.tobytes() for part in (found.mask, found.values, found.tail))
    state, server_round = found
    scalars = np.array(state.scalars).tobytes()
    if isinstance(state, Votes):
        return server_round, state.trials, scalars, state.tail.tobytes(), state.votes.tobytes()
    return server_round, scalars, state.values.tobytes()


def expect_valid(case: Case, found: Found) -> None:
    """What every reader promises of everything that it lets through."""
    size, tail = case.context.size, None
    if isinstance(found, np.ndarray):
        assert (found.dtype, found.shape) == (np.float64, (case.count,))
        assert np.isfinite(found).all()
        return
    if isinstance(found, Update):
        tail = found.tail
        assert (tail is None) == (case.context.tail == 0)
        ones = int(found.gates(size).sum())
        if found.mask is not None:
            assert (found.mask.dtype, found.mask.shape) == (np.uint8, (-(-size // 8),))
            assert int(np.unpackbits(found.mask).sum()) == ones  # nothing beyond the last gate
        values = found.values
        assert values is None or values.shape == (ones,)
    elif isinstance(found[0], Votes):
        votes, tail, values = found[0].votes, found[0].tail, None
        assert np.isfinite(found[0].scalars).all()
        assert (votes.dtype, votes.shape) == (np.uint32, (size,))
        assert int(votes.max()) <= found[0].trials < 2**32
    else:
        values = found[0].values
        assert np.isfinite(found[0].scalars).all()
        assert values.shape == (size,)
    assert tail is None or tail.shape == (case.context.tail,)
    for floats32 in (values, tail):
        assert floats32 is None or (floats32.dtype == np.float32 and np.isfinite(floats32).all())


def _update_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    for kind in ("mask", "mask and values"):
        update = update_of(random, kind, context)
        for codec in LOSSLESS:
            for value_type in ("float32", "float16")[: 1 if kind == "mask" else 2]:
                name = f"{kind}, {codec}" + ("" if kind == "mask" else f", {value_type}")
                payload = pack_update(update, context, codec, value_type=value_type)
                yield Case(name, "update", kind, codec, value_type, context, payload)
    for value_type in ("float32", "float16"):
        payload = pack_update(update_of(random, "values", context), context, value_type=value_type)
        yield Case(f"values, {value_type}", "update", "values", "side-info", value_type, context, payload)
    alone = Update(mask=pack(random.random(context.size) < theta_of(random, context.state)))
    yield Case("mask, side-info, no coins", "update", "mask", "side-info", "float32", context, pack_update(alone, context))
    wide = replace(context, layers=tuple(8 * size for size in context.layers))  # the tables of coins need gates to pay for them
    wide = replace(wide, state=Votes(np.zeros(wide.size, np.uint32), 0))
    payload = pack_update(update_of(random, "mask", wide), wide)
    yield Case("mask, side-info, coins", "update", "mask", "side-info", "float32", wide, payload)
    apart = replace(context, state=None)
    rows = np.repeat(np.resize([0.95, 0.05], len(context.layers)), context.layers)
    payload = pack_update(Update(mask=pack(random.random(context.size) < rows)), apart)
    yield Case("mask, side-info, layers apart", "update", "mask", "side-info", "float32", apart, payload)
    weights = replace(context, state=weights_of(random, context.size, 0.5))
    payload = pack_update(Update(mask=pack(weights.state.values > random.normal(size=context.size) / 8)), weights)
    yield Case("mask, side-info, of weights", "update", "mask", "side-info", "float32", weights, payload)
    payload = pack_update(update_of(random, "mask", context), context, "sampled")
    yield Case("mask, sampled", "update", "mask", "sampled", "float32", context, payload)


def _state_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    size = context.size
    states = {
        "votes, no trials": (Votes(np.zeros(size, np.uint32), 0), "votes"),
        "votes of 10": (votes_of(random, size, 10), "votes"),
        "votes of 5000": (votes_of(random, size, 5000), "votes"),
        "votes of 10, float32": (votes_of(random, size, 10), "float32"),
        "weights": (weights_of(random, size), "votes"),
        "weights, a few": (weights_of(random, size, 0.1), "votes"),
    }
    bare = CodingContext(context.digest, context.layers, context.server_round)
    for name, (state, downlink) in states.items():
        yield Case(name, "state", "mask", downlink, "float32", bare, pack_state(state, bare, downlink))


SCALARS = (0.1, -0.0, 1e300)


def _scalar_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    bare = CodingContext(context.digest, context.layers, context.server_round, scalars=len(SCALARS))
    states = {
        "votes of 10, scalars": (replace(votes_of(random, context.size, 10), scalars=SCALARS), "votes"),
        "votes of 10, float32, scalars": (replace(votes_of(random, context.size, 10), scalars=SCALARS), "float32"),
        "weights, scalars": (replace(weights_of(random, context.size), scalars=SCALARS), "votes"),
        "weights, a few, scalars": (replace(weights_of(random, context.size, 0.1), scalars=SCALARS), "votes"),
    }
    for name, (state, downlink) in states.items():
        yield Case(name, "state", "mask", downlink, "float32", bare, pack_state(state, bare, downlink))
    name = "relay of mask, packed, scalars"
    yield relay_case(random, context, "mask", "packed", [[5], [CLIENT]], name, scalars=SCALARS)[0]


def relay_case(
    random: np.random.Generator,
    context: CodingContext,
    kind: str,
    codec: str,
    clients: Sequence[Sequence[int] | None],
    name: str = "",
    scalars: tuple[float, ...] = (),
    value_type: str = "float32",
    tail: int = TAIL,
) -> tuple[Case, State]:
    """A relay over as many rounds as `clients` has entries, up to the round of `context`; and the server's state."""
    tail = tail if kind == "mask and tail" else 0
    bare = CodingContext(context.digest, context.layers, seed=context.seed, scalars=len(scalars), tail=tail)
    first = context.server_round - len(clients)
    start: State = weights_of(random, context.size) if "values" in kind else votes_of(random, context.size, 4)
    if tail:
        start = replace(start, tail=floats(random.normal(size=tail)))
    state = base = replace(start, scalars=scalars)
    rounds: list[list[AcceptedUpdate] | None] = []
    for server_round, names in enumerate(clients, first):
        now = [replace(bare, server_round=server_round, state=state, client=client) for client in names or ()]
        payloads = [pack_update(update_of(random, kind, one), one, codec, value_type=value_type) for one in now]
        counted = [
            AcceptedUpdate(one.client, 10 + i, payload) for i, (one, payload) in enumerate(zip(now, payloads, strict=True))
        ]
        rounds.append(None if names is None else counted)
        updates = [
            replace(unpack_update(sent.payload, one, codec, kind, value_type=value_type), num_examples=sent.num_examples)
            for one, sent in zip(now, counted, strict=True)
        ]
        state = state if names is None else aggregate(state, updates, server_round)
    sort = payload_type(kind, codec, value_type)
    payload = pack_relay(first, state_crc(base), rounds, state, replace(bare, server_round=context.server_round), sort)
    name = name or f"relay of {kind}, {codec}"
    return Case(name, "relay", kind, codec, value_type, bare, payload, VersionedState(base, first)), state


def _relay_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    for kind, codec in [("mask", "side-info"), ("mask", "sampled"), ("mask", "packed"), ("mask and values", "entropy")]:
        yield relay_case(random, context, kind, codec, [[5, 1 << 40], None, [CLIENT]])[0]
    yield relay_case(random, context, "values", "side-info", [[5, 9]])[0]


def delta_case(
    random: np.random.Generator,
    context: CodingContext,
    clients: Sequence[Sequence[int]],
    name: str = "delta",
    scalars: tuple[float, ...] = (),
    tail: int = 0,
    trials: int = 4,
    shift: float = 0.3,
    rows: tuple[int, ...] = (),
    skipped: int = 0,
    by_classes: bool = False,
) -> tuple[Case, Votes]:
    """A delta over as many rounds as `clients` has entries, up to the round of `context`; and the server's state."""
    rows = rows or tuple(next((r for r in (10, 4, 2) if size % r == 0), 1) for size in context.layers)
    bare = CodingContext(context.digest, context.layers, seed=SEED, scalars=len(scalars), tail=tail, rows=rows)
    first, flips = context.server_round - len(clients), NO_FLIPS
    start = votes_of(random, context.size, trials) if trials else Votes(np.zeros(context.size, np.uint32), 0)
    state = base = replace(start, scalars=scalars, tail=floats(random.normal(size=tail)))
    for server_round, names in enumerate(clients, first):
        updates = []
        for client in names:
            now = replace(bare, server_round=server_round, state=state, client=client)
            logits = np.log(1 / np.clip(start_theta(state), 0.0011, 0.9989) - 1) + shift * random.normal(size=state.size)
            mask = pack(sampled_by_coins(floats(1 / (1 + np.exp(logits))), now))
            flips = flips + count_flips(mask, now, 0.5)
            updates.append(Update(mask=mask, tail=floats(random.normal(size=tail)) if tail else None))
        state = aggregate(state, updates, server_round)
    rounds = [(r, sorted(names) if r >= first + skipped else []) for r, names in enumerate(clients, first)]
    known = VersionedState(base, first)
    to = replace(bare, server_round=context.server_round)
    payload = pack_delta(known, None if by_classes else rounds, state, to, flips, COUPLING)
    return Case(name, "delta", "mask and tail" if tail else "mask", "votes", "float32", bare, payload, known), state


def _delta_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    wide = replace(context, layers=tuple(8 * size for size in context.layers))
    yield delta_case(random, context, [[5, 1 << 40], [], [CLIENT]])[0]
    yield delta_case(random, wide, [[1, 2, 3], [4, 5, 6]], "delta, wide", trials=0)[0]
    yield delta_case(random, wide, [[1, 2, 3, 300]], "delta, activities", shift=3.0)[0]
    yield delta_case(random, context, [[1, 2], [3]], "delta, a round without names", trials=1000, skipped=1)[0]
    yield delta_case(random, context, [], "delta, no rounds")[0]
    yield delta_case(random, wide, [[1, 2], [3, 4]], "delta, by classes", by_classes=True)[0]
    yield delta_case(random, wide, [[1, 2, 3, 4]], "delta, by classes, first", trials=0, by_classes=True)[0]
    yield delta_case(random, context, [[1, 2]], "delta, by classes, many", trials=1000, by_classes=True, tail=TAIL)[0]
    yield delta_case(random, context, [[1], [CLIENT]], "delta, scalars, tail", scalars=SCALARS, tail=TAIL)[0]


def _tail_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    bare = CodingContext(context.digest, context.layers, context.server_round, tail=TAIL)
    state = replace(context.state, tail=floats(random.normal(size=TAIL)))
    kind, tailed = "mask and tail", replace(context, state=state, tail=TAIL)
    update = update_of(random, kind, tailed)
    for codec in (*LOSSLESS, "sampled"):
        for value_type in ("float32", "float16"):
            payload = pack_update(update, tailed, codec, value_type=value_type)
            yield Case(f"{kind}, {codec}, {value_type}", "update", kind, codec, value_type, tailed, payload)
    for name, downlink in [("votes of 10, tail", "votes"), ("votes of 10, float32, tail", "float32")]:
        yield Case(name, "state", kind, downlink, "float32", bare, pack_state(state, bare, downlink))
    empty = Votes(np.zeros(context.size, np.uint32), 0, tail=state.tail)
    yield Case("votes, no trials, tail", "state", kind, "votes", "float32", bare, pack_state(empty, bare))
    both = replace(bare, scalars=len(SCALARS))
    payload = pack_state(replace(state, scalars=SCALARS), both)
    yield Case("votes of 10, scalars, tail", "state", kind, "votes", "float32", both, payload)
    clients = [[5, 1 << 40], None, [CLIENT]]
    yield relay_case(random, context, kind, "side-info", clients)[0]
    yield relay_case(random, context, kind, "sampled", clients, scalars=SCALARS)[0]
    yield relay_case(random, context, kind, "packed", clients, f"relay of {kind}, packed, float16", value_type="float16")[0]


def _sums_cases(random: np.random.Generator, context: CodingContext) -> Iterable[Case]:
    bare = CodingContext(context.digest, context.layers, context.server_round)
    for which, name in sums.NAMES.items():
        found = random.normal(size=6) * 1e100
        payload = pack_sums(found, bare, which)
        yield Case(f"sums of {name}", "sums", "", "none", "float64", bare, payload, which=which, count=6)


def cases(layers: tuple[int, ...] = LAYERS, seed: int = SEED) -> dict[str, Case]:
    """All sorts of payloads over these layers, by name."""
    random = np.random.default_rng(seed)
    context = CodingContext(DIGEST, layers, ROUND, votes_of(random, sum(layers), 10), SEED, CLIENT)
    every = [*_update_cases(random, context), *_state_cases(random, context), *_relay_cases(random, context)]
    every += _scalar_cases(random, context)
    every += [*_tail_cases(random, context), *_sums_cases(random, context), *_delta_cases(random, context)]
    return {case.name: case for case in every}
