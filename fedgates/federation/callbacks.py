"""Built-in callbacks of a run: log, progress, checkpoints, devices and confusion matrix."""

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
"""Mean cross-entropy above which training probably diverges; guessing gives the logarithm of the number of classes."""
Record = Mapping[str, Any]
"""A line of ``rounds.jsonl``."""


class LogCallback(Callback):
    """Callback that appends each round to the run's ``rounds.jsonl``."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Write the line, and wait until it is on disk."""
        self._run.round_log.append(dict(record))


class ProgressCallback(Callback):
    """Callback that logs a line for each round: accuracy, density, bits per parameter, clients, time left."""

    def __init__(self, num_rounds: int) -> None:
        self._formatter = RoundFormatter(num_rounds)
        self._warned = False

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Log the line; warn once if the training loss of a classification task explodes."""
        log.info(self._formatter.format(record))
        loss = record.get("train_loss") or 0.0
        if record["quorum"] and server.problem.num_classes and loss > _EXPLODED and not self._warned:
            self._warned = True
            config = server.config
            text = "the training loss of round %d is %.3g: training diverges, and %s = %g is probably too large"
            log.warning(text, record["round"], loss, config.rate_key, config.initial_rate)


class CheckpointCallback(Callback):
    """Callback that writes a checkpoint before the first round and after each round with a quorum."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Write the initial state, so that a run can be resumed even if its first round fails."""
        checkpoint.save(self._run.path, server.state, first_round - 1, server.method.digest)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the state after the round."""
        if record["quorum"]:
            checkpoint.save(self._run.path, server.state, record["round"], server.method.digest)


class DevicesCallback(Callback):
    """Callback that saves client numbers and class names of real devices, for resumed runs."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._written: dict[int, int] = {}
        self._classes: tuple[str, ...] = ()

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Restore the numbers and classes of the devices in a resumed run."""
        if resumed:
            self._written = read_devices(self._run.path)
            server.membership.restore(self._written)
            self._classes = read_classes(self._run.path)
            server.membership.class_names = server.membership.class_names or self._classes

    def on_round_end(self, record: Record, server: Server[Any]) -> None:  # noqa: ARG002
        """Write the files that have changed."""
        if server.membership.owners != self._written:
            self._written = dict(server.membership.owners)
            write_devices(self._run.path, self._written)
        if server.membership.class_names != self._classes:
            self._classes = server.membership.class_names
            write_classes(self._run.path, self._classes)


class ConfusionCallback(Callback):
    """Callback that writes the confusion matrix on the server's test set after each evaluation."""

    def __init__(self, run: RunFolder, class_names: Sequence[str]) -> None:
        self._run, self._class_names = run, class_names

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the confusion matrix if the round was evaluated."""
        if record["quorum"] and record["accuracy"] is not None and server.confusion is not None:
            counts = server.confusion.tolist()
            write_confusion(self._run.path, Confusion(record["round"], list(self._class_names), counts))


class BestCheckpointCallback(Callback):
    """Callback that saves the state after the best round (`keep-best`), the earliest among ties."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._best: RoundResult | None = None

    def on_start(self, server: Server[Any], first_round: int, *, resumed: bool) -> None:
        """Find the result of the saved state in a resumed run; a killed run may not have saved its last round."""
        if not resumed:
            return
        found = round_results(self._run.round_log.read("resume"))
        kept = checkpoint.load_best(self._run.path, server.method.digest)
        self._best = next((one for one in found if kept is not None and one.round == kept[1]), None)
        if found and found[-1].round == first_round - 1:
            self._consider(found[-1], server)

    def on_round_end(self, record: Record, server: Server[Any]) -> None:
        """Write the state if the round is the best so far."""
        found = round_result(record)
        if found is not None:
            self._consider(found, server)

    def _consider(self, found: RoundResult, server: Server[Any]) -> None:
        if self._best is None or found.metric != self._best.metric or found.beats(self._best):
            checkpoint.save_best(self._run.path, server.state, found.round, server.method.digest)
            self._best = found


@contextmanager
def running(callbacks: Sequence[Callback], server: Server[Any], first_round: int, *, resumed: bool) -> Iterator[None]:
    """Context manager that starts callbacks in order and, also after an exception, ends those that were started.

    If an exception ended the run, errors of callbacks at the end are only logged, so that they do not hide it.
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
        except Exception as error:  # noqa: BLE001  # the other callbacks must be ended, too
            errors.append(error)
    return errors
