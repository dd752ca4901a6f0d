"""Weights & Biases: a run in the project "fedgates", or in the one named by `trackers="wandb=entity/project"`."""

import logging
import re

import wandb

from fedgates.runs.totals import Line
from fedgates.trackers.base import PROJECT, Run, numbers

_TIMEOUT = 60
"""Seconds to reach the server at the start, and to send the rest at the end; between them W&B sends in the background."""
log = logging.getLogger("fedgates")


class WeightsAndBiases:
    """A W&B run with the name of the run's folder; a resumed run continues in the same W&B run."""

    def __init__(self, run: Run) -> None:
        entity, _, project = run.where.rpartition("/")
        self._run = wandb.init(
            entity=entity or None,
            project=project or PROJECT,
            id=re.sub(r"[^\w.-]", "-", run.folder.name)[:64],
            name=run.folder.name,
            resume="allow",
            dir=str(run.folder),
            config=dict(run.config),
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=_TIMEOUT, finish_timeout=_TIMEOUT, finish_timeout_raises=True
            ),
        )
        log.info("wandb: %s", self._run.url or self._run.dir)

    def log(self, line: Line) -> None:
        """Log the numbers of a round at its step, and commit them; W&B would otherwise wait for the next round."""
        self._run.log(numbers(line), step=line["round"], commit=True)

    def close(self, *, finished: bool) -> None:
        """Send the rest and set the exit code of the W&B run."""
        self._run.finish(exit_code=0 if finished else 1)
