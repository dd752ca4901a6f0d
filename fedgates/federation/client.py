"""The client of a federation, independent of Flower: it trains, evaluates and measures on its own data."""

import os
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates import data
from fedgates.errors import DIVERGED, WireError
from fedgates.federation.client_data import HELD_OUT_EVERY, ClientData
from fedgates.federation.messages import Reply, Request
from fedgates.federation.payloads import Decode, decode_state, expect_size
from fedgates.methods.base import Method
from fedgates.methods.measurements import MEASURES
from fedgates.methods.personal import train_head
from fedgates.methods.randomized_response import flipped
from fedgates.methods.training import Task, seeded_rng
from fedgates.methods.weights import finite_copy
from fedgates.rng import flip_lots, generator
from fedgates.types import MAX_METRIC, Update
from fedgates.wire import VersionedState
from fedgates.wire.header import peek

EVALUATED = ("accuracy", "f1", "loss", "own_class_accuracy", "not_finite")
"""Metrics of a client's evaluation, as far as the task has them."""


@dataclass
class ClientStore:
    """State that a client keeps from round to round; any part of it may be lost at any time."""

    snapshot: bytes | None = None
    """The last coded state that the client received; later states may be sent as changes to it."""
    memory: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The arrays that the method keeps on clients (``Spec.memory``)."""
    head: NDArray[np.float32] | None = None
    """The personal last layer, ``[h]``; None if the run has none, or before training."""


class Client:
    """A client, which trains with a method on its own examples.

    Parameters
    ----------
    method : Method
        The method; clients in one process may share it.
    name : int
        The client's name.
    examples : ClientData
        The client's examples.
    store : ClientStore, optional
        State from earlier rounds; by default empty.
    decode : callable, optional
        Function that decodes states; by default :func:`~fedgates.federation.payloads.decode_state`. A process with many
        clients may pass one with a cache.
    private : bool
        Whether bits are flipped (`privacy.flip-probability`) with random numbers of the operating system, which cannot be
        reproduced. In simulations the flips follow from the seed instead, so that runs are reproducible.
    """

    def __init__(
        self,
        method: Method[Any, Any],
        name: int,
        examples: ClientData,
        store: ClientStore | None = None,
        *,
        decode: Decode | None = None,
        private: bool = False,
    ) -> None:
        self.method, self.config, self.name, self.examples = method, method.config, name, examples
        self.store = store or ClientStore()
        self._decode = decode or (lambda payload, kept: decode_state(method, payload, kept))
        self._private = private

    def reply(self, request: Request, started: float | None = None) -> Reply:
        """Answer a request by training, evaluating or measuring.

        Parameters
        ----------
        request : Request
            The request.
        started : float, optional
            Time on the monotonic clock at which the client began to work on the request; by default now.

        Raises
        ------
        WireError
            The request's payload cannot be used. Training may raise any other exception.
        """
        if request.kind == "train":
            started = time.monotonic() if started is None else started
            state = self.open(request.payload)
            return self.train(request, state, time.monotonic() - started)
        return self.evaluate(request) if request.kind == "evaluate" else self.measure(request)

    def train(self, request: Request, state: VersionedState, seconds: float = 0.0) -> Reply:
        """Train on the client's examples and return the coded update, the number of examples and metrics.

        Parameters
        ----------
        request : Request
            The request.
        state : VersionedState
            The state decoded from its payload by :meth:`open`.
        seconds : float
            Time spent on the request so far, seconds.

        Raises
        ------
        FloatingPointError
            Training diverged.
        """
        started = time.monotonic()
        task = self.task(state.server_round)
        with self.seeded("train", state.server_round):
            self.method.load_tail(state.state)
            if self._personal:
                self._train_head(state, task)
            update = self._with_tail(self.method.local_update(state.state, task))
        return self.send(request, state, update, seconds + time.monotonic() - started)

    def send(self, request: Request, state: VersionedState, update: Update, seconds: float) -> Reply:
        """Update the client's store after training, and return the coded update; `seconds` is the time spent so far.

        Raises
        ------
        FloatingPointError
            Training diverged.
        """
        started = time.monotonic()
        if not abs(loss := update.metrics.get("loss", 0.0)) <= MAX_METRIC:
            raise FloatingPointError(f"the training loss is {loss:g}: {DIVERGED}")
        sent = self._with_flips(update, state)
        payload = self.method.codec.pack_update(sent, state, self.name)
        if update.memory is not None and self.method.spec.memory:
            self.store.memory = dict(update.memory)
        if self._personal:
            self.store.head = self.method.network.head.values.cpu().numpy().copy()
        seconds += time.monotonic() - started
        metrics = {"seconds": seconds, **{name: float(value) for name, value in sent.metrics.items()}}
        return Reply(request.node, payload, sent.num_examples, metrics, size=len(payload))

    def evaluate(self, request: Request) -> Reply:
        """Evaluate the state on the client's held-out examples.

        A personal last layer is trained first, as in training, but the trained layer is discarded, so that training does not
        depend on which clients evaluate.

        Returns
        -------
        Reply
            Metrics: ``loss``; for classification ``accuracy`` and ``own_class_accuracy``, the accuracy of predictions limited
            to the classes of the client's training examples; and the finite metrics of a user-defined `metric`.

        Raises
        ------
        ValueError
            There are no held-out examples.
        """
        state = self.open(request.payload)
        examples = self.examples
        if not len(examples.held_out):
            raise ValueError(
                f"no held-out examples to evaluate on: holding out takes {HELD_OUT_EVERY} examples, found {len(examples.train)}"
            )
        x, y = data.to_tensors(examples.held_out, self.method.network.device)
        own_classes = tuple(np.unique(examples.train.y).tolist()) if examples.train.task == "classes" else ()
        task = Task(x, y, state.server_round - 1, self.name, self.store.memory, own_classes=own_classes)
        with self.seeded("evaluation", state.server_round):
            self.method.load_tail(state.state)
            if self._personal:
                self._train_head(state, self.task(state.server_round))
            metrics = self.method.evaluate(state.state, task)
        own = {name: metrics[name] for name in self.method.metric_names if abs(metrics.get(name, np.nan)) <= MAX_METRIC}
        return Reply(request.node, num_examples=len(y), metrics={k: metrics[k] for k in EVALUATED if k in metrics} | own)

    def measure(self, request: Request) -> Reply:
        """Run the network on the client's training examples with the requested state, and return coded sums.

        The payload is always a snapshot, and the client does not keep it.
        """
        expect_size(len(request.payload), self.config.limits.max_payload_mb)
        method, measure = self.method, MEASURES[request.kind]
        state = method.codec.unpack_state(request.payload)
        task = self.task(state.server_round)
        with self.seeded(request.kind, state.server_round):
            method.load_tail(state.state)
            method.network.weights.copy_(method.weights(state.state))
            sums = measure.sums(method.network, task, self.config.precision)
        payload = method.codec.pack_sums(sums, state.server_round, measure.number)
        return Reply(request.node, payload, len(task.y), size=len(payload))

    @property
    def _personal(self) -> bool:
        return len(self.method.network.head) > 0

    def _train_head(self, state: VersionedState, task: Task) -> None:
        """Train this client's personal last layer with the shared weights of a state."""
        train_head(self.method.network, self.method.weights(state.state), self.store.head, task, self.config)

    def open(self, payload: bytes) -> VersionedState:
        """Decode a state, and keep it if later states may be sent as changes to it; call once for each request.

        Raises
        ------
        WireError
            The payload cannot be used.
        """
        expect_size(len(payload), self.config.limits.max_payload_mb)
        opens, last = peek(payload).server_round, self.config.num_server_rounds
        if opens > last + 1:
            raise WireError(f"a state for round {opens}, beyond num-server-rounds = {last}")
        state, snapshot = self._decode(payload, self.store.snapshot)
        if self.method.codec.keeps_states:
            self.store.snapshot = snapshot
        return state

    def task(self, server_round: int) -> Task:
        """Return the client's examples and memory, as the method gets them in a round."""
        device, examples = self.method.network.device, self.examples
        evaluates = self.config.fraction_evaluate and len(examples.held_out)
        held_out = data.to_tensors(examples.held_out, device) if evaluates else None
        x, y = data.to_tensors(examples.train, device)
        memory = self.store.memory if self.method.spec.memory else {}
        return Task(x, y, server_round, self.name, memory, held_out)

    def _with_tail(self, update: Update) -> Update:
        """Return the update with the trained values of the parameters with the role "sent".

        Raises
        ------
        FloatingPointError
            A value is not finite.
        """
        tail = self.method.network.tail
        return replace(update, tail=finite_copy(tail.values)) if len(tail) else update

    def _with_flips(self, update: Update, state: VersionedState) -> Update:
        """Return the update after randomized response, if `privacy.flip-probability` is set."""
        probability, size = self.config.privacy.flip_probability, state.state.size
        if not probability:
            return update
        if self._private:
            lots = np.frombuffer(os.urandom(4 * size), dtype=np.uint32)
        else:
            lots = flip_lots(size, self.config.seed, server_round=state.server_round, client=self.name)
        return flipped(update, lots, probability)

    def seeded(self, purpose: str, server_round: int) -> AbstractContextManager[None]:
        """Return the context for training or evaluation (:func:`fedgates.methods.training.seeded_rng`)."""
        key = generator(self.config.seed, purpose, server_round=server_round, client=self.name)
        return seeded_rng(key, self.config.client.threads)
