"""The server of a federation, independent of Flower: it keeps the state and updates it in rounds."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic

import torch
from torch import Tensor

from fedgates import rng
from fedgates.data.inputs import mapped
from fedgates.federation.decoders import Decoders, processes
from fedgates.federation.membership import Membership, sample_clients
from fedgates.federation.messages import Kind, Reply, Request
from fedgates.federation.round_trip import RoundTrip
from fedgates.methods.base import Method, S
from fedgates.methods.evaluation import predict
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.training import Inputs, Task, seeded_rng
from fedgates.methods.trimming import dropped_of
from fedgates.models.probe import random_inputs
from fedgates.runs.confusion import MAX_CLASSES
from fedgates.runs.record import LARGEST_LOSS, RoundRecord
from fedgates.types import MAX_METRIC, Problem
from fedgates.util.robust import capped
from fedgates.wire import VersionedState
from fedgates.wire.broadcast import Broadcast

log = logging.getLogger("fedgates")
_TRIED = 4
"""Number of random examples on which each new state of weights is tried."""


class Server(Generic[S]):
    """A server, which updates a method's state in rounds.

    Parameters
    ----------
    method : Method
        The method.
    problem : Problem
        Inputs and outputs of the network, sent with every state.

    Attributes
    ----------
    state
        The current state.
    record : RoundRecord
        Counts of the current or last round.
    membership : Membership
        The clients that have introduced themselves.
    evaluation : dict
        Metrics of the last evaluation by clients, averaged over clients; empty if there was none.
    confusion : Tensor, optional
        Confusion matrix of the last evaluation on the server's test set, int64 ``[C, C]``; entry (i, j) is the number of
        examples of class i predicted as class j. None before an evaluation, for tasks other than classification, and with more
        than 200 classes.
    """

    def __init__(self, method: Method[Any, S], problem: Problem) -> None:
        self.method, self.problem, self.config, self.codec = method, problem, method.config, method.codec
        self.state = method.initial_state()
        self.record = self._new_record(0)
        self.membership = Membership()
        self._broadcast = Broadcast(self.codec, self.config.limits.max_relay_updates)
        self._decoders = Decoders()
        self._round_trip: RoundTrip | None = None
        """The exchange in progress."""
        self._warned = False
        self._before = self.state
        """The state before the last round."""
        self._snapshot: tuple[VersionedState, bytes] | None = None
        self.evaluation: dict[str, float] = {}
        self.confusion: Tensor | None = None

    def restore(self, state: S, first_round: int, failed_attempts: int = 0) -> None:
        """Continue from `state`, with `first_round` as the next round after `failed_attempts` at it."""
        self.state = state
        self.record = self._new_record(first_round, failed_attempts)

    @contextmanager
    def decoding(self, *, simulated: bool) -> Iterator[None]:
        """Context manager in which `server.decoders` processes decode updates.

        Parameters
        ----------
        simulated : bool
            Whether clients train on this machine.
        """
        number = processes(self.config.server.decoders, self.codec.coded_gates, simulated=simulated)
        try:
            with Decoders(number) as self._decoders:
                yield
        finally:
            self._decoders = Decoders()

    def snapshot(self, server_round: int) -> bytes:
        """Return the current state, coded for the round that starts with it; the result is cached."""
        last = self._snapshot
        if last is None or last[0].state is not self.state or last[0].server_round != server_round:
            last = VersionedState(self.state, server_round), self.codec.pack_state(self.state, server_round)
            self._snapshot = last
        return last[1]

    def open_round(self, server_round: int, clients: Mapping[int, int]) -> list[Request]:
        """Start a round, or another attempt at it, and return a request for each sampled client.

        The sample is a function of seed, round, attempt and names. Sampled clients that drop out (`dropout`) count as selected
        and failed, and get no request.

        Parameters
        ----------
        server_round : int
            Number of the round, from 1.
        clients : mapping
            Mapping from name to node of the available clients.
        """
        attempt = self.record.attempt + 1 if self.record.server_round == server_round else 1
        self.record = self._new_record(server_round, attempt)
        purpose = "choose" if attempt == 1 else f"choose, attempt {attempt}"
        chosen = sample_clients(clients, self.config.fraction_train, self.config.seed, purpose, server_round)
        self.evaluation = {}
        return self._requests("train", chosen, clients, server_round)

    def close_round(self, replies: Iterable[Reply]) -> RoundRecord:
        """Check each reply, pass the accepted updates to the method as they arrive, and return the record of the round.

        The state is unchanged if there are fewer accepted updates than `server.quorum` requires.
        """
        method, record, masks = self.method, self.record, MaskCounts(self.state.size)
        change = None if method.spec.update == "mask" else partial(method.change, self.state)
        updates = masks.watch(self._in_progress().updates(replies, change))
        new = method.next_state(self.state, updates, record.server_round)
        trim = self.config.server.trim
        if trim and record.counted and not dropped_of(trim, record.counted) and not self._warned:
            self._warned = True
            least = math.ceil(1 / trim - 1e-9)
            log.warning("server.trim = %g drops none of %d updates: it needs at least %d", trim, record.counted, least)
        for _ in updates:  # a method may stop reading early; the remaining updates must be checked and recorded, too
            pass
        self._before = self.state
        record.quorum = record.counted >= max(1, math.ceil(self.config.server.quorum * len(record.selected) - 1e-9))
        if record.quorum and change is not None and not self._is_finite(new):
            record.quorum, record.withdrawn = False, "its predictions of random images are not finite"
        if record.quorum:
            record.measures = method.round_metrics(self.state, new, masks)
            self.state = new
        record.theta_histogram = method.histogram(self.state)
        self._broadcast.close(record.server_round, changed=record.quorum)
        self._round_trip = None
        return record

    def withdraw(self, reason: str) -> None:
        """Restore the state before the round that was closed last, and record the reason."""
        self.state, self.record.quorum, self.record.withdrawn = self._before, False, reason
        self.record.measures, self.record.theta_histogram = {}, self.method.histogram(self.state)
        self._broadcast.revoke(self.record.server_round)

    def open_evaluation(self, clients: Mapping[int, int]) -> list[Request]:
        """Return a request for each client sampled to evaluate the new state; none without `fraction-evaluate` or a quorum.

        The sample is independent of that of the clients that train.
        """
        self._round_trip, self.evaluation = None, {}
        if not self.config.fraction_evaluate or not self.record.quorum:
            return []
        server_round = self.record.server_round
        attempt = self.record.attempt
        purpose = "choose evaluators" if attempt == 1 else f"choose evaluators, attempt {attempt}"
        chosen = sample_clients(clients, self.config.fraction_evaluate, self.config.seed, purpose, server_round)
        return self._requests("evaluate", chosen, clients, server_round + 1)

    def close_evaluation(self, replies: Iterable[Reply]) -> dict[str, float]:
        """Return means of the clients' metrics; the record gets the metrics of each client.

        ``client_<metric>`` is weighted by numbers of examples; ``client_<metric>_macro`` weights clients equally. Clients that
        do not report a metric are left out of its mean.
        """
        if self._round_trip is None:
            return {}
        own, classes = self.method.metric_names, self.problem.task != "regression"
        evaluations = dict(self._round_trip.evaluations(replies, classes=classes, own=own))
        examples = capped([n for n, _ in evaluations.values()], self.config.server.max_examples)
        results = [(n, metrics) for n, (_, metrics) in zip(examples, evaluations.values(), strict=True)]
        self.record.evaluations, self._round_trip = dict(zip(evaluations, results, strict=True)), None
        if not evaluations:
            return {}
        means = dict[str, float]()
        overflows = sum(metrics.pop("not_finite", 0.0) > 0 for _, metrics in results)
        if overflows > max(1, len(results) / 2):  # a single client must not be able to force a withdrawal
            self.withdraw(f"on {overflows} of {len(results)} clients its predictions are not finite")
            return {}
        for name in dict.fromkeys(name for _, metrics in results for name in metrics):
            bound = MAX_METRIC if name in own else LARGEST_LOSS
            values = [(n, max(-bound, min(metrics[name], bound))) for n, metrics in results if name in metrics]
            total = sum(n for n, _ in values)
            means[f"client_{name}"] = math.fsum(n * value for n, value in values) / total
            means[f"client_{name}_macro"] = math.fsum(value for _, value in values) / len(values)
        self.evaluation = means
        return means

    def evaluate(self, x: Inputs, y: Tensor) -> dict[str, float]:
        """Return the method's metrics of the current state on a test set, given as :func:`fedgates.data.to_tensors` returns it.

        The result is empty if a layer is personal, because the server does not have that layer.
        """
        if self.config.gates.personal:
            return {}
        server_round, classes = self.record.server_round, self.problem.num_classes
        confusion = torch.zeros(classes, classes, dtype=torch.int64) if 0 < classes <= MAX_CLASSES else None
        with seeded_rng(rng.generator(self.config.seed, "evaluation", server_round=server_round), threads=0):
            self.method.load_tail(self.state)
            metrics = self.method.evaluate(self.state, Task(x, y, server_round, confusion=confusion))
        self.confusion = confusion if confusion is not None and confusion.any() else None  # a method may not write it
        return {name: float(value) for name, value in metrics.items()}

    def _requests(self, kind: Kind, chosen: list[int], clients: Mapping[int, int], opens: int) -> list[Request]:
        state = VersionedState(self.state, opens)
        self._broadcast.open(state, self.snapshot(opens))
        nodes = {clients[name]: name for name in chosen}
        self._round_trip = RoundTrip(nodes, state, self.codec, self._broadcast, self.record, self.config, self._decoders)
        silent = self._silent(chosen) if kind == "train" else ()
        return self._round_trip.requests(kind, self.problem, silent)

    def _silent(self, chosen: Iterable[int]) -> list[int]:
        """Return the names of the sampled clients that drop out, each with probability `dropout`."""
        dropout, seed, record = self.config.dropout, self.config.seed, self.record
        if not dropout:
            return []
        purpose = f"dropout, attempt {record.attempt}"
        key = {"server_round": record.server_round}
        return [client for client in chosen if rng.uniform(1, seed, purpose, **key, client=client)[0] < dropout]

    def _is_finite(self, state: S) -> bool:
        """Return whether predictions on a few random inputs are finite; not every round is evaluated."""
        x = random_inputs(self.problem, _TRIED)
        network = self.method.network
        with seeded_rng(rng.generator(self.config.seed, "trial", server_round=self.record.server_round), threads=0):
            self.method.load_tail(state)
            network.weights.copy_(self.method.weights(state))
            predictions = predict(network, mapped(x, lambda each: each.to(network.device)), self.config.precision)
        return bool(predictions.isfinite().all())

    def _in_progress(self) -> RoundTrip:
        if self._round_trip is None:
            raise RuntimeError("no round is in progress: call open_round before close_round")
        return self._round_trip

    def _new_record(self, server_round: int, attempt: int = 1) -> RoundRecord:
        size, vectors = self.method.network.size, len(self.method.spec.arrays)
        return RoundRecord(server_round, size, vectors, attempt, max_examples=self.config.server.max_examples)
