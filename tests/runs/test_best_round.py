"""The best round, and what stops a run: compared with plain loops over the rounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_lines import line

from fedgates.runs.best_round import RoundResult, best_result, round_result, stop_reason, stopped
from fedgates.runs.totals import evaluation_metric, headline_metric, last_value

ACCURACY = evaluation_metric([line(1)])
LOSS = evaluation_metric([line(1, accuracy=None)])
VALUES = st.lists(st.one_of(st.none(), st.integers(0, 6).map(lambda n: n / 8)), min_size=1, max_size=14)


def lines_of(values, key="accuracy"):
    """A line for each value of a metric; None for a round without an evaluation."""
    nothing = {"accuracy": None, "loss": None}
    return [line(number, **{**nothing, key: value}) for number, value in enumerate(values, 1)]


def results_of(values, key="accuracy"):
    return [found for one in lines_of(values, key) if (found := round_result(one)) is not None]


def first_stop(values, accuracy, patience, key="accuracy"):
    """The round after which a run stops, by a loop that keeps a best value and a counter; 0 if it does not."""
    top, waited = None, 0
    for number, value in enumerate(values, 1):
        if value is None:
            continue
        better = top is None or (value < top if key == "loss" else value > top)
        top, waited = (value, 0) if better else (top, waited + 1)
        if (accuracy and key != "loss" and value >= accuracy) or (patience and waited >= patience):
            return number
    return 0


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({}, "accuracy", 0.5),
        ({"client_accuracy": 0.75}, "accuracy", 0.5),
        ({"accuracy": None, "r2": -0.25}, "r2", -0.25),
        ({"accuracy": None, "client_accuracy": 0.75, "loss": None, "client_loss": 2.0}, "client_accuracy", 0.75),
        ({"accuracy": None, "loss": None, "client_loss": 2.0}, "client_loss", 2.0),
        ({"accuracy": None}, "loss", 1.0),
    ],
)
def test_the_result_of_a_round(changes, key, value):
    found = round_result(line(7, **changes))
    assert (found.round, found.metric.key, found.value) == (7, key, value)


@pytest.mark.parametrize("changes", [{"quorum": False}, {"accuracy": None, "loss": None}])
def test_a_round_without_quorum_or_evaluation_has_no_result(changes):
    assert round_result(line(7, **changes)) is None


def test_a_training_loss_is_a_headline_but_no_evaluation():
    lines = lines_of([None, None])
    assert (evaluation_metric(lines), headline_metric(lines).key) == (None, "train_loss")
    assert headline_metric(lines_of([None, 0.5, None])).key == "accuracy"


@given(VALUES, st.sampled_from(["accuracy", "loss"]))
def test_the_best_is_the_first_of_the_extreme_values(values, key):
    measured = [(number, value) for number, value in enumerate(values, 1) if value is not None]
    found = best_result(results_of(values, key))
    if not measured:
        assert found is None
    else:
        extreme = (min if key == "loss" else max)(value for _, value in measured)
        assert (found.round, found.value) == next(one for one in measured if one[1] == extreme)


@given(VALUES, st.sampled_from([0.0, 0.5, 0.75]), st.integers(0, 4), st.sampled_from(["accuracy", "loss"]))
def test_a_run_stops_where_a_plain_loop_does(values, accuracy, patience, key):
    stops = first_stop(values, accuracy, patience, key)
    config = {"num-server-rounds": len(values) + 1, "stop-accuracy": accuracy, "stop-patience": patience}
    for done in range(1, (stops or len(values)) + 1):
        reason = stopped(lines_of(values[:done], key), config)
        assert bool(reason) == (done == stops)


@pytest.mark.parametrize(
    ("values", "accuracy", "patience", "expected"),
    [
        ([0.5, 0.75], 0.75, 0, "accuracy 75.0 % reached stop-accuracy = 0.75"),
        ([0.5, 0.75], 0.76, 0, ""),
        ([0.5, 0.75, 0.75, 0.5], 0, 2, "2 evaluations since accuracy 75.0 % in round 2, the best (stop-patience = 2)"),
        ([0.5, 0.75, 0.5, 0.76], 0, 2, ""),
        ([], 0.1, 1, ""),
    ],
)
def test_reasons(values, accuracy, patience, expected):
    assert stop_reason(results_of(values), accuracy, patience) == expected


def test_a_loss_is_never_an_accuracy_that_is_reached():
    assert stop_reason(results_of([5.0], "loss"), 0.5, 0) == ""


def test_results_of_another_metric_do_not_count():
    mixed = [
        RoundResult(1, LOSS, 9.0),
        RoundResult(2, ACCURACY, 0.25),
        RoundResult(3, LOSS, 8.0),
        RoundResult(4, ACCURACY, 0.25),
    ]
    assert best_result(mixed) == RoundResult(2, ACCURACY, 0.25)
    assert stop_reason(mixed, 0, 1)
    assert not stop_reason(mixed, 0, 2)


@pytest.mark.parametrize(
    "config",
    [
        {"stop-patience": 1},  # without a number of rounds
        {"num-server-rounds": 3, "stop-patience": 1},  # all rounds are done
        {"num-server-rounds": 9},
        {"num-server-rounds": 9, "stop-patience": 2},
        {"num-server-rounds": 9, "stop-patience": "1", "stop-accuracy": None},
        {"num-server-rounds": 9, "stop-patience": -1},
    ],
)
def test_a_run_that_did_not_stop(config):
    lines = lines_of([0.75, 0.9, 0.75])
    assert stopped(lines, config) == ""
    assert stopped(lines, {"num-server-rounds": 9, "stop-patience": 1}) != ""


def test_a_run_stops_only_after_a_round_that_is_evaluated():
    config = {"num-server-rounds": 9, "stop-accuracy": 0.5}
    assert stopped(lines_of([0.75]), config)
    assert not stopped(lines_of([0.75, None]), config)
    assert not stopped([*lines_of([0.25]), line(2, accuracy=0.75, quorum=False)], config)


def test_the_last_value_is_of_the_last_evaluation():
    assert last_value(lines_of([0.5, 0.75, None]), ACCURACY) == 0.75
    assert last_value(lines_of([None]), ACCURACY) is None
