"""SparsyFed: a model that is sparse while it trains, and sparse traffic both ways.

Guastella et al.: SparsyFed, ICLR 2025, arXiv 2504.05153.

A client trains ``w``, while its network runs with ``theta`` (Powerprop), and finds the weights' gradient from pruned
activations (:mod:`fedgates.nn.activation_pruning`: of each layer's input the largest entries, as large a share as that of the
layer's weights that are not zero):

    theta = sign(w) |w|^beta,    w -= lr (d loss / d theta * beta |w|^(beta - 1) + wd w).

It then sends the ``round(density.target * n)`` largest of its n weights ``w``, over all layers, with their mask. The server
takes the mean ``sum_k n_k w_k / sum_k n_k`` (the same as a step along the mean of the pseudo-gradients ``w - w_k``).
`density.target` is needed; 1 prunes nothing. `sparsyfed.powerprop` (beta, 1.25) is the one hyper-parameter; 1 trains the
weights themselves. First weights: theta normal, cut off at two standard deviations, of standard deviation sqrt(1/fan_in).

Paper: 1 local epoch on clients of some 500 images, batch-size 16, learning-rate .5, learning-rate-final .01, weight-decay
.001, 100 clients of which 10 train, 700 rounds, ResNet-18. It writes that the update is pruned; its authors' code prunes the
weights, uploads them dense, and broadcasts the union of the clients' masks, which is denser than any of them.

Choices here: `sparsyfed.prune` is "weights" or "update". "weights" is the default: what is broadcast are the weights that some
client kept, and clients agree more from round to round, so that both ways are sparse after the dense start. With "update" the
server adds the mean of the sparse changes to weights that were dense at the start and would stay so; there it prunes what it
then has to the same density. On digits (10 clients, mlp, density.target .05, 3 local epochs, the paper's rates, 30 rounds,
means of three seeds) "weights" reaches .894 and .850 if the server prunes there, too; "update" .818; dense FedAvg .966. The
broadcast has the density .075 in round 2 and .056 in the last. What it costs to prune activations, and what becomes of
regrowth with beta = 1, is measured in benchmarks/study.

What can be pruned are matrices and kernels. Biases are few: they are neither pruned nor bent, start at 0, and come on top of
the target density; nor are they counted in regrowth or consensus, where one that starts at 0 would seem to have regrown.
Which weights may be kept is decided in round 1. For beta > 1 the derivative of theta is 0 at 0, so a weight that no client
kept never comes back: regrowth is exactly 0. With beta = 1 all are trained, and which are sent may change. A global Top-K
after little training follows the spread of the first weights, which is smaller the larger fan_in is, and may leave a wide
layer next to nothing; and then next to no activations either. Clients must therefore get far enough in round 1: by a learning
rate, or steps a round, like the paper's.
"""

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates import rng
from fedgates.config import TARGET_ONLY, DensityTable, Table, WeightConfig, key
from fedgates.methods import WeightMethod, finite_copy, largest, to_float32, weighted_mean
from fedgates.methods.metrics import MaskCounts, consensus, regrown_share_of_gates, regrown_share_of_ones
from fedgates.methods.training import Task, train_epochs
from fedgates.nn.activation_pruning import pruned_activations
from fedgates.nn.network import Network, ParameterSlice
from fedgates.nn.optimizers import SGD
from fedgates.types import Update, Weights, pack

_TRUNCATED_DEVIATION = 0.8796
"""Standard deviation of a standard normal that is cut off at -2 and 2."""


class SparsyFedTable(Table):
    """SparsyFed."""

    powerprop: float = key(
        1.25, "Exponent beta: the network runs with sign(w) |w|^beta; 1 trains the weights themselves.", ge=1, le=10
    )
    prune: Literal["weights", "update"] = key(
        "weights", "What a client sends the largest of: its trained weights, or their changes."
    )
    prune_activations: bool = key(
        default=True, description="Whether the weights' gradient is computed from the largest activations alone."
    )


class SparsyFedConfig(WeightConfig):
    """Keys of SparsyFed."""

    density: DensityTable = DensityTable()
    sparsyfed: SparsyFedTable = SparsyFedTable()

    unused = WeightConfig.unused | TARGET_ONLY
    default_learning_rate = 0.5
    requires_density = True


SparsyFedCfg = TypeVar("SparsyFedCfg", bound=SparsyFedConfig)


class SparsyFed(WeightMethod[SparsyFedCfg], Generic[SparsyFedCfg]):
    """SparsyFed; described in the module's docstring.

    Attributes
    ----------
    prunable : numpy.ndarray
        Which parameters are entries of matrices and kernels, bool ``[d]``.
    count : int
        How many of them are kept.
    """

    Config = SparsyFedConfig
    spec = replace(WeightMethod.spec, update="mask and values")

    def __init__(self, config: SparsyFedCfg, network: Network) -> None:
        super().__init__(config, network)
        self.prunable = np.concatenate([np.full(slot.size, slot.is_matrix) for slot in network.slices])
        total = int(self.prunable.sum())
        self.count = max(1, round(config.density.target * total))
        self._straight = torch.from_numpy(~self.prunable).to(network.device)
        self._slopes = torch.full_like(network.weights, config.sparsyfed.powerprop).masked_fill_(self._straight, 1)

    def initial_state(self) -> Weights:
        """Return the initial weights: matrices and kernels by the paper's rule, biases 0, the rest as the network has it."""
        values = super().initial_state().values.copy()
        for slot in self.network.slices:
            part = slice(slot.offset, slot.offset + slot.size)
            if slot.is_matrix:
                values[part] = truncated_normal(slot, self.config.seed, self.config.sparsyfed.powerprop)
            elif slot.fan_in:
                values[part] = 0
        return Weights(values)

    def weights(self, state: Weights) -> Tensor:
        """Return the weights that the network runs with, ``sign(w) |w|^beta``."""
        w = self.tensor(state.values)
        return w * self.powers(w)

    def powers(self, w: Tensor) -> Tensor:
        """``|w|^(beta - 1)`` of matrices and kernels, 1 of the rest: ``[d]``.

        The network runs with ``w`` times it, whose derivative is ``beta`` times it, and 1 for the rest.
        """
        return w.abs().pow_(self.config.sparsyfed.powerprop - 1).masked_fill_(self._straight, 1)

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """Train from the state's weights; send the largest of the trained ones, or of their changes."""
        trained, loss = self.trained(state, task)
        if self.config.sparsyfed.prune == "update":
            kept = self.kept(trained - state.values)
            own = np.where(kept, trained, state.values)
            sent = trained - state.values
        else:
            kept = self.kept(trained)
            own = np.where(kept, trained, np.float32(0))
            sent = trained
        self.network.weights.copy_(self.weights(Weights(own)))
        metrics = {"loss": loss, **self.held_out_accuracy(task)}
        return Update(pack(kept), sent[kept], num_examples=len(task.y), metrics=metrics)

    def trained(self, state: Weights, task: Task) -> tuple[NDArray[np.float32], float]:
        """Local SGD on ``w``, through ``sign(w) |w|^beta``: the new ``w [d]``, not pruned yet, and the mean loss."""
        config, network, w = self.config, self.network, self.tensor(state.values)
        optimizer = SGD(
            w,
            network.gradient,
            learning_rate=config.rate(task.server_round),
            momentum=config.sgd.momentum,
            weight_decay=config.sgd.weight_decay,
        )
        powers = torch.empty_like(w)

        def load() -> None:
            powers.copy_(self.powers(w))
            torch.mul(w, powers, out=network.weights)

        def convert() -> None:
            network.gradient.mul_(powers.mul_(self._slopes))

        with pruned_activations(network.module) if config.sparsyfed.prune_activations else nullcontext():
            loss = train_epochs(network, task, config, optimizer, before_forward=load, after_backward=convert)
        return finite_copy(w), loss

    def kept(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return the mask ``[d]`` that keeps the largest nonzero entries of matrices and kernels, and everything else."""
        mask = ~self.prunable
        candidates = values[self.prunable]
        mask[self.prunable] = largest(candidates, self.count) & (candidates != 0)
        return mask

    # --- the server's rule

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:  # noqa: ARG002
        """Return the mean of the clients' sparse weights; or the state plus the mean of their sparse changes, pruned."""
        mean = weighted_mean(updates, state.size)
        if mean is None:
            return state
        if self.config.sparsyfed.prune == "weights":
            return Weights(to_float32(mean))
        new = to_float32(state.values + mean)
        return Weights(np.where(self.kept(new), new, np.float32(0)))

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return consensus and regrowth over matrices and kernels alone."""
        own, start = masks.among(self.prunable), before.values[self.prunable]
        metrics = super().round_metrics(before, after, masks)
        if own.masks > 1:
            metrics["mask_consensus"] = consensus(own)
        if own.masks:
            metrics |= {
                "regrown_share_of_ones": regrown_share_of_ones(start, own),
                "regrown_share_of_gates": regrown_share_of_gates(start, own),
            }
        return metrics


def truncated_normal(slot: ParameterSlice, seed: int, powerprop: float = 1.0) -> NDArray[np.float32]:
    """A layer's first ``w``, ``[slot.size]``: ``sign(v) |v|^(1 / beta)``.

    ``v`` is normal, cut off at two standard deviations, and has the standard deviation ``sqrt(1 / fan_in)`` that is left after
    that. It is a function of the seed and of the parameter's name, by Philox words and the normal's quantiles.
    """
    uniform = (rng.words(slot.size, seed, f"sparsyfed {slot.name}") >> np.uint64(11)) * 2.0**-53
    tail = math.erfc(math.sqrt(2)) / 2
    quantiles = torch.special.ndtri(torch.from_numpy(tail + (1 - 2 * tail) * uniform)).numpy()
    v = quantiles * math.sqrt(1 / slot.fan_in) / _TRUNCATED_DEVIATION
    return np.asarray(np.sign(v) * np.abs(v) ** (1 / powerprop), dtype=np.float32)
