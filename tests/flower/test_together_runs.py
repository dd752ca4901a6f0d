"""Runs whose clients train together: as alone but for rounding, faults and memory included."""

from functools import partial

import numpy as np
import pytest
from flwr.app import Error, Message
from loopback_runs import SMALL, last_checkpoint, run, with_faults, without
from safetensors.numpy import load_file

from fedgates.flower.client_app import GroupingClientApp

NETWORK = SMALL
"""More weights than the tiny network has, so that a few masks differ by rounding at most."""


@pytest.fixture
def groups(monkeypatch):
    """Note how many messages come together."""
    found, original = [], GroupingClientApp.train_together

    def noting(self, messages):
        answers = original(self, messages)
        found.append(len(answers))
        return answers

    monkeypatch.setattr(GroupingClientApp, "train_together", noting)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"strategy": "coupled-masks"}, {"strategy": "topk", "density.target": 0.2}, {"strategy": "fedpm"}],
    ids=lambda s: s["strategy"],
)
def test_a_run_together_is_the_run_alone_but_for_rounding(raw, settings, groups):
    small = partial(raw, num_server_rounds=3, fraction_train=0.6, fraction_evaluate=0.4, **settings)
    alone, together = run(small(), 10), run(small(**{"client.train-together": 4}), 10)
    assert groups == [6, 6, 6]
    ours, theirs = (load_file(last_checkpoint(each)) for each in (together, alone))
    name = "weights" if settings["strategy"] == "topk" else "votes"
    assert ours[name].shape == theirs[name].shape
    assert (np.abs(ours[name].astype(float) - theirs[name].astype(float)) > 1e-3).mean() < 0.02
    for one, other in zip(together.round_log.read(), alone.round_log.read(), strict=True):
        assert one["clients_counted"] == other["clients_counted"] == 6
        assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.02)
        assert one["client_loss"] == pytest.approx(other["client_loss"], rel=0.02) if "client_loss" in other else True


@pytest.mark.slow
def test_with_one_nothing_is_grouped(raw, groups):
    small = partial(raw, num_server_rounds=2)
    by_default, one = run(small(), 3), run(small(**{"client.train-together": 1}), 3)
    assert without(one.round_log.read()) == without(by_default.round_log.read())
    assert groups == []


@pytest.mark.slow
def test_networks_that_cannot_train_together_do_so_alone(raw):
    small = partial(raw, num_server_rounds=2, model="cnn", local_epochs=1, samples_per_client=20)
    alone, together = run(small(), 4), run(small(**{"client.train-together": 4}), 4)
    assert without(together.round_log.read()) == without(alone.round_log.read())


def test_faults_and_silence_are_those_of_the_one_client(raw):
    faults = {
        (1, 0): lambda message, reply: Message(Error(2, "broken"), reply_to=message),
        (1, 2): lambda message, reply: None,
    }
    settings = {"num_server_rounds": 2, "client.train-together": 3, "round_timeout": 1.0}
    first, second = run(raw(**settings), 5, with_faults(faults)).round_log.read()
    assert set(first["failed"]) == {"0", "2"}
    assert (first["clients_counted"], second["clients_counted"]) == (3, 5)
