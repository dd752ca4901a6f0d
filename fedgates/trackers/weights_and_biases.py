"""Weights & Biases: a run in the project "fedgates", or where `trackers="wandb=entity/project"` says."""

import logging
import re

import wandb

from fedgates.runs.totals import Line
from fedgates.trackers.base import PROJECT, Run, numbers

_PATIENCE = 60
"""Seconds to reach the server at first, and to send what is left in the end; between them W&B sends on its own."""
log = logging.getLogger("fedgates")


class WeightsAndBiases:
    """A W&B run with the name of the run's folder; a resumed run goes on in the same one."""

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
                silent=True, console="off", init_timeout=_PATIENCE, finish_timeout=_PATIENCE, finish_timeout_raises=True
            ),
        )
        log.info("wandb: %s", self._run.url or self._run.dir)

    def tell(self, line: Line) -> None:
        """Log a round's figures at its step; W&B would otherwise keep them back until the next round's."""
        self._run.log(numbers(line), step=line["round"], commit=True)

    def close(self, *, finished: bool) -> None:
        """Send what is left."""
        self._run.finish(exit_code=0 if finished else 1)
