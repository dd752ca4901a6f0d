"""The shared base of all methods: a Flower Strategy that chooses clients, codes, checks, counts, records and resumes.

A method derives from :class:`GateStrategy` and adds four functions of plain values: ``initial_state``, ``local_update``
(the client's rule), ``aggregate`` (the server's rule) and ``evaluate``. Everything around them is done here, once.
"""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar, cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from torch import Tensor

from fedgates import keys, report
from fedgates.checkpoint import RunFolder
from fedgates.config import RunConfig
from fedgates.flower.messages import (
    SHAPE,
    STATE,
    from_record,
    read_metrics,
    read_update,
    reply_bytes,
    shape_record,
    to_record,
)
from fedgates.flower.roster import Roster, choose, exchange, reason
from fedgates.ledger import Tally
from fedgates.network import Network
from fedgates.state import State, Update
from fedgates.training import Task, isolated
from fedgates.wire import WireError, pack_state, unpack_state

log = logging.getLogger("fedgates")
_TELL_EVERY = 30.0
"""Seconds between two lines that say what is waited for."""
Cfg = TypeVar("Cfg", bound=RunConfig)
S = TypeVar("S", bound=State)


class QuorumError(RuntimeError):
    """Too many rounds in a row had too few sound updates; the run can be resumed from its last checkpoint."""


class GateStrategy(Strategy, Generic[Cfg, S]):
    """A method of communication-efficient federated learning, as a Flower Strategy.

    The same class serves both ends: a client builds it to call ``local_update``, the server to run the rounds.

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
    sends_values : bool
        Whether an update carries values (a weight method) or a mask alone. Updates with values are aggregated
        in the order of the clients' names, so that float sums repeat; masks as they come.
    digest : bytes
        Eight bytes that name the network both ends must hold; set by the method's constructor.
    state
        The server's present state; what travels is its coded form.
    input_shape, num_classes
        (C, H, W) of an image and the number of classes: what the server tells the clients with every state, because their own
        data must fit it. Set on the server.
    """

    Config: ClassVar[type[RunConfig]] = RunConfig
    sends_values: ClassVar[bool]
    digest: bytes

    def __init__(self, config: Cfg, network: Network) -> None:
        self.config = config
        self.network = network
        self.input_shape: tuple[int, int, int] = (0, 0, 0)
        self.num_classes = 0
        self.state: S | None = None
        self._roster = Roster()
        self._asked: dict[str, int] = {}
        self._tally = Tally(0, network.size)

    # --- what a method adds

    @abstractmethod
    def initial_state(self) -> S:
        """The server's state before the first round."""

    @abstractmethod
    def local_update(self, state: S, task: Task) -> Update:
        """The client's rule: train from the state on ``task``'s own images. Touches neither Flower nor the disk."""

    @abstractmethod
    def aggregate(self, state: S, updates: Iterable[Update], server_round: int) -> S:
        """The server's rule: a new state from checked updates, read once, one by one; leaves `state` as it is."""

    @abstractmethod
    def evaluate(self, state: S, x: Tensor, y: Tensor, server_round: int) -> dict[str, float]:
        """``accuracy`` (0 to 1) and ``loss`` of the state on images ``[n, C, H, W]``, and whatever else the method measures."""

    # --- Flower's side of a round

    def summary(self) -> None:
        """Log what is about to run."""
        c = self.config
        log.info(
            "%s on %s, %s with %s parameters, network %s",
            c.strategy,
            c.dataset,
            c.model,
            f"{self.network.size:,}",
            self.digest.hex(),
        )

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> list[Message]:
        """One message a chosen client, all with the same coded state, which `arrays` is; opens the round's tally."""
        payload = from_record(arrays)
        self._tally = Tally(server_round, self.network.size)
        chosen = self._choose(server_round, self.config.fraction_train, grid)
        for name in chosen.values():
            self._tally.sent(name, len(payload))
        return self._messages(arrays, chosen, MessageType.TRAIN)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check each reply alone, hand the sound ones to the method as they come, keep the old state without a quorum."""
        tally, state = self._tally, cast("S", self.state)
        updates = self._sound_updates(replies, server_round)
        new = self.aggregate(state, updates, server_round)
        for _ in updates:  # a method may stop reading early; what came is counted all the same
            pass
        for name in self._asked.values():
            tally.failed[name] = f"no reply within {self.config.round_timeout:g} s"
        self._asked.clear()
        tally.quorum = tally.counted >= max(1, math.ceil(self.config.quorum * len(tally.selected)))
        if tally.quorum:
            self.state = new
        return self._encode(server_round + 1), MetricRecord({"clients-counted": tally.counted})

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> list[Message]:
        """The new state for the clients that evaluate it, if any do."""
        if not self.config.fraction_evaluate:
            return []
        chosen = self._choose(server_round, self.config.fraction_evaluate, grid)
        return self._messages(arrays, chosen, MessageType.EVALUATE)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Means over clients' held-out images, weighted by how many; the rest of what they measured is theirs."""
        found = []
        for reply in replies:
            name = self._asked.pop(reply.metadata.reply_to_message_id, None)
            try:
                if name is None or reply.has_error():
                    raise WireError(reason(reply) if reply.has_error() else "an answer nobody asked for")  # noqa: TRY301
                examples, metrics = read_metrics(reply.content)
                found.append((examples, metrics["accuracy"], metrics["loss"]))
            except (WireError, KeyError) as error:
                log.warning("round %d: evaluation of client %s dropped: %s", server_round, name, error)
        self._asked.clear()
        total = sum(n for n, _, _ in found)
        if not total:
            return None
        found.sort()
        return MetricRecord(
            {
                "client_accuracy": math.fsum(n * accuracy for n, accuracy, _ in found) / total,
                "client_loss": math.fsum(n * loss for n, _, loss in found) / total,
            }
        )

    # --- the run

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
        *,
        first_round: int = 1,
        run: RunFolder | None = None,
    ) -> Result:
        """Run the rounds.

        Flower's own ``start`` has no first round, no checkpoint and no early end; this one does the same with them.

        Parameters
        ----------
        grid, train_config, evaluate_config, evaluate_fn
            As in Flower.
        initial_arrays : ArrayRecord, optional
            A coded state, as :meth:`encode` gives; by default the method's initial state.
        num_rounds, timeout : optional
            By default `num-server-rounds` and `round-timeout` of the config.
        first_round : int
            Where a resumed run goes on.
        run : RunFolder, optional
            Where each round's line and checkpoint are written.

        Raises
        ------
        QuorumError
            After `max-failed-rounds` rounds in a row without a quorum.
        """
        train_config, evaluate_config = train_config or ConfigRecord(), evaluate_config or ConfigRecord()
        last = num_rounds or self.config.num_server_rounds
        patience = timeout or self.config.round_timeout
        self.state = self._decode(from_record(initial_arrays)) if initial_arrays else self.initial_state()
        arrays, result, without_quorum, clock = self._encode(first_round), Result(), 0, report.Clock(last)
        self.summary()
        self._wait_for_clients(grid, patience)
        self._present(grid)  # workers start and clients introduce themselves now, not on the first round's time
        for server_round in range(first_round, last + 1):
            started = time.monotonic()
            questions = self.configure_train(server_round, arrays, train_config, grid)
            replies = exchange(grid, questions, patience, self._note)
            arrays, metrics = cast("tuple[ArrayRecord, MetricRecord]", self.aggregate_train(server_round, replies))
            result.arrays, result.train_metrics_clientapp[server_round] = arrays, metrics

            questions = self.configure_evaluate(server_round, arrays, evaluate_config, grid)
            evaluation_bytes = sum(reply_bytes(question) for question in questions)
            answers = exchange(grid, questions, patience, self._note)
            by_clients = self.aggregate_evaluate(server_round, answers) if questions else None
            if by_clients is not None:
                result.evaluate_metrics_clientapp[server_round] = by_clients
            by_server = evaluate_fn(server_round, arrays) if evaluate_fn else None
            if by_server is not None:
                result.evaluate_metrics_serverapp[server_round] = by_server

            measured = {**(by_server or {}), **(by_clients or {})}
            if questions:
                measured["evaluation_downlink_bytes"] = evaluation_bytes
            line = self._tally.line(time.monotonic() - started, cast("dict[str, float]", measured))
            self._record(run, line, server_round)
            log.info(clock.line(line))
            without_quorum = 0 if self._tally.quorum else without_quorum + 1
            if without_quorum >= self.config.max_failed_rounds:
                raise QuorumError(self._quorum_message(without_quorum, run))
        return result

    def encode(self, state: S, server_round: int) -> ArrayRecord:
        """A state as the payload that opens `server_round`."""
        return to_record(pack_state(state, server_round, self.digest))

    def evaluate_on(self, x: Tensor, y: Tensor) -> Callable[[int, ArrayRecord], MetricRecord]:
        """An ``evaluate_fn`` for :meth:`start`: the method's evaluation on a test set, uint8 ``[n, C, H, W]`` and labels."""

        def evaluate_fn(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001  # the state is at hand
            with isolated(keys.generator(self.config.seed, "evaluation", server_round=server_round), threads=0):
                return MetricRecord(dict(self.evaluate(cast("S", self.state), x, y, server_round)))

        return evaluate_fn

    # --- helpers

    def _encode(self, server_round: int) -> ArrayRecord:
        return self.encode(cast("S", self.state), server_round)

    def _decode(self, payload: bytes) -> S:
        return cast("S", unpack_state(payload, self.network.size, self.digest)[0])

    def _choose(self, server_round: int, fraction: float, grid: Grid) -> dict[int, int]:
        """Node id to name of the clients of a round."""
        present = self._present(grid)
        return {present[name]: name for name in choose(present, fraction, self.config.seed, server_round)}

    def _present(self, grid: Grid) -> dict[int, int]:
        """Name to node id of the clients there now."""
        present = self._roster.present(grid, RecordDict({SHAPE: self._shape()}), self.config.round_timeout)
        if not present and self._roster.problem:
            raise QuorumError(f"no client can take part; the first of them says: {self._roster.problem}")
        return present

    def _messages(self, arrays: ArrayRecord, chosen: dict[int, int], kind: str) -> list[Message]:
        self._chosen = chosen
        content = RecordDict({STATE: arrays, SHAPE: self._shape()})
        return [Message(content, node, kind) for node in chosen]

    def _shape(self) -> ConfigRecord:
        return shape_record(self.input_shape, self.num_classes)

    def _note(self, message: Message) -> None:
        self._asked[message.metadata.message_id] = self._chosen[message.metadata.dst_node_id]

    def _wait_for_clients(self, grid: Grid, timeout: float) -> None:
        end, told = time.monotonic() + timeout, 0.0
        while (there := len(list(grid.get_node_ids()))) < self.config.min_clients:
            if time.monotonic() > end:
                raise QuorumError(
                    f"min-clients = {self.config.min_clients}: {there} clients came within {timeout:g} s (round-timeout)"
                )
            if time.monotonic() - told > _TELL_EVERY:
                log.info("waiting for clients: %d of min-clients = %d are there", there, self.config.min_clients)
                told = time.monotonic()
            time.sleep(0.1)

    def _sound_updates(self, replies: Iterable[Message], server_round: int) -> Iterator[Update]:
        """Updates that passed every check, each from a client that was asked and has not answered yet."""
        if self.sends_values:
            replies = sorted(replies, key=lambda r: self._asked.get(r.metadata.reply_to_message_id, -1))
        for reply in replies:
            name = self._asked.pop(reply.metadata.reply_to_message_id, None)
            if name is None:
                log.warning("round %d: an answer nobody asked for, from node %d", server_round, reply.metadata.src_node_id)
            elif reply.has_error():
                self._tally.failed[name] = reason(reply)
            else:
                self._tally.received(reply_bytes(reply))
                try:
                    update = read_update(reply, self.network.size, self.digest, server_round, values=self.sends_values)
                except WireError as error:
                    self._tally.rejected[name] = str(error)
                    continue
                self._tally.count(update)
                yield update

    def _record(self, run: RunFolder | None, line: dict[str, Any], server_round: int) -> None:
        if run is not None:
            run.ledger.append(line)
            run.save(cast("S", self.state), server_round, self.digest)

    def _quorum_message(self, rounds: int, run: RunFolder | None) -> str:
        where = f"; to go on: resume = {str(run.path)!r}" if run else ""
        failed = {**self._tally.failed, **self._tally.rejected}
        example = f", client {min(failed)}: {failed[min(failed)]}" if failed else ""
        return (
            f"{rounds} rounds in a row had fewer sound updates than quorum = {self.config.quorum:g} asks for "
            f"({self._tally.counted} of {len(self._tally.selected)} in the last{example}){where}"
        )


__all__ = ["GateStrategy", "QuorumError"]
