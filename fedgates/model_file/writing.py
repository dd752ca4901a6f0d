"""From a trained network to a model's file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedgates.model_file.batch_norms import measured
from fedgates.model_file.facts import Facts, to_json
from fedgates.model_file.layout import LONGEST_FACTS, join
from fedgates.model_file.model import layers_of
from fedgates.nn.dead_units import remove_dead_units, zero_dead_units
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.size import network_size
from fedgates.types import Update, Weights, pack
from fedgates.wire import CodingContext, pack_state, pack_update


def save(
    path: Path, network: Network, facts: Facts, weights: Tensor, *, gates: Gates | None = None, images: Tensor | None = None
) -> int:
    """Write a model's file; its size in bytes. Weights of units that no path uses are left out (:mod:`fedgates.nn.dead_units`).

    Parameters
    ----------
    path : Path
        Replaced if it is there, atomically.
    network : Network
        Whose weights are overwritten.
    facts : Facts
        All from `weight_scale` on, but for `training`, is set here.
    weights : Tensor
        Of the model, float32 ``[d]``; 0 where a weight is dropped.
    gates : Gates, optional
        Frozen weights. Where `weights` are these under a mask the file has the mask alone.
    images : Tensor, optional
        Uint8 ``[n, C, H, W]``; needed where the network has batch norms, which without any go on using the batch.

    Raises
    ------
    ValueError
        A weight, or a batch norm's statistic, is not finite: no reader would take it.
    """
    from fedgates.util.files import write_atomically  # noqa: PLC0415  # takes a Unix; reading a model does not

    if not bool(weights.isfinite().all()):
        raise ValueError("weights that are not finite make no model")
    network.weights.copy_(weights)
    zero_dead_units(network.module)
    statistics = b"" if images is None else measured(network.module, images)
    scale, shared, payload = _packed(network, gates)
    small = remove_dead_units(network.module)
    told = replace(
        facts,
        weight_scale=scale,
        digest=shared.digest.hex(),
        layers=layers_of(network),
        whole=network_size(network.module, facts.input_shape),
        slim=None if small is None else network_size(small, facts.input_shape),
    )
    described = to_json(told)
    if len(described) > LONGEST_FACTS:
        raise ValueError(f"facts of {len(described):,} bytes, expected at most {LONGEST_FACTS:,}: no reader would take them")
    whole = join(described, statistics, payload)
    write_atomically(path, whole)
    return len(whole)


def _packed(network: Network, gates: Gates | None) -> tuple[str, CodingContext, bytes]:
    """The scale of frozen weights or "", what a reader has to know, and the payload of the network's weights."""
    weights = network.weights
    values = weights.cpu().numpy() + np.float32(0)  # no -0, which is not nothing on the wire
    mask = values != 0
    layers = tuple(slot.size for slot in network.slices)
    if gates is not None and torch.equal(gates.frozen * torch.from_numpy(mask).to(gates.frozen.device), weights):
        shared = CodingContext(gates.digest, layers)
        coded = (pack_update(Update(pack(mask)), shared, uplink) for uplink in ("entropy", "packed"))
        return gates.scale, shared, min(coded, key=len)
    shared = CodingContext(network.digest(), layers)
    return "", shared, pack_state(Weights(values), shared, "votes")
