"""MLflow: a run in the experiment "fedgates", on the server that `trackers="mlflow=URI"` or MLFLOW_TRACKING_URI names.

Without either, in ``mlflow.db`` beside the folders of the runs.
"""

import logging
import os
import re
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from fedgates.runs.totals import Line
from fedgates.trackers.base import PROJECT, Run, numbers, without_secrets

log = logging.getLogger("fedgates")
_TAG = "fedgates.run"
_WAITING = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Seconds, and attempts after the first, where nothing else is set: the next round waits for them."""


class MLflow:
    """An MLflow run with the name of the run's folder; a resumed run goes on in the same one."""

    def __init__(self, run: Run) -> None:
        for name, value in _WAITING.items():
            os.environ.setdefault(name, value)
        beside = f"sqlite:///{run.folder.absolute().parent / 'mlflow.db'}"
        where = run.where or os.environ.get("MLFLOW_TRACKING_URI") or beside
        self._client = MlflowClient(tracking_uri=_checked(where))
        log.info("mlflow: %s", without_secrets(where))
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        self._told = 0
        same = f"tags.`{_TAG}` = '{run.folder.name}'"
        before = self._client.search_runs([experiment], same) if run.resumed else []
        if before:
            self._id = before[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            self._told = max((m.step for m in self._client.get_metric_history(self._id, "megabytes")), default=0)
        else:
            self._id = self._client.create_run(experiment, tags={_TAG: run.folder.name}, run_name=run.folder.name).info.run_id
            self._client.log_batch(self._id, params=[Param(_name(key), str(value)) for key, value in run.config.items()])

    def tell(self, line: Line) -> None:
        """Log a round's figures at its step; what MLflow was told once it keeps."""
        if line["round"] <= self._told:
            return
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._id, metrics=[Metric(_name(k), v, now, line["round"]) for k, v in numbers(line).items()])

    def close(self, *, finished: bool) -> None:
        """Say how the run ended."""
        self._client.set_terminated(self._id, status="FINISHED" if finished else "FAILED")


def _name(key: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", key)


def _checked(where: str) -> str:
    """The address; a database on this machine lies in a folder that is there, or MLflow would try it for minutes."""
    kind, _, path = where.partition(":///")
    if kind == "sqlite" and not (path.startswith("/") and Path(path).parent.is_dir()):
        raise ValueError(f"{where}: expected sqlite:////abs/file.db, in a folder that is there")
    return where
