"""Callbacks of every run: its log, progress and checkpoints."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fedgates.federation.server import Server
from fedgates.runs import checkpoint
from fedgates.runs.best_round import RoundResult, round_result, round_results
from fedgates.runs.callback import Callback
from fedgates.runs.confusion import Confusion, write_confusion
from fedgates.runs.devices import read_classes, read_devices, write_classes, write_devices
from fedgates.runs.folder import RunFolder
from fedgates.runs.summary import RoundFormatter
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")
_EXPLODED = 100.0
"""Mean cross-entropy of a training that diverges; guessing gives the logarithm of the number of classes."""
Record = Mapping[str, Any]
"""A line of ``rounds.jsonl``."""


class LogCallback(Callback):
    """Appends each round to the run's ``rounds.jsonl``."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Write the line, and wait until it is on the disk."""
        self._run.round_log.append(dict(record))


class ProgressCallback(Callback):
    """Logs a line for each round: accuracy, density, bits per parameter, clients, time left."""

    def __init__(self, num_rounds: int) -> None:
        self._formatter = RoundFormatter(num_rounds)
        self._warned = False

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Log the line; warn once where the training loss of a classification explodes."""
        log.info(self._formatter.format(record))
        loss = record.get("train_loss") or 0.0
        if record["quorum"] and server.problem.num_classes and loss > _EXPLODED and not self._warned:
            self._warned = True
            config = server.config
            text = "the training loss of round %d is %.3g: training diverges, and %s = %g is probably too large"
            log.warning(text, record["round"], loss, config.rate_key, config.initial_rate)


class CheckpointCallback(Callback):
    """Writes a checkpoint before the first round and after each round that reached its quorum."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Write the initial state, so that a run can be resumed whatever ends it."""
        checkpoint.save(self._run.path, server.state, first_round - 1, server.method.digest)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the state after the round."""
        if record["quorum"]:
            checkpoint.save(self._run.path, server.state, record["round"], server.method.digest)


class DevicesCallback(Callback):
    """Keeps the number of each real device and the names of their classes, for the run and for those that resume it."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._written: dict[int, int] = {}
        self._classes: tuple[str, ...] = ()

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Give the devices of a resumed run the numbers and classes that they had."""
        if resumed:
            self._written = read_devices(self._run.path)
            server.membership.restore(self._written)
            self._classes = read_classes(self._run.path)
            server.membership.class_names = server.membership.class_names or self._classes

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Write what is new."""
        if server.membership.owners != self._written:
            self._written = dict(server.membership.owners)
            write_devices(self._run.path, self._written)
        if server.membership.class_names != self._classes:
            self._classes = server.membership.class_names
            write_classes(self._run.path, self._classes)


class ConfusionCallback(Callback):
    """Writes the confusion matrix of the server's test set after each evaluation on it."""

    def __init__(self, run: RunFolder, class_names: Sequence[str]) -> None:
        self._run, self._class_names = run, class_names

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the matrix of a round that was evaluated."""
        if record["quorum"] and record["accuracy"] is not None and server.confusion is not None:
            counts = server.confusion.tolist()
            write_confusion(self._run.path, Confusion(record["round"], list(self._class_names), counts))


class BestCheckpointCallback(Callback):
    """Keeps the state of the best round beside the last ones (`keep-best`); of equally good rounds the earliest."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._best: RoundResult | None = None

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:
        """Find the result of the state that is kept; a run that is killed may not have written that of its last round."""
        if not resumed:
            return
        found = round_results(self._run.round_log.read("resume"))
        kept = checkpoint.load_best(self._run.path, server.method.digest)
        self._best = next((one for one in found if kept is not None and one.round == kept[1]), None)
        if found and found[-1].round == first_round - 1:
            self._consider(found[-1], server)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the state if the round is better than all before."""
        found = round_result(record)
        if found is not None:
            self._consider(found, server)

    def _consider(self, found: RoundResult, server: Server[Any]) -> None:
        if self._best is None or found.metric != self._best.metric or found.beats(self._best):
            checkpoint.save_best(self._run.path, server.state, found.round, server.method.digest)
            self._best = found


@contextmanager
def running(callbacks: Sequence[Callback], server: Server[Any], first_round: int, *, resumed: bool) -> Iterator[None]:
    """Start callbacks in order and, whatever happens, end those that were started, in order.

    An error at the end of a run that ended early is logged: it does not hide why the run ended.
    """
    started: list[Callback] = []
    try:
        for callback in callbacks:
            callback.on_start(server, first_round, resumed=resumed)
            started.append(callback)
        yield
    except BaseException:
        for error in _end(started, server, finished=False):
            log.warning("at the end of the run: %s", error_line(error))
        raise
    errors = _end(started, server, finished=True)
    for error in errors[1:]:
        log.warning("at the end of the run: %s", error_line(error))
    if errors:
        raise errors[0]


def _end(callbacks: Sequence[Callback], server: Server[Any], *, finished: bool) -> list[Exception]:
    """End all callbacks and return the errors that they raised."""
    errors: list[Exception] = []
    for callback in callbacks:
        try:
            callback.on_end(server, finished=finished)
        except Exception as error:  # noqa: BLE001  # the others are to end, too
            errors.append(error)
    return errors
