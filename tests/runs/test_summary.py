import struct
import warnings

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from fedgates.runs.round_log import RoundLog
from fedgates.runs.summary import Clock, draw_curves, summary


def line(server_round=1, **changes):
    return {
        "round": server_round,
        "seconds": 2.0,
        "accuracy": 0.5,
        "loss": 1.0,
        "density": 0.4567,
        "uplink_bytes": 1_000,
        "downlink_bytes": 3_000,
        "uplink_bpp": 1.0321,
        "downlink_bpp": 3.4567,
        "entropy_bpp": 0.99,
        "clients_selected": 4,
        "clients_counted": 3,
        "clients_rejected": 0,
        "clients_failed": 1,
        "quorum": True,
        "uplink": {"mask, side-info": {"messages": 3, "bytes": 1_000}},
        "downlink": {"votes": {"messages": 4, "bytes": 3_000}},
        "train_loss": 0.7,
        "rejected": {},
        "failed": {},
        **changes,
    }


# --- a line a round


def test_the_tidy_line():
    found = Clock(30).line(line(7, accuracy=0.9512, seconds=10.0))
    assert (
        found == "round  7/30  accuracy 95.1 %  density 0.457  bpp up 1.032 down 3.457  clients 3/4  3:50 left, start included"
    )


def test_what_nobody_could_measure_is_a_dash():
    nothing = {"accuracy": None, "loss": None, "train_loss": None, "density": None, "uplink_bpp": None, "downlink_bpp": None}
    found = Clock(3).line(line(3, **nothing))
    assert found == "round 3/3  accuracy -  density -  bpp up - down -  clients 3/4  0:00 left"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accuracy": None, "client_accuracy": 0.875}, "devices' accuracy 87.5 %"),
        ({"accuracy": None, "loss": 0.25}, "loss 0.250"),
        ({"accuracy": None, "loss": None, "client_loss": 0.5}, "devices' loss 0.500"),
        ({"accuracy": None, "loss": None}, "training loss 0.700"),
        ({"accuracy": None, "r2": -1.5e9}, "r2 -1.5e+09"),
    ],
)
def test_without_an_accuracy_a_round_is_told_by_what_else_was_measured(changes, says):
    assert f"round 1/9  {says}  density 0.457" in Clock(9).line(line(1, **changes))


def test_the_models_density_stands_beside_that_of_methods_that_send_all():
    assert "  density 1.000 model 0.274  bpp" in Clock(9).line(line(1, density=1.0, model_density=0.274))
    assert "  density 1.000  bpp" in Clock(9).line(line(1, density=1.0, model_density=1.0))
    assert "  density 0.457  bpp" in Clock(9).line(line(1, model_density=0.274))


def test_a_line_of_an_older_ledger_is_told_by_what_it_has():
    had = ("round", "seconds", "uplink_bytes", "downlink_bytes", "clients_selected", "clients_counted")
    found = Clock(9).line({key: value for key, value in line(2).items() if key in had})
    assert found == "round 2/9  accuracy -  density -  bpp up - down -  clients 3/4  0:14 left, start included"


def test_reasons_stand_below_one_a_line():
    rejected = {"2": "round 6, expected 7", "11": "checksum does not match"}
    found = Clock(30).line(line(7, rejected=rejected, failed={"5": "no reply within 60 s"}, quorum=False))
    assert found.splitlines()[1:] == [
        "    client 2 rejected: round 6, expected 7",
        "    client 11 rejected: checksum does not match",
        "    client 5 failed: no reply within 60 s",
        "    no quorum: the round changes nothing",
    ]


def test_clients_of_one_reason_stand_together_and_many_reasons_are_cut():
    failed = {str(i): "no reply within 60 s" for i in range(1000)}
    assert Clock(30).line(line(7, failed=failed)).splitlines()[1:] == [
        "    clients 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 988 more failed: no reply within 60 s"
    ]
    failed = {str(i): f"reason {i}" for i in range(1000)}
    found = Clock(30).line(line(7, failed=failed, evaluation_failed={"3": "gone"})).splitlines()
    assert len(found) == 1 + 8
    assert found[-1] == "    and 994 other reasons, in rounds.jsonl"


def test_a_repeated_attempt_is_called_so_and_its_round_is_still_to_be_done():
    clock = Clock(3)
    assert clock.line(line(2, seconds=10.0, quorum=False)).splitlines()[0].endswith("clients 3/4  0:20 left, start included")
    assert (
        clock.line(line(2, seconds=10.0, quorum=False, attempt=2)).splitlines()[0].endswith("clients 3/4  attempt 2  0:20 left")
    )
    assert clock.line(line(2, seconds=10.0, attempt=3)).endswith("clients 3/4  attempt 3  0:10 left")
    assert clock.line(line(3, seconds=10.0, quorum=False)).splitlines()[0].endswith("0:10 left")


def test_what_a_ledger_says_cannot_move_the_cursor():
    hostile = "\x1b[2J\r\u202e\x00\nround 9/9"
    found = Clock(9).line(line(1, failed={hostile: hostile}))
    assert len(found.splitlines()) == 2
    assert found.replace("\n", "").isprintable()
    assert summary([line(1, uplink={hostile: {"messages": 1, "bytes": 5}})], hostile, 10).replace("\n", "").isprintable()


def test_time_left_is_the_median_of_the_last_nine_rounds_and_the_first_is_forgotten():
    clock = Clock(100)
    seconds = [500, 10, 30, 10, 10, 10, 10, 10, 10, 10, 20, 20, 20, 20, 20]
    left = [clock.line(line(r, seconds=s)).rpartition("  ")[2] for r, s in enumerate(seconds, 1)]
    assert left[0] == "13:45:00 left, start included"
    assert left[1] == f"{10 * 98 // 60}:20 left"  # ten seconds a round: in the first one, processes started
    assert left[2] == f"{20 * 97 // 60}:20 left"  # the median of two is between them
    assert left[9] == "15:00 left"
    assert left[14] == f"{20 * 85 // 60}:20 left"


def test_minutes_are_not_lost_in_rounding():
    assert Clock(2).line(line(1, seconds=59.6)).endswith("  1:00 left, start included")
    assert Clock(2).line(line(1, seconds=3599.6)).endswith("  1:00:00 left, start included")
    assert Clock(2).line(line(1, seconds=7205)).endswith("  2:00:05 left, start included")
    assert Clock(2).line(line(5, seconds=10)).endswith("  0:00 left")


# --- the table


def test_summary_of_two_rounds_by_hand():
    lines = [
        line(1, uplink_bytes=3_000, downlink_bytes=5_000, clients_rejected=1, accuracy=0.25),
        line(2, uplink_bytes=2_000, downlink_bytes=7_000, accuracy=0.877),
    ]
    # 4 bytes * 1000 parameters: 4 + 3 replies up (counted and rejected), 4 + 4 questions down
    assert summary(lines, "fedpm", size=1000).splitlines() == [
        "                                 accuracy  bytes up  bytes down    both",
        "fedpm, 2 rounds                    87.7 %     5,000      12,000  17,000",
        "dense float32 FedAvg would move              28,000      32,000  60,000",
        "times less                                     5.6x        2.7x    3.5x",
        "up: 6 x mask, side-info, 333 bytes each",
        "down: 8 x votes, 750 bytes each",
    ]


def test_summary_names_each_sort_of_payload():
    relay = {"relay, sampled": {"messages": 3, "bytes": 100}, "votes": {"messages": 1, "bytes": 500}}
    rows = summary([line(1), line(2, downlink=relay)], "fedpm", size=1000).splitlines()
    assert rows[-2:] == ["down: 5 x votes, 700 bytes each", "down: 3 x relay, sampled, 33 bytes each"]


def test_summary_of_a_run_that_never_answered():
    lines = [line(uplink_bytes=0, clients_counted=0, accuracy=None, loss=None, train_loss=None)]
    rows = summary(lines, "fedpm", size=1000).splitlines()
    assert rows[1].split() == ["fedpm,", "1", "round", "-", "0", "3,000", "3,000"]
    assert rows[3].split() == ["times", "less", "-", "5.3x", "5.3x"]


def test_summary_of_no_rounds():
    rows = summary([], "fedpm", size=1000).splitlines()
    assert rows[1].split() == ["fedpm,", "0", "rounds", "-", "0", "0", "0"]
    assert len({len(row) for row in rows}) == 1


# --- the curves


def fedpm_line(server_round, **changes):
    return line(server_round, accuracy_sample=0.4, accuracy_mean=0.45, **changes)


def write(folder, lines):
    for one in lines:
        RoundLog(folder).append(one)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws a ledger, and gives the two axes."""
    figures = []
    real = Figure.savefig

    def save(self, *args, **kwargs):
        figures.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", save)

    def draw(lines, size=1000):
        write(tmp_path, lines)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            draw_curves(tmp_path, size)
        return figures[0].axes

    return draw


def curves(axes):
    return {c.get_label(): (list(c.get_xdata()), list(c.get_ydata())) for c in axes.lines}


LEDGERS = {
    "empty": [],
    "fedavg": [line(1), line(2, accuracy=0.6)],
    "fedpm": [fedpm_line(1), fedpm_line(2, accuracy=0.6)],
    "one round": [fedpm_line(1)],
    "nothing measured": [line(1, accuracy=None)],
}


@pytest.mark.parametrize("name", LEDGERS)
def test_curves_are_a_png_with_something_in_it(tmp_path, name):
    write(tmp_path, LEDGERS[name])
    path = draw_curves(tmp_path, 1000)
    assert path == tmp_path / "curves.png"
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (9 * 130, round(3.4 * 130))
    assert len(np.unique(image.imread(path))) > 2


@pytest.mark.parametrize("name", LEDGERS)
def test_curves_are_drawn_without_a_warning(drawn, name):
    assert len(drawn(LEDGERS[name])) == 2


def test_curves_by_hand(drawn):
    by_round, by_bytes = drawn([fedpm_line(1), fedpm_line(2, accuracy=0.6, uplink_bytes=2_000)], size=500)
    assert curves(by_round) == {
        "thresholded mask": ([1, 2], [50, 60]),
        "one sampled mask": ([1, 2], [40, 40]),
        "mean network": ([1, 2], [45, 45]),
    }
    found = curves(by_bytes)
    dense = found.pop("one round of dense FedAvg")
    assert dense[0] == pytest.approx([0.016] * 2)  # 4 bytes * 500 * 4 clients, both ways
    moved = {label: x for label, (x, _) in found.items()}
    assert list(moved) == list(curves(by_round))
    assert all(x == pytest.approx([0.004, 0.009]) for x in moved.values())
    assert "both ways" in by_bytes.get_xlabel()
    assert "accuracy" in by_round.get_ylabel()


def test_a_regression_is_judged_by_its_r2(drawn):
    lines = [line(r, accuracy=None, r2=0.1 * r, r2_mean=0.05) for r in (1, 2)]
    assert "  r2 0.200  density" in Clock(30).line(lines[1])
    assert summary(lines, "fedpm", size=1000).split()[:1] == ["r2"]
    by_round, _ = drawn(lines)
    assert by_round.get_ylabel() == "test r2"
    assert curves(by_round)["thresholded mask"] == ([1, 2], [0.1, 0.2])


def test_a_weight_method_has_one_curve(drawn):
    assert list(curves(drawn([line(1), line(2)])[0])) == ["model"]


def test_a_thresholded_mask_is_called_so_whatever_else_was_evaluated(drawn):
    lines = [line(r, accuracy_mean=0.4) for r in (1, 2)]
    assert list(curves(drawn(lines)[0])) == ["thresholded mask", "mean network"]


def test_bytes_of_rounds_without_an_accuracy_count(drawn):
    by_round, by_bytes = drawn([line(1, accuracy=None), line(2)])
    assert curves(by_round)["model"] == ([2], [50])
    assert curves(by_bytes)["model"][0] == pytest.approx([0.008])
