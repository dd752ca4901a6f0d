"""Send messages over a Flower grid, and receive the replies as they arrive."""

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedgates.util.text import error_line, one_line

Pending = dict[str, Message]
"""Messages without a reply yet, by message ID."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Shortest and longest time between polls, seconds: short for simulations, growing to spare a server's network."""
_RAISED = " occurred. Message: "
"""Text that Flower puts before the message of a client's exception."""
_UNKNOWN = 0
"""Flower's error code for unknown errors."""


def push(grid: Grid, messages: list[Message]) -> Pending:
    """Send messages, and return those that the grid accepted."""
    accepted = set(grid.push_messages(messages)) if messages else set()
    return {message.metadata.message_id: message for message in messages if message.metadata.message_id in accepted}


def replies(
    grid: Grid, pending: Pending, timeout: float, messages: Iterable[Message] = (), most_open: int | None = None
) -> Iterator[Message]:
    """Send messages, and yield replies to them and to pending messages as they arrive.

    Replies are fetched one by one, so the server never holds many of them, and an unreadable reply does not affect the others.
    A reply that cannot be read, or that claims to come from another node than the message was sent to, becomes an error reply
    of the latter.

    Parameters
    ----------
    grid : Grid
        The grid.
    pending : dict
        Messages without a reply, by message ID; updated in place.
    timeout : float
        Seconds to wait for replies; with 0, the grid is polled once.
    messages : iterable of Message
        Messages to send.
    most_open : int, optional
        Largest number of unanswered messages; the next message is created and sent once another has its reply. By default, all
        are sent at once.
    """
    pause, end, unsent = _FIRST_PAUSE, time.monotonic() + timeout, iter(messages)
    while True:
        batch = list(islice(unsent, None if most_open is None else most_open - len(pending)))
        pending |= push(grid, batch)
        if not pending and not batch:
            return
        came = False
        for message_id in list(pending):
            for reply in _pull(grid, pending[message_id]):
                came = True
                del pending[message_id]
                yield reply
                break
        if time.monotonic() >= end:
            return
        if came:
            pause = _FIRST_PAUSE
        elif pending:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 1.3, _LONGEST_PAUSE)


def error_reason(reply: Message) -> str:
    """Return the reason of an error reply in one line, without the traceback that Ray puts before it."""
    _, wrapped, reason = (reply.error.reason or "no reason given").rpartition(_RAISED)
    reason = reason.removesuffix("'>") if wrapped else reason  # Flower puts errors of Ray in quotes
    return one_line(f"error {reply.error.code}: {reason}")


def _pull(grid: Grid, sent: Message) -> list[Message]:
    """Return the reply to one message, if it has arrived."""
    try:
        found = list(grid.pull_messages([sent.metadata.message_id]))
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
            raise  # the SuperLink cannot be reached, which is no fault of the client
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
