"""Weights & Biases tracker: a run in the project "fedgates", or in that of `trackers="wandb=entity/project"`."""

import logging
import re

import wandb

from fedgates.runs.totals import Line
from fedgates.trackers.base import PROJECT, Run, numbers

_TIMEOUT = 60
"""Timeout in seconds for the connection at the start and for the upload at the end; W&B uploads in the background otherwise."""
log = logging.getLogger("fedgates")


class WeightsAndBiases:
    """Tracker with one W&B run, named like the run's folder; a resumed run continues in the same W&B run."""

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
        """Log the numbers of a round at its step; without a commit, W&B would wait for the next round."""
        self._run.log(numbers(line), step=line["round"], commit=True)

    def close(self, *, finished: bool) -> None:
        """Upload the remaining data, and set the exit code of the W&B run."""
        self._run.finish(exit_code=0 if finished else 1)
