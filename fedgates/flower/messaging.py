"""Messages over a Flower grid, and their replies as they come, each attributed to the node that got the message."""

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedgates.util.text import error_line, one_line

Pending = dict[str, Message]
"""Messages without a reply yet, by their ids."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks for replies: short at first, for simulations, then easy on a server's network."""
_RAISED = " occurred. Message: "
"""Flower's words before those of an exception that a client raised."""
_UNKNOWN = 0
"""Flower's error code for what has no other."""


def push(grid: Grid, messages: list[Message]) -> Pending:
    """Send messages and return those that were accepted, which are now pending."""
    accepted = set(grid.push_messages(messages)) if messages else set()
    return {message.metadata.message_id: message for message in messages if message.metadata.message_id in accepted}


def replies(
    grid: Grid, pending: Pending, timeout: float, messages: Iterable[Message] = (), most_open: int | None = None
) -> Iterator[Message]:
    """Send messages and yield replies to them and to those pending, as they come; with timeout 0, look once.

    A message with a reply leaves `pending`. At most `most_open` messages are open at a time: a message is made and sent once
    another has its reply; None sends all at once. The source of each reply is the node that got the message. What cannot be
    read, or claims another source, becomes an error reply of that node, and so does an error of Flower's. Replies are fetched
    one by one: a server never holds many, and one that cannot be read takes no other with it.
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
    reason = reason.removesuffix("'>") if wrapped else reason  # Flower quotes what came from Ray
    return one_line(f"error {reply.error.code}: {reason}")


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
