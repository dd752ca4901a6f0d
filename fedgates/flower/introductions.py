"""Introductions of the nodes of a grid; in Flower's simulation, names follow from the order of registration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid

from fedgates.federation.membership import Membership
from fedgates.flower.messaging import Pending, error_reason, replies
from fedgates.flower.records import empty, introduction_message, read_introduction
from fedgates.types import Problem
from fedgates.util.text import one_line

_PATIENCE = 120.0
"""Seconds to wait for the introductions of new devices; devices that answer later take part in later rounds."""
_EXPIRES = 86_400.0
"""Seconds until a message to a simulated node expires; long, because a loaded machine may be slow to answer."""
_ASKED = 8
"""Number of simulated nodes to ask; if these have the expected names, so do the others."""


class Introductions:
    """Exchange of introductions with the nodes of a grid.

    Parameters
    ----------
    grid : Grid
        The grid.
    most_open : int or None
        Largest number of unanswered messages in Flower's simulation; None for other grids.
    """

    def __init__(self, grid: Grid, most_open: int | None) -> None:
        self.grid, self.most_open = grid, most_open
        self._pending: Pending = {}
        """Messages without an answer."""
        self._registered = most_open is None
        """Whether names by registration have been tried, or do not apply."""

    def update(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask new nodes to introduce themselves.

        Waits at most `timeout` seconds or two minutes for answers of new nodes, including nodes that connect meanwhile; later
        answers are read in a later call. In Flower's simulation, waits until each node has answered or failed.
        """
        asked: set[int] = set()
        while True:
            present = self._present()
            membership.update(present)
            self._pending = {key: sent for key, sent in self._pending.items() if sent.metadata.dst_node_id in present}
            asked |= {sent.metadata.dst_node_id for sent in self._pending.values()}
            new = membership.to_ask(asked)
            if not self._registered:
                self._registered = True
                self._enter(membership, self._by_registration(new, problem))
                continue
            asked.update(new)
            late = [_read(answer) for answer in replies(self.grid, self._pending, 0)]
            self._enter(membership, [*late, *self._ask(new, problem, timeout)])
            if not new:
                membership.update(self._present())
                membership.compare_classes()
                return

    def _by_registration(self, nodes: Sequence[int], problem: Problem) -> list["_Introduction"]:
        """Return the introductions of all nodes in Flower's simulation after asking only a few.

        Flower registers nodes one by one and numbers their partitions in this order. If an asked node has an unexpected name or
        cannot take part, only the introductions of the asked nodes are returned.
        """
        registered = {node.node_id: node.registered_at for node in self.grid.get_nodes()}
        ordered = sorted(nodes, key=lambda node: registered.get(node, ""))
        expected = {node: _Introduction(node, name, "", "") for name, node in enumerate(ordered)}
        few = np.linspace(0, len(ordered) - 1, min(_ASKED, len(ordered))).round().astype(int).tolist()
        answers = self._ask([ordered[index] for index in few], problem, _EXPIRES)
        return list(expected.values()) if all(answer == expected[answer.node] for answer in answers) else answers

    def _ask(self, nodes: Sequence[int], problem: Problem, timeout: float) -> list["_Introduction"]:
        """Ask nodes and return their answers; unanswered messages stay pending."""
        simulated = self.most_open is not None
        expires, patience = (_EXPIRES, _EXPIRES) if simulated else (timeout, min(timeout, _PATIENCE))
        messages = (introduction_message(node, problem, expires) for node in nodes)
        sent: Pending = {}
        answers = [_read(answer) for answer in replies(self.grid, sent, patience, messages, self.most_open)]
        self._pending |= sent
        return answers

    def _enter(self, membership: Membership, answers: Iterable["_Introduction"]) -> None:
        present = self._present()
        for answer in sorted(answers, key=lambda answer: answer.node):
            if answer.node not in present:
                continue
            if answer.failure:
                membership.fail(answer.node, answer.failure)
            else:
                membership.introduce(answer.node, answer.name, answer.problem, answer.class_names)

    def _present(self) -> set[int]:
        return set(self.grid.get_node_ids())


@dataclass(frozen=True)
class _Introduction:
    """A node's introduction."""

    node: int
    name: object
    """The name as received, not validated."""
    problem: str
    """Reason why the node cannot take part, or an empty string."""
    failure: str
    """Reason why there is no introduction, or an empty string."""
    class_names: tuple[str, ...] = ()


def _read(answer: Message) -> _Introduction:
    """Return the introduction in a message, and clear the message, whose other content is not trusted."""
    node = answer.metadata.src_node_id
    if answer.has_error():
        return _Introduction(node, None, "", error_reason(answer))
    name, problem, class_names = read_introduction(answer)
    empty(answer)
    return _Introduction(node, name if isinstance(name, int) else None, one_line(problem), "", class_names)
