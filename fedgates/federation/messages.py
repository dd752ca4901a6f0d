"""Messages between a server and its clients, independent of the transport."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedgates.types import Problem

MAX_CLASS_NAMES = 8192
"""Largest number of characters of all class names in an introduction."""
Measurement = Literal["norms", "features"]
"""Kind of a measurement (:mod:`fedgates.methods.measurements`)."""
Kind = Literal["train", "evaluate", "norms", "features"]


def comparable(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as they are sent in introductions; long lists are replaced by a digest.

    Characters that are not valid in UTF-8, as in names of folders, are escaped, because a message cannot carry them.
    """
    class_names = [name.encode(errors="backslashreplace").decode() for name in class_names]
    if sum(map(len, class_names)) <= MAX_CLASS_NAMES:
        return tuple(class_names)
    digest = hashlib.sha256(json.dumps(class_names).encode()).hexdigest()[:32]
    return (f"{len(class_names):,} classes of digest {digest}",)


@dataclass(frozen=True)
class Request:
    """Request from the server to one client."""

    node: int
    """ID of the node that the request is sent to."""
    client: int
    """Name of the client."""
    kind: Kind
    payload: bytes
    """The coded state, or a change to the state that the client has."""
    problem: Problem
    """Inputs and outputs of the network, which the client's data must fit."""


@dataclass(frozen=True)
class Reply:
    """A client's reply to a request, or the reason why there is none."""

    node: int
    """ID of the node that replied."""
    payload: bytes = b""
    """The coded update, or the sums of a measurement; empty for an evaluation."""
    num_examples: int = 1
    """Number of examples that the client trained or evaluated on."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics by name."""
    size: int = 0
    """Bytes of payload received, including malformed replies."""
    failure: str = ""
    """Reason why the client did not answer, or an empty string."""
    malformed: str = ""
    """Reason why the answer cannot be used, or an empty string."""
