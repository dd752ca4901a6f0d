"""Sending messages over a grid and reading their replies as they come."""

import time
from collections.abc import Collection, Iterator
from itertools import islice

from flwr.app import Message
from flwr.serverapp import Grid

from fedgates.text import one_line

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks for replies: short at first, for simulations, then easy on a server's network."""
_AT_ONCE = 32
"""Replies fetched together, so that a server never holds those of all its clients."""


def exchange(grid: Grid, messages: list[Message], timeout: float) -> Iterator[Message]:
    """Send messages and yield their replies as they come, until all are there or `timeout` seconds are over."""
    return replies(grid, push(grid, messages), timeout)


def push(grid: Grid, messages: list[Message]) -> set[str]:
    """Send messages; the ids to wait for."""
    return {message_id for message_id in grid.push_messages(messages) if message_id} if messages else set()


def replies(grid: Grid, waiting: set[str], timeout: float) -> Iterator[Message]:
    """Replies to the messages of these ids as they come; an answered id leaves `waiting`. With timeout 0, one look."""
    pause, end = _FIRST_PAUSE, time.monotonic() + timeout
    while waiting:
        came = False
        for ids in _slices(sorted(waiting)):
            for reply in grid.pull_messages(ids):
                came = True
                waiting.discard(reply.metadata.reply_to_message_id)
                yield reply
        if time.monotonic() >= end:
            return
        if waiting and not came:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 1.3, _LONGEST_PAUSE)


def _slices(ids: Collection[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while some := list(islice(rest, _AT_ONCE)):
        yield some


def reason(reply: Message) -> str:
    """Why a reply is an error, in one line."""
    return one_line(f"error {reply.error.code}: {reply.error.reason or 'no reason given'}")
