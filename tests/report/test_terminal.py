"""The view of `fedgates report --follow`."""

import pytest

from fedgates.report.terminal import view


def line(server_round=1, **changes):
    return {
        "round": server_round,
        "seconds": 10.0,
        "accuracy": 0.5,
        "density": 0.4567,
        "uplink_bytes": 1_000,
        "downlink_bytes": 3_000,
        "uplink_bpp": 1.0321,
        "downlink_bpp": 3.4567,
        "clients_selected": 4,
        "clients_counted": 3,
        "clients_rejected": 0,
        "clients_failed": 1,
        **changes,
    }


def rows(lines, width=80, height=24, of_rounds=30):
    return view(lines, of_rounds, "the run", "the end", width, height).splitlines()


def test_a_row_a_round():
    assert rows([line(1), line(2, accuracy=0.975)]) == [
        "the run",
        "round  accuracy  density  bpp up  bpp down  clients  left",
        " 1/30    50.0 %    0.457   1.032     3.457      3/4  4:50",
        " 2/30    97.5 %    0.457   1.032     3.457      3/4  4:40",
        "the end",
    ]


def test_before_the_first_round():
    assert rows([]) == ["the run", "round  accuracy  density  bpp up  bpp down  clients  left", "the end"]


@pytest.mark.parametrize(
    ("width", "head"),
    [
        (57, "round  accuracy  density  bpp up  bpp down  clients  left"),
        (56, "round  accuracy  density  bpp down  clients  left"),
        (40, "round  accuracy  density  clients  left"),
        (30, "round  accuracy  clients  left"),
        (21, "round  accuracy  left"),
        (3, "round"),
    ],
)
def test_columns_that_do_not_fit_are_left_out(width, head):
    found = rows([line(1)], width=width)
    assert found[1] == head
    assert len(found) == 4


def test_the_last_rounds_are_shown():
    found = rows([line(i) for i in range(1, 101)], height=12, of_rounds=100)
    assert len(found) == 11
    assert [row.split()[0] for row in found[2:-1]] == [f"{i}/100" for i in range(93, 101)]
    assert found[-2].endswith("0:00")


def test_time_left_is_estimated_from_rounds_that_are_not_shown_too():
    lines = [line(i, seconds=1.0) for i in range(1, 30)] + [line(i, seconds=90.0) for i in (30, 31)]
    assert rows(lines, height=6, of_rounds=130)[-2].endswith("1:39")  # a second a round: the last two are outliers


def test_failures_are_below_their_round():
    failed = {"1": "gone", "2": "gone", "3": "out of memory"}
    found = rows([line(1, failed=failed, quorum=False), line(1, attempt=2)])
    assert [row.strip() for row in found[2:-1]] == [
        "1/30    50.0 %    0.457   1.032     3.457      3/4  5:00",
        "clients 1, 2 failed: gone",
        "client 3 failed: out of memory",
        "no quorum: the state is unchanged",
        "1/30 attempt 2    50.0 %    0.457   1.032     3.457      3/4  4:50",
    ]


def test_many_reasons_leave_room_for_rounds():
    found = rows([line(1, failed={str(i): f"reason {i}" for i in range(100)}), line(2)])
    assert len(found) == 2 + 1 + 3 + 1 + 1
    assert found[5] == "    and 98 other reasons, in rounds.jsonl"


def test_the_metric_of_a_regression_and_of_a_run_without_test_data():
    assert rows([line(1, accuracy=None, r2=0.25)])[1].split()[1] == "r2"
    assert rows([line(1, accuracy=None, client_accuracy=0.25)])[1].split()[1:3] == ["devices'", "accuracy"]
