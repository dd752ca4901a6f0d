"""FedMask: masks over frozen weights, thresholded where FedPM samples.

Li, Sun, Zhang, Duan, Li, Chen: FedMask: Joint Computation and Communication-Efficient Personalized Federated Learning via
Heterogeneous Masking, SenSys 2021. Here is its rule for one mask that all share, as FedPM (arXiv 2209.15328) is compared with
it; the paper's masks are personal and structured.

Everything is as in FedPM (``strategies/fedpm.py``) except the mask, which is not sampled: a client runs its network with

    m = [sigmoid(s) > .5],    straight-through to s,

and sends that mask after its last step. The server's theta is the mean of the masks counted since the last reset, and the
model has the gates with theta > .5.

Choices here: theta is at first the sigmoid of N(0, 1), the same on every client, because at theta = .5 everywhere the
thresholded mask is empty. In every round scores start from ``logit(clip(theta, eps, 1 - eps))``, so a gate on which clients
agree is ``log((1 - eps) / eps)`` away from its threshold, and no random draw ever tries its other value: eps decides whether
a round's training can bring it back. On digits with 10 clients the model stops changing after five rounds with .001, FedPM's;
.3 was best.
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
    """Keys of FedMask: FedPM's, with a start that is always normal and masks that are not samples."""

    unused = FedPMConfig.unused | {"fedpm.score-init", "wire.sampled-extra-bits"}


FedMaskCfg = TypeVar("FedMaskCfg", bound=FedMaskConfig)


class FedMask(FedPM[FedMaskCfg], Generic[FedMaskCfg]):
    """FedMask; described in the module's docstring."""

    Config = FedMaskConfig
    spec = Spec(samples=False)

    def initial_theta(self) -> Tensor:
        """Return theta before the first round, ``[d]``: on random weights the sigmoid of N(0, 1)."""
        theta = super().initial_theta()
        return theta.where(self.gates.given, normal_scores(len(theta), self.config.seed).to(theta.device).sigmoid_())

    def train_clients(self, state: Votes, tasks: Sequence[Task]) -> tuple[Tensor, list[float]]:
        """Train the scores on each client's own examples; return them, ``[copies, d]``."""
        scores = self.start_theta(state, tasks[0].server_round).logit_().repeat(len(tasks), 1)
        return scores, self.train(scores, tasks)

    def client_update(self, state: Votes, trained: Tensor, task: Task, loss: float) -> Update:  # noqa: ARG002
        """Send the thresholded mask of the scores."""
        mask = pack((trained > 0).cpu().numpy())
        return Update(mask, num_examples=len(task.y), metrics={"loss": loss})

    def train(self, scores: Tensor, tasks: Sequence[Task]) -> list[float]:
        """Run Adam on scores ``[copies, d]``, in place, with their thresholded mask in each batch; return the mean losses."""
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
