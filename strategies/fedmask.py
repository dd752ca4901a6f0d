"""FedMask: masks over frozen weights, thresholded instead of sampled as in FedPM.

Li, Sun, Zhang, Duan, Li, Chen: FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via
Heterogeneous Masking, SenSys 2021. This is the variant with one mask shared by all clients, with which FedPM (arXiv 2209.15328)
is compared; the paper's masks are personal and structured.

The method equals FedPM (``strategies/fedpm.py``) except for the mask, which is not sampled. A client runs its network with

    m = [sigmoid(s) > .5],    straight-through gradient to s,

and sends this mask after its last step. The server's theta is the mean of the masks counted since the last reset, and the
evaluated model has the gates with theta > .5.

Choices here: theta starts as the sigmoid of N(0, 1), the same on every client, because with theta = .5 everywhere the
thresholded mask is empty. In every round, scores start at ``logit(clip(theta, eps, 1 - eps))``. A gate on which all clients
agree is thus ``log((1 - eps) / eps)`` away from its threshold, and sampling never tries its other value, so eps determines
whether training can change it within a round. On digits with 10 clients, the model stops changing after five rounds with
FedPM's eps = .001; .3 was best.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from torch import Tensor

from fedgates.methods import train_together
from fedgates.methods.base import Spec
from fedgates.methods.training import Task
from fedgates.nn.optimizers import Adam
from fedgates.types import Update, Votes, pack

from .fedpm import FedPM, FedPMConfig, normal_scores


class FedMaskConfig(FedPMConfig):
    """Keys of FedMask: those of FedPM that apply; scores always start normal, and masks are not samples."""

    unused = FedPMConfig.unused | {"fedpm.score-init", "wire.sampled-extra-bits"}


FedMaskCfg = TypeVar("FedMaskCfg", bound=FedMaskConfig)


class FedMask(FedPM[FedMaskCfg], Generic[FedMaskCfg]):
    """FedMask, described in the module docstring."""

    Config = FedMaskConfig
    spec = Spec(samples=False)

    def initial_theta(self) -> Tensor:
        """Return theta before the first round, ``[d]``: the sigmoid of N(0, 1) for random weights."""
        theta = super().initial_theta()
        return theta.where(self.gates.given, normal_scores(len(theta), self.config.seed).to(theta.device).sigmoid_())

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's examples; return the scores, ``[copies, d]``, and the mean losses."""
        scores = self.start_theta(state, tasks[0].server_round).logit_().repeat(len(tasks), 1)
        return scores, self.train(scores, tasks)

    def client_update(self, state: Votes, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Return an update with the thresholded mask of the scores."""
        mask = pack((trained > 0).cpu().numpy())
        return Update(mask, num_examples=len(task.y), metrics={"loss": loss})

    def train(self, scores: Tensor, tasks: Sequence[Task]) -> list[float]:
        """Run Adam on scores ``[copies, d]`` in place, with the thresholded mask in each batch; return the mean losses."""
        config, network = self.config, self.network
        optimizer = Adam(scores, network.gradient, learning_rate=config.rate(tasks[0].server_round))
        return train_together(
            network,
            tasks,
            config,
            optimizer,
            before_forward=lambda: self.gates.load(scores > 0),
            after_backward=lambda: self.gates.straight_through(scores, config.fedpm.straight_through, config.density.penalty),
        )
