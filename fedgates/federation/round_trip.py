"""One exchange with the chosen clients: a request to each, and the check of each reply."""

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
"""From an update to the change of the state that it asks for."""


class RoundTrip:
    """The requests of one exchange and their replies, each of which is checked alone and recorded.

    Parameters
    ----------
    chosen : mapping
        Node to name of the clients that get a request.
    state : VersionedState
        The state they get.
    codec, broadcast, record
        How the state is coded, what each client has already, and the record of the round.
    config : RunConfig
        `server.round-timeout`, the seconds that replies may take, `server.max-norm`, `server.max-examples` and `dropout`.
    decoders : Decoders
        What decodes the replies.
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
        """Return a request to each client: the state, or what leads to it from the one that the client has.

        Clients in `silent` fail: their requests are counted, and not returned.
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
            As they arrive.
        change : callable, optional
            Returns the change of the state that an update asks for. With it, updates are compared once all have arrived, and
            come in the order of the clients' names; without it they come as they arrive.
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
        """Yield each update that can be decoded, with its payload; the others are recorded and dropped."""
        for client, reply, found in self._decoders.decode(self._reader, self._well_formed(replies)):
            if isinstance(found, WireError):
                self._record.reject(client, str(found))
            else:
                yield self._claimed(found, reply, client), reply.payload

    def _well_formed(self, replies: Iterable[Reply]) -> Iterator[tuple[int, Reply]]:
        """Yield each reply whose payload is to be decoded, with its client; the others are recorded and dropped."""
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
        """Return the updates that are not far from the others, in the order of the clients' names, with capped examples."""
        relays, server = self._codec.relays, self._config.server
        found = [(update, payload if relays else b"") for update, payload in passed]  # a payload is as large as its update
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
        """Yield the name of each client whose evaluation is well-formed, with its number of examples and its metrics.

        Parameters
        ----------
        replies : iterable of Reply
            As they arrive.
        classes : bool
            Whether an evaluation has an accuracy.
        own : collection of str
            Names of the metrics that `metric` adds, which an evaluation may have.
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
        """Return an update with what the client claims about itself, held within what can be."""
        metrics = dict(reply.metrics)
        if "seconds" in metrics:  # no reply is later than the deadline
            metrics["seconds"] = min(metrics["seconds"], self._config.server.round_timeout)
        return replace(update, client=client, num_examples=reply.num_examples, metrics=metrics)

    def _note(self, client: int, failure: str) -> None:
        """Tell the broadcast of an error, which the state that the client was sent may have caused; not of silence."""
        if failure != self._silence:
            self._broadcast.refuse(client)

    @property
    def _silence(self) -> str:
        return no_reply_within(self._config.server.round_timeout)

    def _first_replies(self, replies: Iterable[Reply]) -> Iterator[tuple[int, Reply]]:
        """Yield the first reply of each client that got a request, with the client's name."""
        for reply in replies:
            client = self._awaited.pop(reply.node, None)
            if client is None:
                log.warning("ignored a reply without a request, from node %d", reply.node)
            else:
                yield client, reply


def no_reply_within(seconds: float) -> str:
    """Return the reason for a client that has not replied in time."""
    return f"no reply within {seconds:g} s"


def _norm(change: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(change.astype(np.float64)))


def _description(reply: Reply) -> str:
    """Return what a reply's payload says it is."""
    try:
        return describe(reply.payload)
    except WireError:
        return "unreadable"


def _evaluation_metrics(
    metrics: Mapping[str, float], *, classes: bool, own: Collection[str] = (), own_loss: bool = False
) -> dict[str, float]:
    """Return ``loss`` and shares in 0 to 1: with `classes` ``accuracy``, and others if they are there; and those of `own`.

    Raises
    ------
    WireError
        Loss or accuracy is missing, or one is out of range: a loss is at least 0, unless it is the user's `own_loss`; neither
        that nor a metric in `own` is beyond 1e9.
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
