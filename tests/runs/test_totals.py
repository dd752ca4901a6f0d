"""Numbers computed from lines of rounds.jsonl."""

import numpy as np
import pytest
from round_lines import line

from fedgates.runs import totals
from fedgates.runs.record import RoundRecord
from fedgates.runs.summary import summary_table
from fedgates.types import Update, pack


def test_bytes_and_dense_fedavg_are_those_of_the_table_at_the_end():
    lines = [
        line(1, clients_rejected=1, clients_evaluating=3, evaluation_downlink_bytes=700),
        line(2, quorum=False, clients_counted=0),
        line(2, attempt=2),
    ]
    found = totals.total_bytes(lines, 1000)
    rows = [row.split() for row in summary_table(lines, "fedpm", 1000).splitlines()]
    assert [f"{n:,}" for n in (found.up, found.down, found.both)] == rows[1][-3:]
    assert [f"{n:,}" for n in (found.dense_up, found.dense_down, found.dense)] == rows[2][-3:]


@pytest.mark.parametrize("size", [1, 7, 85_002, 11_173_962])
def test_a_log_implies_the_size_of_the_network(size):
    record = RoundRecord(1, size)
    record.sent(0, "votes", 36)
    assert totals.network_size([record.line(1.0, {})]) == size
    silent = RoundRecord(1, size).line(1.0, {})
    assert totals.network_size([silent]) == 0
    answered = RoundRecord(1, size)
    answered.received("mask", 333)
    answered.count(Update(mask=pack(np.ones(size if size < 100 else 8, dtype=bool))))
    assert totals.network_size([silent, answered.line(1.0, {})]) == size


@pytest.mark.parametrize("rate", [None, 0, 1e-300])
def test_a_log_that_implies_no_valid_size(rate):
    assert totals.network_size([line(downlink_bpp=rate, uplink_bpp=rate)]) == 0
    assert totals.network_size([line(downlink_bpp=rate, uplink_bpp=8 / 3)]) == 1000


def test_kinds_of_payloads_are_ordered_by_direction_and_bytes():
    found = totals.payload_kinds(
        [
            line(downlink={"votes": {"messages": 1, "bytes": 5}, "relay": {"messages": 2, "bytes": 9}}),
            line(evaluation_downlink={"votes": {"messages": 1, "bytes": 99}}),
        ]
    )
    assert [(kind.direction, kind.name, kind.messages, kind.total) for kind in found] == [
        ("uplink", "mask, side-info", 6, 2_000),
        ("downlink", "votes", 5, 3_005),
        ("downlink", "relay", 2, 9),
        ("evaluation_downlink", "votes", 1, 99),
    ]


def test_failures_are_named_by_client_kind_and_reason():
    found = totals.failures(
        line(rejected={"1": "stale"}, failed={"2": "no reply\nwithin 5 s"}, evaluation_failed={"1": "gone"})
    )
    assert found == [("1", "rejected", "stale"), ("2", "failed", "no reply within 5 s"), ("1", "did not evaluate", "gone")]
    assert totals.failures({"round": 1}) == []
