"""Losses, metrics and augmentation of the user's own through a whole federation, and what clients may say of them."""

import math

import numpy as np
import pytest
from loopback_runs import run, without

from fedgates.data.digits import digits
from fedgates.errors import ConfigError, WireError
from fedgates.federation.round_trip import _evaluation_metrics
from fedgates.runs.schema import problem

EVALUATED = {"fraction-evaluate": 1.0, "metric": "own_functions:two"}
TEST_ZEROS = int((digits().test.y == 0).sum())


@pytest.mark.parametrize("strategy", ["coupled-masks", "fedavg"])
def test_metrics_are_in_every_evaluation_of_server_and_clients(raw, strategy):
    lines = run(raw(strategy=strategy) | EVALUATED).round_log.read()
    for line in lines:
        assert problem(line) is None
        assert line["examples_of_0"] == TEST_ZEROS
        assert 0.1 <= line["confidence"] <= 1
        each = line["client_evaluations"].values()
        assert len(each) == 4
        values, sizes = [one["examples_of_0"] for one in each], [one["examples"] for one in each]
        assert line["client_examples_of_0_macro"] == pytest.approx(np.mean(values))
        assert line["client_examples_of_0"] == pytest.approx(np.average(values, weights=sizes))
        assert all(one["confidence"] <= 1 for one in each)


def test_a_metric_that_is_undefined_on_some_clients_is_the_mean_over_the_others(raw):
    changes = {"partition": "classes", "metric": "own_functions:undefined_without_0", "fraction-evaluate": 1.0}
    line = run(raw(**{"data.classes-per-client": 3}) | changes, clients=5).round_log.read()[-1]
    each = [one.get("undefined_without_0") for one in line["client_evaluations"].values()]
    known = [value for value in each if value is not None]
    assert len(each) == 5
    assert 0 < len(known) < 5
    assert line["client_undefined_without_0_macro"] == pytest.approx(np.mean(known))
    assert line["evaluation_failed"] == {}
    assert problem(line) is None


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("strategy", ["coupled-masks", "fedpm", "fedavg"])
def test_a_run_trains_with_the_loss_of_ones_own(raw, strategy):
    def losses(**changes):
        line = run(raw(strategy=strategy, **changes)).round_log.read()[-1]
        return line["train_loss"], line["loss"]

    own, usual = losses(loss="own_functions:likelihood", fraction_evaluate=0.5), losses()
    assert own[0] < 0 < usual[0]
    assert own[1] < usual[1]


def test_a_negative_loss_passes_for_clients_too(raw):
    changes = {"loss": "own_functions:likelihood", "fraction-evaluate": 1.0, "learning-rate": 0.1}
    line = run(raw(strategy="fedavg", num_server_rounds=4) | changes).round_log.read()[-1]
    assert line["evaluation_failed"] == {}
    assert line["client_loss"] < 0
    assert line["client_loss"] == pytest.approx(line["loss"], rel=0.5)
    assert problem(line) is None


def test_a_personal_layer_is_trained_with_it(raw):
    changes = {"gates.personal": "last", "fraction-evaluate": 1.0}
    own = run(raw(loss="own_functions:likelihood") | changes).round_log.read()[-1]
    usual = run(raw() | changes).round_log.read()[-1]
    assert own["client_loss"] < usual["client_loss"]


@pytest.mark.slow
def test_an_augmented_run_repeats_and_differs_from_a_plain_one(raw):
    augment = {"data.augment": "flip,crop,rotate,trivial,erase"}
    once, again, plain = (without(run(raw() | changes).round_log.read()) for changes in (augment, augment, {}))
    assert once == again
    assert once[-1]["loss"] != plain[-1]["loss"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loss": "own_functions:detached"}, "its result has no gradient"),
        ({"metric": "own_functions:listed"}, "it returned list"),
    ],
)
def test_what_cannot_work_ends_before_there_is_a_folder(raw, tmp_path, changes, expected):
    with pytest.raises(ConfigError, match=expected):
        run(raw() | changes)
    assert not (tmp_path / "runs").exists()


# --- what a client says


def test_only_the_metrics_that_the_server_knows_are_taken():
    metrics = {"loss": 0.5, "accuracy": 0.25, "top": 0.75, "client_loss": 7.0, "x" * 60: 1.0}
    assert _evaluation_metrics(metrics, classes=True, own=("top", "other")) == {"loss": 0.5, "accuracy": 0.25, "top": 0.75}


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e10])
def test_a_metric_or_an_own_loss_beyond_the_bounds_is_refused(value):
    with pytest.raises(WireError, match=r"top = .*, expected a number from -1e\+09 to 1e\+09"):
        _evaluation_metrics({"loss": 0.5, "top": value}, classes=False, own=("top",))
    with pytest.raises(WireError, match="loss = "):
        _evaluation_metrics({"loss": value}, classes=False, own_loss=True)
    with pytest.raises(WireError, match="loss = nan, expected a number of at least 0"):
        _evaluation_metrics({}, classes=False)
    assert _evaluation_metrics({"loss": -2.5}, classes=False, own_loss=True) == {"loss": -2.5}
