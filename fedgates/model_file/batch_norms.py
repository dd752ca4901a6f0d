"""Statistics of batch norms without running statistics: measured once, then fixed."""

import numpy as np
import torch
from torch import Tensor, nn

from fedgates.data.inputs import count, take
from fedgates.data.tensors import normalise
from fedgates.errors import ModelFileError
from fedgates.models.probe import Inputs, run

_BATCH = 64


def measure_statistics(module: nn.Module, examples: Inputs) -> bytes:
    """Return mean and variance of the input of each batch norm, float32, averaged over batches of 64.

    Each batch is normalised by its own statistics meanwhile.

    Raises
    ------
    ValueError
        A statistic is not finite.
    """
    norms = _norms(module)
    if not norms:
        return b""
    sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for _, norm in norms]
    places = {id(norm): total for (_, norm), total in zip(norms, sums, strict=True)}

    def record(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        of_channels = inputs[0].transpose(0, 1).flatten(1).double()
        places[id(norm)] += torch.stack([of_channels.mean(1), of_channels.var(1, unbiased=False)]).cpu()

    handles = [norm.register_forward_pre_hook(record) for _, norm in norms]
    used = max(_BATCH, count(examples) // _BATCH * _BATCH)
    batches = [
        take(examples, slice(start, min(start + _BATCH, used))) for start in range(0, min(used, count(examples)), _BATCH)
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                run(module, normalise(batch))
    finally:
        for handle in handles:
            handle.remove()
    means = torch.cat([total.flatten() for total in sums]).div_(len(batches)).float()
    if not bool(means.isfinite().all()):
        raise ValueError("the statistics of a batch norm are not finite")
    return means.numpy().astype("<f4").tobytes()


def fix_statistics(module: nn.Module, statistics: bytes) -> None:
    """Replace each batch norm, in place, by one with these running statistics; do nothing if there are none.

    Raises
    ------
    ModelFileError
        The number of statistics does not fit the network's batch norms, or they are not valid.
    """
    if not statistics:
        return
    norms = _norms(module)
    wanted = sum(2 * layer.num_features for _, layer in norms)
    if len(statistics) != 4 * wanted:
        raise ModelFileError(f"{len(statistics)} bytes of statistics, expected {4 * wanted}")
    values = torch.from_numpy(np.frombuffer(statistics, dtype="<f4").astype(np.float32))
    if not bool(values.isfinite().all()):
        raise ModelFileError("its statistics are not finite")
    at = 0
    for name, layer in norms:
        fixed = nn.BatchNorm2d(layer.num_features, eps=layer.eps, affine=False)
        fixed.running_mean = values[at : at + layer.num_features].clone()
        fixed.running_var = values[at + layer.num_features : at + 2 * layer.num_features].clone()
        if bool((fixed.running_var < 0).any()):
            raise ModelFileError(f"a variance of the batch norm {name!r} is below zero")
        at += 2 * layer.num_features
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, fixed)


def _norms(module: nn.Module) -> list[tuple[str, nn.BatchNorm2d]]:
    """Return the batch norms without running statistics or parameters, with their names."""
    every = module.named_modules()
    return [(name, m) for name, m in every if isinstance(m, nn.BatchNorm2d) and m.running_mean is None and not m.affine]
