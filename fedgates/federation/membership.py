"""Membership: the available clients, their names, and sampling of clients for a round.

Node IDs are random in every simulation, so clients have names. A client's name is its `partition-id`, or its node ID if it has
none. Each node introduces itself once. The sample of a round is a function of (seed, round) and the available names. Names are
not verified; the first node to claim a name keeps it for the run. Node authentication is left to Flower: with it, a node ID
belongs to a registered key; without it, a device that restarts gets a new node ID.
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
"""Seconds before a node with a failed introduction is asked again, and the largest pause; doubled after each failure."""
_HOPELESS = 8.0
"""Pause of a node that has failed three times, seconds."""
_NAMES = 2**31
"""Exclusive upper bound of `partition-id`, so that no client can claim the node ID of another as its name."""


@dataclass(frozen=True)
class _Retry:
    at: float
    """Time of the next attempt on the monotonic clock."""
    pause: float
    """Seconds between the next attempt and the one after it."""
    reason: str
    """Reason why the last attempt failed."""


def client_name(given: object, node: int) -> int:
    """Return the name of a client: its `partition-id` if valid, otherwise its node ID."""
    return given if type(given) is int and 0 <= given < _NAMES else node


class Membership:
    """The nodes of a federation and the clients that have introduced themselves."""

    def __init__(self) -> None:
        self._present: set[int] = set()
        """Nodes connected at the last update."""
        self._names: dict[int, int] = {}
        """Name of each client that has introduced itself, by node."""
        self._left_out: dict[int, str] = {}
        """Reason why a node cannot take part, by node."""
        self.owners: dict[int, int] = {}
        """Node that first claimed a name, by name."""
        self._claimed: dict[int, int] = {}
        """Name that a node claimed first, by node."""
        self._retries: dict[int, _Retry] = {}
        """Next attempt for each node whose introduction failed."""
        self.class_names: tuple[str, ...] = ()
        """Names of the classes of this run; empty until they are known."""
        self._classes: dict[int, tuple[str, ...]] = {}
        """Class names in a node's data, by node, if the data have any."""
        self._incomplete: dict[int, tuple[str, ...]] = {}
        """Class names of clients with another number of classes than the run, by name, until they are compared."""
        self._other_classes: dict[int, int] = {}
        """Names of clients left out only because of their classes, by node."""

    @property
    def clients(self) -> Mapping[int, int]:
        """Mapping from name to node of the available clients."""
        return {name: node for node, name in self._names.items() if node in self._present}

    def restore(self, owners: Mapping[int, int]) -> None:
        """Restore the mapping from name to node of a resumed run."""
        self.owners = dict(owners)
        self._claimed = {node: name for name, node in owners.items()}

    def update(self, nodes: Collection[int]) -> None:
        """Set the connected nodes, and forget all others."""
        present = self._present = set(nodes)
        self._names = {node: name for node, name in self._names.items() if node in present}
        self._left_out = {node: reason for node, reason in self._left_out.items() if node in present}
        self._classes = {node: classes for node, classes in self._classes.items() if node in present}
        self._other_classes = {node: name for node, name in self._other_classes.items() if node in present}

    def to_ask(self, pending: Collection[int]) -> list[int]:
        """Return the connected nodes to ask for an introduction now, except nodes with a `pending` answer."""
        now = time.monotonic()
        waiting = {node for node, retry in self._retries.items() if now < retry.at}
        return sorted(self._present - set(self._names) - set(self._left_out) - set(pending) - waiting)

    def introduce(self, node: int, given: object, problem: str = "", class_names: tuple[str, ...] = ()) -> None:
        """Record a node's introduction.

        Parameters
        ----------
        node : int
            Node ID.
        given : object
            The `partition-id` that the node sent, not validated.
        problem : str
            Reason why the client cannot take part, or an empty string.
        class_names : tuple of str
            Class names in the client's data, if any.
        """
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
        """Record that a node's introduction failed; the pause before the next attempt doubles each time."""
        pause = self._retries[node].pause if node in self._retries else _PAUSE
        self._retries[node] = _Retry(time.monotonic() + pause, min(2 * pause, _LONGEST_PAUSE), reason)
        log.warning("node %d did not introduce itself, retrying in %g s: %s", node, pause, reason)

    def compare_classes(self) -> None:
        """Leave out clients whose class names differ from the run's, even in order only, because labels would not match.

        Class names are compared with :attr:`class_names`, or, as long as these are unknown, with those of the most clients.
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
        """Fix the class names for the rest of the run; called before clients train."""
        named = sorted((name, node) for node, name in self._names.items() if node in self._classes)
        if named:
            self.class_names = self._most_common(named)

    def _most_common(self, named: Iterable[tuple[int, int]]) -> tuple[str, ...]:
        """Return the run's class names or, if unknown, the most common ones; the first among ties."""
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
        """The first reason why a connected node cannot take part; empty if there is none or an answer is pending."""
        if self._present - self._names.keys() - self._left_out.keys() - self._retries.keys():
            return ""
        failed = [retry.reason for node, retry in self._retries.items() if node in self._present]
        return next(iter([*self._left_out.values(), *failed]), "")


def _agree(own: tuple[str, ...], expected: tuple[str, ...]) -> bool:
    """Return whether two data sets have the same classes; names 0, 1, ... match equally many non-integer names."""
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
    """Sample round(fraction * n) of n names, at least one, uniformly; a function of the arguments alone."""
    ordered = sorted(names)
    if not ordered:
        return []
    count = max(1, round(fraction * len(ordered)))
    draws = rng.words(len(ordered), seed, purpose, server_round=server_round)
    return sorted(ordered[i] for i in np.argsort(draws, kind="stable")[:count])
