"""Training that diverges: the run ends at once, in one line with the key, and does not advise to resume; or a warning, once."""

import logging

import pytest
from flwr.app import Error, Message
from loopback_runs import MLP, method, run, with_faults

from fedgates.errors import DIVERGED, DivergenceError
from fedgates.federation import Client, ClientData, Problem, Server
from fedgates.federation.client_data import partition_data

LARGE = {"strategy": "fedavg", "learning_rate": 1e6, "num_server_rounds": 3}


def test_a_run_that_diverges_ends_in_one_line_without_a_second_attempt(raw, tmp_path):
    with pytest.raises(DivergenceError) as caught:
        run(raw(**LARGE, **MLP, output_dir=str(tmp_path / "runs")), 3)
    message = str(caught.value)
    assert message.startswith("learning-rate = 1e+06: training diverged on 3 of 3 clients in round 1 (client 0: ")
    assert message.endswith("start a new run with a smaller value")
    assert "resume" not in message
    (log,) = (tmp_path / "runs").glob("*/rounds.jsonl")
    assert len(log.read_text().splitlines()) == 1


def test_the_key_is_that_of_the_method():
    found = method(strategy="coupled-masks").config
    assert (found.rate_key, found.initial_rate) == ("coupled-masks.score-learning-rate", 1000)
    assert method(strategy="fedavg").config.rate_key == "learning-rate"


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf"), 1.1e9])
def test_a_client_whose_loss_explodes_has_no_update(loss, monkeypatch):
    found = method(strategy="fedavg", samples_per_client=20)
    original = found.local_update

    def local_update(state, task):
        update = original(state, task)
        update.metrics["loss"] = loss
        return update

    monkeypatch.setattr(found, "local_update", local_update)
    server = Server(found, Problem.of_images((1, 8, 8), 10))
    data = partition_data(found.config, 0, 4)
    (request,) = server.open_round(1, {0: 10})
    with pytest.raises(FloatingPointError, match=DIVERGED):
        Client(found, 0, ClientData(data.train, data.held_out)).reply(request)


def test_a_minority_that_diverges_does_not_end_the_run(raw):
    def fault(message, reply):
        return Message(Error(2, f"FloatingPointError: the weights are not finite: {DIVERGED}"), reply_to=message)

    lines = run(raw(strategy="fedavg", num_server_rounds=2), 4, with_faults({(1, 0): fault, (2, 1): fault})).round_log.read()
    assert [line["clients_counted"] for line in lines] == [3, 3]


def test_a_loss_that_explodes_is_warned_of_once(raw, caplog, monkeypatch):
    monkeypatch.setattr("fedgates.federation.callbacks._EXPLODED", 0.0)
    run(raw(strategy="fedavg", num_server_rounds=3), 3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("the training loss of round 1 is ")
    assert warnings[0].endswith(": training diverges, and learning-rate = 0.3 is probably too large")
