"""What is in a model's file, found without its network: this takes NumPy, and torch is not imported."""

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
"""More parameters than so many are refused, unless a reader says otherwise."""


@dataclass(frozen=True)
class Contents:
    """A file's facts, and how much of each layer is kept."""

    file_bytes: int
    facts: Facts
    kept: tuple[tuple[Layer, int], ...]
    """Each layer with its number of weights that are not zero."""


def look(path: str | Path, *, max_gates: int = MOST_GATES) -> Contents:
    """Look into a model's file. Its weights are decoded, its network is not built, and need not be known here.

    Raises
    ------
    ModelFileError
        It is not there, no such file, damaged, of another version, or has other weights than its facts say.
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
    """Which weights are not zero, ``[d]``, of a network of the layers that the facts tell.

    Raises
    ------
    ModelFileError, WireError
        The payload is not one of such a network.
    """
    size = expected_size(payload, max_gates)
    told = sum(layer.size for layer in facts.layers)
    if told != size:
        raise ModelFileError(f"its layers have {told:,} parameters, and its weights are {size:,}")
    try:
        shared = CodingContext(bytes.fromhex(facts.digest), tuple(layer.size for layer in facts.layers))
    except ValueError:
        raise ModelFileError(f"its digest is {facts.digest[:32]!r}, expected a number in hexadecimal") from None
    values = decoded_mask(payload, shared) if facts.weight_scale else decoded_weights(payload, shared)
    return np.not_equal(values, 0, dtype=np.bool_)


def expected_size(payload: bytes, max_gates: int) -> int:
    """For how many parameters a payload says it is; nothing of that size is there before this is known to be allowed.

    Raises
    ------
    ModelFileError, WireError
        It is no payload, or says more than `max_gates`.
    """
    size = peek(payload).size
    if size > max_gates:
        raise ModelFileError(f"a network of {size:,} parameters, expected at most {max_gates:,} (max_gates, or --max-gates)")
    return size


def decoded_mask(payload: bytes, shared: CodingContext) -> NDArray[np.uint8]:
    """The mask of frozen weights, zeros and ones ``[d]``; anything else is a :class:`WireError`."""
    codec = "packed" if peek(payload).codec == PACKED else "entropy"
    return unpack_update(payload, shared, codec).gates(sum(shared.layers))


def decoded_weights(payload: bytes, shared: CodingContext) -> NDArray[np.float32]:
    """Trained weights, ``[d]``; anything else is a :class:`WireError`."""
    state, _ = unpack_state(payload, shared, "votes")
    if not isinstance(state, Weights):
        raise WireError("votes, expected weights")
    return state.values
