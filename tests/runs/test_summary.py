import pytest
from round_lines import line

from fedgates.runs.summary import RoundFormatter, summary_table

# --- a line a round


def test_the_tidy_line():
    found = RoundFormatter(30).format(line(7, accuracy=0.9512, seconds=10.0))
    assert (
        found == "round  7/30  accuracy 95.1 %  density 0.457  bpp up 1.032 down 3.457  clients 3/4  3:50 left, start included"
    )


def test_missing_values_are_dashes():
    nothing = {"accuracy": None, "loss": None, "train_loss": None, "density": None, "uplink_bpp": None, "downlink_bpp": None}
    found = RoundFormatter(3).format(line(3, **nothing))
    assert found == "round 3/3  accuracy -  density -  bpp up - down -  clients 3/4  0:00 left"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"accuracy": None, "client_accuracy": 0.875}, "devices' accuracy 87.5 %"),
        ({"accuracy": None, "loss": 0.25}, "loss 0.250"),
        ({"accuracy": None, "loss": None, "client_loss": 0.5}, "devices' loss 0.500"),
        ({"accuracy": None, "loss": None}, "training loss 0.700"),
        ({"accuracy": None, "r2": -1.5e9}, "r2 -1.5e+09"),
    ],
)
def test_without_an_accuracy_another_metric_is_shown(changes, expected):
    assert f"round 1/9  {expected}  density 0.457" in RoundFormatter(9).format(line(1, **changes))


def test_the_models_density_is_shown_if_clients_send_everything():
    assert "  density 1.000 model 0.274  bpp" in RoundFormatter(9).format(line(1, density=1.0, model_density=0.274))
    assert "  density 1.000  bpp" in RoundFormatter(9).format(line(1, density=1.0, model_density=1.0))
    assert "  density 0.457  bpp" in RoundFormatter(9).format(line(1, model_density=0.274))


def test_a_line_with_few_keys_is_formatted():
    had = ("round", "seconds", "uplink_bytes", "downlink_bytes", "clients_selected", "clients_counted")
    found = RoundFormatter(9).format({key: value for key, value in line(2).items() if key in had})
    assert found == "round 2/9  accuracy -  density -  bpp up - down -  clients 3/4  0:14 left, start included"


def test_reasons_are_below_the_line():
    rejected = {"2": "round 6, expected 7", "11": "checksum does not match"}
    found = RoundFormatter(30).format(line(7, rejected=rejected, failed={"5": "no reply within 60 s"}, quorum=False))
    assert found.splitlines()[1:] == [
        "    client 2 rejected: round 6, expected 7",
        "    client 11 rejected: checksum does not match",
        "    client 5 failed: no reply within 60 s",
        "    no quorum: the state is unchanged",
    ]


def test_clients_are_grouped_by_reason_and_many_reasons_are_cut():
    failed = {str(i): "no reply within 60 s" for i in range(1000)}
    assert RoundFormatter(30).format(line(7, failed=failed)).splitlines()[1:] == [
        "    clients 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 988 more failed: no reply within 60 s"
    ]
    failed = {str(i): f"reason {i}" for i in range(1000)}
    found = RoundFormatter(30).format(line(7, failed=failed, evaluation_failed={"3": "gone"})).splitlines()
    assert len(found) == 1 + 8
    assert found[-1] == "    and 994 other reasons, in rounds.jsonl"


def test_a_repeated_attempt_has_its_number_and_its_round_is_left():
    formatter = RoundFormatter(3)
    assert (
        formatter.format(line(2, seconds=10.0, quorum=False)).splitlines()[0].endswith("clients 3/4  0:20 left, start included")
    )
    assert (
        formatter.format(line(2, seconds=10.0, quorum=False, attempt=2))
        .splitlines()[0]
        .endswith("clients 3/4  attempt 2  0:20 left")
    )
    assert formatter.format(line(2, seconds=10.0, attempt=3)).endswith("clients 3/4  attempt 3  0:10 left")
    assert formatter.format(line(3, seconds=10.0, quorum=False)).splitlines()[0].endswith("0:10 left")


def test_text_from_a_log_cannot_move_the_cursor():
    hostile = "\x1b[2J\r\u202e\x00\nround 9/9"
    found = RoundFormatter(9).format(line(1, failed={hostile: hostile}))
    assert len(found.splitlines()) == 2
    assert found.replace("\n", "").isprintable()
    assert summary_table([line(1, uplink={hostile: {"messages": 1, "bytes": 5}})], hostile, 10).replace("\n", "").isprintable()


def test_time_left_is_the_median_of_the_last_nine_rounds_without_the_first():
    formatter = RoundFormatter(100)
    seconds = [500, 10, 30, 10, 10, 10, 10, 10, 10, 10, 20, 20, 20, 20, 20]
    left = [formatter.format(line(r, seconds=s)).rpartition("  ")[2] for r, s in enumerate(seconds, 1)]
    assert left[0] == "13:45:00 left, start included"
    assert left[1] == f"{10 * 98 // 60}:20 left"  # ten seconds a round: in the first one, processes started
    assert left[2] == f"{20 * 97 // 60}:20 left"  # the median of two is between them
    assert left[9] == "15:00 left"
    assert left[14] == f"{20 * 85 // 60}:20 left"


def test_minutes_are_not_lost_in_rounding():
    assert RoundFormatter(2).format(line(1, seconds=59.6)).endswith("  1:00 left, start included")
    assert RoundFormatter(2).format(line(1, seconds=3599.6)).endswith("  1:00:00 left, start included")
    assert RoundFormatter(2).format(line(1, seconds=7205)).endswith("  2:00:05 left, start included")
    assert RoundFormatter(2).format(line(5, seconds=10)).endswith("  0:00 left")


# --- the table


def test_summary_of_two_rounds_by_hand():
    lines = [
        line(1, uplink_bytes=3_000, downlink_bytes=5_000, clients_rejected=1, accuracy=0.25),
        line(2, uplink_bytes=2_000, downlink_bytes=7_000, accuracy=0.877),
    ]
    # 4 bytes * 1000 parameters: 4 + 3 replies up (counted and rejected), 4 + 4 questions down
    assert summary_table(lines, "fedpm", size=1000).splitlines() == [
        "                                 accuracy  bytes up  bytes down    both",
        "fedpm, 2 rounds                    87.7 %     5,000      12,000  17,000",
        "dense float32 FedAvg would move              28,000      32,000  60,000",
        "times less                                     5.6x        2.7x    3.5x",
        "up: 6 x mask, side-info, 333 bytes each",
        "down: 8 x votes, 750 bytes each",
    ]


def test_summary_names_each_kind_of_payload():
    relay = {"relay, sampled": {"messages": 3, "bytes": 100}, "votes": {"messages": 1, "bytes": 500}}
    rows = summary_table([line(1), line(2, downlink=relay)], "fedpm", size=1000).splitlines()
    assert rows[-2:] == ["down: 5 x votes, 700 bytes each", "down: 3 x relay, sampled, 33 bytes each"]


def test_summary_of_a_run_without_replies():
    lines = [line(uplink_bytes=0, clients_counted=0, accuracy=None, loss=None, train_loss=None)]
    rows = summary_table(lines, "fedpm", size=1000).splitlines()
    assert rows[1].split() == ["fedpm,", "1", "round", "-", "0", "3,000", "3,000"]
    assert rows[3].split() == ["times", "less", "-", "5.3x", "5.3x"]


def test_summary_of_no_rounds():
    rows = summary_table([], "fedpm", size=1000).splitlines()
    assert rows[1].split() == ["fedpm,", "0", "rounds", "-", "0", "0", "0"]
    assert len({len(row) for row in rows}) == 1


def test_a_regression_is_summarised_by_its_r2():
    lines = [line(r, accuracy=None, r2=0.1 * r, r2_mean=0.05) for r in (1, 2)]
    assert "  r2 0.200  density" in RoundFormatter(30).format(lines[1])
    assert summary_table(lines, "fedpm", size=1000).split()[:1] == ["r2"]
