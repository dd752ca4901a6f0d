"""The parts of a page: elements, numbers, axes, totals."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_folders import line

from fedgates.report import numbers
from fedgates.report.axes import linear, logarithmic, whole
from fedgates.report.charts import thinned
from fedgates.report.markup import Html, el, join, text
from fedgates.runs import totals
from fedgates.runs.record import RoundRecord
from fedgates.runs.summary import summary_table
from fedgates.types import Update, pack

# --- markup


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (el("p", "a < b & 'c'"), "<p>a &lt; b &amp; &#x27;c&#x27;</p>"),
        (el("p", el("b", "x"), None, "y"), "<p><b>x</b>y</p>"),
        (el("p", f"{el('b', 'x')}"), "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        (el("p", el("b", "x") + "<i>"), "<p>&lt;b&gt;x&lt;/b&gt;&lt;i&gt;</p>"),
        (
            el("text", class_="a", text_anchor="end", x=1.0, y=2.26, alt=None),
            '<text class="a" text-anchor="end" x="1" y="2.3"></text>',
        ),
        (el("img", alt='"><script>'), '<img alt="&quot;&gt;&lt;script&gt;">'),
        (text("a\nb\tc\u202e\x00\ud800"), "a\nb\\tc\\u202e\\x00\\ud800"),
        (join(["<", Html("<")]), "&lt;<"),
    ],
)
def test_markup(made, expected):
    assert made == expected


@given(st.text())
def test_any_text_is_escaped(value):
    found = el("p", value, title=value)
    assert found.encode()
    assert found.count("<") == 2
    assert found.count('"') == 2


# --- numbers


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (numbers.size(0), "0 bytes"),
        (numbers.size(999), "999 bytes"),
        (numbers.size(999.6), "1.00 kB"),
        (numbers.size(1_460_000), "1.46 MB"),
        (numbers.size(25_300), "25.3 kB"),
        (numbers.size(999_600), "1.00 MB"),
        (numbers.size(1.234e9), "1.23 GB"),
        (numbers.tick(50_000), "50 kB"),
        (numbers.tick(0), "0"),
        (numbers.tick(30), "30 B"),
        (numbers.percent(0.9667), "96.7 %"),
        (numbers.times(300, 100), "3.00 ×"),  # noqa: RUF001
        (numbers.times(300, 0), "–"),  # noqa: RUF001
        (numbers.three(1234.5), "1,234"),
        (numbers.count(1, "reply", "replies"), "1 reply"),
        (numbers.count(2000, "round"), "2,000 rounds"),
        (numbers.duration(9.31), "9.31 s"),
        (numbers.duration(250), "4 min 10 s"),
        (numbers.duration(11_100), "3 h 5 min"),
        (numbers.plain(True), "true"),
        (numbers.plain(None), "–"),  # noqa: RUF001
        (numbers.plain(0.1), "0.1"),
    ],
)
def test_numbers(made, expected):
    assert made == expected


# --- axes

finite = st.floats(-1e100, 1e100)
close = st.tuples(st.floats(-10, 10), st.lists(st.floats(0, 1e-6), min_size=1)).map(lambda made: [made[0] + d for d in made[1]])


@given(st.lists(finite, min_size=1, max_size=20) | close, st.booleans())
def test_a_linear_axis_holds_its_values_and_has_a_few_ticks_whose_texts_differ(values, zero):
    axis = linear(values, 0, 100, lambda tick: f"{tick:.4g}", zero=zero)
    assert all(-1e-6 <= axis(value) <= 100 + 1e-6 for value in values)
    assert 2 <= len(axis.ticks) <= 8
    assert (axis(axis.ticks[0]), axis(axis.ticks[-1])) == pytest.approx((0, 100))
    assert len({axis.says(tick) for tick in axis.ticks}) == len(axis.ticks)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_an_axis_of_shares_ends_with_all(shares):
    axis = linear(shares, 0, 100, str, most=1)
    assert axis.high <= 1 + 1e-9
    assert all(-1e-6 <= axis(share) <= 100 + 1e-6 for share in shares)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_an_axis_of_rounds_has_whole_ticks_within_it(rounds):
    axis = whole(rounds, 0, 100)
    assert all(0 <= axis(value) <= 100 for value in rounds)
    assert 1 <= len(axis.ticks) <= 11
    assert all(float(tick).is_integer() and min(rounds) <= tick <= max(rounds) for tick in axis.ticks)


@given(st.lists(st.floats(1, 1e12), min_size=1, max_size=20))
def test_a_logarithmic_axis_holds_its_values_and_its_texts_do_not_touch(values):
    axis = logarithmic(values, 0, 340, str)
    places = [axis(tick) for tick in axis.ticks]
    assert all(-1e-6 <= axis(value) <= 340 + 1e-6 for value in values)
    assert all(b - a >= 50 for a, b in pairwise(places))
    assert places


def test_ticks_by_hand():
    assert linear([0.51, 0.95], 0, 1, str).ticks == pytest.approx((0.5, 0.6, 0.7, 0.8, 0.9, 1.0))
    assert linear([1.0, 1.0], 0, 1, str, most=1).ticks == pytest.approx((0.99, 0.992, 0.994, 0.996, 0.998, 1.0))
    assert whole(range(1, 31), 0, 1).ticks == (1, 5, 10, 15, 20, 25, 30)
    assert whole(range(1, 9), 0, 1).ticks == (1, 2, 3, 4, 5, 6, 7, 8)
    assert logarithmic([5e4, 3e6], 0, 340, str).ticks == (1e5, 3e5, 1e6, 3e6)


def test_thinning_keeps_the_ends():
    assert thinned(range(5), 10) == range(5)
    found = thinned(range(1000), 60)
    assert (len(found), found[0], found[-1]) == (60, 0, 999)


# --- totals


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
    assert totals.network_size([line(downlink_bpp=rate)]) == 1000


def test_kinds_of_payloads_are_ordered_by_direction_and_bytes():
    found = totals.payload_kinds(
        [
            line(downlink={"votes": {"messages": 1, "bytes": 5}, "relay": {"messages": 2, "bytes": 9}}),
            line(evaluation_downlink={"votes": {"messages": 1, "bytes": 99}}),
        ]
    )
    assert [(kind.direction, kind.name, kind.messages, kind.total) for kind in found] == [
        ("uplink", "mask, side-info", 6, 6_000),
        ("downlink", "votes", 5, 8_005),
        ("downlink", "relay", 2, 9),
        ("evaluation_downlink", "votes", 1, 99),
    ]
