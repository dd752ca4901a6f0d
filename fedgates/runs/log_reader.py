"""Lines of ``rounds.jsonl`` for those who look at a run: read as they are written, and each checked before it is told.

The ledger's own reader (:mod:`fedgates.runs.round_log`) refuses a damaged file, because a run goes on from what it says. Who
only looks wants the rest: here a damaged line is left out, and what is wrong with it is said.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from fedgates.runs.round_log import FILE_NAME
from fedgates.util.text import one_line

_MOST_SHOWN = 40
"""Characters of a wrong value."""


class LogReader:
    """The sound lines of a run's ledger so far.

    Attributes
    ----------
    sound : list of dict
        Objects in which every value that anybody computes with is of its type and within its bounds.
    problems : list of str
        What is wrong with each of the others, by the number of its line.
    """

    def __init__(self, folder: Path) -> None:
        self.sound: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._path = folder / FILE_NAME
        self._inode, self._read, self._seen = -1, 0, 0

    def look(self) -> bool:
        """Read what was written since the last look; whether there was anything.

        A line that has not ended yet is no line. A run that is resumed writes the file anew: then all of it is read again.
        """
        try:
            with self._path.open("rb") as file:
                now = os.fstat(file.fileno())
                anew = now.st_ino != self._inode or now.st_size < self._read
                if anew:
                    self._start_over()
                    self._inode = now.st_ino
                file.seek(self._read)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return False
        except OSError as error:
            return self._unreadable(error)
        if not end:
            return anew
        self._read += len(whole) + 1
        for line in whole.split(b"\n"):
            self._seen += 1
            self._take(line)
        return True

    def _start_over(self) -> None:
        self._inode, self._read, self._seen = -1, 0, 0
        self.sound.clear()
        self.problems.clear()

    def _unreadable(self, error: OSError) -> bool:
        before = self.problems[:]
        self._start_over()
        self.problems.append(f"{FILE_NAME}: {error.strerror}")
        return self.problems != before

    def _take(self, text: bytes) -> None:
        try:
            line = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            line = None
        wrong = problem(line)
        if wrong is None:
            self.sound.append(line)
        else:
            self.problems.append(f"{FILE_NAME}, line {self._seen}: {wrong}")


def read(folder: Path) -> LogReader:
    """All of a run's ledger, as it is now."""
    lines = LogReader(folder)
    lines.look()
    return lines


def problem(line: object) -> str | None:
    """What is wrong with a line, in words; None of a sound one. Keys that are not known may hold anything."""
    if not isinstance(line, dict):
        return "no JSON object"
    for key, kind in _KINDS.items():
        if key not in line:
            if key in _NEEDED:
                return f"no {key}"
        elif not kind.fits(line[key]):
            return f"{key} = {shown(line[key])}: expected {kind.says}"
    return None


def shown(value: object) -> str:
    """Any JSON, in a few words."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return one_line(json.dumps(value), _MOST_SHOWN)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class _Kind(NamedTuple):
    """What a value has to be."""

    fits: Callable[[Any], bool]
    says: str


def _whole(low: int, high: int) -> _Kind:
    return _Kind(lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high:,}")


def _number(low: float, high: float, says: str) -> _Kind:
    return _Kind(lambda value: value is None or (type(value) in {int, float} and low <= value <= high), f"{says}, or null")


def _object_of(fits: Callable[[Any], bool], says: str) -> _Kind:
    return _Kind(lambda found: isinstance(found, dict) and all(map(fits, found.values())), says)


_COUNT, _FROM_ONE, _BYTES = _whole(0, 10**9), _whole(1, 10**9), _whole(0, 10**18)
_SHARE = _number(0, 1 + 1e-9, "a number from 0 to 1")
_RATE = _number(0, 1e9, "a number from 0 to a thousand million")
_FINITE = _number(-1e100, 1e100, "a number")
"""Runs that diverge reach large losses, and those are to be seen; beyond this, sums and scales would overflow."""


def _traffic(value: Any) -> bool:  # noqa: ANN401  # of any JSON
    sound = isinstance(value, dict) and {"messages", "bytes"} <= value.keys()
    return sound and _FROM_ONE.fits(value["messages"]) and _BYTES.fits(value["bytes"])


def _evaluation(value: Any) -> bool:  # noqa: ANN401
    sound = isinstance(value, dict) and {"examples", "loss"} <= value.keys() and None not in value.values()
    return sound and _COUNT.fits(value["examples"]) and _FINITE.fits(value["loss"]) and _SHARE.fits(value.get("accuracy"))


def _counts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 1000 and all(map(_COUNT.fits, value))


_TRAFFIC = _object_of(_traffic, "messages and bytes of each sort of payload")
_REASONS = _object_of(lambda reason: isinstance(reason, str), "a reason for each client")
_NEEDED = {
    "round": _FROM_ONE,
    "seconds": _Kind(lambda value: value is not None and _RATE.fits(value), "a number of seconds"),
    **dict.fromkeys(("uplink_bytes", "downlink_bytes"), _BYTES),
    **dict.fromkeys(("clients_selected", "clients_counted", "clients_rejected", "clients_failed"), _COUNT),
}
"""Keys without which a line is no round."""
_KINDS = {
    **_NEEDED,
    "attempt": _FROM_ONE,
    "quorum": _Kind(lambda value: isinstance(value, bool), "true or false"),
    **dict.fromkeys(("uplink", "downlink", "evaluation_downlink"), _TRAFFIC),
    **dict.fromkeys(("rejected", "failed", "evaluation_failed"), _REASONS),
    "clients_evaluating": _COUNT,
    "evaluation_downlink_bytes": _BYTES,
    "client_evaluations": _object_of(_evaluation, "examples and loss of each client"),
    "theta_histogram": _Kind(_counts, "a list of counts"),
    **dict.fromkeys(("uplink_bpp", "downlink_bpp", "entropy_bpp", "client_seconds", "client_seconds_longest"), _RATE),
    **dict.fromkeys(("density", "model_density", "expected_density", "train_accuracy", "client_accuracy"), _SHARE),
    **dict.fromkeys(("accuracy", "accuracy_sample", "accuracy_mean", "accuracy_ensemble"), _SHARE),
    **dict.fromkeys(("r2", "r2_sample", "r2_mean", "r2_ensemble", "train_loss", "client_loss"), _FINITE),
    **dict.fromkeys(("loss", "loss_sample", "loss_mean", "loss_ensemble"), _FINITE),
}
