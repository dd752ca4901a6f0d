"""Write and read ``rounds.jsonl``, which has one line for each attempt at a round.

:class:`LogReader` reads incrementally, checks each line against :mod:`fedgates.runs.schema`, and skips invalid lines with a
message. :meth:`RoundLog.read` raises an error instead, because a run must not be resumed from a damaged log.
"""

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from fedgates.errors import ConfigError
from fedgates.runs.schema import problem
from fedgates.util.files import write_atomically

FILE_NAME = "rounds.jsonl"


class RoundLog:
    """The file ``rounds.jsonl`` in the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def append(self, line: dict[str, Any]) -> None:
        """Append a line and wait until it is on disk, because the checkpoint of a round must be written after its line."""
        text = json.dumps(line, allow_nan=False) + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(self.path)  # Python does not name the file if the disk is full
            raise

    def read(self, key: str = "run") -> list[dict[str, Any]]:
        """Return all complete lines; a last line without a newline, left by a killed process, is ignored.

        Parameters
        ----------
        key : str
            The key or argument for the folder in error messages.

        Raises
        ------
        ConfigError
            Key `key`: the file cannot be read, or a line does not conform to the schema.
        """
        reader = read_rounds(self.path.parent)
        if reader.problems:
            raise ConfigError(key, str(self.path.parent), f"a run with a valid {FILE_NAME}; {reader.problems[0]}")
        return reader.lines

    def forget_after(self, server_round: int) -> None:
        """Delete the lines after `server_round`, which a resumed run repeats, except failed attempts at the next round."""
        kept = [line for line in self.read("resume") if line["round"] <= server_round or _failed(line, server_round + 1)]
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def failed_attempts(self, server_round: int) -> int:
        """Return the number of attempts at a round that missed the quorum."""
        return sum(_failed(line, server_round) for line in self.read("resume"))


class LogReader:
    """Incremental reader of ``rounds.jsonl``; the run may still be in progress.

    Attributes
    ----------
    lines : list of dict
        The lines that conform to the schema.
    problems : list of str
        A message with the line number for each other line.
    """

    def __init__(self, folder: Path) -> None:
        self.lines: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self._path = folder / FILE_NAME
        self._inode, self._offset, self._count = -1, 0, 0

    def update(self) -> bool:
        """Read the lines appended since the last call; return whether anything changed.

        A last line without a newline is left for the next call. If the file was replaced, as by a resumed run, it is read again
        from the beginning.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                replaced = status.st_ino != self._inode or status.st_size < self._offset
                if replaced:
                    self._reset()
                    self._inode = status.st_ino
                file.seek(self._offset)
                complete, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return False
        except OSError as error:
            return self._fail(error)
        if not newline:
            return replaced
        self._offset += len(complete) + 1
        for line in complete.split(b"\n"):
            self._count += 1
            self._add(line)
        return True

    def _reset(self) -> None:
        self._inode, self._offset, self._count = -1, 0, 0
        self.lines.clear()
        self.problems.clear()

    def _fail(self, error: OSError) -> bool:
        before = self.problems[:]
        self._reset()
        self.problems.append(f"{FILE_NAME}: {error.strerror}")
        return self.problems != before

    def _add(self, text: bytes) -> None:
        try:
            line = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            line = None
        message = problem(line)
        if message is None:
            self.lines.append(line)
        else:
            self.problems.append(f"{FILE_NAME}, line {self._count}: {message}")


def read_rounds(folder: Path) -> LogReader:
    """Return a reader that has read the current ``rounds.jsonl`` of a run."""
    reader = LogReader(folder)
    reader.update()
    return reader


def _failed(line: dict[str, Any], server_round: int) -> bool:
    return line["round"] == server_round and not line.get("quorum", True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
