"""Flower Strategy around a fedgates server, for your own ServerApp."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedgates.federation.callbacks import Record, running
from fedgates.federation.messages import Kind, Reply, Request
from fedgates.federation.rounds import available, run_rounds
from fedgates.federation.run import log_summary
from fedgates.federation.server import Server
from fedgates.federation.setup import refuse_dropout
from fedgates.flower.records import from_record, request_message, to_record
from fedgates.flower.startup import config_is_checked
from fedgates.flower.transport import GridTransport, to_reply
from fedgates.runs.callback import Callback

log = logging.getLogger("fedgates")
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


class FlowerStrategy(Strategy):
    """Flower Strategy that delegates to a :class:`~fedgates.federation.Server`.

    The server holds the state. The arrays that Flower passes around are the coded state and are not read back.

    Parameters
    ----------
    server : Server
        The server, with method, codec, membership and state.
    """

    def __init__(self, server: Server[Any]) -> None:
        self.server = server
        self._transport: GridTransport | None = None

    def summary(self) -> None:
        """Log the method, data, network and changed settings."""
        log_summary(self.server)

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,  # noqa: ARG002  # Flower's signature
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> list[Message]:
        """Open a round and return a message for each sampled client."""
        return self._messages(self.server.open_round(server_round, available(self.server, self._on(grid))))

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Close the round and return the coded state for the next round, or for the same round if there was no quorum."""
        record = self.server.close_round(self._replies("train", replies))
        opens = server_round + 1 if record.quorum else server_round
        return to_record(self.server.snapshot(opens)), MetricRecord({"clients-counted": record.counted})

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,  # noqa: ARG002
        config: ConfigRecord,  # noqa: ARG002
        grid: Grid,
    ) -> list[Message]:
        """Return a message for each client sampled to evaluate the new state; none in rounds that `evaluate-every` skips."""
        asks = self.server.config.evaluates(server_round)
        return self._messages(self.server.open_evaluation(available(self.server, self._on(grid)))) if asks else []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:  # noqa: ARG002
        """Return means of the clients' metrics on their held-out examples."""
        metrics = self.server.close_evaluation(self._replies("evaluate", replies))
        return MetricRecord(dict(metrics)) if metrics else None

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int | None = None,
        timeout: float | None = None,  # noqa: ARG002
        train_config: ConfigRecord | None = None,  # noqa: ARG002
        evaluate_config: ConfigRecord | None = None,  # noqa: ARG002
        evaluate_fn: EvaluateFn | None = None,
        *,
        callbacks: Sequence[Callback] = (),
    ) -> Result:
        """Run the rounds (:func:`fedgates.federation.rounds.run_rounds`) on a grid.

        Parameters
        ----------
        grid, evaluate_fn
            As in Flower. Parameters that are not listed here are ignored: clients read their run config, and the timeout is
            `server.round-timeout`.
        initial_arrays : ArrayRecord, optional
            A coded state to start from; by default the method's initial state.
        num_rounds : int, optional
            Number of rounds; by default `num-server-rounds`.
        callbacks : sequence of Callback
            Called at the start, after each round, and at the end.

        Raises
        ------
        QuorumError
            A round missed its quorum `server.max-failed-rounds` times, or too few clients are available.
        ConfigError
            `dropout` is above 0 on real devices.
        """
        server = self.server
        if not self._on(grid).simulated:
            refuse_dropout(server.config)
        config_is_checked()  # the ClientApp of a simulation waits for this
        state = server.method.initial_state()
        if initial_arrays is not None:
            state = server.codec.unpack_state(from_record(initial_arrays)).state
        server.restore(state, 1)
        self.summary()
        results = _ResultCallback(to_record(server.snapshot(1)))
        everything = [*callbacks, results]
        last = num_rounds or server.config.num_server_rounds

        def evaluate() -> dict[str, float]:
            current = server.record.server_round
            metrics = evaluate_fn(current, to_record(server.snapshot(current + 1))) if evaluate_fn else None
            if metrics is not None:
                results.result.evaluate_metrics_serverapp[current] = metrics
            return cast("dict[str, float]", dict(metrics or {}))

        with running(everything, server, 1, resumed=False):
            run_rounds(server, self._on(grid), range(1, last + 1), everything, evaluate)
        return results.result

    def _on(self, grid: Grid) -> GridTransport:
        """Return the transport over a grid, the same for every call, because it keeps pending introductions."""
        if self._transport is None or self._transport.grid is not grid:
            self._transport = GridTransport(grid)
        return self._transport

    def _messages(self, requests: Iterable[Request]) -> list[Message]:
        return [request_message(request, self.server.config.server.round_timeout) for request in requests]

    def _replies(self, kind: Kind, messages: Iterable[Message]) -> Iterable[Reply]:
        config = self.server.config
        return (to_reply(message, kind, config.server.round_timeout, config.limits.max_payload_mb) for message in messages)


class _ResultCallback(Callback):
    """Callback that collects Flower's result."""

    def __init__(self, arrays: ArrayRecord) -> None:
        self.result = Result(arrays=arrays)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Store the coded state and the clients' metrics."""
        server_round = int(record["round"])
        self.result.arrays = to_record(server.snapshot(server_round + 1 if record["quorum"] else server_round))
        self.result.train_metrics_clientapp[server_round] = MetricRecord({"clients-counted": record["clients_counted"]})
        if server.evaluation:
            self.result.evaluate_metrics_clientapp[server_round] = MetricRecord(dict(server.evaluation))
