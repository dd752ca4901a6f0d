"""Who is there, under a name that lasts, and who takes part in a round.

Node ids are random in every simulation. A client's name is its `partition-id` (a device without one goes by its
node id), asked for once with a QUERY message; the choice of a round is a function of (seed, round) and the names present.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedgates import keys

log = logging.getLogger("fedgates")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks for replies: short at first, for simulations, then easy on a server's network."""


def introduction(partition_id: int | None, problem: str = "") -> RecordDict:
    """A client's answer to the QUERY: its name if it has one, and why it cannot take part if it cannot."""
    return RecordDict(
        {"introduction": ConfigRecord({"name": -1 if partition_id is None else partition_id, "problem": problem})}
    )


class Roster:
    """The clients that have introduced themselves."""

    def __init__(self) -> None:
        self._names: dict[int, int] = {}
        """Node id to name."""
        self._left_out: dict[int, str] = {}
        """Node id to why it cannot take part."""

    def present(self, grid: Grid, content: RecordDict, timeout: float) -> dict[int, int]:
        """Name to node id of every client there now; asks those not known yet, once a call, with `content`.

        Nodes that turn up while others are asked (a simulation registers its nodes one by one) are asked, too.
        """
        asked: set[int] = set()
        while strangers := sorted(set(grid.get_node_ids()) - set(self._names) - set(self._left_out) - asked):
            asked.update(strangers)
            questions = [Message(content, node, MessageType.QUERY) for node in strangers]
            for reply in exchange(grid, questions, timeout, lambda _: None):
                if reply.has_error():
                    log.warning("node %d did not introduce itself: %s", reply.metadata.src_node_id, reason(reply))
                else:
                    self._enter(reply)
        nodes = set(grid.get_node_ids())
        return {name: node for node, name in self._names.items() if node in nodes}

    @property
    def problem(self) -> str:
        """Why clients that introduced themselves cannot take part: the first one's reason, or nothing."""
        return next(iter(self._left_out.values()), "")

    def _enter(self, reply: Message) -> None:
        node = reply.metadata.src_node_id
        answer = reply.content.config_records.get("introduction", ConfigRecord())
        given, problem = answer.get("name", -1), answer.get("problem", "")
        name = given if isinstance(given, int) and given >= 0 else node
        if problem:
            log.warning("client %d is left out: %s", name, problem)
            self._left_out[node] = str(problem)
        elif name in self._names.values():
            self._left_out[node] = f"there is a client {name} already"
            log.warning("node %d is left out: %s", node, self._left_out[node])
        else:
            self._names[node] = name


def choose(names: Iterable[int], fraction: float, seed: int, server_round: int) -> list[int]:
    """A uniform choice of round(fraction * n) of n names, at least one: the same for the same seed, round and names."""
    ordered = sorted(names)
    if not ordered:
        return []
    count = max(1, round(fraction * len(ordered)))
    lots = keys.words(len(ordered), seed, "choose", server_round=server_round)
    return sorted(ordered[i] for i in np.argsort(lots, kind="stable")[:count])


def exchange(grid: Grid, messages: list[Message], timeout: float, pushed: Callable[[Message], None]) -> Iterator[Message]:
    """Send messages and yield their replies as they come, until all are there or `timeout` seconds are over.

    `pushed` is called with each message once it has its id, before any reply is yielded.
    """
    if not messages:
        return
    accepted = {message_id for message_id in grid.push_messages(messages) if message_id}
    for message in messages:
        pushed(message)
    waiting, pause, end = accepted, _FIRST_PAUSE, time.monotonic() + timeout
    while waiting:
        replies = list(grid.pull_messages(waiting))
        for reply in replies:
            waiting.discard(reply.metadata.reply_to_message_id)
            yield reply
        if time.monotonic() > end:
            return
        if waiting and not replies:
            time.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(pause * 1.3, _LONGEST_PAUSE)


def reason(reply: Message) -> str:
    """Why a reply is an error, in one line of at most 300 characters."""
    lines = [line.strip() for line in (reply.error.reason or "no reason given").splitlines() if line.strip()]
    return f"error {reply.error.code}: {' '.join(lines)}"[:300]
