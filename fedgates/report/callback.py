"""The report at the end of a run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgates.report import write_page
from fedgates.runs.round_log import RoundLog
from fedgates.runs.summary import draw_curves, summary
from fedgates.util.text import error_line

log = logging.getLogger("fedgates")


class ReportCallback:
    """Draws the curves, logs the summary table and writes the page, also of a run that ended early."""

    def __init__(self, folder: Path, config: Mapping[str, Any], defaults: Mapping[str, Any], size: int) -> None:
        self._folder, self._config, self._defaults, self._size = folder, config, defaults, size

    def on_start(self, server: object, first_round: int, *, resumed: bool) -> None:
        """Do nothing."""

    def on_round_end(self, record: Mapping[str, Any], server: object) -> None:
        """Do nothing."""

    def on_end(self, server: object, *, finished: bool) -> None:  # noqa: ARG002
        """Write the report; an error is one warning line."""
        try:
            draw_curves(self._folder, self._size)
            log.info(summary(RoundLog(self._folder).read(), str(self._config["strategy"]), self._size))
            write_page(self._folder, self._defaults)
        except Exception as error:  # noqa: BLE001
            log.warning("no report: %s", error_line(error))
        log.info("results: %s", self._folder)
