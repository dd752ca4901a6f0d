"""What MLflow holds of a run, in a database of its own, beside the run's ledger."""

import pytest
from tracked import run

mlflow = pytest.importorskip("mlflow", reason="no mlflow: uv sync --extra mlflow")


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
    assert found.data.params["strategy"] == "fedpm"

    run(raw(trackers=f"mlflow={database}", num_server_rounds=3, resume=str(folder.path)))
    client, (found,) = runs_in(database)
    lines = folder.ledger.read()
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
