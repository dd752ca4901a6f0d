"""Read the contents of a model file without its network and without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedgates.config.names import MAX_GATES
from fedgates.errors import ModelFileError, WireError
from fedgates.model_file.facts import Facts, Layer, from_json
from fedgates.model_file.layout import read_bytes, split
from fedgates.types import Weights
from fedgates.util.text import one_line
from fedgates.wire import CodingContext, unpack_state, unpack_update
from fedgates.wire.header import PACKED, peek

MOST_GATES = MAX_GATES
"""Default limit on the number of a network's parameters."""


@dataclass(frozen=True)
class Contents:
    """Contents of a model file: its facts, and the number of nonzero weights of each layer."""

    file_bytes: int
    facts: Facts
    kept: tuple[tuple[Layer, int], ...]
    """Each layer with its number of nonzero weights."""


def read_contents(path: str | Path, *, max_gates: int = MOST_GATES) -> Contents:
    """Read the facts and decode the weights of a model file, without building its network.

    Parameters
    ----------
    path : str or Path
        The file.
    max_gates : int
        Largest number of parameters to accept.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, of another format or version, or its weights do not match its facts.
    """
    try:
        data = read_bytes(path, max_gates)
        packed, _, payload = split(data)
        facts = from_json(packed)
        kept = nonzero(facts, payload, max_gates)
    except (ModelFileError, WireError) as error:
        raise ModelFileError(f"{path}: {one_line(error)}") from None
    ends = np.cumsum([layer.size for layer in facts.layers])[:-1]
    counts = [int(np.count_nonzero(part)) for part in np.split(kept, ends)]
    return Contents(len(data), facts, tuple(zip(facts.layers, counts, strict=True)))


def nonzero(facts: Facts, payload: bytes, max_gates: int) -> NDArray[np.bool_]:
    """Return which weights are nonzero, bool ``[d]``.

    Raises
    ------
    ModelFileError, WireError
        The payload does not match the facts.
    """
    size = expected_size(payload, max_gates)
    parameters = sum(layer.size for layer in facts.layers)
    if parameters != size:
        raise ModelFileError(f"its layers have {parameters:,} parameters, but its payload has {size:,}")
    try:
        tail = sum(layer.size for layer in facts.tail)
        if tail > max_gates:
            raise ModelFileError(f"{tail:,} values beside the mask, expected at most {max_gates:,} (max_gates, or --max-gates)")
        context = CodingContext(bytes.fromhex(facts.digest), tuple(layer.size for layer in facts.layers), tail=tail)
    except ValueError:
        raise ModelFileError(f"its digest is {facts.digest[:32]!r}, expected a number in hexadecimal") from None
    values = decode_mask(payload, context)[0] if facts.weight_scale else decode_weights(payload, context)
    return np.not_equal(values, 0, dtype=np.bool_)


def expected_size(payload: bytes, max_gates: int) -> int:
    """Return the number of parameters in a payload's header, before memory of that size is allocated.

    Raises
    ------
    ModelFileError, WireError
        The bytes are not a payload, or the number exceeds `max_gates`.
    """
    size = peek(payload).size
    if size > max_gates:
        raise ModelFileError(f"a network of {size:,} parameters, expected at most {max_gates:,} (max_gates, or --max-gates)")
    return size


def decode_mask(payload: bytes, context: CodingContext) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Decode a mask, 0 and 1 ``[d]``, and the values stored beside it; any other payload raises :class:`WireError`."""
    codec = "packed" if peek(payload).codec == PACKED else "entropy"
    update = unpack_update(payload, context, codec, "mask and tail" if context.tail else "mask")
    return update.gates(context.size), np.empty(0, np.float32) if update.tail is None else update.tail


def decode_weights(payload: bytes, context: CodingContext) -> NDArray[np.float32]:
    """Decode trained weights ``[d]``; any other payload raises :class:`WireError`."""
    state, _ = unpack_state(payload, context, "votes")
    if not isinstance(state, Weights):
        raise WireError("votes, expected weights")
    return state.values
