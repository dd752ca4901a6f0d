"""Who is there, under a name that lasts, and who takes part in a round.

Node ids are random in every simulation. A client's name is its `partition-id` (a device without one goes by its
node id), asked for once with a QUERY message; the choice of a round is a function of (seed, round) and the names present.
Names are what clients say they are: who may connect at all is Flower's node authentication.
"""

import logging
import time
from collections.abc import Iterable

import numpy as np
from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedgates import rng
from fedgates.flower.transport import Open, push, reason, replies
from fedgates.util.text import one_line

log = logging.getLogger("fedgates")
_PATIENCE = 120.0
"""Seconds to wait for nodes that are asked for the first time; who answers later takes part in later rounds."""

_REST, _LONGEST_REST = 1.0, 600.0
"""Seconds after which a node is asked again that answered with an error, or not in time; twice as many each time."""
_FAILING = 8.0
"""One that is to rest so long the next time has answered with three errors."""
_NAMES = 2**31
"""Names that clients give themselves are below it, so that none can take a node id, which is what others go by."""
_LOCAL = ("InMemoryGrid", "LoopbackGrid")
"""Grids whose nodes are all on this machine; by name, because Flower does not export its own."""


def is_simulation(grid: Grid) -> bool:
    """Whether nodes are simulated, and share the server's data; real ones have their own."""
    return _is_local(grid) and getattr(grid, "simulated", True)


def is_complete(grid: Grid) -> bool:
    """Whether all nodes there will ever be are there when a run begins; real ones come and go."""
    return _is_local(grid) and getattr(grid, "complete", True)


def _is_local(grid: Grid) -> bool:
    return any(kind.__name__ in _LOCAL for kind in type(grid).__mro__)


def name_of(given: object, node: int) -> int:
    """The name a client goes by, on either end: the number it was given as its `partition-id`, or its node id."""
    return given if type(given) is int and 0 <= given < _NAMES else node


def introduction(partition_id: int | None, problem: str = "") -> RecordDict:
    """A client's answer to the QUERY: its name if it has one, and why it cannot take part if it cannot."""
    record = ConfigRecord({"name": -1 if partition_id is None else partition_id, "problem": problem})
    return RecordDict({"introduction": record})


class Membership:
    """The clients that are there and have introduced themselves."""

    def __init__(self) -> None:
        self._there: set[int] = set()
        """The nodes that there were at the last look."""
        self._names: dict[int, int] = {}
        """Node id to name."""
        self._left_out: dict[int, str] = {}
        """Node id to why it cannot take part."""
        self._doubles: set[int] = set()
        """Those of them whose name another node had: asked again when a name becomes free."""
        self._open: Open = {}
        self._again: dict[int, tuple[float, float, str]] = {}
        """Node id to when it may be asked again that did not answer, how long after that the next time, and why it did not."""

    def present(self, grid: Grid, content: RecordDict, timeout: float) -> dict[int, int]:
        """Name to node id of every client there now; asks nodes that are new with `content`.

        Waits only for these, `timeout` seconds or two minutes at most; answers that come later are read at a later call. Nodes
        that turn up meanwhile (a simulation registers its nodes one by one) are asked, too. Who could not answer is asked
        again, at longer and longer intervals.
        """
        asked: set[int] = set()
        while True:
            there = set(grid.get_node_ids())
            self._forget_absent(there)
            asked |= {question.metadata.dst_node_id for question in self._open.values()}
            now = time.monotonic()
            resting = {node for node, (until, *_) in self._again.items() if now < until}
            strangers = sorted(there - set(self._names) - set(self._left_out) - asked - resting)
            asked.update(strangers)
            new = push(grid, [Message(content, node, MessageType.QUERY, ttl=timeout) for node in strangers])
            answers = [*replies(grid, self._open, 0), *replies(grid, new, min(timeout, _PATIENCE))]
            self._open |= new  # what is left of it
            there = set(grid.get_node_ids())
            for answer in sorted(answers, key=lambda reply: reply.metadata.src_node_id):
                if answer.metadata.src_node_id in there:
                    self._enter(answer)
            if not strangers:
                self._there = there
                return {name: node for node, name in self._names.items() if node in there}

    @property
    def settled(self) -> bool:
        """Whether all that were there at the last look have said who they are or why they cannot take part, or fail at it."""
        failing = {node for node, (_, rest, _) in self._again.items() if rest >= _FAILING}
        return self._there <= self._names.keys() | self._left_out.keys() | failing

    @property
    def problem(self) -> str:
        """Why a node cannot take part, if all that were asked have answered: the first reason, or nothing."""
        failed = [why for node, (*_, why) in self._again.items() if node in self._there]
        return "" if self._open else next(iter([*self._left_out.values(), *failed]), "")

    def _forget_absent(self, there: set[int]) -> None:
        self._open = {key: question for key, question in self._open.items() if question.metadata.dst_node_id in there}
        if set(self._names) - there:  # a name is free again, perhaps for a device that came back as another node
            there = there - self._doubles
            self._doubles = set()
        self._names = {node: name for node, name in self._names.items() if node in there}
        self._left_out = {node: problem for node, problem in self._left_out.items() if node in there}

    def _enter(self, reply: Message) -> None:
        node = reply.metadata.src_node_id
        if reply.has_error():
            _, rest, _ = self._again.get(node, (0.0, _REST, ""))
            why = reason(reply)
            self._again[node] = (time.monotonic() + rest, min(2 * rest, _LONGEST_REST), why)
            log.warning("node %d did not introduce itself, and is asked again in %g s: %s", node, rest, why)
            return
        self._again.pop(node, None)
        answer = reply.content.config_records.get("introduction", ConfigRecord())
        given, problem = answer.get("name"), one_line(answer.get("problem", ""))
        name = name_of(given, node)
        if self._names.get(node) == name:
            return
        if problem:
            log.warning("client %d is left out: %s", name, problem)
            self._left_out[node] = problem
        elif name in self._names.values():
            self._left_out[node] = f"there is a client {name} already"
            self._doubles.add(node)
            log.warning("node %d is left out: %s", node, self._left_out[node])
        else:
            self._names[node] = name


def sample_clients(names: Iterable[int], fraction: float, seed: int, purpose: str, server_round: int) -> list[int]:
    """A uniform choice of round(fraction * n) of n names, at least one: a function of the key and the names."""
    ordered = sorted(names)
    if not ordered:
        return []
    count = max(1, round(fraction * len(ordered)))
    lots = rng.words(len(ordered), seed, purpose, server_round=server_round)
    return sorted(ordered[i] for i in np.argsort(lots, kind="stable")[:count])
