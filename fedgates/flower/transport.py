"""Sending messages over a grid and reading their replies as they come, each attributed to the node that was asked."""

import time
from collections.abc import Iterator

from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedgates.util.text import error_line, one_line

Open = dict[str, Message]
"""Questions without an answer yet, by their message ids."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks for replies: short at first, for simulations, then easy on a server's network."""
_RAISED = " occurred. Message: "
"""Flower's words before those of an exception of a client's."""
_UNKNOWN = 0
"""Flower's error code for what has no other."""


def exchange(grid: Grid, messages: list[Message], timeout: float) -> Iterator[Message]:
    """Send messages and yield their replies as they come, until all are there or `timeout` seconds are over."""
    return replies(grid, push(grid, messages), timeout)


def push(grid: Grid, messages: list[Message]) -> Open:
    """Send messages; those that were taken are the open questions."""
    taken = set(grid.push_messages(messages)) if messages else set()
    return {message.metadata.message_id: message for message in messages if message.metadata.message_id in taken}


def replies(grid: Grid, waiting: Open, timeout: float) -> Iterator[Message]:
    """Replies to open questions as they come; an answered question leaves `waiting`. With timeout 0, one look.

    The source of each reply is the node that was asked. What cannot be read, or claims another source, comes as an error reply
    of that node, and so does what Flower says in its stead. Replies are fetched one by one: a server never holds many, and one
    that cannot be read takes no other with it.
    """
    pause, end = _FIRST_PAUSE, time.monotonic() + timeout
    while waiting:
        came = False
        for message_id in list(waiting):
            for reply in _pull(grid, waiting[message_id]):
                came = True
                del waiting[message_id]
                yield reply
                break
        if time.monotonic() >= end:
            return
        if waiting and not came:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 1.3, _LONGEST_PAUSE)


def _pull(grid: Grid, question: Message) -> list[Message]:
    """The reply to one question, if it is there."""
    try:
        found = list(grid.pull_messages([question.metadata.message_id]))
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
            raise  # the server cannot be reached: nobody's reply is at fault
        return [_instead(question, f"its reply cannot be read: {error_line(error)}")]
    return [_attributed(reply, question) for reply in found]


def _attributed(reply: Message, question: Message) -> Message:
    if reply.has_error():
        return Message(reply.error, reply_to=question)
    if reply.metadata.src_node_id != question.metadata.dst_node_id:
        return _instead(question, f"its reply claims to be from node {reply.metadata.src_node_id}")
    return reply


def _instead(question: Message, why: str) -> Message:
    return Message(Error(_UNKNOWN, why), reply_to=question)


def reason(reply: Message) -> str:
    """Why a reply is an error, in one line: what the client raised, without the traceback that Ray puts before it."""
    _, wrapped, why = (reply.error.reason or "no reason given").rpartition(_RAISED)
    why = why.removesuffix("'>") if wrapped else why  # Flower quotes what came from Ray
    return one_line(f"error {reply.error.code}: {why}")
