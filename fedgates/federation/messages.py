"""What a server and its clients exchange: bytes and plain numbers, whatever carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["train", "evaluate"]


@dataclass(frozen=True)
class Problem:
    """Shape of the problem, which the data of every client must fit."""

    input_shape: tuple[int, int, int]
    """(C, H, W) of an image."""
    num_classes: int
    """0 for regression."""


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
    """The coded update; empty for an evaluation."""
    num_examples: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    size: int = 0
    """Bytes of payload that arrived, also of a malformed reply."""
    failure: str = ""
    """Why the client did not answer; empty if it did."""
    malformed: str = ""
    """Why the answer cannot be used; empty if it is well-formed."""
