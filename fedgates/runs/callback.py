"""The base class of callbacks, which run beside the rounds."""

from typing import Any

from fedgates.runs.totals import Line


class Callback:
    """Called at the start of a run, after each round, and at the end. A subclass overrides the methods that it needs.

    `server` is the :class:`~fedgates.federation.Server` of the run. An error that a method raises ends the run.
    """

    def on_start(self, server: Any, first_round: int, *, resumed: bool) -> None:  # noqa: ANN401
        """Prepare for the rounds from `first_round` on."""

    def on_round_end(self, record: Line, server: Any) -> None:  # noqa: ANN401
        """Take note of a round, or of an attempt at it that missed its quorum (``record["quorum"]`` is then False)."""

    def on_end(self, server: Any, *, finished: bool) -> None:  # noqa: ANN401
        """Finish; `finished` is False if the run ended early."""
