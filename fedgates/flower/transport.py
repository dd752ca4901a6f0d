"""Requests of a federation over a Flower grid."""

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
"""Flower's error code for a message dropped at its deadline or with its node."""
_RAY, _LOOPBACK = "InMemoryGrid", "LoopbackGrid"
"""Grids whose nodes are all on this machine: that of Flower's simulation, by name because Flower does not export it; ours."""
_FEWEST_OPEN, _MOST_AT_A_TIME = 16, 32
"""Messages that are open at a time in Flower's simulation at least, and clients that it runs at a time at most."""


class GridTransport:
    """The transport of a federation over a Flower grid.

    Parameters
    ----------
    grid : Grid
        Flower's, or a :class:`~fedgates.flower.LoopbackGrid`.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._most_open = _most_open() if self._is(_RAY) else None
        self._all_registered = False
        self._introductions = Introductions(grid, self._most_open)

    @property
    def simulated(self) -> bool:
        """Whether nodes are simulated and share the server's data set; real ones have their own."""
        return self._is(_RAY, _LOOPBACK) and getattr(self.grid, "simulated", True)

    @property
    def complete(self) -> bool:
        """Whether all nodes are connected when a run begins; real ones come and go."""
        return self._is(_RAY, _LOOPBACK) and getattr(self.grid, "complete", True)

    def nodes(self) -> Iterable[int]:
        """Return the nodes that are connected."""
        return list(self.grid.get_node_ids())

    def count_simulated(self) -> int | None:
        """Return how many nodes a simulation has, once all are registered; None where nodes are real."""
        if not self.simulated:
            return None
        self._wait_for_nodes()
        return len(list(self.nodes()))

    def introduce(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask those that are new to introduce themselves.

        In Flower's simulation it waits until every node has, or has failed; on other grids `timeout` seconds or two minutes
        at most.
        """
        self._wait_for_nodes()
        self._introductions.update(membership, problem, timeout)

    def exchange(self, requests: Sequence[Request], timeout: float, max_megabytes: float) -> Iterator[Reply]:
        """Send requests; yield replies as they come until all are there or `timeout` seconds have passed.

        A payload of more than `max_megabytes` is dropped as it is fetched: its reply is malformed.
        """
        kinds = {request.node: request.kind for request in requests}
        messages = (request_message(request, timeout) for request in requests)
        for message in replies(self.grid, {}, timeout, messages, self._most_open):
            reply = to_reply(message, kinds[message.metadata.src_node_id], timeout, max_megabytes)
            empty(message)
            yield reply

    def _wait_for_nodes(self) -> None:
        """Wait once until Flower's simulation has registered its nodes."""
        if self._most_open is not None and not self._all_registered:
            wait_for_nodes(lambda: len(list(self.nodes())))
            self._all_registered = True

    def _is(self, *names: str) -> bool:
        return any(kind.__name__ in names for kind in type(self.grid).__mro__)


def _most_open() -> int:
    """Return how many messages to have open in Flower's simulation: two for each client that it runs at a time, at least 16.

    Several times a second Flower looks through all of them for each of its nodes: 50 instead of 16 cost half a second of CPU
    time in a round of 100 clients of 1,000.
    """
    at_a_time = min(_MOST_AT_A_TIME, (os.cpu_count() or 1) + 4)  # the default of Python's ThreadPoolExecutor, which it uses
    return max(_FEWEST_OPEN, 2 * at_a_time)


def to_reply(message: Message, kind: Kind, timeout: float, max_megabytes: float) -> Reply:
    """Return a message of a client as the reply to a request of this kind; an error becomes its failure."""
    if message.has_error():
        expired = message.error.code == _EXPIRED
        failure = no_reply_within(timeout) if expired else error_reason(message)
        return Reply(message.metadata.src_node_id, failure=failure)
    return read_reply(message, kind, max_megabytes)
