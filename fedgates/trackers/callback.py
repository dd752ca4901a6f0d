"""Trackers as a callback of a run."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fedgates.trackers.following import following
from fedgates.types import Value


class TrackerCallback:
    """Passes the rounds of a run on to its trackers."""

    def __init__(self, trackers: str, folder: Path, config: Mapping[str, Value]) -> None:
        self._trackers, self._folder, self._config = trackers, folder, config
        self._stack = ExitStack()

    def on_start(self, server: object, first_round: int, *, resumed: bool) -> None:  # noqa: ARG002
        """Open the trackers."""
        self._log = self._stack.enter_context(
            following(self._trackers, self._folder, self._config, first_round, resumed=resumed)
        )

    def on_round_end(self, record: Mapping[str, Any], server: object) -> None:  # noqa: ARG002
        """Log the round."""
        self._log(record)

    def on_end(self, server: object, *, finished: bool) -> None:  # noqa: ARG002
        """Close the trackers."""
        if finished:
            self._stack.close()
        else:
            self._stack.__exit__(RuntimeError, RuntimeError("the run ended early"), None)
