"""What a method of communication-efficient federated learning is: four functions of plain values, and what is measured of them.

Nothing here knows of messages. :class:`fedgates.flower.GateStrategy` makes a Flower Strategy of it, and is what methods derive
from; docs/own_strategy.md says what they may count on.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from torch import Tensor

from fedgates.config import RunConfig
from fedgates.methods.metrics import MaskCounts, consensus, support_scores
from fedgates.methods.training import Task, predict, score
from fedgates.nn.network import Network
from fedgates.types import State, Update, UpdateKind
from fedgates.wire.codec import Codec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Cfg = TypeVar("Cfg", bound=RunConfig)
S = TypeVar("S", bound=State)


class Method(ABC, Generic[Cfg, S]):
    """A method: the client's rule and the server's rule side by side. The same class serves both ends.

    Parameters
    ----------
    config : RunConfig
        An instance of the class's ``Config``.
    network : Network
        The dense network to federate; the method may overwrite its weights at any time.

    Attributes
    ----------
    Config : type
        The method's configuration: :class:`~fedgates.config.RunConfig` or a subclass with the method's own keys.
    sends : str
        What an update is on the wire: "mask", "values" or "mask and values"; anything else is rejected. Masks are
        aggregated as they come, in memory that does not grow with the number of clients. Updates with values are read in the
        order of the clients' names, so that float sums repeat; the server holds a round's coded replies to do so.
    samples : bool
        Whether its updates' masks are samples of their ``theta``, so that `uplink` "sampled" may choose another.
    vectors, scalars : int
        How many vectors of the network's size its state's array is made of, one after another, and how many numbers the
        state has beside it.
    remembers : bool
        Whether its clients keep something of their own from round to round, which a resumed run does not have.
    digest : bytes
        Eight bytes that name the network both ends must hold; a method that adds to the network's own layout sets another.
    support : numpy.ndarray, optional
        Which weights are truly not zero, bool ``[d]``, where the data set says so and the network has one weight a feature.
        Set on the server.
    """

    Config: ClassVar[type[RunConfig]] = RunConfig
    sends: ClassVar[UpdateKind] = "mask"
    samples: ClassVar[bool] = False
    vectors: ClassVar[int] = 1
    scalars: ClassVar[int] = 0
    remembers: ClassVar[bool] = False

    def __init__(self, config: Cfg, network: Network) -> None:
        self.config = config
        self.network = network
        self.digest = network.digest()
        self.support: NDArray[np.bool_] | None = None

    @abstractmethod
    def initial_state(self) -> S:
        """The server's state before the first round."""

    @abstractmethod
    def local_update(self, state: S, task: Task) -> Update:
        """The client's rule: train from the state, which it leaves as it is, on ``task``'s own images."""

    @abstractmethod
    def aggregate(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """The server's rule: a new state from checked updates, read once, one by one; leaves `state` as it is.

        Masks come in any order, which must not matter; updates with values in the order of the clients' names. With
        `downlink` "relay" clients apply it, too, to states and updates that they were sent: it is a function of its arguments,
        and of an update's mask, values and `num_examples` alone.
        """

    @abstractmethod
    def model(self, state: S) -> Tensor:
        """The weights, ``[d]`` float32, of the network that a state stands for; those that it drops are zero."""

    def evaluate(self, state: S, x: Tensor, y: Tensor, server_round: int) -> dict[str, float]:  # noqa: ARG002
        """What is measured of a state on images ``[n, C, H, W]`` with labels ``[n]``; a method may add to it.

        ``accuracy`` (0 to 1) and ``loss`` (cross-entropy in nats), for regression ``r2`` and ``loss`` (mean squared error);
        ``model_density``, the share of the weights that are not zero; where the true support is known, how well it is met.
        """
        weights = self.model(state)
        found = {**self.measured(weights, x, y), "model_density": float((weights != 0).double().mean())}
        return found if self.support is None else found | support_scores((weights != 0).cpu().numpy(), self.support)

    def measure(self, before: S, after: S, masks: MaskCounts) -> dict[str, float]:  # noqa: ARG002
        """What is said of a round that changed the state, for its line in the ledger; a method may add to it.

        ``mask_consensus`` of the clients' masks.
        """
        return {"mask_consensus": consensus(masks)} if masks.masks > 1 else {}

    def histogram(self, state: S) -> list[int]:  # noqa: ARG002
        """How many gates' probabilities lie in each of some equal parts of 0 to 1; empty for a method without gates."""
        return []

    @cached_property
    def channel(self) -> Codec:
        """How states and updates are coded, on either end."""
        return Codec(self.config, self.network, self.digest, self.sends, vectors=self.vectors, scalars=self.scalars)

    def measured(self, weights: Tensor, x: Tensor, y: Tensor) -> dict[str, float]:
        """Accuracy (or r2) and loss of the network with weights ``[d]``, which it holds afterwards."""
        self.network.weights.copy_(weights)
        return score(predict(self.network, x, self.config.precision), y)
