"""The report at the end of a run, as a callback of the run loop."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedgates.report.curves import draw_curves
from fedgates.report.page import write_page
from fedgates.runs.callback import Callback
from fedgates.runs.round_log import read_rounds
from fedgates.runs.summary import summary_table
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")


class ReportCallback(Callback):
    """Draws the curves, logs the summary table and writes the page when a run ends, whether it finished or not.

    If a part fails, a warning is logged, and the others are still made.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    strategy : str
        Name of the method.
    size : int
        Number of parameters of the network.
    """

    def __init__(self, folder: Path, strategy: str, size: int) -> None:
        self._folder, self._strategy, self._size = folder, strategy, size

    def on_end(self, server: Any, *, finished: bool) -> None:  # noqa: ANN401, ARG002  # a run that ended early has a report, too
        """Make the report."""
        self._attempt("curves", lambda: draw_curves(self._folder, self._size))
        self._attempt("summary", lambda: log.info(summary_table(read_rounds(self._folder).lines, self._strategy, self._size)))
        self._attempt("report", lambda: write_page(self._folder))
        log.info("results: %s", self._folder)

    def _attempt(self, name: str, make: Callable[[], object]) -> None:
        try:
            make()
        except Exception as error:  # noqa: BLE001  # the run is done, whatever fails here
            log.warning("no %s: %s", name, error_line(error))
