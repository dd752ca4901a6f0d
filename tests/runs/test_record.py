import json

import numpy as np
import pytest

from fedgates.runs.record import RoundRecord
from fedgates.types import Update, pack


def mask(ones, size=16):
    return pack(np.arange(size) < ones)


def update(ones, examples, loss):
    return Update(mask=mask(ones), num_examples=examples, metrics={"loss": loss})


def record():
    """A round of 16 gates: four clients asked, two counted, one rejected, one silent."""
    made = RoundRecord(server_round=3, size=16)
    for client, sort, payload_bytes in (
        (5, "relay, sampled", 20),
        (2, "votes", 60),
        (9, "votes", 60),
        (7, "relay, sampled", 20),
    ):
        made.sent(client, sort, payload_bytes)
    made.received("mask, sampled", 34)
    made.count(update(4, 10, 0.5))
    made.received("unreadable", 30)
    made.rejected[9] = "30 bytes, expected a header of 36"
    made.received("mask, sampled", 36)
    made.count(update(8, 30, 1.5))
    made.failed[7] = "no reply within 5 s"
    return made


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
    line = record().line(1.23456, {"accuracy": 0.75, "loss": 0.5, "accuracy_sample": 0.7})
    assert line == LINE
    assert list(line) == list(LINE)


def test_train_accuracy_is_a_mean_by_examples_of_valid_accuracies():
    made = record()
    for examples, accuracy in ((10, 0.5), (30, 1.0), (60, 1.5), (60, -0.5), (60, float("nan"))):
        made.count(Update(mask=mask(4), num_examples=examples, metrics={"loss": 1.0, "accuracy": accuracy}))
    assert made.line(1.0, {})["train_accuracy"] == 0.875
    assert "train_accuracy" not in record().line(1.0, {})


def test_metrics_of_a_method_are_added_but_never_replace_keys_of_the_record():
    made = record()
    made.measures = {"regrown_share_of_ones": 0.25, "density": 9.0, "loss": 9.0}
    assert made.line(1.23456, {"accuracy": 0.75, "loss": 0.5, "accuracy_sample": 0.7}) == {
        **LINE,
        "regrown_share_of_ones": 0.25,
    }


def test_values_cost_32_bits_each_in_the_literature():
    made = RoundRecord(1, 16)
    made.count(Update(mask=mask(8), values=np.ones(8, np.float32)))
    made.count(Update(mask=None, values=np.ones(32, np.float32)))  # two vectors of the network's size
    assert made.rates == [1 + 16, 64]


def test_masks_of_several_vectors_have_the_density_of_all():
    made = RoundRecord(1, 8, vectors=2)
    made.count(Update(mask=mask(8)))
    assert made.densities == [0.5]
    assert made.rates == [2]  # bits a parameter: a bit for each of its two gates


def test_numbers_that_are_not_finite_are_null_and_numpy_numbers_are_plain():
    made = record()
    made.measures = {"one": float("nan"), "two": np.float32(0.5)}
    line = made.line(1.0, {"three": float("inf"), "loss": float("nan"), "accuracy": np.float64(0.5)})
    assert (line["one"], line["two"], line["three"], line["loss"], line["accuracy"]) == (None, 0.5, None, None, 0.5)
    json.dumps(line, allow_nan=False)


def test_payloads_to_evaluators_are_counted_separately():
    made = record()
    assert not [key for key in made.line(1.0, {}) if "evaluat" in key]
    made.sent_to_evaluate(5, "relay, sampled", 7)
    made.sent_to_evaluate(3, "votes", 60)
    made.fail_evaluation(3, "no reply\nwithin 5 s")
    line = made.line(1.0, {})
    assert {key: line[key] for key in ("clients_selected", "downlink_bytes", "downlink")} == {
        key: LINE[key] for key in ("clients_selected", "downlink_bytes", "downlink")
    }
    assert (line["clients_evaluating"], line["evaluation_downlink_bytes"]) == (2, 67)
    assert line["evaluation_downlink"] == {
        "relay, sampled": {"messages": 1, "bytes": 7},
        "votes": {"messages": 1, "bytes": 60},
    }
    assert line["evaluation_failed"] == {"3": "no reply within 5 s"}


def test_a_line_has_every_key_of_the_contract(contract):
    assert set(contract) <= set(record().line(1.0, {}))
    assert set(contract) <= set(RoundRecord(1, 16).line(1.0, {}))


def test_the_line_does_not_depend_on_the_order_of_replies():
    losses = [(4, 10, 0.1), (8, 30, 1 / 3), (5, 7, 1e9), (3, 10, 1e-9), (7, 1, 0.7)]
    lines = []
    for order in (losses, losses[::-1], losses[2:] + losses[:2]):
        made = RoundRecord(1, 16)
        for ones, examples, loss in order:
            made.count(update(ones, examples, loss))
        for client, _ in enumerate(order):
            made.rejected[client if order is losses else 4 - client] = "x"
        lines.append(json.dumps(made.line(1.0, {})))
    assert len(set(lines)) == 1


def test_rates_of_values_and_of_masks_with_values():
    dense, sparse = RoundRecord(1, 16), RoundRecord(1, 16)
    dense.count(Update(mask=None, values=np.zeros(16, np.float32)))
    sparse.count(Update(mask=mask(4), values=np.zeros(4, np.float32)))
    assert (dense.line(1, {})["density"], dense.line(1, {})["entropy_bpp"]) == (1.0, 32.0)
    assert sparse.line(1, {})["entropy_bpp"] == pytest.approx(0.8112781244591328 + 8)


def test_a_round_without_replies_has_nulls_not_zeros():
    made = RoundRecord(1, 16)
    made.sent(4, "votes", 40)
    made.failed[4] = "no reply within 5 s"
    made.quorum = False
    line = made.line(1.0, {})
    assert {key for key, value in line.items() if value is None} == {
        "accuracy",
        "loss",
        "density",
        "uplink_bpp",
        "entropy_bpp",
        "train_loss",
    }
    assert (line["uplink_bytes"], line["downlink_bytes"], line["quorum"]) == (0, 40, False)
