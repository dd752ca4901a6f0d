"""Requests over a Flower grid, and their replies as they come, each attributed to the node that got the request."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedgates.federation.membership import Membership
from fedgates.federation.messages import Kind, Reply, Request
from fedgates.federation.round_trip import no_reply_within
from fedgates.flower.records import empty, introduction_message, read_introduction, read_reply, request_message
from fedgates.types import Problem
from fedgates.util.text import error_line, one_line

Pending = dict[str, Message]
"""Messages without a reply yet, by their ids."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks for replies: short at first, for simulations, then easy on a server's network."""
_PATIENCE = 120.0
"""Seconds to wait for the introductions of new nodes; one that answers later takes part in later rounds."""
_RAISED = " occurred. Message: "
"""Flower's words before those of an exception that a client raised."""
_UNKNOWN, _EXPIRED = 0, 3
"""Flower's error codes: for what has no other, and for a message dropped at its deadline or with its node."""
_LOCAL = ("InMemoryGrid", "LoopbackGrid")
"""Grids whose nodes are all on this machine; by name, because Flower does not export its own."""
_SETTLING, _START = 0.1, 30.0
"""Seconds without a new node after which all nodes of a simulation are there, and after which it has none."""


class GridTransport:
    """The transport of a federation over a Flower grid.

    Parameters
    ----------
    grid : Grid
        Flower's, or a :class:`~fedgates.flower.LoopbackGrid`.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._pending: Pending = {}
        """Introductions that are still awaited."""

    @property
    def simulated(self) -> bool:
        """Whether nodes are simulated and share the server's data set; real ones have their own."""
        return self._is_local and getattr(self.grid, "simulated", True)

    @property
    def complete(self) -> bool:
        """Whether all nodes are connected when a run begins; real ones come and go."""
        return self._is_local and getattr(self.grid, "complete", True)

    def nodes(self) -> Iterable[int]:
        """Return the nodes that are connected."""
        return list(self.grid.get_node_ids())

    def count_simulated(self) -> int | None:
        """Return how many nodes a simulation has; None where nodes are real.

        A simulation registers its nodes one by one, so they are counted once no more appear.
        """
        if not self.simulated:
            return None
        count, before, end = len(list(self.nodes())), -1, time.monotonic() + _START
        while (count != before or not count) and time.monotonic() < end:
            time.sleep(_SETTLING)
            before, count = count, len(list(self.nodes()))
        return count

    def introduce(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask those that are new to introduce themselves.

        Waits for these alone, `timeout` seconds or two minutes at most; later answers are read at a later call. Nodes that
        appear meanwhile are asked, too.
        """
        asked: set[int] = set()
        while True:
            present = set(self.nodes())
            membership.update(present)
            self._pending = {key: sent for key, sent in self._pending.items() if sent.metadata.dst_node_id in present}
            asked |= {sent.metadata.dst_node_id for sent in self._pending.values()}
            new = membership.to_ask(asked)
            asked.update(new)
            sent = push(self.grid, [introduction_message(node, problem, timeout) for node in new])
            came = chain(replies(self.grid, self._pending, 0), replies(self.grid, sent, min(timeout, _PATIENCE)))
            answers = sorted(map(_read, came), key=lambda answer: answer.node)
            self._pending |= sent  # those without an answer
            present = set(self.nodes())
            for answer in answers:
                if answer.node in present:
                    _enter(membership, answer)
            if not new:
                membership.update(present)
                membership.compare_classes()
                return

    def exchange(self, requests: Sequence[Request], timeout: float, max_megabytes: float) -> Iterator[Reply]:
        """Send requests; yield replies as they come until all are there or `timeout` seconds have passed.

        A payload of more than `max_megabytes` is dropped as it is fetched: its reply is malformed.
        """
        kinds = {request.node: request.kind for request in requests}
        messages = [request_message(request, timeout) for request in requests]
        for message in replies(self.grid, push(self.grid, messages), timeout):
            reply = to_reply(message, kinds[message.metadata.src_node_id], timeout, max_megabytes)
            empty(message)
            yield reply

    @property
    def _is_local(self) -> bool:
        return any(kind.__name__ in _LOCAL for kind in type(self.grid).__mro__)


def to_reply(message: Message, kind: Kind, timeout: float, max_megabytes: float) -> Reply:
    """Return a message of a client as the reply to a request of this kind; an error becomes its failure."""
    if message.has_error():
        expired = message.error.code == _EXPIRED
        failure = no_reply_within(timeout) if expired else error_reason(message)
        return Reply(message.metadata.src_node_id, failure=failure)
    return read_reply(message, kind, max_megabytes)


def push(grid: Grid, messages: list[Message]) -> Pending:
    """Send messages and return those that were accepted, which are now pending."""
    accepted = set(grid.push_messages(messages)) if messages else set()
    return {message.metadata.message_id: message for message in messages if message.metadata.message_id in accepted}


def replies(grid: Grid, pending: Pending, timeout: float) -> Iterator[Message]:
    """Yield replies to pending messages as they come; a message with a reply leaves `pending`. With timeout 0, look once.

    The source of each reply is the node that got the message. What cannot be read, or claims another source, becomes an error
    reply of that node, and so does an error of Flower's. Replies are fetched one by one: a server never holds many, and one
    that cannot be read takes no other with it.
    """
    pause, end = _FIRST_PAUSE, time.monotonic() + timeout
    while pending:
        came = False
        for message_id in list(pending):
            for reply in _pull(grid, pending[message_id]):
                came = True
                del pending[message_id]
                yield reply
                break
        if time.monotonic() >= end:
            return
        if pending and not came:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 1.3, _LONGEST_PAUSE)


def error_reason(reply: Message) -> str:
    """Return the reason of an error reply in one line, without the traceback that Ray puts before it."""
    _, wrapped, reason = (reply.error.reason or "no reason given").rpartition(_RAISED)
    reason = reason.removesuffix("'>") if wrapped else reason  # Flower quotes what came from Ray
    return one_line(f"error {reply.error.code}: {reason}")


@dataclass(frozen=True)
class _Introduction:
    """A node's answer to the question who it is."""

    node: int
    name: object
    """As it was given: not checked."""
    problem: str
    """Why it cannot take part; empty if it can."""
    failure: str
    """Why there is no introduction; empty if there is."""
    class_names: tuple[str, ...] = ()


def _read(answer: Message) -> _Introduction:
    """Return an introduction, and drop the rest of its message: nodes send what they like."""
    node = answer.metadata.src_node_id
    if answer.has_error():
        return _Introduction(node, None, "", error_reason(answer))
    name, problem, class_names = read_introduction(answer)
    empty(answer)
    return _Introduction(node, name if isinstance(name, int) else None, one_line(problem), "", class_names)


def _enter(membership: Membership, answer: _Introduction) -> None:
    if answer.failure:
        membership.fail(answer.node, answer.failure)
    else:
        membership.introduce(answer.node, answer.name, answer.problem, answer.class_names)


def _pull(grid: Grid, sent: Message) -> list[Message]:
    """Return the reply to one message, if it is there."""
    try:
        found = list(grid.pull_messages([sent.metadata.message_id]))
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
            raise  # the server cannot be reached: no client is at fault
        return [_error(sent, f"its reply cannot be read: {error_line(error)}")]
    return [_attributed(reply, sent) for reply in found]


def _attributed(reply: Message, sent: Message) -> Message:
    if reply.has_error():
        return Message(reply.error, reply_to=sent)
    if reply.metadata.src_node_id != sent.metadata.dst_node_id:
        return _error(sent, f"its reply claims to be from node {reply.metadata.src_node_id}")
    return reply


def _error(sent: Message, reason: str) -> Message:
    return Message(Error(_UNKNOWN, reason), reply_to=sent)
