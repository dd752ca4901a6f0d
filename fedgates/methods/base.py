"""The interface of a method: local training, aggregation, evaluation, and a specification of its updates and states.

A method works on NumPy arrays, torch tensors and a network, and knows nothing of messages, rounds or folders. A
:class:`~fedgates.federation.Server` and a :class:`~fedgates.federation.Client` call it.
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
    """Specification of a method's updates and states, and of what server and clients keep between rounds."""

    update: UpdateKind = "mask"
    """Kind of update: "mask", "values" or "mask and values"; the server rejects updates of any other kind. Mask methods use
    "mask and tail" in runs that send some parameters as values (`gates.sent`).

    The server aggregates masks as they arrive, so its memory does not grow with the number of clients. Updates with values are
    held until the round ends and aggregated in the order of the clients' names, so that float sums are reproducible.
    """
    samples: bool = False
    """Whether masks are samples of the update's ``theta``, so that `uplink` "sampled" may send another sample."""
    arrays: tuple[str, ...] = ("votes",)
    """Names of the vectors ``[d]`` that are concatenated to the state's array, in order; an update has as many."""
    scalars: tuple[str, ...] = ()
    """Names of the float64 scalars in the state."""
    memory: tuple[str, ...] = ()
    """Names of the arrays that a client keeps from round to round; a resumed run starts without them."""
    server_memory: tuple[str, ...] = ()
    """Names of the state's arrays that stay on the server, such as an optimizer's moments. They are saved in checkpoints but
    not sent. Clients cannot aggregate without them, so every state is sent as a snapshot, never as a delta.
    """


class Method(ABC, Generic[Cfg, S]):
    """Base class of methods for communication-efficient federated learning, used by clients and server alike.

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
        The kind of the updates, the arrays of the state, and what is kept between rounds.
    digest : bytes
        Eight bytes that identify the network; server and clients compare them. A method sets a digest of its own if server and
        clients must share more than the network, such as frozen weights.
    support : numpy.ndarray, optional
        True support, bool ``[d]``: which weights are nonzero in the model that generated the data. Set on the server, for data
        sets that know it.
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
        """Return the role of each parameter by name; by default, every parameter that requires a gradient is trained.

        Raises
        ------
        ConfigError
            A pattern in the config matches no parameter, or a parameter that cannot have that role.
        """
        return roles_of(module, patterns_of(config))

    @abstractmethod
    def initial_state(self) -> S:
        """Return the server's state before the first round."""

    @abstractmethod
    def local_update(self, state: S, task: Task) -> Update:
        """Train on the client's examples, starting from `state`, and return the update.

        The result depends on the arguments and the config alone; `state` is not modified.
        """

    @abstractmethod
    def aggregate(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """Return the state after a round; `state` is not modified.

        Parameters
        ----------
        state
            The state at the start of the round.
        updates : iterable of Update
            Accepted updates, each with its ``client``; may be iterated only once. Masks come in arbitrary order, and the result
            must not depend on it; updates with values come in the order of the clients' names.
        server_round : int
            Number of the round, from 1.

        Notes
        -----
        With `downlink` "delta" or "relay", and without ``Spec.server_memory``, clients also call this function, on states and
        updates that they received or reconstructed. The result must therefore depend on the arguments alone, and use no other
        fields of an update than its client, mask, values and ``num_examples``.
        """

    def next_state(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """Return the state after a round, including values that were sent beside masks; override ``aggregate``, not this."""
        return self.aggregate(state, updates, server_round)

    @property
    def coupling(self) -> Coupling | None:
        """What clients can compute of future votes, so that votes can be sent as deltas; None for a method without votes."""
        return None

    def load_tail(self, state: S) -> None:
        """Copy the state's values of parameters with the role "sent" to ``network.tail``; does nothing without such a role."""

    def change(self, state: S, update: Update) -> NDArray[np.float32]:
        """Return the change of the state that an update with values encodes; `server.max-norm` limits its L2 norm."""
        return update.dense(state.size)

    @abstractmethod
    def weights(self, state: S) -> Tensor:
        """Return the weights of the network that a state represents, ``[d]`` float32, with zeros for dropped weights."""

    def evaluate(self, state: S, task: Task) -> dict[str, float]:
        """Return metrics of a state on ``task``'s examples; a subclass may add metrics.

        On a client, ``task.memory`` holds the client's arrays and the network has the client's personal last layer; on the
        server, ``task.memory`` is empty.

        Returns
        -------
        dict
            The metrics of :func:`fedgates.methods.evaluation.score`: ``accuracy`` and ``loss``, or ``r2`` and ``loss`` for
            regression; with ``task.own_classes`` also ``own_class_accuracy``, the accuracy of predictions limited to these
            classes; ``model_density``, the share of nonzero weights; and precision, recall and F1 of the support, where the
            true support is known.
        """
        weights = self.weights(state)
        metrics = {
            **self.score(weights, task.x, task.y, task.own_classes, task.confusion),
            "model_density": float((weights != 0).double().mean()),
        }
        return metrics if self.support is None else metrics | support_scores((weights != 0).cpu().numpy(), self.support)

    def round_metrics(self, before: S, after: S, masks: MaskCounts) -> dict[str, float]:  # noqa: ARG002
        """Return metrics of a round that changed the state from `before` to `after`; a subclass may add metrics.

        ``mask_consensus`` is the agreement of the clients' masks, present if there are at least two.
        """
        return {"mask_consensus": consensus(masks)} if masks.masks > 1 else {}

    def histogram(self, state: S) -> list[int]:  # noqa: ARG002
        """Return a histogram of the gates' probabilities over equal bins of [0, 1]; empty for a method without gates."""
        return []

    def score(
        self, weights: Tensor, x: Inputs, y: Tensor, own_classes: Sequence[int] = (), confusion: Tensor | None = None
    ) -> dict[str, float]:
        """Return accuracy (or r2) and loss of the network with weights ``[d]``; the network keeps these weights.

        With `own_classes`, ``own_class_accuracy`` is included (:func:`fedgates.methods.evaluation.score`). A user-defined
        `loss` is called once, on the outputs of all examples; the metrics of a user-defined `metric` are added. The confusion
        matrix is written to `confusion`, if given.
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
    """Return a configuration's name patterns of parameters with special roles."""
    gates = config.gates
    if not isinstance(config, MaskConfig):
        return Patterns(gates.fixed, gates.personal)
    return Patterns(gates.fixed, gates.personal, config.gates.sent, config.gates.gated)
