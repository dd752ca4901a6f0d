"""MLflow tracker: a run in the experiment "fedgates", on the server in `trackers="mlflow=URI"` or in MLFLOW_TRACKING_URI.

Without a server, the database is ``mlflow.db`` in the parent of the run's folder.
"""

import logging
import os
import re
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from fedgates.runs.totals import Line
from fedgates.trackers.base import PROJECT, Run, numbers
from fedgates.util.text import without_secrets

log = logging.getLogger("fedgates")
_TAG = "fedgates.run"
_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Defaults for the timeout in seconds and the number of retries; low, because the next round waits for a request."""


class MLflow:
    """Tracker with one MLflow run, named like the run's folder; a resumed run continues in the same MLflow run."""

    def __init__(self, run: Run) -> None:
        for name, value in _TIMEOUTS.items():
            os.environ.setdefault(name, value)
        default = f"sqlite:///{run.folder.absolute().parent / 'mlflow.db'}"
        where = run.where or os.environ.get("MLFLOW_TRACKING_URI") or default
        self._client = MlflowClient(tracking_uri=_checked(where))
        log.info("mlflow: %s", without_secrets(where))
        experiment_info = self._client.get_experiment_by_name(PROJECT)
        experiment = experiment_info.experiment_id if experiment_info else self._client.create_experiment(PROJECT)
        self._last_logged = 0
        same = f"tags.`{_TAG}` = '{run.folder.name}'"
        before = self._client.search_runs([experiment], same) if run.resumed else []
        if before:
            self._id = before[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            self._last_logged = max((m.step for m in self._client.get_metric_history(self._id, "megabytes")), default=0)
        else:
            self._id = self._client.create_run(experiment, tags={_TAG: run.folder.name}, run_name=run.folder.name).info.run_id
            self._client.log_batch(self._id, params=[Param(_name(key), str(value)) for key, value in run.config.items()])

    def log(self, line: Line) -> None:
        """Log the numbers of a round at its step, unless the round was logged before, because MLflow would keep both."""
        if line["round"] <= self._last_logged:
            return
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._id, metrics=[Metric(_name(k), v, now, line["round"]) for k, v in numbers(line).items()])

    def close(self, *, finished: bool) -> None:
        """Set the status of the MLflow run."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "FAILED")


def _name(key: str) -> str:
    """Replace the characters in a name that MLflow does not accept."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", key)


def _checked(where: str) -> str:
    """Return the address; raise a ValueError for a database in a missing folder, for which MLflow would retry for minutes."""
    kind, _, path = where.partition(":///")
    if kind == "sqlite" and not (path.startswith("/") and Path(path).parent.is_dir()):
        raise ValueError(f"{where}: expected sqlite:////abs/file.db, in a folder that exists")
    return where
