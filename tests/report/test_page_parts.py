"""The parts of a page: text, numbers, axes, charts."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgates.report import numbers, page
from fedgates.report.charts import Chart, Series, columns, heat_map, lines, span
from fedgates.report.figures import thinned
from fedgates.util.palette import PALETTE

# --- text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a < b & 'c'", "a &lt; b &amp; &#39;c&#39;"),
        ('"><script>', "&#34;&gt;&lt;script&gt;"),
        ("a\nb\tc\u202e\x00\ud800", "a\nb\\tc\\u202e\\x00\\ud800"),
        (5, "5"),
    ],
)
def test_values_are_escaped(value, expected):
    assert page._environment().from_string("{{ value }}").render(value=value) == expected


@given(st.text())
def test_any_text_is_escaped(value):
    found = page._environment().from_string('<p title="{{ value }}">{{ value }}</p>').render(value=value)
    assert found.encode()
    assert found.count("<") == found.count('"') == 2


def test_an_unknown_name_in_a_template_is_an_error():
    with pytest.raises(Exception, match="has no attribute 'nmae'"):
        page._environment().from_string("{{ run.nmae }}").render(run=Chart("", ""))


def test_nothing_but_charts_is_left_unescaped():
    sources = [path.read_text() for path in Path(page.__file__).parent.glob("templates/**/*.html.md")]
    assert [found for source in sources for found in re.findall(r"[\w.]+ *\| *safe", source)] == ["chart.svg | safe"]
    assert "autoescape" not in "".join(sources)


def test_the_colours_are_those_of_the_curves():
    style = (Path(page.__file__).parent / "templates" / "style.css.md").read_text()
    assert tuple(re.findall(r"--c\d: (#\w+);", style)[:5]) == PALETTE[:5]


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


# --- charts

finite = st.floats(-1e100, 1e100)


@given(st.lists(finite, min_size=1, max_size=20), st.booleans())
def test_an_axis_shows_its_values_and_spans_a_tenth_of_the_largest(values, zero):
    values = [abs(value) for value in values] if zero else values
    low, high = span(values, share=False, zero=zero)
    assert low <= min(values)
    assert max(values) <= high
    assert high - low >= 0.0999 * max(map(abs, values))
    assert high > low
    assert not zero or low == 0


@given(st.lists(st.floats(0, 1), min_size=1))
def test_an_axis_of_shares_stays_between_none_and_all(shares):
    low, high = span(shares, share=True)
    assert 0 <= low <= min(shares)
    assert max(shares) <= high <= 1
    assert high - low >= 0.1 - 1e-12


def test_axes_by_hand():
    assert span([0.97, 0.974], share=True) == pytest.approx((0.9, 1.0))
    assert span([0.5, 0.9], share=True) == pytest.approx((0.48, 0.92))
    assert span([0.5, 0.9], share=True, zero=True) == pytest.approx((0, 0.99))
    assert span([0.0], share=True) == (0, 0.1)
    assert span([-2.0, 2.0], share=False) == pytest.approx((-2.2, 2.2))
    assert span([10.0, 10.1], share=False) == pytest.approx((9.545, 10.555))


def paths(svg, colour):
    """Return the points of each path of a colour."""
    found = re.findall(rf'<path d="([^"]*)"[^>]*style="[^"]*var\(--{colour}\)', svg)
    return [[tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", one)] for one in found]


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_curves_by_hand():
    """The axes are 332 wide from 54 on, and 176 high from 188 upwards."""
    chart = Chart("t", "s", (Series("a", (0.0, 0.5, 1.0), x=(1, 2, 3)), Series("b", (1.0,), x=(2,), colour="c2")))
    svg = lines(chart, "%", mark=0.25).svg
    pad = 332 * 0.06 / 2.12
    assert paths(svg, "c1")[0] == [pytest.approx(p, abs=0.1) for p in ((54 + pad, 188), (220, 100), (386 - pad, 12))]
    assert paths(svg, "soft") == [[pytest.approx((54, 144), abs=0.1), pytest.approx((386, 144), abs=0.1)]]
    assert svg.count("<use") == 3
    assert texts(svg) == ["1", "2", "3", "round", "0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]


def test_columns_by_hand():
    chart = Chart("t", "s", (Series("a", (1.0, 2.0)), Series("b", (0.0, 3.0), colour="c2")))
    svg = columns(chart, "", ("1", "")).svg
    scale = 176 / (1.05 * 5)
    (first,), (second,) = paths(svg, "c1"), paths(svg, "c2")
    assert first == [
        pytest.approx(end, abs=0.1) for end in ((137, 188), (137, 188 - scale), (303, 188), (303, 188 - 2 * scale))
    ]
    assert second[-2:] == [pytest.approx(end, abs=0.1) for end in ((303, 188 - 2 * scale), (303, 188 - 5 * scale))]
    assert svg.count("stroke-width: 39.8") == 2
    assert texts(svg)[0] == "1"


@pytest.mark.parametrize("value", [0.0, 1e-300, -1e100, 1e100, 12.0])
def test_extreme_values_are_drawn(value):
    chart = Chart("t", "s", (Series("a", (value, 0.0), x=(10, 2000)),))
    for how in ({}, {"by_bytes": True}):
        assert len(texts(lines(chart, "", **how).svg)) > 4


@pytest.mark.parametrize(
    ("unit", "top", "expected"),
    [("%", 0.96, "80 %"), ("B", 45_000, "40 kB"), ("B", 4.5e6, "4 MB"), ("s", 0.5, "0.4 s"), ("", 0.5, "0.4")],
)
def test_units(unit, top, expected):
    chart = Chart("t", "s", (Series("a", (0.0, top), x=(1, 2)),))
    assert expected in [text.strip() for text in texts(lines(chart, unit, zero=True).svg)]


def test_charts_are_deterministic_and_fetch_nothing():
    chart = Chart("t", "s", (Series("a", (1.0, 2.0), x=(1, 2)),), height=400)
    made = []
    for _ in range(2):
        made += [lines(chart, "").svg, columns(chart, "", ("1", "2")).svg, heat_map(chart, ((1, 0), (0.5, 0.5))).svg]
        for draw in (lines, columns, heat_map):
            draw.cache_clear()
    assert made[:3] == made[3:]
    for svg in made:
        assert not re.search(r"url\(|font|<style|<metadata|http|#ff00", svg)
        assert set(re.findall(r'href="([^#"]*)', svg)) <= {"", *re.findall(r"data:image/png;base64,[\w+/=]+", svg)}


def test_thinning_keeps_the_ends():
    assert thinned(range(5), 10) == range(5)
    found = thinned(range(1000), 60)
    assert (len(found), found[0], found[-1]) == (60, 0, 999)
