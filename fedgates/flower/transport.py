"""Transport of a federation's requests and replies over a Flower grid."""

import os
from collections.abc import Iterable, Iterator, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from fedgates.federation.membership import Membership
from fedgates.federation.messages import Kind, Reply, Request
from fedgates.federation.round_trip import no_reply_within
from fedgates.flower.introductions import Introductions
from fedgates.flower.messaging import error_reason, replies
from fedgates.flower.records import empty, read_reply, request_message
from fedgates.flower.startup import wait_for_nodes
from fedgates.types import Problem

_EXPIRED = 3
"""Flower's error code for a message that expired or whose node disconnected."""
_RAY, _LOOPBACK = "InMemoryGrid", "LoopbackGrid"
"""Class names of the grids with simulated nodes: that of Flower's simulation, which is not exported, and the loopback grid."""
_FEWEST_OPEN, _MOST_AT_A_TIME = 16, 32
"""In Flower's simulation: least value of the limit on unanswered messages, and largest number of parallel clients."""


class GridTransport:
    """Transport over a Flower grid.

    Parameters
    ----------
    grid : Grid
        A grid of Flower, or a :class:`~fedgates.flower.LoopbackGrid`.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._most_open = _most_open() if self._is(_RAY) else None
        self._all_registered = False
        self._introductions = Introductions(grid, self._most_open)

    @property
    def simulated(self) -> bool:
        """Whether nodes are simulated and share the server's data set; real devices have their own data."""
        return self._is(_RAY, _LOOPBACK) and getattr(self.grid, "simulated", True)

    @property
    def complete(self) -> bool:
        """Whether all nodes are connected from the start; real devices come and go."""
        return self._is(_RAY, _LOOPBACK) and getattr(self.grid, "complete", True)

    def nodes(self) -> Iterable[int]:
        """Return the IDs of the connected nodes."""
        return list(self.grid.get_node_ids())

    def count_simulated(self) -> int | None:
        """Wait until all simulated nodes are registered, and return their number; None for real devices."""
        if not self.simulated:
            return None
        self._wait_for_nodes()
        return len(list(self.nodes()))

    def introduce(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask new nodes to introduce themselves.

        In Flower's simulation, waits until every node has answered or failed; on other grids, waits at most `timeout` seconds
        or two minutes.
        """
        self._wait_for_nodes()
        self._introductions.update(membership, problem, timeout)

    def exchange(self, requests: Sequence[Request], timeout: float, max_megabytes: float) -> Iterator[Reply]:
        """Send requests; yield replies as they arrive until all have arrived or `timeout` seconds have passed.

        A payload larger than `max_megabytes` is dropped when it arrives, and its reply is marked as malformed.
        """
        kinds = {request.node: request.kind for request in requests}
        messages = (request_message(request, timeout) for request in requests)
        for message in replies(self.grid, {}, timeout, messages, self._most_open):
            reply = to_reply(message, kinds[message.metadata.src_node_id], timeout, max_megabytes)
            empty(message)
            yield reply

    def _wait_for_nodes(self) -> None:
        """Wait until Flower's simulation has registered its nodes; does nothing after the first call."""
        if self._most_open is not None and not self._all_registered:
            wait_for_nodes(lambda: len(list(self.nodes())))
            self._all_registered = True

    def _is(self, *names: str) -> bool:
        return any(kind.__name__ in names for kind in type(self.grid).__mro__)


def _most_open() -> int:
    """Return the largest number of unanswered messages in Flower's simulation: two per parallel client, at least 16.

    Flower searches all of them several times a second for each of its nodes: 50 messages instead of 16 cost half a second of
    CPU time in a round of 100 out of 1,000 clients.
    """
    at_a_time = min(_MOST_AT_A_TIME, (os.cpu_count() or 1) + 4)  # the default of ThreadPoolExecutor, which Flower uses
    return max(_FEWEST_OPEN, 2 * at_a_time)


def to_reply(message: Message, kind: Kind, timeout: float, max_megabytes: float) -> Reply:
    """Convert a client's message to a reply to a request of the given kind; an error becomes the reply's ``failure``."""
    if message.has_error():
        expired = message.error.code == _EXPIRED
        failure = no_reply_within(timeout) if expired else error_reason(message)
        return Reply(message.metadata.src_node_id, failure=failure)
    return read_reply(message, kind, max_megabytes)
