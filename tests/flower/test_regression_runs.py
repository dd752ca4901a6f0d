"""Regression through a whole federation: no accuracy anywhere, but r2, losses, and the support that the data set knows."""

from types import SimpleNamespace

import pytest

from client_app import app
from fedgates.errors import WireError
from fedgates.federation import Reply
from fedgates.federation.round_trip import _evaluation_metrics
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.flower.records import read_reply, reply_content
from fedgates.runs.summary import summary_table

SMALL = {
    "dataset": "synthetic-linear",
    "model": "linear",
    "synthetic_features": 40,
    "synthetic_support": 4,
    "synthetic_examples": 200,
    "fraction_evaluate": 0.5,
    "target_density": 0.1,
    "num_server_rounds": 3,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"strategy": "fedavg", "learning_rate": 0.05},
        {"strategy": "fediht", "learning_rate": 0.05},
        {"strategy": "entropy-gates", "learning_rate": 0.05},
        {"strategy": "one-bit-gates", "evaluations": "threshold,sample,mean,ensemble"},
    ],
    ids=lambda method: method["strategy"],
)
@pytest.mark.usefixtures("whole_runs")
def test_a_regression_run_says_r2_and_how_the_support_is_met(raw, method):
    config = raw(**SMALL, **method)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config)
    last = folder.round_log.read()[-1]
    assert last["accuracy"] is None
    assert {"r2", "client_loss", "support_precision", "support_recall", "support_f1"} <= set(last)
    assert "client_accuracy" not in last
    assert last["loss"] == pytest.approx((1 - last["r2"]) * 1.01, rel=0.2)  # the targets' variance is that of signal and noise
    assert last["clients_rejected"] == last["clients_failed"] == 0
    assert (folder.path / "curves.png").stat().st_size > 1000
    assert summary_table(folder.round_log.read(), "fedavg", 40).split()[:1] == ["r2"]


@pytest.mark.parametrize("dataset", ["synthetic-logistic"])
def test_a_network_that_has_not_one_weight_a_feature_has_no_known_support(raw, dataset):
    config = raw(dataset=dataset, synthetic_features=40, synthetic_support=4, num_server_rounds=1)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config)
    (line,) = folder.round_log.read()
    assert line["accuracy"] > 0
    assert "support_f1" not in line


def test_fedavg_finds_the_support_of_an_easy_problem(raw):
    config = raw(**{**SMALL, "num_server_rounds": 15}, strategy="fedavg", learning_rate=0.05)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config)
    last = folder.round_log.read()[-1]
    assert (last["support_f1"], last["model_density"]) == (1.0, 0.1)
    assert last["r2"] > 0.3


def test_an_evaluation_of_a_regression_needs_no_accuracy_but_one_of_classes_does():
    content = reply_content(Reply(1000, num_examples=7, metrics={"r2": 0.5, "loss": 2.0}))
    reply = read_reply(SimpleNamespace(metadata=SimpleNamespace(src_node_id=1000), content=content), "evaluate", 1.0)
    assert (reply.num_examples, reply.malformed) == (7, "")
    assert _evaluation_metrics(reply.metrics, classes=False) == {"loss": 2.0}
    with pytest.raises(WireError, match=r"accuracy = -1\.0, expected a number from 0 to 1"):
        _evaluation_metrics(reply.metrics, classes=True)
