"""Available clients, their names, which last for the run, and the choice of those that take part in a round.

Node numbers are random in every simulation. A client's name is its `partition-id`; a device without one goes by its node
number. A node introduces itself once; the choice of a round is a function of (seed, round) and the available names. Names are
what clients claim, and the first node with a name keeps it for the run. Who may connect at all is decided by the engine's node
authentication, with which a node number belongs to a registered key; without it a device that restarts is another node.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from fedgates import rng
from fedgates.util.text import name_list, one_line

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
        self.class_names: tuple[str, ...] = ()
        """The names of the classes of this run; empty until they are known."""
        self._classes: dict[int, tuple[str, ...]] = {}
        """Node to the names that its data give to their classes, where they give any."""
        self._incomplete: dict[int, tuple[str, ...]] = {}
        """The same by client of those that have another number of classes than the run, until they are compared."""
        self._other_classes: dict[int, int] = {}
        """Node to name of those that are left out for other classes alone."""

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
        self._classes = {node: classes for node, classes in self._classes.items() if node in present}
        self._other_classes = {node: name for node, name in self._other_classes.items() if node in present}

    def to_ask(self, pending: Collection[int]) -> list[int]:
        """Return the connected nodes to ask for an introduction now, apart from those whose answer is `pending`."""
        now = time.monotonic()
        waiting = {node for node, retry in self._retries.items() if now < retry.at}
        return sorted(self._present - set(self._names) - set(self._left_out) - set(pending) - waiting)

    def introduce(self, node: int, given: object, problem: str = "", class_names: tuple[str, ...] = ()) -> None:
        """Record a node's introduction: its name and names of classes, if any, and why it cannot take part, if it cannot."""
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
            if class_names:
                self._incomplete[name] = class_names
        else:
            self._names[node] = name
            if class_names:
                self._classes[node] = class_names
        if owner == node:
            self.owners[self._claimed.setdefault(node, name)] = node

    def fail(self, node: int, reason: str) -> None:
        """Record that a node's introduction failed; it is asked again after a pause that doubles each time."""
        pause = self._retries[node].pause if node in self._retries else _PAUSE
        self._retries[node] = _Retry(time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE), reason)
        log.warning("node %d did not introduce itself, retrying in %g s: %s", node, pause, reason)

    def compare_classes(self) -> None:
        """Leave out the clients whose data name other classes, or the same in another order: a label would mean another class.

        They are compared with :attr:`class_names`; until these are known, with those of most clients.
        """
        named = sorted((name, node) for node, name in (self._names | self._other_classes).items() if node in self._classes)
        if not named and not self.class_names:
            return
        expected = self._most_common(named)
        for name, own in self._incomplete.items():
            if set(own) & set(expected):
                lacking = name_list([each for each in expected if each not in own])
                log.warning(
                    "client %d has no %s among its classes: those of the run are %s", name, lacking, name_list(expected)
                )
        self._incomplete.clear()
        for name, node in named:
            agree = _agree(self._classes[node], expected)
            if not agree and node in self._names:
                self._other_classes[node] = self._names.pop(node)
                whose = "this run" if self.class_names else "most clients"
                self._leave_out(node, f"client {name}", _difference(self._classes[node], expected, whose))
            elif agree and node in self._other_classes:
                self._names[node] = self._other_classes.pop(node)
                del self._left_out[node]
                log.info("client %d takes part after all: its classes are those of most clients now", name)

    def keep_classes(self) -> None:
        """Keep the names of classes for the rest of the run: clients are about to train."""
        named = sorted((name, node) for node, name in self._names.items() if node in self._classes)
        if named:
            self.class_names = self._most_common(named)

    def _most_common(self, named: Iterable[tuple[int, int]]) -> tuple[str, ...]:
        """Return the names of the run's classes; until these are known, those of most clients, of equally many the first."""
        found = [self._classes[node] for _, node in named]
        if self.class_names:
            if not _is_numbered(self.class_names):
                return self.class_names
            found = [names for names in found if _agree(names, self.class_names)]
        texts = [names for names in found if not _are_integers(names)]
        return Counter(texts or ([self.class_names] if self.class_names else found)).most_common(1)[0][0]

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


def _agree(own: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Return whether two data sets have the same classes; 0, 1, ... stand for as many names that are no integers."""
    if own == expected:
        return True
    numbered = _is_numbered(own) or _is_numbered(expected)
    return numbered and len(own) == len(expected) and not (_are_integers(own) and _are_integers(expected))


def _is_numbered(names: tuple[str, ...]) -> bool:
    return names == tuple(map(str, range(len(names))))


def _are_integers(names: tuple[str, ...]) -> bool:
    return all(name.removeprefix("-").isdecimal() for name in names)


def _difference(own: tuple[str, ...], expected: tuple[str, ...], whose: str) -> str:
    pairs = zip_longest(own, expected, fillvalue="none")
    label, (mine, theirs) = next((label, pair) for label, pair in enumerate(pairs) if pair[0] != pair[1])
    first = f"class {label} is {one_line(mine, 40)}, not {one_line(theirs, 40)}"
    return f"{first}: its classes are {name_list(own)}, and those of {whose} are {name_list(expected)}"


def sample_clients(names: Iterable[int], fraction: float, seed: int, purpose: str, server_round: int) -> list[int]:
    """Return round(fraction * n) of n names, at least one, chosen uniformly: a function of the key and the names."""
    ordered = sorted(names)
    if not ordered:
        return []
    count = max(1, round(fraction * len(ordered)))
    draws = rng.words(len(ordered), seed, purpose, server_round=server_round)
    return sorted(ordered[i] for i in np.argsort(draws, kind="stable")[:count])
