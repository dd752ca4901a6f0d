"""One exchange with the sampled clients: make a request for each, and check each reply."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress
from operator import not_

import numpy as np
from numpy.typing import NDArray

from fedgates.config import RunConfig
from fedgates.errors import WireError
from fedgates.federation.decoders import Decoders
from fedgates.federation.messages import Kind, Reply, Request
from fedgates.runs.record import Evaluation, RoundRecord
from fedgates.types import MAX_METRIC, Problem, Update
from fedgates.util.robust import capped, middle
from fedgates.wire import VersionedState, describe
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec

log = logging.getLogger("fedgates")
Change = Callable[[Update], NDArray[np.float32]]
"""Function of an update that returns the change of the state that it encodes, ``[d]``."""


class RoundTrip:
    """The requests of one exchange and their replies, each checked on its own and recorded.

    Parameters
    ----------
    chosen : mapping
        Mapping from node to name of the clients to send requests to.
    state : VersionedState
        The state to send.
    codec : Codec
        Codec of states and updates.
    broadcast : Broadcast
        Knows the state that each client has.
    record : RoundRecord
        Record of the round, which is updated.
    config : RunConfig
        The keys `server.round-timeout`, `server.max-norm`, `server.max-examples` and `dropout` are used.
    decoders : Decoders
        Decodes the replies.
    """

    def __init__(
        self,
        chosen: Mapping[int, int],
        state: VersionedState,
        codec: Codec,
        broadcast: Broadcast,
        record: RoundRecord,
        config: RunConfig,
        decoders: Decoders,
    ) -> None:
        self._awaited = dict(chosen)
        self._codec, self._broadcast, self._record, self._config = codec, broadcast, record, config
        self._reader, self._decoders = codec.reader(state), decoders

    def requests(self, kind: Kind, problem: Problem, silent: Collection[int] = ()) -> list[Request]:
        """Return a request to each client with the state, or with a change to the state that the client has.

        Clients in `silent` are recorded as failed: their requests are counted but not returned.
        """
        add = self._record.sent if kind == "train" else self._record.sent_to_evaluate
        requests = []
        for node, client in list(self._awaited.items()):
            payload = self._broadcast.payload(client)
            add(client, describe(payload), len(payload))
            if client in silent:
                del self._awaited[node]
                self._record.fail(client, f"no answer: simulated, dropout = {self._config.dropout:g}")
                continue
            requests.append(Request(node, client, kind, payload, problem))
        return requests

    def updates(self, replies: Iterable[Reply], change: Change | None) -> Iterator[Update]:
        """Yield the updates that pass every check.

        Parameters
        ----------
        replies : iterable of Reply
            Replies in the order of arrival.
        change : callable, optional
            Function that returns the change of the state that an update encodes. With it, updates are compared once all have
            arrived, and are yielded in the order of the clients' names; without it, they are yielded as they arrive.
        """
        passed = self._passed(replies)
        for update, payload in self._compared(passed, change) if change else passed:
            self._record.count(update)
            self._broadcast.confirm(update.client)
            self._broadcast.collect(update, payload)
            yield update
        for client in self._awaited.values():
            self._record.fail(client, self._silence)

    def _passed(self, replies: Iterable[Reply]) -> Iterator[tuple[Update, bytes]]:
        """Yield each decodable update with its payload; record and drop the others."""
        for client, reply, found in self._decoders.decode(self._reader, self._well_formed(replies)):
            if isinstance(found, WireError):
                self._record.reject(client, str(found))
            else:
                yield self._claimed(found, reply, client), reply.payload

    def _well_formed(self, replies: Iterable[Reply]) -> Iterator[tuple[int, Reply]]:
        """Yield each well-formed reply with its client; record and drop the others."""
        for client, reply in self._first_replies(replies):
            if reply.failure:
                self._record.fail(client, reply.failure)
                self._note(client, reply.failure)
                continue
            self._record.received(_description(reply), reply.size)
            if reply.malformed:
                self._record.reject(client, reply.malformed)
            else:
                yield client, reply

    def _compared(self, passed: Iterable[tuple[Update, bytes]], change: Change) -> list[tuple[Update, bytes]]:
        """Return the updates within `server.max-norm`, in the order of the clients' names, with capped numbers of examples."""
        relays, server = self._codec.relays, self._config.server
        found = [(update, payload if relays else b"") for update, payload in passed]  # payloads are large: keep only if needed
        found.sort(key=lambda each: each[0].client)
        if server.max_norm and found:
            norms = [_norm(change(update)) for update, _ in found]
            usual = middle(norms)
            close = [not usual or norm <= server.max_norm * usual for norm in norms]
            for (update, _), norm in compress(zip(found, norms, strict=True), map(not_, close)):
                self._record.reject(
                    update.client,
                    f"a change of norm {norm:.3g}, expected at most server.max-norm = {server.max_norm:g} times the median of"
                    f" the round, {usual:.3g}",
                )
            found = list(compress(found, close))
        examples = capped([update.num_examples for update, _ in found], server.max_examples)
        return [(replace(update, num_examples=n), payload) for (update, payload), n in zip(found, examples, strict=True)]

    def evaluations(
        self, replies: Iterable[Reply], *, classes: bool, own: Collection[str] = ()
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield the name of each client with a well-formed evaluation, with its number of examples and metrics.

        Parameters
        ----------
        replies : iterable of Reply
            Replies in the order of arrival.
        classes : bool
            Whether evaluations must have an accuracy.
        own : collection of str
            Names of the user-defined metrics that evaluations may have.
        """
        own_loss = bool(self._config.loss)
        for client, reply in self._first_replies(replies):
            try:
                if reply.failure or reply.malformed:
                    raise WireError(reply.failure or reply.malformed)  # noqa: TRY301
                metrics = _evaluation_metrics(reply.metrics, classes=classes, own=own, own_loss=own_loss)
            except WireError as error:
                self._record.fail_evaluation(client, str(error))
                self._note(client, str(error))
                continue
            self._broadcast.confirm(client)
            yield client, (reply.num_examples, metrics)
        for client in self._awaited.values():
            self._record.fail_evaluation(client, self._silence)

    def _claimed(self, update: Update, reply: Reply, client: int) -> Update:
        """Return the update with the client's name, number of examples and metrics, with a plausible training time."""
        metrics = dict(reply.metrics)
        if "seconds" in metrics:  # a reply cannot have taken longer than the timeout
            metrics["seconds"] = min(metrics["seconds"], self._config.server.round_timeout)
        return replace(update, client=client, num_examples=reply.num_examples, metrics=metrics)

    def _note(self, client: int, failure: str) -> None:
        """Report an error, which the payload sent to the client may have caused, to the broadcast; ignore timeouts."""
        if failure != self._silence:
            self._broadcast.refuse(client)

    @property
    def _silence(self) -> str:
        return no_reply_within(self._config.server.round_timeout)

    def _first_replies(self, replies: Iterable[Reply]) -> Iterator[tuple[int, Reply]]:
        """Yield the first reply of each client with a request, and the client's name."""
        for reply in replies:
            client = self._awaited.pop(reply.node, None)
            if client is None:
                log.warning("ignored a reply without a request, from node %d", reply.node)
            else:
                yield client, reply


def no_reply_within(seconds: float) -> str:
    """Return the failure reason of a client that has not replied in time."""
    return f"no reply within {seconds:g} s"


def _norm(change: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(change.astype(np.float64)))


def _description(reply: Reply) -> str:
    """Return the description in the header of a reply's payload."""
    try:
        return describe(reply.payload)
    except WireError:
        return "unreadable"


def _evaluation_metrics(
    metrics: Mapping[str, float], *, classes: bool, own: Collection[str] = (), own_loss: bool = False
) -> dict[str, float]:
    """Validate the metrics of a client's evaluation, and return the known ones.

    Parameters
    ----------
    metrics : mapping
        Metrics as received.
    classes : bool
        Whether ``accuracy`` is required.
    own : collection of str
        Names of user-defined metrics.
    own_loss : bool
        Whether the loss is user-defined and may be negative.

    Raises
    ------
    WireError
        A required metric is missing, a share is not in [0, 1], a loss is negative, or a user-defined value is beyond 1e9.
    """
    loss = metrics.get("loss", np.nan)
    shares = {"accuracy": metrics.get("accuracy", -1.0)} if classes else {}
    shares |= {name: metrics[name] for name in ("own_class_accuracy", "f1") if classes and name in metrics}
    if "not_finite" in metrics:
        shares["not_finite"] = metrics["not_finite"]
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise WireError(f"{name} = {share!r}, expected a number from 0 to 1")
    others = {name: metrics[name] for name in own if name in metrics}
    if own_loss:
        others["loss"] = loss
    elif not loss >= 0:
        raise WireError(f"loss = {loss!r}, expected a number of at least 0")
    for name, value in others.items():
        if not abs(value) <= MAX_METRIC:
            raise WireError(f"{name} = {value!r}, expected a number from {-MAX_METRIC:g} to {MAX_METRIC:g}")
    return {**shares, "loss": loss, **others}
