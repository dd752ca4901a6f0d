"""Who the nodes of a grid are: asked of each or, in Flower's simulation, known by the order of registration."""

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
"""Seconds to wait for the introductions of new devices; one that answers later takes part in later rounds."""
_EXPIRES = 86_400.0
"""Seconds until the question to a simulated node expires: it is answered, however loaded the machine is."""
_ASKED = 8
"""Simulated nodes that are asked; if these have the names expected, the others have theirs."""


class Introductions:
    """Asks the nodes of a grid to introduce themselves.

    Parameters
    ----------
    grid : Grid
        The grid.
    most_open : int or None
        Number of messages that are open at a time, for Flower's simulation; None for other grids.
    """

    def __init__(self, grid: Grid, most_open: int | None) -> None:
        self.grid, self.most_open = grid, most_open
        self._pending: Pending = {}
        """Questions whose answers are still awaited."""
        self._registered = most_open is None
        """Whether names by registration have been tried."""

    def update(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask those that are new to introduce themselves.

        Waits for these alone, `timeout` seconds or two minutes at most; later answers are read at a later call. Nodes that
        appear meanwhile are asked, too. In Flower's simulation it waits until each node has answered or failed.
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
        """Return the introductions of the nodes of Flower's simulation without asking more than a few.

        Flower registers node after node and numbers their partitions in this order. Where one of those asked has another name
        or cannot take part, there are none but theirs.
        """
        registered = {node.node_id: node.registered_at for node in self.grid.get_nodes()}
        ordered = sorted(nodes, key=lambda node: registered.get(node, ""))
        expected = {node: _Introduction(node, name, "", "") for name, node in enumerate(ordered)}
        few = np.linspace(0, len(ordered) - 1, min(_ASKED, len(ordered))).round().astype(int).tolist()
        answers = self._ask([ordered[index] for index in few], problem, _EXPIRES)
        return list(expected.values()) if all(answer == expected[answer.node] for answer in answers) else answers

    def _ask(self, nodes: Sequence[int], problem: Problem, timeout: float) -> list["_Introduction"]:
        """Return the answers of nodes; a question without one stays pending."""
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
