"""Base class of the callbacks of a run."""

from typing import Any

from fedgates.runs.totals import Line


class Callback:
    """Base class of callbacks, called at the start of a run, after each round, and at the end.

    Subclasses override the methods that they need; those of this class do nothing. An exception in a method ends the run. The
    parameter `server` is the run's :class:`~fedgates.federation.Server`.
    """

    def on_start(self, server: Any, first_round: int, *, resumed: bool) -> None:  # noqa: ANN401
        """Handle the start of a run; `first_round` is the number of the first round to run."""

    def on_round_end(self, record: Line, server: Any) -> None:  # noqa: ANN401
        """Handle the end of an attempt at a round; ``record["quorum"]`` is False if it missed its quorum."""

    def on_end(self, server: Any, *, finished: bool) -> None:  # noqa: ANN401
        """Handle the end of a run; `finished` is False if an exception ended it."""
