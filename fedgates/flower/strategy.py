"""A method as a Flower Strategy: it chooses clients, codes, checks, counts, records and resumes, for all methods alike.

A method derives from :class:`GateStrategy` and adds the four functions of :class:`~fedgates.methods.base.Method`. Everything
around them is done here, in ``fedgates.federation.round_trip`` and in ``fedgates.federation.rounds``, once.
"""

import logging
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Generic, cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from torch import Tensor

from fedgates import rng
from fedgates.errors import QuorumError
from fedgates.federation.membership import Membership, is_complete, sample_clients
from fedgates.federation.round_trip import RoundTrip
from fedgates.federation.rounds import EvaluateFn, Follow, run_rounds
from fedgates.flower.records import SHAPE, from_record, shape_record, to_record
from fedgates.methods.base import Cfg, Method, S
from fedgates.methods.metrics import MaskCounts
from fedgates.methods.randomized_response import epsilon
from fedgates.methods.training import seeded_rng
from fedgates.nn.network import Network
from fedgates.runs.checkpoint import RunFolder
from fedgates.runs.round_log import LARGEST_LOSS, RoundRecord
from fedgates.wire import VersionedState
from fedgates.wire.broadcast import Broadcast

log = logging.getLogger("fedgates")


class GateStrategy(Method[Cfg, S], Strategy, Generic[Cfg, S]):
    """A method as a Flower Strategy; what somebody's own method derives from. On a client only its method is used.

    Parameters
    ----------
    config, network
        As of :class:`~fedgates.methods.base.Method`.

    Attributes
    ----------
    state
        The server's present state; what travels is its coded form.
    input_shape, num_classes
        (C, H, W) of an image and the number of classes: what the server tells the clients with every state, because their own
        data must fit it.
    tally : Tally
        What the present round has counted so far.
    """

    state: S

    def __init__(self, config: Cfg, network: Network) -> None:
        super().__init__(config, network)
        self.input_shape: tuple[int, int, int] = (0, 0, 0)
        self.num_classes = 0
        self.tally = self._new_tally(0)
        self._roster = Membership()
        self._poll: RoundTrip | None = None
        """The exchange under way."""

    @cached_property
    def _downlink(self) -> Broadcast:
        return Broadcast(self.channel, self.config.max_relay_updates)

    def encode(self, state: S, server_round: int) -> ArrayRecord:
        """A state as the payload that opens `server_round`: a snapshot."""
        return to_record(self.channel.pack_state(state, server_round))

    # --- Flower's side of a round

    def summary(self) -> None:
        """Log what is about to run."""
        c, size = self.config, self.network.size
        log.info("%s on %s, %s with %s parameters, network %s", c.strategy, c.dataset, c.model, f"{size:,}", self.digest.hex())
        if c.flip_probability:
            a_bit = epsilon(c.flip_probability)
            told = "flip-probability = %g: local epsilon %.3f a bit, %s for all bits of a mask, each round (docs/privacy.md)"
            log.info(told, c.flip_probability, a_bit, f"{a_bit * size * self.vectors:,.0f}")

    def present(self, grid: Grid) -> dict[int, int]:
        """Name to node id of the clients there now."""
        return self._roster.present(grid, RecordDict({SHAPE: self._shape()}), self.config.round_timeout)

    def go_on(self, server_round: int, failed_attempts: int) -> None:
        """Before the run: so many attempts at its first round have been made, so that the next asks others."""
        self.tally = self._new_tally(server_round, failed_attempts)

    def nobody_else_comes(self, grid: Grid) -> bool:
        """Whether none come after those of the last look, and these have said whether they can take part, or fail at it."""
        return is_complete(grid) and self._roster.settled

    @property
    def problem(self) -> str:
        """Why a client that is there cannot take part: the first one's reason, or nothing."""
        return self._roster.problem

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,  # noqa: ARG002  # Flower's signature; all that a client needs is in the payload
        grid: Grid,
    ) -> list[Message]:
        """One message a chosen client, with the coded state that `arrays` is, or with what leads there; opens the tally."""
        attempt = self.tally.attempt + 1 if self.tally.server_round == server_round else 1
        self.tally = self._new_tally(server_round, attempt)
        return self._ask(MessageType.TRAIN, VersionedState(self.state, server_round), arrays, self.config.fraction_train, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check each reply alone, hand the sound ones to the method as they come; without a quorum keep the old state.

        The state is coded for the round that it opens: the next, or without a quorum this one again.
        """
        tally, masks = self.tally, MaskCounts(self.state.size)
        updates = masks.watch(self._under_way().updates(replies, by_name=self.sends != "mask"))
        new = self.aggregate(self.state, updates, server_round)
        for _ in updates:  # a method may stop reading early; what it left is checked and tallied all the same
            pass
        tally.quorum = tally.counted >= max(1, math.ceil(self.config.quorum * len(tally.selected) - 1e-9))
        if tally.quorum:
            tally.measures = self.measure(self.state, new, masks)
            self.state = new
        tally.theta_histogram = self.histogram(self.state)
        self._downlink.close(server_round, changed=tally.quorum)
        opened = server_round + 1 if tally.quorum else server_round
        return self.encode(self.state, opened), MetricRecord({"clients-counted": tally.counted})

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> list[Message]:
        """The new state for the clients that evaluate it, if there is one: a choice of its own, apart from who trained."""
        if not self.config.fraction_evaluate or not self.tally.quorum:
            self._poll = None
            return []
        return self._ask(
            MessageType.EVALUATE, VersionedState(self.state, server_round + 1), arrays, self.config.fraction_evaluate, grid
        )

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:  # noqa: ARG002
        """Means over clients' held-out images: by how many each says it has, and macro, where each client counts the same.

        What each of them found goes into the tally.
        """
        if self._poll is not None:
            self.tally.evaluations = dict(self._poll.evaluations(replies, classes=self.num_classes > 0))
        found = list(self.tally.evaluations.values())
        if not found:
            return None
        total = sum(n for n, _ in found)
        metrics = MetricRecord()
        for name in found[0][1]:
            values = [(n, min(each[name], LARGEST_LOSS)) for n, each in found]
            metrics[f"client_{name}"] = math.fsum(n * value for n, value in values) / total
            metrics[f"client_{name}_macro"] = math.fsum(value for _, value in values) / len(values)
        return metrics

    # --- the run

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,
        train_config: ConfigRecord | None = None,  # noqa: ARG002  # Flower's signature
        evaluate_config: ConfigRecord | None = None,  # noqa: ARG002
        evaluate_fn: EvaluateFn | None = None,
        *,
        first_round: int = 1,
        run: RunFolder | None = None,
        follow: Follow | None = None,
    ) -> Result:
        """Run the rounds; as Flower's own ``start``, with a first round, and a folder for lines and checkpoints.

        Parameters
        ----------
        grid, evaluate_fn
            As in Flower. The other records of Flower's signature are not sent: a client reads its run config.
        initial_arrays : ArrayRecord, optional
            A coded state, as :meth:`encode` gives; by default the method's initial state.
        num_rounds, timeout : optional
            By default `num-server-rounds` and `round-timeout` of the config.
        first_round : int
            Where a resumed run goes on.
        run : RunFolder, optional
            Where each round's line and checkpoint are written.
        follow : callable, optional
            Called with each round's line after that.

        Raises
        ------
        QuorumError
            A round missed its quorum `max-failed-rounds` times, or too few clients come.
        """
        if initial_arrays is None:
            self.state = self.initial_state()
        else:
            self.state = cast("S", self.channel.unpack_state(from_record(initial_arrays)).state)
        self.summary()
        rounds = range(first_round, (num_rounds or self.config.num_server_rounds) + 1)
        arrays = self.encode(self.state, first_round)
        return run_rounds(self, grid, arrays, rounds, timeout or self.config.round_timeout, evaluate_fn, run, follow)

    def evaluate_on(self, x: Tensor, y: Tensor) -> EvaluateFn:
        """An ``evaluate_fn`` for :meth:`start`: the method's evaluation on a test set, uint8 ``[n, C, H, W]`` and labels."""

        def evaluate_fn(server_round: int, arrays: ArrayRecord) -> MetricRecord:  # noqa: ARG001  # the state is at hand
            with seeded_rng(rng.generator(self.config.seed, "evaluation", server_round=server_round), threads=0):
                found = self.evaluate(self.state, x, y, server_round)
                return MetricRecord({name: float(value) for name, value in found.items()})

        return evaluate_fn

    # --- helpers

    def _new_tally(self, server_round: int, attempt: int = 1) -> RoundRecord:
        return RoundRecord(server_round, self.network.size, self.vectors, attempt)

    def _ask(self, kind: str, known: VersionedState, arrays: ArrayRecord, fraction: float, grid: Grid) -> list[Message]:
        """The questions to a fresh choice of clients, whose answers are awaited from now on."""
        present = self.present(grid)
        train = kind == MessageType.TRAIN
        purpose, drawn = ("choose", known.server_round) if train else ("choose evaluators", known.server_round - 1)
        if train and self.tally.attempt > 1:
            purpose = f"choose, attempt {self.tally.attempt}"
        chosen = sample_clients(present, fraction, self.config.seed, purpose, drawn)
        self._downlink.open(known, from_record(arrays))
        asked = {present[name]: name for name in chosen}
        self._poll = RoundTrip(asked, known, self.channel, self._downlink, self.tally, self.config)
        return self._poll.questions(kind, self._shape())

    def _under_way(self) -> RoundTrip:
        if self._poll is None:
            raise RuntimeError("no round is under way: configure_train comes before aggregate_train")
        return self._poll

    def _shape(self) -> ConfigRecord:
        return shape_record(self.input_shape, self.num_classes)


__all__ = ["GateStrategy", "QuorumError"]
