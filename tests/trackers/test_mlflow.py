"""What MLflow holds of a run, in a database of its own, beside the run's ledger."""

from contextlib import suppress

import pytest
from tracked import run, tracking

from fedgates.config import DEFAULT_STRATEGY

mlflow = pytest.importorskip("mlflow", reason="no mlflow: uv sync --extra mlflow")
pytestmark = pytest.mark.slow  # its server takes seconds


def runs_in(database):
    client = mlflow.MlflowClient(tracking_uri=database)
    experiment = client.get_experiment_by_name("fedgates")
    return client, client.search_runs([experiment.experiment_id])


def test_figures_and_config_are_the_ledgers_and_a_resumed_run_goes_on_in_the_same(raw, tmp_path):
    database = f"sqlite:///{tmp_path / 'tracked.db'}"
    folder = run(raw(trackers=f"mlflow={database}", num_server_rounds=2))
    client, (found,) = runs_in(database)
    assert found.info.run_name == folder.path.name
    assert found.info.status == "FINISHED"
    assert found.data.params["num-server-rounds"] == "2"
    assert found.data.params["strategy"] == DEFAULT_STRATEGY

    run(raw(trackers=f"mlflow={database}", num_server_rounds=3, resume=str(folder.path)))
    client, (found,) = runs_in(database)
    lines = folder.round_log.read()
    for key in ("accuracy", "downlink_bytes"):
        history = client.get_metric_history(found.info.run_id, key)
        assert [(m.step, m.value) for m in history] == [(n + 1, pytest.approx(lines[n][key])) for n in range(3)]
    assert found.info.status == "FINISHED"


def test_without_an_address_it_is_beside_the_runs(raw, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = run(raw(trackers="mlflow", num_server_rounds=1))
    _, (found,) = runs_in(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    assert found.info.run_name == folder.path.name


def test_a_server_that_is_not_there_is_one_line_before_round_1(raw):
    with pytest.raises(ValueError, match=r"trackers = 'mlflow': expected a tracker that can be reached; .*127.0.0.1"):
        run(raw(trackers="mlflow=http://127.0.0.1:9"))


def test_a_run_that_ends_early_has_failed_and_what_was_told_once_is_kept(tmp_path):
    database, config = f"sqlite:///{tmp_path / 'tracked.db'}", {"seed": 1, "odd@key": 2}
    counts = dict.fromkeys(("clients_selected", "clients_counted", "clients_rejected", "uplink_bytes", "downlink_bytes"), 1)
    with suppress(RuntimeError), tracking(f"mlflow={database}", tmp_path, config) as log:
        log({"round": 1, "acc@5": 0.5, **counts})
        raise RuntimeError
    client, (found,) = runs_in(database)
    assert (found.info.status, found.data.params["odd_key"]) == ("FAILED", "2")
    with tracking(f"mlflow={database}", tmp_path, config, 1, resumed=True) as log:
        assert runs_in(database)[1][0].info.status == "RUNNING"
        log({"round": 1, "acc@5": 0.7, **counts})
        log({"round": 2, "acc@5": 0.9, **counts})
    client, (found,) = runs_in(database)
    assert [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, "acc_5")] == [(1, 0.5), (2, 0.9)]
    assert found.info.status == "FINISHED"


def test_the_environment_names_a_server_too(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'named.db'}")
    run(raw(trackers="mlflow", num_server_rounds=1))
    assert len(runs_in(f"sqlite:///{tmp_path / 'named.db'}")[1]) == 1


@pytest.mark.parametrize("where", ["sqlite:///runs.db", "sqlite:////no/such/folder/runs.db"])
def test_an_invalid_database_is_an_error_at_once(raw, where):
    with pytest.raises(ValueError, match=f"ValueError: {where}: expected sqlite:////abs/file.db, in a folder that exists"):
        run(raw(trackers=f"mlflow={where}"))
