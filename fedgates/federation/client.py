"""A client of a federation: its data, and what it keeps between rounds. Bytes and plain numbers in and out, no engine."""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates import data
from fedgates.errors import DIVERGED, WireError
from fedgates.federation.client_data import HELD_OUT_EVERY, ClientData
from fedgates.federation.messages import Reply, Request
from fedgates.methods.base import Method
from fedgates.methods.measurements import MEASURES
from fedgates.methods.personal import train_head
from fedgates.methods.randomized_response import flipped
from fedgates.methods.training import Task, seeded_rng
from fedgates.methods.weights import finite_copy
from fedgates.rng import flip_lots, generator
from fedgates.types import MAX_METRIC, Update
from fedgates.wire import VersionedState
from fedgates.wire.deltas import INITIAL
from fedgates.wire.header import DELTA, RELAY, peek

_MEGABYTE = 1_000_000
EVALUATED = ("accuracy", "f1", "loss", "own_class_accuracy", "not_finite")
"""Metrics of a client's evaluation."""


@dataclass
class ClientStore:
    """What a client keeps from round to round; each of it may be lost at any time."""

    snapshot: bytes | None = None
    """The coded state that the client was last sent, where later ones may be sent as changes to it."""
    memory: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """The arrays that the method's client rule keeps (``Spec.memory``)."""
    head: NDArray[np.float32] | None = None
    """The personal last layer, ``[h]``, where the run has one."""


Decode = Callable[[bytes, bytes | None], tuple[VersionedState, bytes]]
"""From a payload and the snapshot that the client keeps: the state, and the snapshot to keep."""


class Client:
    """A method's client.

    Parameters
    ----------
    method : Method
        Its rules; several clients of a process may share it.
    name : int
        The client's name.
    examples : ClientData
        Its own examples.
    store : ClientStore, optional
        What it keeps; by default nothing yet.
    decode : callable, optional
        Decodes states; by default :func:`decode_state`. A process with many clients passes one that caches.
    private : bool
        Whether bits are flipped (`privacy.flip-probability`) by random numbers of the operating system, which cannot be drawn
        again. The data of a simulated client came from the server, so its flips follow from the seed and a simulation repeats.
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
        """Answer a request: train, evaluate or measure.

        Parameters
        ----------
        request : Request
            What to answer.
        started : float, optional
            When the client began to work on it, by the monotonic clock; by default now.

        Raises
        ------
        WireError
            The request's payload cannot be used. Training may raise anything else.
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
            What to answer.
        state : VersionedState
            The state that its payload brings (:meth:`open`).
        seconds : float
            Seconds that the client has worked on it.

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
        """Keep what the client keeps of training, which took so many seconds, and return the coded update.

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

        A personal last layer is trained for it, as for training, but not kept: training does not depend on who evaluates.

        Returns
        -------
        Reply
            With ``loss`` and, with classes, ``accuracy`` and ``own_class_accuracy``: that of predictions limited to the classes
            of the client's training examples. With the metrics of `metric` that are finite.

        Raises
        ------
        ValueError
            No example is held out.
        """
        state = self.open(request.payload)
        examples = self.examples
        if not len(examples.held_out):
            raise ValueError(
                f"none of {len(examples.train)} examples is held out for evaluation: it takes {HELD_OUT_EVERY} to hold out one"
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
        """Run the network under a state over the client's training examples, and return coded sums.

        The state comes as a snapshot, which the client does not keep.
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
        """Train this client's personal last layer on the weights that a state represents."""
        train_head(self.method.network, self.method.weights(state.state), self.store.head, task, self.config)

    def open(self, payload: bytes) -> VersionedState:
        """Decode a state, once for each request, and keep it where later ones may be sent as changes to it.

        Raises
        ------
        WireError
            The payload cannot be used.
        """
        expect_size(len(payload), self.config.limits.max_payload_mb)
        opens, last = peek(payload).server_round, self.config.num_server_rounds
        if opens > last + 1:
            raise WireError(f"the state that opens round {opens}, beyond num-server-rounds = {last}")
        state, snapshot = self._decode(payload, self.store.snapshot)
        if self.method.codec.keeps_states:
            self.store.snapshot = snapshot
        return state

    def task(self, server_round: int) -> Task:
        """Return the client's examples, and what it keeps, as the method gets them in a round."""
        device, examples = self.method.network.device, self.examples
        evaluates = self.config.fraction_evaluate and len(examples.held_out)
        held_out = data.to_tensors(examples.held_out, device) if evaluates else None
        x, y = data.to_tensors(examples.train, device)
        memory = self.store.memory if self.method.spec.memory else {}
        return Task(x, y, server_round, self.name, memory, held_out)

    def _with_tail(self, update: Update) -> Update:
        """Return the update with the values that are sent beside its mask, after training.

        Raises
        ------
        FloatingPointError
            They are not finite.
        """
        tail = self.method.network.tail
        return replace(update, tail=finite_copy(tail.values)) if len(tail) else update

    def _with_flips(self, update: Update, state: VersionedState) -> Update:
        """Return the update after randomized response, if the run asks for it."""
        probability, size = self.config.privacy.flip_probability, state.state.size
        if not probability:
            return update
        if self._private:
            lots = np.frombuffer(os.urandom(4 * size), dtype=np.uint32)
        else:
            lots = flip_lots(size, self.config.seed, server_round=state.server_round, client=self.name)
        return flipped(update, lots, probability)

    def seeded(self, purpose: str, server_round: int) -> AbstractContextManager[None]:
        """Return the context in which the client trains or evaluates (:func:`fedgates.methods.training.seeded_rng`)."""
        key = generator(self.config.seed, purpose, server_round=server_round, client=self.name)
        return seeded_rng(key, self.config.client.threads)


def decode_state(method: Method[Any, Any], payload: bytes, kept: bytes | None) -> tuple[VersionedState, bytes]:
    """Return the state that a payload brings to a client that keeps a snapshot of an earlier one, and the snapshot to keep.

    Raises
    ------
    WireError
        The payload is damaged, or leads from a state that the client does not have.
    """
    codec, header = method.codec, peek(payload)
    if not ((codec.relays and header.kind == RELAY) or (codec.coupling and header.kind == DELTA)):
        return codec.unpack_state(payload), payload
    base = None
    with suppress(WireError):  # a snapshot that is damaged, or of another version, counts as none
        base = codec.unpack_state(kept) if kept else None
    if header.kind == DELTA:
        if header.number == INITIAL and (base is None or base.server_round != INITIAL):
            base = VersionedState(method.initial_state(), INITIAL)
        state = codec.apply_delta(payload, base)
    else:
        state = codec.apply_relay(payload, base, method.next_state)
    return state, codec.pack_state(state.state, state.server_round)


def expect_size(payload_bytes: int, max_megabytes: float) -> None:
    """Refuse a payload that is too long before any of it is read.

    Raises
    ------
    WireError
        It has more than so many megabytes.
    """
    if payload_bytes > max_megabytes * _MEGABYTE:
        raise WireError(
            f"a payload of {payload_bytes:,} bytes, expected at most limits.max-payload-mb = {max_megabytes:g} megabytes"
        )
