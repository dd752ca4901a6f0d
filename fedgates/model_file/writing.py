"""Write a trained network as a model file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedgates.model_file.batch_norms import measure_statistics
from fedgates.model_file.facts import Facts, to_json
from fedgates.model_file.layout import LONGEST_FACTS, join
from fedgates.model_file.model import layers_of
from fedgates.models.probe import Inputs
from fedgates.nn.dead_units import remove_dead_units, zero_dead_units
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.size import network_size
from fedgates.types import Update, Weights, pack
from fedgates.wire import CodingContext, pack_state, pack_update


def save(
    path: Path, network: Network, facts: Facts, weights: Tensor, *, gates: Gates | None = None, examples: Inputs | None = None
) -> int:
    """Write a model file and return its size in bytes. Weights of dead units are left out (:mod:`fedgates.nn.dead_units`).

    Parameters
    ----------
    path : Path
        The file, which is replaced atomically.
    network : Network
        The network; its weights are overwritten.
    facts : Facts
        Description; `weight_scale` and all fields after it except `training` are set here.
    weights : Tensor
        Weights of the model, float32 ``[d]``; 0 for a dropped weight.
    gates : Gates, optional
        Frozen weights. If `weights` are these under a mask, the file contains only the mask.
    examples : Tensor or mapping, optional
        Inputs ``[n, ...]``, to measure the statistics of batch norms; without any these continue to use the batch.

    Raises
    ------
    ValueError
        A weight or a statistic of a batch norm is not finite, so that no reader would accept the file.
    """
    from fedgates.util.files import write_atomically  # noqa: PLC0415  # needs Unix; reading a model does not

    if not bool(weights.isfinite().all()):
        raise ValueError("the weights are not finite")
    network.weights.copy_(weights)
    zero_dead_units(network.module)
    statistics = b"" if examples is None else measure_statistics(network.module, examples)
    scale, context, payload = _packed(network, gates)
    small = remove_dead_units(network.module)
    complete = replace(
        facts,
        weight_scale=scale,
        digest=context.digest.hex(),
        layers=layers_of(network),
        whole=network_size(network.module, facts.problem),
        slim=None if small is None else network_size(small, facts.problem),
    )
    text = to_json(complete)
    if len(text) > LONGEST_FACTS:
        raise ValueError(f"facts of {len(text):,} bytes, expected at most {LONGEST_FACTS:,}")
    whole = join(text, statistics, payload)
    write_atomically(path, whole)
    return len(whole)


def _packed(network: Network, gates: Gates | None) -> tuple[str, CodingContext, bytes]:
    """Return the scale of frozen weights or "", the coding context, and the payload of the network's weights."""
    weights = network.weights
    values = weights.cpu().numpy() + np.float32(0)  # -0 becomes +0, which the wire treats as a dropped weight
    mask = values != 0
    layers = tuple(part.size for part in network.slices)
    if gates is not None and torch.equal(gates.frozen * torch.from_numpy(mask).to(gates.frozen.device), weights):
        context = CodingContext(gates.digest, layers)
        coded = (pack_update(Update(pack(mask)), context, uplink) for uplink in ("entropy", "packed"))
        return gates.scale, context, min(coded, key=len)
    context = CodingContext(network.digest(), layers)
    return "", context, pack_state(Weights(values), context, "votes")
