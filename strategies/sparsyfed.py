"""SparsyFed: sparse training with sparse traffic in both directions.

Guastella et al.: SparsyFed, ICLR 2025, arXiv 2504.05153.

A client trains ``w``, while its network runs with ``theta`` (Powerprop). The gradient of the weights is computed from pruned
activations (:mod:`fedgates.nn.activation_pruning`): of each layer's input, the largest entries are kept, with the same density
as the layer's weights.

    theta = sign(w) |w|^beta,    w -= lr (d loss / d theta * beta |w|^(beta - 1) + wd w).

The client then sends the ``round(d_r * n)`` largest of its n weights ``w`` over all layers, with their mask, where d_r is the
density of round r. The server takes the mean ``sum_k n_k w_k / sum_k n_k`` (the same as a step along the mean of the
pseudo-gradients ``w - w_k``). `density.target` is required; 1 prunes nothing. `sparsyfed.powerprop` (beta, 1.25) is the paper's
only hyper-parameter; 1 trains the weights themselves. Initially theta is normal with standard deviation sqrt(1/fan_in),
truncated at two standard deviations.

Paper: 1 local epoch on clients with about 500 images, batch-size 16, learning-rate .5, learning-rate-final .01, weight-decay
.001, 10 of 100 clients per round, 700 rounds, ResNet-18. According to the paper, the update is pruned; the authors' code prunes
the weights, uploads them dense, and broadcasts the union of the clients' masks, which is denser than each of them. Paper and
code prune to the target from round 1 on, by magnitude, and prune the network's input like activations. These are the settings
`sparsyfed.dense-rounds` 0, `sparsyfed.density-rounds` 0, `sparsyfed.score` "magnitude", `sparsyfed.prune-input` true.

Schedule: the density must fall over time, because for beta > 1 it cannot rise. The derivative of theta is 0 at 0, so a weight
that no client keeps stays zero, and pruning to the target in round 1 would fix the mask to that of the initial weights. In the
first `sparsyfed.dense-rounds` D rounds, nothing is pruned; over the next `sparsyfed.density-rounds` N rounds, the density falls
cubically to the target d (Zhu, Gupta: To prune, or not to prune, arXiv 1710.01878):

    d_r = 1 for r <= D,    d_r = d + (1 - d) (1 - (r - D) / N)^3 up to r = D + N,    then d_r = d.

Clients prune to d_r before they send; with "update", the server prunes its new weights as well. The defaults (-1) are D = 2 and
N = 13; in a run of fewer than 30 rounds, D + N is half the number of rounds. The price is traffic: with d = .05, the mean of
d_r is .201 over 30 rounds and .056 over 700. ``density`` in ``rounds.jsonl`` is the density of each round, including biases.

Score: the initial spread of a layer's w is proportional to ``fan_in^(-1 / (2 beta))``, and Top-K of ``|w|`` over all layers
depends on it, so that a layer with many inputs may keep almost nothing. `sparsyfed.score` "scaled" compares
``|w| fan_in^(1 / (2 beta))``, which initially has the same spread in all layers.

Choices here: `sparsyfed.prune` is "weights" or "update". With "weights", the default, the server broadcasts the weights that
any client kept; clients agree more from round to round, so traffic is sparse in both directions once the density is low. With
"update", the server adds the mean of the sparse changes to its weights, which would stay dense, and therefore prunes the result
to the same density. benchmarks/study/sparsyfed compares these defaults with the published settings, with exact activations and
with beta = 1.

Only matrices and kernels are pruned. Biases are few: they are not pruned, Powerprop does not apply to them, they start at 0,
and they are sent in addition to the density. They are left out of regrowth and consensus, where a bias that starts at 0 would
count as regrown. For beta > 1, regrowth is exactly 0; for beta = 1, all weights are trained, and the mask may change.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedgates.config import TARGET_ONLY, DensityTable, Table, WeightConfig, key
from fedgates.errors import ConfigError
from fedgates.methods import WeightMethod, finite_copy, largest, mean_values, to_float32
from fedgates.methods.density import cubic_density
from fedgates.methods.metrics import MaskCounts, consensus, regrown_share_of_gates, regrown_share_of_ones
from fedgates.methods.training import Task, train_epochs
from fedgates.nn.activation_pruning import pruned_activations
from fedgates.nn.network import Network
from fedgates.nn.optimizers import SGD
from fedgates.nn.truncated_normal import truncated_normal
from fedgates.types import Update, Weights, pack

_DENSE_ROUNDS, _DENSITY_ROUNDS = 2, 13
"""Defaults of `sparsyfed.dense-rounds` and `sparsyfed.density-rounds` in a run of at least 30 rounds."""


class SparsyFedTable(Table):
    """SparsyFed."""

    powerprop: float = key(
        1.25, "Exponent beta: the network runs with sign(w) |w|^beta; 1 trains the weights themselves.", ge=1, le=10
    )
    prune: Literal["weights", "update"] = key(
        "weights", "Whether a client sends the largest of its trained weights, or of their changes."
    )
    score: Literal["scaled", "magnitude"] = key(
        "scaled",
        "Score by which the largest are selected: |w| fan_in^(1 / (2 powerprop)), with equal initial spread in all layers, or"
        " the magnitude |w|.",
    )
    dense_rounds: int = key(
        -1,
        "Number of rounds at the start that prune nothing; by default 2, and fewer in a run of fewer than 30 rounds.",
        ge=-1,
        le=1_000_000,
        method_default=-1,
        example=5,
    )
    density_rounds: int = key(
        -1,
        "Number of rounds after the dense rounds in which the density falls cubically from 1 to density.target (arXiv"
        " 1710.01878), 0 for the target at once; by default 13, and fewer in a run of fewer than 30 rounds.",
        ge=-1,
        le=1_000_000,
        method_default=-1,
        example=10,
    )
    prune_activations: bool = key(
        default=True, description="Whether the weights' gradient is computed from the largest activations alone."
    )
    prune_input: bool = key(
        default=False, description="Whether the network's input is pruned like the activations of its layers."
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
    """SparsyFed, described in the module docstring.

    Attributes
    ----------
    prunable : numpy.ndarray
        Mask of the entries of matrices and kernels, bool ``[d]``.
    dense_rounds, density_rounds : int
        Numbers of rounds, with defaults in place of -1.

    Raises
    ------
    ConfigError
        The density would not reach its target within the run.
    """

    Config = SparsyFedConfig
    spec = replace(WeightMethod.spec, update="mask and values")

    def __init__(self, config: SparsyFedCfg, network: Network) -> None:
        super().__init__(config, network)
        self.prunable = np.concatenate([np.full(slot.size, slot.is_matrix) for slot in network.slices])
        self.dense_rounds, self.density_rounds = schedule(config)
        exponent = 0.0 if config.sparsyfed.score == "magnitude" else 1 / (2 * config.sparsyfed.powerprop)
        largest_fan_in = max((slot.fan_in for slot in network.slices if slot.is_matrix), default=1)  # scales are at most 1
        scales = [np.full(slot.size, (slot.fan_in / largest_fan_in) ** exponent, np.float32) for slot in network.slices]
        self._scales = np.concatenate(scales)[self.prunable]
        self._straight = torch.from_numpy(~self.prunable).to(network.device)
        self._slopes = torch.full_like(network.weights, config.sparsyfed.powerprop).masked_fill_(self._straight, 1)

    def initial_state(self) -> Weights:
        """Return the initial weights: matrices and kernels as in the paper, biases 0, and the network's values for the rest.

        With `weights`, w is such that the network runs with the given values.
        """
        values = super().initial_state().values.copy()
        for slot in self.network.slices:
            part = slice(slot.offset, slot.offset + slot.size)
            if slot.is_matrix:
                theta = values[part] if self.config.weights else truncated_normal(slot, self.config.seed)
                values[part] = np.sign(theta) * np.abs(theta) ** (1 / self.config.sparsyfed.powerprop)
            elif slot.fan_in and not self.config.weights:
                values[part] = 0
        return Weights(values)

    def weights(self, state: Weights) -> Tensor:
        """Return the weights that the network runs with, ``sign(w) |w|^beta``, ``[d]``."""
        w = self.tensor(state.values)
        return w * self.powers(w)

    def powers(self, w: Tensor) -> Tensor:
        """Return ``|w|^(beta - 1)`` for matrices and kernels and 1 for the rest, ``[d]``.

        The network runs with ``w`` times this power. Its derivative is ``beta`` times the power, and 1 for the rest.
        """
        return w.abs().pow_(self.config.sparsyfed.powerprop - 1).masked_fill_(self._straight, 1)

    # --- the client's rule

    def local_update(self, state: Weights, task: Task) -> Update:
        """Train from the state's weights; return an update with the largest trained weights, or the largest changes."""
        trained, loss = self.trained(state, task)
        start = state.values if self.config.sparsyfed.prune == "update" else np.zeros_like(state.values)
        sent = trained - start
        kept = self.kept(sent, task.server_round)
        metrics = self.update_metrics(self.weights(Weights(np.where(kept, trained, start))), task, loss)
        return Update(pack(kept), sent[kept], num_examples=len(task.y), metrics=metrics)

    def trained(self, state: Weights, task: Task) -> tuple[NDArray[np.float32], float]:
        """Run SGD on ``w`` through ``sign(w) |w|^beta``; return the new ``w [d]`` before pruning, and the mean loss."""
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

        pruning = pruned_activations(network.module, prune_input=config.sparsyfed.prune_input)
        with pruning if config.sparsyfed.prune_activations else nullcontext():
            loss = train_epochs(network, task, config, optimizer, before_forward=load, after_backward=convert)
        return finite_copy(w), loss

    def kept(self, values: NDArray[np.float32], server_round: int) -> NDArray[np.bool_]:
        """Return the mask ``[d]`` with the round's density: the largest nonzero prunable entries, and all other parameters."""
        mask = ~self.prunable
        candidates = values[self.prunable]
        density = cubic_density(server_round, self.config.density.target, self.dense_rounds, self.density_rounds)
        count = max(1, round(density * len(candidates)))
        mask[self.prunable] = largest(candidates * self._scales, count) & (candidates != 0)
        return mask

    # --- the server's rule

    def change(self, state: Weights, update: Update) -> NDArray[np.float32]:
        """Return the change of the state that an update encodes, ``[d]``."""
        return super().change(state, update) if self.config.sparsyfed.prune == "weights" else update.dense(state.size)

    def aggregate(self, state: Weights, updates: Iterable[Update], server_round: int) -> Weights:
        """Return the mean of the clients' sparse weights, or the state plus the mean of their sparse changes, pruned."""
        mean = mean_values(updates, state.size, self.config.server.trim)
        if mean is None:
            return state
        if self.config.sparsyfed.prune == "weights":
            return Weights(to_float32(mean))
        new = to_float32(state.values + mean)
        return Weights(np.where(self.kept(new, server_round), new, np.float32(0)))

    def round_metrics(self, before: Weights, after: Weights, masks: MaskCounts) -> dict[str, float]:
        """Return the metrics of the base class, with consensus and regrowth over matrices and kernels only."""
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


def schedule(config: SparsyFedConfig) -> tuple[int, int]:
    """Return `sparsyfed.dense-rounds` and `sparsyfed.density-rounds`, with defaults in place of -1.

    Raises
    ------
    ConfigError
        The density would not reach its target within the run.
    """
    rounds, own = config.num_server_rounds, config.sparsyfed
    dense = min(_DENSE_ROUNDS, rounds // 15) if own.dense_rounds < 0 else own.dense_rounds
    if dense >= rounds:
        raise ConfigError("sparsyfed.dense-rounds", dense, f"less than num-server-rounds = {rounds}, or nothing is pruned")
    falling = min(_DENSITY_ROUNDS, max(0, rounds // 2 - dense)) if own.density_rounds < 0 else own.density_rounds
    if dense + falling > rounds:
        expected = f"at most {rounds - dense}, to reach density.target within num-server-rounds = {rounds}"
        raise ConfigError("sparsyfed.density-rounds", falling, expected)
    return dense, falling
