import math

import pytest
from written_runs import group, line, rounds

from fedgates.compare import Run
from fedgates.compare.numbers import Reached, any_has, cumulative_bytes, curve, measure, over_seeds, worst
from fedgates.compare.study import Question

TARGETS = Question("t", targets=(0.8, 0.95))


@pytest.fixture
def one(tmp_path):
    def make(lines, question=TARGETS, columns=()):
        return measure(group(tmp_path, lines).runs[0], question, columns)

    return make


def test_a_run_by_hand(one):
    lines = rounds("accuracy", 0.5, 0.8, 0.9)
    lines[1] |= {"uplink_bpp": 0.5, "uplink_bytes": 100, "model_density": 0.25}
    lines[2] |= {"downlink_bpp": None, "model_density": 0.125, "uplink_bpp": 0.8}
    found = one(lines, columns=["model_density", "density", "absent"])
    assert found.metric == 0.9
    assert found.uplink_bpp == pytest.approx(0.5)  # (.2 + .5 + .8) / 3
    assert found.downlink_bpp == 2.0  # of the two rounds that have it
    assert (found.bytes_up, found.bytes_down, found.bytes) == (120, 105, 225)
    assert found.reached == {0.8: Reached(2, 180), 0.95: None}
    assert found.columns == {"model_density": 0.125, "density": 0.4, "absent": None}


def test_a_target_is_reached_the_first_time(one):
    assert one(rounds("accuracy", 0.9, 0.1, 0.99)).reached == {0.8: Reached(1, 45), 0.95: Reached(3, 135)}


def test_bytes_without_evaluators(one):
    lines = [{k: v for k, v in of_round.items() if k != "evaluation_downlink_bytes"} for of_round in rounds("loss", 1, 1)]
    assert cumulative_bytes(lines) == [40, 80]
    assert one(lines).bytes_down == 60


def test_a_loss_reaches_what_is_above(one):
    found = one(rounds("loss", 2.0, 1.5, 0.9), Question("t", metric="loss", targets=(1.5, 0.5)))
    assert found.metric == 0.9
    assert found.reached == {1.5: Reached(2, 90), 0.5: None}


@pytest.mark.parametrize("key", ["accuracy", "of_mine"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.9", True])
def test_what_is_no_number_is_missing(tmp_path, key, value):
    lines = Run(tmp_path, {"seed": 1}, rounds(key, 0.7, value))
    found = measure(lines, Question("t", metric=key, targets=TARGETS.targets), ())
    assert (found.metric, found.reached) == (None, {0.8: None, 0.95: None})


def test_mean_and_sample_deviation():
    assert over_seeds([1.0, 2.0, None, 6.0]) == (3.0, pytest.approx(math.sqrt(7)))  # (4 + 1 + 9) / 2
    assert over_seeds([2.0, None]) == (2.0, None)
    assert over_seeds([None]) == (None, None)


def test_the_worst():
    assert worst([0.3, None, 0.2], TARGETS) == 0.2
    assert worst([0.3, None, 0.2], Question("t", metric="loss")) == 0.3
    assert worst([None], TARGETS) is None


def test_a_curve_by_hand(tmp_path):
    second = rounds("accuracy", 0.3, None, 0.5, 0.6, uplink_bytes=110)
    found = curve(group(tmp_path, rounds("accuracy", 0.1, 0.2, 0.3), second), "accuracy")
    assert found.rounds == [1, 3]  # where both have it
    assert found.bytes == [95, 285]  # means of 45 and 145, 135 and 435
    assert (found.mean, found.low, found.high) == (pytest.approx([0.2, 0.4]), [0.1, 0.3], [0.3, 0.5])


def test_a_key_that_nobody_has(tmp_path):
    groups = [group(tmp_path, [line(1, model_density=None)])]
    assert (any_has(groups, "density"), any_has(groups, "model_density"), any_has(groups, "absent")) == (True, False, False)
    assert curve(groups[0], "absent").rounds == []


def test_a_column_may_be_a_mean_over_the_rounds_that_have_it(one):
    lines = [line(1, regrown_share_of_ones=0.5), line(2), line(3, regrown_share_of_ones=0.25)]
    assert one(lines, columns=["mean_regrown_share_of_ones", "regrown_share_of_ones", "mean_absent"]).columns == {
        "mean_regrown_share_of_ones": 0.375,
        "regrown_share_of_ones": 0.25,
        "mean_absent": None,
    }
