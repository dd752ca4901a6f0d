"""The rounds of a run: what Flower's own ``Strategy.start`` does, with a first round, checkpoints and an early end.

A strategy says what is sent and what becomes of the replies (``fedgates.flower.strategy``); here it is sent, waited for, timed,
written down and told.
"""

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from fedgates import report
from fedgates.checkpoint import RunFolder
from fedgates.flower.exchange import exchange

if TYPE_CHECKING:
    from fedgates.flower.strategy import GateStrategy

log = logging.getLogger("fedgates")
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]
_TELL_EVERY, _PAUSE = 30.0, 0.2
"""Seconds between two lines that say what is waited for, and between two looks."""


class QuorumError(RuntimeError):
    """Too few clients, or too few sound updates too many times; the run can be resumed from its last checkpoint."""


def run_rounds(
    strategy: "GateStrategy[Any, Any]",
    grid: Grid,
    arrays: ArrayRecord,
    rounds: range,
    timeout: float,
    evaluate_fn: EvaluateFn | None,
    run: RunFolder | None,
) -> Result:
    """Run `rounds` from the state that `arrays` is; each round's line and checkpoint go into `run`.

    Raises
    ------
    QuorumError
        After `max-failed-rounds` rounds in a row without a quorum, or where too few clients come.
    """
    result, without_quorum, clock = Result(), 0, report.Clock(rounds.stop - 1)
    for server_round in rounds:
        wait_for_clients(
            strategy, grid, timeout
        )  # before the clock starts: at first, workers start and clients say who they are
        started = time.monotonic()
        questions = strategy.configure_train(server_round, arrays, ConfigRecord(), grid)
        trained = strategy.aggregate_train(server_round, exchange(grid, questions, timeout))
        arrays, result.train_metrics_clientapp[server_round] = cast("tuple[ArrayRecord, MetricRecord]", trained)
        result.arrays = arrays

        questions = strategy.configure_evaluate(server_round, arrays, ConfigRecord(), grid)
        by_clients = strategy.aggregate_evaluate(server_round, exchange(grid, questions, timeout))
        if by_clients is not None:
            result.evaluate_metrics_clientapp[server_round] = by_clients
        by_server = evaluate_fn(server_round, arrays) if evaluate_fn else None
        if by_server is not None:
            result.evaluate_metrics_serverapp[server_round] = by_server

        measured = cast("dict[str, float]", {**(by_server or {}), **(by_clients or {})})
        line = strategy.tally.line(time.monotonic() - started, measured)
        if run is not None:
            run.ledger.append(line)
            run.save(strategy.state, server_round, strategy.digest)
        log.info(clock.line(line))
        without_quorum = 0 if strategy.tally.quorum else without_quorum + 1
        if without_quorum >= strategy.config.max_failed_rounds:
            raise QuorumError(_message(strategy, without_quorum, run))
    return result


def wait_for_clients(strategy: "GateStrategy[Any, Any]", grid: Grid, timeout: float) -> None:
    """Wait until `min-clients` clients are there and have introduced themselves.

    Raises
    ------
    QuorumError
        They have not within `timeout` seconds, or those that are there cannot take part.
    """
    wanted, started = strategy.config.min_clients, time.monotonic()
    told = -_TELL_EVERY
    while (there := len(strategy.present(grid))) < wanted:
        waited = time.monotonic() - started
        if waited > timeout:
            raise QuorumError(f"min-clients = {wanted}: {there} clients came within {timeout:g} s (round-timeout)")
        if waited - told >= _TELL_EVERY:
            log.info("waiting for clients: %d of min-clients = %d are there", there, wanted)
            told = waited
        time.sleep(_PAUSE)


def _message(strategy: "GateStrategy[Any, Any]", rounds: int, run: RunFolder | None) -> str:
    tally = strategy.tally
    where = f"; to go on: resume = {str(run.path)!r}" if run else ""
    wrong = {**tally.failed, **tally.rejected}
    example = f", client {min(wrong)}: {wrong[min(wrong)]}" if wrong else ""
    return (
        f"{rounds} rounds in a row had fewer sound updates than quorum = {strategy.config.quorum:g} asks for "
        f"({tally.counted} of {len(tally.selected)} in the last{example}){where}"
    )
