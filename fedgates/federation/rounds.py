"""The rounds of a run: what Flower's own ``Strategy.start`` does, with a first round, checkpoints and an early end.

A strategy says what is sent and what becomes of the replies (``fedgates.flower.strategy``); here it is sent, waited for, timed,
written down and told.
"""

import logging
import time
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from fedgates.errors import QuorumError
from fedgates.flower.transport import exchange
from fedgates.runs import summary
from fedgates.runs.checkpoint import RunFolder

if TYPE_CHECKING:
    from fedgates.flower.strategy import GateStrategy

log = logging.getLogger("fedgates")
EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]
Follow = Callable[[dict[str, Any]], None]
"""What is told each round's line."""
_TELL_EVERY, _PAUSE = 30.0, 0.2
"""Seconds between two lines that say what is waited for, and between two looks."""


def run_rounds(
    strategy: "GateStrategy[Any, Any]",
    grid: Grid,
    arrays: ArrayRecord,
    rounds: range,
    timeout: float,
    evaluate_fn: EvaluateFn | None,
    run: RunFolder | None,
    follow: Follow | None = None,
) -> Result:
    """Run `rounds` from the state that `arrays` is; each round's line and checkpoint go into `run`, then its line to `follow`.

    A round without a quorum leaves the state as it was and is repeated, with clients drawn anew; each attempt has a line of its
    own. Before the first round there is a checkpoint, too, so that whatever ends a run, it can be resumed.

    Raises
    ------
    QuorumError
        A round missed its quorum `max-failed-rounds` times, or too few clients come.
    """
    result, clock = Result(arrays=arrays), summary.Clock(rounds.stop - 1)
    if run is not None:
        run.save(strategy.state, rounds.start - 1, strategy.digest)
    for server_round in rounds:
        for attempt in count(1):
            # before the clock starts: at first, workers start and clients say who they are
            wait_for_clients(strategy, grid, timeout)
            line = _attempt(strategy, grid, result, server_round, timeout, evaluate_fn)
            if run is not None:
                run.ledger.append(line)
            log.info(clock.line(line))
            if strategy.tally.quorum:
                break
            if follow is not None:
                follow(line)
            if attempt >= strategy.config.max_failed_rounds:  # of this process: a resumed run may try as often again
                raise QuorumError(_message(strategy, server_round, attempt))
        if run is not None:
            run.save(strategy.state, server_round, strategy.digest)
        if follow is not None:  # last: whatever becomes of it, the round is kept
            follow(line)
    return result


def _attempt(
    strategy: "GateStrategy[Any, Any]",
    grid: Grid,
    result: Result,
    server_round: int,
    timeout: float,
    evaluate_fn: EvaluateFn | None,
) -> dict[str, Any]:
    """Try a round from the state that the result holds, put there what became of it, and give its line."""
    started = time.monotonic()
    arrays = result.arrays
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
    return strategy.tally.line(time.monotonic() - started, measured)


def wait_for_clients(strategy: "GateStrategy[Any, Any]", grid: Grid, timeout: float) -> None:
    """Wait until `min-clients` clients are there and have introduced themselves.

    Raises
    ------
    QuorumError
        They have not within `timeout` seconds; or, where no others can come, those that are there cannot take part.
    """
    wanted, started = strategy.config.min_clients, time.monotonic()
    told = -_TELL_EVERY
    while (there := len(strategy.present(grid))) < wanted:
        waited = time.monotonic() - started
        others = f"; of the others the first says: {strategy.problem}" if strategy.problem else ""
        if strategy.nobody_else_comes(grid):
            every = len(list(grid.get_node_ids()))
            raise QuorumError(f"min-clients = {wanted}: {there} of {every} clients can take part{others}")
        if waited > timeout:
            raise QuorumError(f"min-clients = {wanted}: {there} clients came within {timeout:g} s (round-timeout){others}")
        if waited - told >= _TELL_EVERY:
            log.info("waiting for clients: %d of min-clients = %d are there", there, wanted)
            told = waited
        time.sleep(_PAUSE)


def _message(strategy: "GateStrategy[Any, Any]", server_round: int, attempts: int) -> str:
    tally = strategy.tally
    wrong = {**tally.failed, **tally.rejected}
    example = f", client {min(wrong)}: {wrong[min(wrong)]}" if wrong else ""
    return (
        f"round {server_round} had fewer sound updates than quorum = {strategy.config.quorum:g} asks for, {attempts} times "
        f"(max-failed-rounds; {tally.counted} of {len(tally.selected)} the last time{example})"
    )
