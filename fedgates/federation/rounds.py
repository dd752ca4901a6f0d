"""The loop over the rounds of a run, with retries of rounds in which too few updates were accepted."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

from fedgates.errors import DIVERGED, DivergenceError, QuorumError
from fedgates.federation.membership import Membership
from fedgates.federation.messages import Reply, Request
from fedgates.federation.server import Server
from fedgates.runs.best_round import RoundResult, round_result, stop_reason
from fedgates.runs.callback import Callback
from fedgates.types import Problem

log = logging.getLogger("fedgates")
_LOG_EVERY, _PAUSE = 30.0, 0.2
"""Seconds between log lines while waiting for clients, and between checks for clients."""
Evaluate = Callable[[], dict[str, float]]
"""Function that returns metrics of the server's current state."""


class Transport(Protocol):
    """Protocol of a transport, which carries requests to clients and replies back."""

    @property
    def simulated(self) -> bool:
        """Whether clients are simulated and share the server's data set; real devices have their own data."""

    @property
    def complete(self) -> bool:
        """Whether all nodes are connected from the start; real devices come and go."""

    def nodes(self) -> Iterable[int]:
        """Return the IDs of the connected nodes."""

    def introduce(self, membership: Membership, problem: Problem, timeout: float) -> None:
        """Update the membership with the connected nodes, and ask new nodes to introduce themselves."""

    def exchange(self, requests: Sequence[Request], timeout: float, max_megabytes: float) -> Iterator[Reply]:
        """Send requests; yield replies as they arrive until all have arrived or `timeout` seconds have passed.

        A payload larger than `max_megabytes` is not read, and its reply is marked as malformed.
        """


def run_rounds(
    server: Server[Any],
    transport: Transport,
    rounds: range,
    callbacks: Sequence[Callback],
    evaluate: Evaluate | None = None,
    results: Iterable[RoundResult] = (),
) -> None:
    """Run the given rounds, or fewer if `stop-accuracy` or `stop-patience` stops the run.

    A round without a quorum leaves the state unchanged and is repeated with a new sample of clients.

    Parameters
    ----------
    server : Server
        The server, whose state is updated.
    transport : Transport
        Carries requests and replies.
    rounds : range
        Numbers of the rounds. The last round is always evaluated, whatever the value of `evaluate-every`.
    callbacks : sequence of Callback
        Called after each attempt at a round.
    evaluate : callable, optional
        Evaluates the server's state on its test set.
    results : iterable of RoundResult
        Results of earlier rounds, in a resumed run.

    Raises
    ------
    QuorumError
        A round missed its quorum `server.max-failed-rounds` times, or too few clients are available.
    DivergenceError
        Training diverged on most clients in a round without a quorum.
    """
    with server.decoding(simulated=transport.simulated):
        _run_rounds(server, transport, rounds, callbacks, evaluate, list(results))


def _run_rounds(
    server: Server[Any],
    transport: Transport,
    rounds: range,
    callbacks: Sequence[Callback],
    evaluate: Evaluate | None,
    found: list[RoundResult],
) -> None:
    """Run `rounds`, appending their results to `found`, which has those of earlier rounds."""
    if rounds and found and found[-1].round == rounds.start - 1 and _stops(server, found):
        return
    for server_round in rounds:
        evaluates = server.config.evaluates(server_round) or server_round == rounds[-1]
        for attempt in count(1):
            wait_for_clients(server, transport)  # not counted as time of the round, because processes may have to start first
            record = _attempt(server, transport, server_round, evaluate, evaluates=evaluates)
            for callback in callbacks:
                callback.on_round_end(record, server)
            if server.record.quorum:
                break
            _expect_convergence(server)
            if attempt >= server.config.server.max_failed_rounds:  # a resumed run counts from 1 again
                raise QuorumError(_missed_quorum(server, attempt))
        reached = round_result(record)
        if reached is not None:
            found.append(reached)
            if server_round != rounds[-1] and _stops(server, found):
                return


def _stops(server: Server[Any], results: Sequence[RoundResult]) -> bool:
    """Return whether the run stops early after its last result, and log the reason."""
    reason = stop_reason(results, server.config.stop_accuracy, server.config.stop_patience)
    if reason:
        log.info("stopped early, after round %d: %s", results[-1].round, reason)
    return bool(reason)


def _attempt(
    server: Server[Any], transport: Transport, server_round: int, evaluate: Evaluate | None, *, evaluates: bool
) -> Mapping[str, Any]:
    """Make one attempt at a round, and return its line of ``rounds.jsonl``."""
    started = time.monotonic()
    timeout, most = server.config.server.round_timeout, server.config.limits.max_payload_mb
    requests = server.open_round(server_round, available(server, transport))
    server.membership.keep_classes()
    server.close_round(transport.exchange(requests, timeout, most))
    by_clients, by_server = dict[str, float](), dict[str, float]()
    if evaluates:
        by_server = evaluate() if evaluate else {}
        loss, overflow = by_server.get("loss", 0.0), by_server.get("not_finite", 0.0)
        if server.record.quorum and (overflow or not math.isfinite(loss)):
            server.withdraw(f"{100 * overflow:.3g} % of its predictions on the test set are not finite, its loss is {loss:.3g}")
        asks = server.config.fraction_evaluate and server.record.quorum
        requests = server.open_evaluation(available(server, transport) if asks else {})
        by_clients = server.close_evaluation(transport.exchange(requests, timeout, most))
        if server.record.withdrawn:  # the metrics belong to the withdrawn state
            by_server = {}
    return server.record.line(time.monotonic() - started, {**by_server, **by_clients})


def available(server: Server[Any], transport: Transport) -> Mapping[int, int]:
    """Ask new nodes to introduce themselves, and return a mapping from name to node of the available clients."""
    transport.introduce(server.membership, server.problem, server.config.server.round_timeout)
    return server.membership.clients


def wait_for_clients(server: Server[Any], transport: Transport) -> None:
    """Wait until `server.min-clients` clients are available.

    Raises
    ------
    QuorumError
        Too few clients are available after `server.round-timeout` seconds, or all nodes are connected and too few of them can
        take part.
    """
    wanted, timeout, started = server.config.server.min_clients, server.config.server.round_timeout, time.monotonic()
    logged = -_LOG_EVERY
    while (here := len(available(server, transport))) < wanted:
        waited = time.monotonic() - started
        problem = server.membership.problem
        others = f"; the first of the others: {problem}" if problem else ""
        if transport.complete and server.membership.settled:
            total = len(list(transport.nodes()))
            raise QuorumError(f"server.min-clients = {wanted}: {here} of {total} clients can take part{others}")
        if waited > timeout:
            raise QuorumError(
                f"server.min-clients = {wanted}: {here} clients available after {timeout:g} s (server.round-timeout){others}"
            )
        if waited - logged >= _LOG_EVERY:
            log.info("waiting for clients: %d of server.min-clients = %d are available", here, wanted)
            logged = waited
        time.sleep(_PAUSE)


def _expect_convergence(server: Server[Any]) -> None:
    """Raise a DivergenceError if training diverged on most clients of the last attempt."""
    record, config = server.record, server.config
    diverged = {client: reason for client, reason in record.failed.items() if DIVERGED in reason}
    if 2 * len(diverged) > len(record.selected):
        of, example = f"{len(diverged)} of {len(record.selected)} clients", min(diverged)
        raise DivergenceError(
            f"{config.rate_key} = {config.initial_rate:g}: training diverged on {of} in round {record.server_round}"
            f" (client {example}: {diverged[example]}); start a new run with a smaller value"
        )


def _missed_quorum(server: Server[Any], attempts: int) -> str:
    record = server.record
    if record.withdrawn:
        return (
            f"round {record.server_round} gave an unusable state {attempts} times (server.max-failed-rounds):"
            f" {record.withdrawn}; if no client cheats, {server.config.rate_key} = {server.config.initial_rate:g} is too large"
        )
    failures = {**record.failed, **record.rejected}
    example = f", client {min(failures)}: {failures[min(failures)]}" if failures else ""
    quorum = f"server.quorum = {server.config.server.quorum:g}"
    last = f"{record.counted} of {len(record.selected)} the last time{example}"
    return (
        f"round {record.server_round} had fewer accepted updates than {quorum} requires, {attempts} times "
        f"(server.max-failed-rounds; {last})"
    )
