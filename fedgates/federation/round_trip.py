"""One exchange with chosen clients: what each is sent, who has answered, and which answers are sound."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from fedgates.config import RunConfig
from fedgates.errors import WireError
from fedgates.flower.records import (
    SHAPE,
    STATE,
    UPDATE,
    expect_size,
    from_record,
    read_evaluation,
    read_update,
    reply_bytes,
    reply_sort,
    to_record,
)
from fedgates.flower.transport import reason
from fedgates.runs.round_log import Evaluation, RoundRecord
from fedgates.types import Update
from fedgates.wire import AcceptedUpdate, VersionedState, describe
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec

_EXPIRED = 3
"""Flower's error code for a message that it dropped: at its deadline, or with the node that it was for."""
log = logging.getLogger("fedgates")


class RoundTrip:
    """The questions of one exchange and their answers, each of which is checked alone and tallied.

    Parameters
    ----------
    chosen : mapping
        Node id to name of the clients that are asked.
    known : Known
        The state they are asked about.
    channel, downlink, tally
        How it is coded, what each client knows already, and what the round has counted so far.
    config : RunConfig
        For `round-timeout`, the seconds that their answers may take, `max-payload-mb` and `max-examples`.
    """

    def __init__(
        self,
        chosen: Mapping[int, int],
        known: VersionedState,
        channel: Codec,
        downlink: Broadcast,
        tally: RoundRecord,
        config: RunConfig,
    ) -> None:
        self._awaited = dict(chosen)
        self._known, self._channel, self._downlink, self._tally, self._config = known, channel, downlink, tally, config

    def questions(self, kind: str, shape: ConfigRecord) -> list[Message]:
        """A message to each client: the state, or what leads from the one it knows to it."""
        tell = self._tally.sent if kind == MessageType.TRAIN else self._tally.sent_to_evaluate
        messages = []
        for node, name in self._awaited.items():
            payload = self._downlink.payload(name)
            tell(name, describe(payload), len(payload))
            content = RecordDict({STATE: to_record(payload), SHAPE: shape})
            messages.append(Message(content, node, kind, ttl=self._config.round_timeout))
        return messages

    def updates(self, replies: Iterable[Message], *, by_name: bool) -> Iterator[Update]:
        """Updates that passed every check; in the order of the clients' names, or as they come."""
        if by_name:
            replies = sorted(replies, key=lambda reply: self._awaited.get(reply.metadata.src_node_id, -1))
        for name, reply in self._answers(replies):
            if reply.has_error():
                self._tally.fail(name, self._reason(reply))
                continue
            self._tally.received(reply_sort(reply), reply_bytes(reply))
            try:
                expect_size(reply_bytes(reply), self._config.max_payload_mb)
                update = read_update(reply, partial(self._channel.unpack_update, known=self._known, client=name))
            except WireError as error:
                self._tally.reject(name, str(error))
                continue
            update = self._bounded(update)
            self._tally.count(update)
            self._downlink.confirm(name)
            payload = from_record(reply.content.array_records[UPDATE])
            self._downlink.collect(AcceptedUpdate(name, update.num_examples, payload))
            yield update
        for name in self._awaited.values():
            self._tally.fail(name, self._silence)

    def evaluations(self, replies: Iterable[Message], *, classes: bool) -> Iterator[tuple[int, Evaluation]]:
        """What sound evaluations found, each under its client's name."""
        for name, reply in self._answers(replies):
            try:
                if reply.has_error():
                    raise WireError(self._reason(reply))  # noqa: TRY301
                examples, found = read_evaluation(reply.content, classes=classes)
            except WireError as error:
                self._tally.fail_evaluation(name, str(error))
                continue
            self._downlink.confirm(name)
            yield name, (min(examples, self._config.max_examples), found)
        for name in self._awaited.values():
            self._tally.fail_evaluation(name, self._silence)

    def _bounded(self, update: Update) -> Update:
        """What a client says of itself, held within what can be: no answer is later than the deadline."""
        metrics = dict(update.metrics)
        if "seconds" in metrics:
            metrics["seconds"] = min(metrics["seconds"], self._config.round_timeout)
        return replace(update, num_examples=min(update.num_examples, self._config.max_examples), metrics=metrics)

    def _reason(self, reply: Message) -> str:
        """Why there is an error instead of an answer; what Flower says of a message that expired is that nobody replied."""
        return self._silence if reply.error.code == _EXPIRED else reason(reply)

    @property
    def _silence(self) -> str:
        return f"no reply within {self._config.round_timeout:g} s"

    def _answers(self, replies: Iterable[Message]) -> Iterator[tuple[int, Message]]:
        """The first answer of each client that was asked, under its name."""
        for reply in replies:
            name = self._awaited.pop(reply.metadata.src_node_id, None)
            if name is None:
                log.warning("an answer nobody asked for, from node %d", reply.metadata.src_node_id)
            else:
                yield name, reply
