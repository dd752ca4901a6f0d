from round_lines import line

from fedgates.runs.time_left import duration, round_seconds, time_left, time_left_of_runs


def took(*seconds):
    """Rounds that are all evaluated."""
    return [line(i, seconds=each) for i, each in enumerate(seconds, 1)]


def test_the_first_round_counts_only_alone():
    assert round_seconds(took(500.0)) == 500.0
    assert round_seconds(took(500.0, 10.0)) == 10.0
    assert round_seconds(took(500.0, *[10.0] * 5, *[20.0] * 9)) == 20.0


def test_evaluations_count_as_often_as_there_are_any():
    lines = [line(i, seconds=50.0) if i % 10 == 0 else line(i, seconds=1.0, accuracy=None, loss=None) for i in range(1, 41)]
    assert round_seconds(lines[:1]) == round_seconds(lines[:9]) == 1.0
    assert round_seconds(lines) == (35 * 1.0 + 4 * 50.0) / 39  # a median of all would be 1
    assert time_left(lines, 40) == "4:01 left"  # it will be 4 * (9 + 50) = 236 s


def test_time_left_in_words():
    assert time_left(took(70.0), 2) == "2:20 left, start included"
    assert time_left(took(70.0), 0) == "0:00 left"
    assert time_left(took(70.0, 3.0), 2) == "0:06 left"
    assert duration(3599.6) == "1:00:00"


def test_runs_share_the_workers_and_the_last_takes_as_long_as_it_takes():
    runs = {"a": took(9.0, 1.0), "b": took(9.0, 3.0)}
    assert time_left_of_runs(runs, {"a": 10, "b": 10, "c": 10}, 1) == "1:00 left"  # 10 + 30 + 20: c is taken to be between
    assert time_left_of_runs(runs, {"a": 10, "b": 10, "c": 10}, 2) == "0:30 left"
    assert time_left_of_runs(runs, {"a": 0, "b": 10, "c": 0}, 2) == "0:30 left"
    assert time_left_of_runs(runs, {"a": 0, "b": 0}, 2) == "0:00 left"


def test_before_the_first_round_has_ended_nothing_is_known():
    assert time_left_of_runs({}, {"a": 10}, 1) == "- left"
    assert time_left_of_runs({"a": []}, {"a": 10}, 1) == "- left"
    assert time_left_of_runs({"a": took(2.0)}, {"a": 9}, 1) == "0:18 left, start included"
