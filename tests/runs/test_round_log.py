import json
import math

import numpy as np
import pytest

from fedgates.errors import ConfigError
from fedgates.runs.round_log import FILE_NAME, RoundLog, RoundRecord
from fedgates.types import Update, pack


def mask(ones, size=16):
    return pack(np.arange(size) < ones)


def update(ones, examples, loss):
    return Update(mask=mask(ones), num_examples=examples, metrics={"loss": loss})


def tally():
    """A round of 16 gates: four clients asked, two counted, one rejected, one silent."""
    kept = RoundRecord(server_round=3, size=16)
    for client, sort, payload_bytes in (
        (5, "relay, sampled", 20),
        (2, "votes", 60),
        (9, "votes", 60),
        (7, "relay, sampled", 20),
    ):
        kept.sent(client, sort, payload_bytes)
    kept.received("mask, sampled", 34)
    kept.count(update(4, 10, 0.5))
    kept.received("unreadable", 30)
    kept.rejected[9] = "30 bytes, expected a header of 36"
    kept.received("mask, sampled", 36)
    kept.count(update(8, 30, 1.5))
    kept.failed[7] = "no reply within 5 s"
    return kept


LINE = {
    "round": 3,
    "seconds": 1.235,
    "accuracy": 0.75,
    "loss": 0.5,
    "density": 0.375,  # (4/16 + 8/16) / 2
    "uplink_bytes": 100,
    "downlink_bytes": 160,
    "uplink_bpp": 100 * 8 / (3 * 16),  # three replied
    "downlink_bpp": 20.0,  # 160 * 8 / (4 * 16)
    "entropy_bpp": pytest.approx((0.8112781244591328 + 1) / 2),  # H2(1/4) and H2(1/2)
    "clients_selected": 4,
    "clients_counted": 2,
    "clients_rejected": 1,
    "clients_failed": 1,
    "quorum": True,
    "attempt": 1,
    "uplink": {"mask, sampled": {"messages": 2, "bytes": 70}, "unreadable": {"messages": 1, "bytes": 30}},
    "downlink": {"relay, sampled": {"messages": 2, "bytes": 40}, "votes": {"messages": 2, "bytes": 120}},
    "train_loss": 1.25,  # (10 * .5 + 30 * 1.5) / 40
    "rejected": {"9": "30 bytes, expected a header of 36"},
    "failed": {"7": "no reply within 5 s"},
    "accuracy_sample": 0.7,
}


def test_a_round_by_hand():
    line = tally().line(1.23456, {"accuracy": 0.75, "loss": 0.5, "accuracy_sample": 0.7})
    assert line == LINE
    assert list(line) == list(LINE)


def test_accuracies_of_clients_own_models_are_a_mean_by_examples_of_those_that_can_be():
    kept = tally()
    for examples, accuracy in ((10, 0.5), (30, 1.0), (60, 1.5), (60, -0.5), (60, float("nan"))):
        kept.count(Update(mask=mask(4), num_examples=examples, metrics={"loss": 1.0, "accuracy": accuracy}))
    assert kept.line(1.0, {})["train_accuracy"] == 0.875
    assert "train_accuracy" not in tally().line(1.0, {})


def test_what_a_method_measures_stands_in_the_line_but_never_in_place_of_the_ledgers_own():
    kept = tally()
    kept.measures = {"regrowth": 0.25, "density": 9.0, "loss": 9.0}
    assert kept.line(1.23456, {"accuracy": 0.75, "loss": 0.5, "accuracy_sample": 0.7}) == {**LINE, "regrowth": 0.25}


def test_values_cost_32_bits_each_in_the_literature():
    kept = RoundRecord(1, 16)
    kept.count(Update(mask=mask(8), values=np.ones(8, np.float32)))
    kept.count(Update(mask=None, values=np.ones(32, np.float32)))  # two vectors of the network's size
    assert kept.rates == [1 + 16, 64]


def test_masks_of_several_vectors_have_the_density_of_all():
    kept = RoundRecord(1, 8, vectors=2)
    kept.count(Update(mask=mask(8)))
    assert kept.densities == [0.5]
    assert kept.rates == [2]  # bits a parameter: a bit for each of its two gates


def test_what_is_not_finite_is_null_and_numbers_of_numpy_are_numbers():
    kept = tally()
    kept.measures = {"one": float("nan"), "two": np.float32(0.5)}
    line = kept.line(1.0, {"three": float("inf"), "loss": float("nan"), "accuracy": np.float64(0.5)})
    assert (line["one"], line["two"], line["three"], line["loss"], line["accuracy"]) == (None, 0.5, None, None, 0.5)
    json.dumps(line, allow_nan=False)


def test_what_evaluators_are_sent_stands_apart():
    kept = tally()
    assert not [key for key in kept.line(1.0, {}) if "evaluat" in key]
    kept.sent_to_evaluate(5, "relay, sampled", 7)
    kept.sent_to_evaluate(3, "votes", 60)
    kept.fail_evaluation(3, "no reply\nwithin 5 s")
    line = kept.line(1.0, {})
    assert {key: line[key] for key in ("clients_selected", "downlink_bytes", "downlink")} == {
        key: LINE[key] for key in ("clients_selected", "downlink_bytes", "downlink")
    }
    assert (line["clients_evaluating"], line["evaluation_downlink_bytes"]) == (2, 67)
    assert line["evaluation_downlink"] == {
        "relay, sampled": {"messages": 1, "bytes": 7},
        "votes": {"messages": 1, "bytes": 60},
    }
    assert line["evaluation_failed"] == {"3": "no reply within 5 s"}


def test_every_key_that_others_rely_on_is_there(contract):
    assert set(contract) <= set(tally().line(1.0, {}))
    assert set(contract) <= set(RoundRecord(1, 16).line(1.0, {}))


def test_the_line_does_not_depend_on_who_answered_first():
    losses = [(4, 10, 0.1), (8, 30, 1 / 3), (5, 7, 1e9), (3, 10, 1e-9), (7, 1, 0.7)]
    lines = []
    for order in (losses, losses[::-1], losses[2:] + losses[:2]):
        kept = RoundRecord(1, 16)
        for ones, examples, loss in order:
            kept.count(update(ones, examples, loss))
        for client, _ in enumerate(order):
            kept.rejected[client if order is losses else 4 - client] = "x"
        lines.append(json.dumps(kept.line(1.0, {})))
    assert len(set(lines)) == 1


def test_rates_of_values_and_of_masks_with_values():
    dense, sparse = RoundRecord(1, 16), RoundRecord(1, 16)
    dense.count(Update(mask=None, values=np.zeros(16, np.float32)))
    sparse.count(Update(mask=mask(4), values=np.zeros(4, np.float32)))
    assert (dense.line(1, {})["density"], dense.line(1, {})["entropy_bpp"]) == (1.0, 32.0)
    assert sparse.line(1, {})["entropy_bpp"] == pytest.approx(0.8112781244591328 + 8)


def test_a_round_that_nobody_answered_has_nulls_not_zeros():
    kept = RoundRecord(1, 16)
    kept.sent(4, "votes", 40)
    kept.failed[4] = "no reply within 5 s"
    kept.quorum = False
    line = kept.line(1.0, {})
    assert {key for key, value in line.items() if value is None} == {
        "accuracy",
        "loss",
        "density",
        "uplink_bpp",
        "entropy_bpp",
        "train_loss",
    }
    assert (line["uplink_bytes"], line["downlink_bytes"], line["quorum"]) == (0, 40, False)


def test_lines_are_json_a_line_each(tmp_path):
    ledger = RoundLog(tmp_path)
    assert ledger.read() == []
    for server_round in (1, 2):
        ledger.append({"round": server_round, "failed": {"3": "two\nlines, ü"}})
    assert (tmp_path / FILE_NAME).name == "rounds.jsonl"
    assert [json.loads(line)["round"] for line in (tmp_path / FILE_NAME).read_text().splitlines()] == [1, 2]
    assert RoundLog(tmp_path).read() == [{"round": r, "failed": {"3": "two\nlines, ü"}} for r in (1, 2)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_and_leaves_the_file_whole(tmp_path, value):
    ledger = RoundLog(tmp_path)
    ledger.append({"round": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append({"round": 2, "loss": value})
    assert ledger.read() == [{"round": 1}]


@pytest.mark.parametrize("cut", [1, 3, 12])
def test_a_last_line_cut_short_is_no_round(tmp_path, cut):
    ledger = RoundLog(tmp_path)
    for server_round in (1, 2):
        ledger.append({"round": server_round})
    ledger.path.write_bytes(ledger.path.read_bytes()[:-cut])
    assert ledger.read() == [{"round": 1}]
    ledger.forget_after(1)
    ledger.append({"round": 2, "again": True})
    assert ledger.read() == [{"round": 1}, {"round": 2, "again": True}]


@pytest.mark.parametrize(("after", "left"), [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_forget_after(tmp_path, after, left):
    ledger = RoundLog(tmp_path)
    for server_round in (1, 2, 3):
        ledger.append({"round": server_round, "loss": 1 / 3})
    ledger.forget_after(after)
    assert ledger.read() == [{"round": r, "loss": 1 / 3} for r in left]
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_forget_after_of_nothing_yet(tmp_path):
    RoundLog(tmp_path).forget_after(3)
    assert RoundLog(tmp_path).read() == []


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "rounds.jsonl").write_text('{"round": 1}\n{"round": \n{"round": 3}\n')
    with pytest.raises(ConfigError, match=r"^run = .*: expected a whole rounds.jsonl; its line 2 is damaged$"):
        RoundLog(tmp_path).read()
