"""Coding of lists of the clients whose updates were counted in each round."""

from collections.abc import Iterator, Sequence

from fedgates.errors import WireError

MOST_CLIENTS = (1 << 16) - 1
"""Largest number of counted clients, so that sums over their coins are below 2^32."""
CountedRound = tuple[int, Sequence[int]]
"""A round and the names of the clients counted in it, ascending; no names if the round changed nothing."""


def write_rounds(rounds: Sequence[CountedRound]) -> bytes:
    """Encode the clients of each round: their number, and the differences of consecutive names minus 1."""
    return b"".join(_written(rounds))


def _written(rounds: Sequence[CountedRound]) -> Iterator[bytes]:
    for _, clients in rounds:
        yield _varint(len(clients))
        before = -1
        for client in clients:
            yield _varint(client - before - 1)
            before = client


def read_rounds(body: memoryview, start: int, between: tuple[int, int], most_clients: int) -> tuple[list[CountedRound], int]:
    """Decode the rounds in ``range(*between)``; return them and the offset of their end in the body.

    Raises
    ------
    WireError
        The body was not written by :func:`write_rounds`, or has more than `most_clients` names.
    """
    first, end = between
    if not 0 <= end - first <= len(body):
        raise WireError(f"a change over {end - first} rounds in {len(body)} bytes")
    rounds, total = list[CountedRound](), 0
    for number in range(first, end):
        count, start = _read_varint(body, start)
        total += count
        if total > most_clients:
            raise WireError(f"more than {most_clients} counted clients (limits.max-relay-updates)")
        clients, before = list[int](), -1
        for _ in range(count):
            gap, start = _read_varint(body, start)
            before += gap + 1
            clients.append(before)
        if before >= 1 << 64:
            raise WireError("a client's name is beyond 2^64")
        rounds.append((number, clients))
    return rounds, start


def _varint(value: int) -> bytes:
    """Encode an integer in groups of seven bits, lowest first; all bytes but the last have the eighth bit set."""
    groups = []
    while value >= 128:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


def _read_varint(body: memoryview, start: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        if start + i >= len(body):
            raise WireError("a body that ends within its list of clients")
        byte = body[start + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte:
                raise WireError("a number with a superfluous byte")
            return value, start + i + 1
    raise WireError("a number of more than 10 bytes")
