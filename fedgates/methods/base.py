"""The interface of a method: what travels, the client's rule, the server's rule, and what is measured.

A method is a pure object: NumPy, torch and a network, nothing of messages, rounds or folders. A
:class:`~fedgates.federation.Server` and a :class:`~fedgates.federation.Client` run it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, inference_mode, nn

from fedgates.config import MaskConfig, RunConfig
from fedgates.methods.evaluation import all_outputs, confusion_matrix, score
from fedgates.methods.losses import evaluated_loss
from fedgates.methods.metrics import MaskCounts, consensus, support_scores
from fedgates.methods.own_metric import own_metrics
from fedgates.methods.training import Inputs, Task
from fedgates.models.outputs import as_predictions
from fedgates.nn.network import Network
from fedgates.nn.roles import Patterns, Role, roles_of
from fedgates.types import State, Update, UpdateKind
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.delta import Coupling

Cfg = TypeVar("Cfg", bound=RunConfig)
S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Spec:
    """What a method sends, and what its server and its clients keep between rounds."""

    update: UpdateKind = "mask"
    """Kind of update: "mask", "values" or "mask and values"; the server rejects any other. The masks of a run in which some
    parameters are sent as values are "mask and tail".

    The server aggregates masks as they arrive, in memory that does not grow with the number of clients. It reads updates with
    values in the order of the clients' names, so that float sums repeat, and holds those of a round to do so.
    """
    samples: bool = False
    """Whether masks are samples of the update's ``theta``, so that `uplink` "sampled" may send another sample."""
    arrays: tuple[str, ...] = ("votes",)
    """Names of the vectors ``[d]`` that the state's array consists of, in order; an update has as many."""
    scalars: tuple[str, ...] = ()
    """Names of the float64 numbers that the state has beside its array."""
    memory: tuple[str, ...] = ()
    """Names of the arrays that a client keeps from round to round; a resumed run starts without them."""
    server_memory: tuple[str, ...] = ()
    """Names of the arrays of a state that only the server has, such as an optimizer's moments: checkpoints have them, payloads
    do not. Clients cannot apply the server's rule without them, so every state is sent as a snapshot.
    """


class Method(ABC, Generic[Cfg, S]):
    """A method of communication-efficient federated learning. The same class serves clients and server.

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
    spec : Spec
        What travels and what is kept.
    digest : bytes
        Eight bytes that identify the network; server and clients compare them. A method that adds something of its own that
        both must hold, such as frozen weights, sets another.
    support : numpy.ndarray, optional
        Which weights are truly nonzero, bool ``[d]``, where the data set knows it. Set on the server.
    metric_names : tuple of str
        Names of the metrics that `metric` adds; set by :func:`fedgates.methods.registry.build`.
    """

    Config: ClassVar[type[RunConfig]] = RunConfig
    spec: Spec = Spec()

    def __init__(self, config: Cfg, network: Network) -> None:
        self.config = config
        self.network = network
        self.digest = network.digest()
        self.support: NDArray[np.bool_] | None = None
        self.metric_names: tuple[str, ...] = ()

    @classmethod
    def roles(cls, config: RunConfig, module: nn.Module) -> dict[str, Role]:
        """Return the role of each parameter of a network, by its name; by default all that require a gradient are trained.

        Raises
        ------
        ConfigError
            A pattern in the config matches no parameter, or one that cannot have that role.
        """
        return roles_of(module, patterns_of(config))

    @abstractmethod
    def initial_state(self) -> S:
        """Return the server's state before the first round."""

    @abstractmethod
    def local_update(self, state: S, task: Task) -> Update:
        """Train on the client's examples, starting from `state`, and return the update (the client's rule).

        A function of its arguments and the config; it does not change `state`.
        """

    @abstractmethod
    def aggregate(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """Return the state after a round (the server's rule); it does not change `state`.

        Parameters
        ----------
        state
            The state that opened the round.
        updates : iterable of Update
            Accepted updates, each with its ``client``; read once, one by one. Masks come in any order, which must not matter;
            updates with values come in the order of the clients' names.
        server_round : int
            Number of the round, from 1.

        Notes
        -----
        With `downlink` "delta" or "relay" clients apply it, too, to states and updates that they made or were sent, unless the
        method has ``Spec.server_memory``: it depends on its arguments alone, and of an update on its client, mask, values and
        ``num_examples`` alone.
        """

    def next_state(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """Return the state after a round, values that are sent beside masks included; a method implements ``aggregate``."""
        return self.aggregate(state, updates, server_round)

    @property
    def coupling(self) -> Coupling | None:
        """What a client knows of votes beforehand, so that they may be sent as deltas; None for a method without votes."""
        return None

    def load_tail(self, state: S) -> None:
        """Load the values that a state has beside its votes into ``network.tail``; there are none without the role "sent"."""

    def change(self, state: S, update: Update) -> NDArray[np.float32]:
        """Return the change of the state that an update with values asks for; `server.max-norm` limits its L2 norm."""
        return update.dense(state.size)

    @abstractmethod
    def weights(self, state: S) -> Tensor:
        """Return the weights ``[d]``, float32, of the network that a state represents; those that it drops are zero."""

    def evaluate(self, state: S, task: Task) -> dict[str, float]:
        """Return metrics of a state on ``task``'s examples; a method may add to them.

        On a client ``task.memory`` is what the client keeps, and a personal last layer is the client's own; on the server
        the memory is empty.

        Returns
        -------
        dict
            Those of :func:`fedgates.methods.evaluation.score`: ``accuracy`` and ``loss``, for regression ``r2`` and ``loss``;
            with ``task.own_classes`` also ``own_class_accuracy``, of predictions limited to them;
            ``model_density``, the share of nonzero weights; where the true support is known, its precision, recall and F1.
        """
        weights = self.weights(state)
        metrics = {
            **self.score(weights, task.x, task.y, task.own_classes, task.confusion),
            "model_density": float((weights != 0).double().mean()),
        }
        return metrics if self.support is None else metrics | support_scores((weights != 0).cpu().numpy(), self.support)

    def round_metrics(self, before: S, after: S, masks: MaskCounts) -> dict[str, float]:  # noqa: ARG002
        """Return metrics of a round that changed the state from `before` to `after`; a method may add to them.

        ``mask_consensus``: agreement of the clients' masks, where there are two or more.
        """
        return {"mask_consensus": consensus(masks)} if masks.masks > 1 else {}

    def histogram(self, state: S) -> list[int]:  # noqa: ARG002
        """Return how many gates have a probability in each of some equal parts of [0, 1]; empty for a method without gates."""
        return []

    def score(
        self, weights: Tensor, x: Inputs, y: Tensor, own_classes: Sequence[int] = (), confusion: Tensor | None = None
    ) -> dict[str, float]:
        """Return accuracy (or r2) and loss of the network with weights ``[d]``, which it holds afterwards.

        With `own_classes` also ``own_class_accuracy`` (:func:`fedgates.methods.evaluation.score`). With a `loss` of the user's
        own the loss is that of all outputs at once; the metrics of `metric` are added. The confusion matrix is written to
        `confusion`, if given.
        """
        self.network.weights.copy_(weights)
        with inference_mode():
            output = all_outputs(self.network, x, self.config.precision)
            predictions = as_predictions(output, self.network.task)
            metrics = score(predictions, y, own_classes)
            if confusion is not None:
                confusion.copy_(confusion_matrix(predictions, y))
            if self.config.loss:
                metrics["loss"] = evaluated_loss(self.config, output, y)
            return metrics | own_metrics(self.config, predictions, y)

    @cached_property
    def codec(self) -> Codec:
        """The codec of states and updates, the same on server and clients."""
        spec = self.spec
        config = self.config
        downlink = "votes" if spec.server_memory and config.downlink == "relay" else config.downlink
        options = WireOptions(config.uplink, downlink, config.wire.value_type, config.wire.sampled_extra_bits, config.seed)
        layers = tuple(part.size for part in self.network.slices)
        rows = tuple(part.shape[0] if len(part.shape) > 1 else 1 for part in self.network.slices)
        return Codec(
            options,
            layers,
            self.digest,
            spec.update,
            vectors=len(spec.arrays),
            scalars=len(spec.scalars),
            rows=rows,
            tail=len(self.network.tail),
            coupling=None if spec.server_memory else self.coupling,
            most_updates=config.limits.max_relay_updates,
        )


def patterns_of(config: RunConfig) -> Patterns:
    """Return the patterns of roles in a configuration."""
    gates = config.gates
    if not isinstance(config, MaskConfig):
        return Patterns(gates.fixed, gates.personal)
    return Patterns(gates.fixed, gates.personal, config.gates.sent, config.gates.gated)
