"""What a server and its clients exchange: bytes and plain numbers, whatever carries them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedgates.types import Problem

MAX_CLASS_NAMES = 8192
"""Characters of all names of classes in an introduction."""
Measurement = Literal["norms", "features"]
"""What a client measures (:mod:`fedgates.methods.measurements`)."""
Kind = Literal["train", "evaluate", "norms", "features"]


def comparable(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes as introductions carry them: many are a digest of them all, in place of the names.

    What is no text in UTF-8, as the name of a folder may be, is escaped: a message cannot carry it.
    """
    class_names = [name.encode(errors="backslashreplace").decode() for name in class_names]
    if sum(map(len, class_names)) <= MAX_CLASS_NAMES:
        return tuple(class_names)
    digest = hashlib.sha256(json.dumps(class_names).encode()).hexdigest()[:32]
    return (f"{len(class_names):,} classes of digest {digest}",)


@dataclass(frozen=True)
class Request:
    """A request of the server to one client."""

    node: int
    """Where to send it: the engine's number of the node."""
    client: int
    """Name of the client."""
    kind: Kind
    payload: bytes
    """The coded state, or what leads to it from the one that the client has."""
    problem: Problem


@dataclass(frozen=True)
class Reply:
    """A client's reply to a request, or the reason why there is none."""

    node: int
    payload: bytes = b""
    """The coded update, or the sums of a measurement; empty for an evaluation."""
    num_examples: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    size: int = 0
    """Bytes of payload that arrived, also of a malformed reply."""
    failure: str = ""
    """Why the client did not answer; empty if it did."""
    malformed: str = ""
    """Why the answer cannot be used; empty if it is well-formed."""
