"""Which clients are available, under names that last, and which of them take part in a round.

Node numbers are random in every simulation. A client's name is its `partition-id`; a device without one goes by its node
number. A node introduces itself once; the choice of a round is a function of (seed, round) and the available names. Names are
what clients claim, and the first node with a name keeps it for the run. Who may connect at all is decided by the engine's node
authentication, with which a node number stands for a registered key; without it a device that restarts is another node.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from fedgates import rng

log = logging.getLogger("fedgates")
_PAUSE, _LONGEST_PAUSE = 1.0, 600.0
"""Seconds until a node is asked again whose introduction failed or did not arrive; doubled each time."""
_HOPELESS = 8.0
"""A node with a pause of so many seconds ahead has failed three times."""
_NAMES = 2**31
"""Names that clients give themselves are below it, so that none can take a node number, which is what others go by."""


@dataclass(frozen=True)
class _Retry:
    at: float
    """Time of the next attempt, by the monotonic clock."""
    pause: float
    """Seconds until the one after that."""
    reason: str
    """Why the last attempt failed."""


def client_name(given: object, node: int) -> int:
    """Return the name of a client: the number it was given as its `partition-id`, or its node number."""
    return given if type(given) is int and 0 <= given < _NAMES else node


class Membership:
    """The nodes of a federation and the clients that have introduced themselves."""

    def __init__(self) -> None:
        self._present: set[int] = set()
        """Nodes that were connected at the last update."""
        self._names: dict[int, int] = {}
        """Node to name."""
        self._left_out: dict[int, str] = {}
        """Node to the reason why it cannot take part."""
        self.owners: dict[int, int] = {}
        """Name to the node that claimed it first, and keeps it for the run."""
        self._claimed: dict[int, int] = {}
        """Node to the name that it claimed first."""
        self._retries: dict[int, _Retry] = {}
        """Nodes whose introduction has failed."""

    @property
    def clients(self) -> Mapping[int, int]:
        """Name to node of the available clients."""
        return {name: node for node, name in self._names.items() if node in self._present}

    def restore(self, owners: Mapping[int, int]) -> None:
        """Take over the names of an earlier part of the run: name to node."""
        self.owners = dict(owners)
        self._claimed = {node: name for name, node in owners.items()}

    def update(self, nodes: Collection[int]) -> None:
        """Take note of the nodes that are connected now, and forget the others."""
        present = self._present = set(nodes)
        self._names = {node: name for node, name in self._names.items() if node in present}
        self._left_out = {node: reason for node, reason in self._left_out.items() if node in present}

    def to_ask(self, pending: Collection[int]) -> list[int]:
        """Return the connected nodes to ask for an introduction now, apart from those whose answer is `pending`."""
        now = time.monotonic()
        waiting = {node for node, retry in self._retries.items() if now < retry.at}
        return sorted(self._present - set(self._names) - set(self._left_out) - set(pending) - waiting)

    def introduce(self, node: int, given: object, problem: str = "") -> None:
        """Record a node's introduction: the name it was given, if any, and why it cannot take part, if it cannot."""
        self._retries.pop(node, None)
        name = client_name(given, node)
        if self._names.get(node) == name:
            return
        owner, own = self.owners.get(name, node), self._claimed.get(node, name)
        if owner != node:
            self._leave_out(node, f"node {node}", f"client {name} is node {owner}, the first with that number in this run")
        elif own != name:
            self._leave_out(node, f"node {node}", f"it is client {own} in this run, and now has the number {name}")
        elif problem:
            self._leave_out(node, f"client {name}", problem)
        else:
            self._names[node] = name
        if owner == node:
            self.owners[self._claimed.setdefault(node, name)] = node

    def fail(self, node: int, reason: str) -> None:
        """Record that a node's introduction failed; it is asked again after a pause that doubles each time."""
        pause = self._retries[node].pause if node in self._retries else _PAUSE
        self._retries[node] = _Retry(time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE), reason)
        log.warning("node %d did not introduce itself, retrying in %g s: %s", node, pause, reason)

    def _leave_out(self, node: int, who: str, reason: str) -> None:
        self._left_out[node] = reason
        log.warning("%s is left out: %s", who, reason)

    @property
    def settled(self) -> bool:
        """Whether every connected node has introduced itself, is left out, or has failed three times."""
        hopeless = {node for node, retry in self._retries.items() if retry.pause >= _HOPELESS}
        return self._present <= self._names.keys() | self._left_out.keys() | hopeless

    @property
    def problem(self) -> str:
        """The first reason why a connected node cannot take part; empty if there is none, or if a node has yet to answer."""
        if self._present - self._names.keys() - self._left_out.keys() - self._retries.keys():
            return ""
        failed = [retry.reason for node, retry in self._retries.items() if node in self._present]
        return next(iter([*self._left_out.values(), *failed]), "")


def sample_clients(names: Iterable[int], fraction: float, seed: int, purpose: str, server_round: int) -> list[int]:
    """Return round(fraction * n) of n names, at least one, chosen uniformly: a function of the key and the names."""
    ordered = sorted(names)
    if not ordered:
        return []
    count = max(1, round(fraction * len(ordered)))
    draws = rng.words(len(ordered), seed, purpose, server_round=server_round)
    return sorted(ordered[i] for i in np.argsort(draws, kind="stable")[:count])
