"""Write a trained network as a model file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.model_file.facts import Facts, to_json
from fedgates.model_file.layout import LONGEST_FACTS, join
from fedgates.model_file.model import parameters_of
from fedgates.nn.dead_units import remove_dead_units, zero_dead_units
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.size import network_size
from fedgates.types import Update, Weights, pack
from fedgates.util.files import write_atomically
from fedgates.wire import CodingContext, pack_state, pack_update


def save(
    path: Path,
    network: Network,
    facts: Facts,
    weights: Tensor,
    *,
    gates: Gates | None = None,
    statistics: NDArray[np.float32] | None = None,
) -> int:
    """Write a model file and return its size in bytes; weights of dead units become zero (:mod:`fedgates.nn.dead_units`).

    Parameters
    ----------
    path : Path
        The file, replaced atomically if it exists.
    network : Network
        The network, with the values of its tail; its weights are overwritten.
    facts : Facts
        Description of the model; `weight_scale`, `digest`, layers and sizes are filled in by this function.
    weights : Tensor
        Weights of the model, float32 ``[d]``; 0 for dropped weights.
    gates : Gates, optional
        Frozen weights. If `weights` equal the masked frozen weights, the file contains only the mask.
    statistics : numpy.ndarray, optional
        Statistics of the batch norms (:func:`fedgates.nn.batch_norms.statistics_of`); without them, batch norms use those of
        the batch.

    Raises
    ------
    ValueError
        A weight is not finite, or the facts are too long.
    """
    if not bool(weights.isfinite().all()):
        raise ValueError("the weights are not finite")
    network.weights.copy_(weights)
    if not network.fixed:  # zeroing dead units would change them
        zero_dead_units(network.module)
    scale, context, payload = _packed(network, gates)
    parameters = parameters_of(network)
    given = tuple(each.name for each in network.slices if bool(gates.given[each.part].any())) if gates and scale else ()
    if not (given or network.fixed or _saved_buffers(network)):  # all weights are in the file
        facts = replace(facts, weights="", fresh="")
    small = remove_dead_units(network.module)
    complete = replace(
        facts,
        weight_scale=scale,
        digest=context.digest.hex(),
        layers=parameters.layers,
        tail=parameters.tail,
        fixed=parameters.fixed,
        given=given,
        whole=network_size(network.module, facts.problem),
        slim=None if small is None else network_size(small, facts.problem),
    )
    text = to_json(complete)
    if len(text) > LONGEST_FACTS:
        raise ValueError(f"facts of {len(text):,} bytes, expected at most {LONGEST_FACTS:,}")
    whole = join(text, b"" if statistics is None else statistics.astype("<f4").tobytes(), payload)
    write_atomically(path, whole)
    return len(whole)


def _saved_buffers(network: Network) -> bool:
    saved = network.module.state_dict(keep_vars=True)
    return any(name in saved for name, _ in network.module.named_buffers())


def _packed(network: Network, gates: Gates | None) -> tuple[str, CodingContext, bytes]:
    """Return the scale of frozen weights (empty for trained weights), the coding context, and the payload."""
    weights = network.weights
    values = weights.cpu().numpy() + np.float32(0)  # -0 becomes +0, which the codec treats as dropped
    mask = values != 0
    layers = tuple(part.size for part in network.slices)
    if gates is not None and torch.equal(gates.frozen * torch.from_numpy(mask).to(gates.frozen.device), weights):
        context = CodingContext(gates.digest, layers, tail=len(network.tail))
        update = Update(pack(mask), tail=network.tail.values.cpu().numpy() if len(network.tail) else None)
        coded = (pack_update(update, context, uplink) for uplink in ("entropy", "packed"))
        return gates.scale, context, min(coded, key=len)
    context = CodingContext(network.digest(), layers)
    return "", context, pack_state(Weights(values), context, "votes")
