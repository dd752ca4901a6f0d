import json
import math
import struct

import pandas as pd
import pytest
from written_runs import group, rounds, write_run

from fedgates.compare import Group, Question, markdown, read_run, write_comparison
from fedgates.compare.figures import draw
from fedgates.compare.numbers import curve
from fedgates.compare.tables import format_value, latex, machine


def two_methods(folder, scenario="default"):
    first = rounds("accuracy", 0.5, 0.8), rounds("accuracy", 0.5, 0.6)
    return [
        group(folder, *first, scenario=scenario),
        group(folder, rounds("accuracy", 0.7, None, model_density=0.25), scenario=scenario, method="a | b"),
    ]


def rows(table):
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines() if row.startswith("| ")]


def test_a_table_by_hand(tmp_path):
    question = Question("Two methods", targets=(0.5, 0.75), columns=("loss",))
    table = write_comparison(tmp_path / "out", question, two_methods(tmp_path), "fedgates compare x.toml", ["failed: c"])
    assert table == (tmp_path / "out" / "table.md").read_text()
    lines = table.splitlines()
    assert lines[:3] == ["# Two methods", "", "`fedgates compare x.toml`"]
    assert lines[-3:] == ["failed: c", "", machine()]
    assert not [row for row in lines if row.startswith("##")]
    targets = ["rounds to 50.0 %", "bytes to 50.0 %", "rounds to 75.0 %", "bytes to 75.0 %"]
    reached = ["1.0", "45", "2.0 (1/2)", "90 (1/2)"]
    assert rows(table) == [
        ["method", "accuracy, %", "worst seed", "loss", "up bpp", "down bpp", "bytes up", "bytes down", "bytes both", *targets],
        ["fedpm", "70.0 ± 14.1", "60.0", "1.000 ± 0.000", "0.200 ± 0.000", "2.000 ± 0.000", "20", "70", "90", *reached],
        ["a \\| b", "-", "-", "1.000", "0.200", "2.000", "20", "70", "90", "1.0", "45", "-", "-"],
    ]


def test_runs_that_stopped_early_are_named_with_their_last_rounds(tmp_path):
    keys = {"num_server_rounds": 9, "stop_patience": 1}
    folders = [tmp_path / "a" / str(seed) for seed in (1, 2)]
    lines = rounds("accuracy", 0.5, 0.8, 0.7), rounds("accuracy", 0.5, 0.4)
    for seed, (path, of_run) in enumerate(zip(folders, lines, strict=True), 1):
        write_run(path, of_run, seed, **keys)
    found = map(read_run, folders)
    groups = [Group("IID", "stopped", tuple(found)), *two_methods(tmp_path)]
    table = write_comparison(tmp_path / "out", Question("t"), groups, "c")
    assert "IID, stopped: stopped early; last round of each seed: 3, 2. Curves end with the shortest run." in table
    assert table.count("stopped early") == 1
    assert rows(table)[1][:3] == ["stopped", "55.0 ± 21.2", "40.0"]


def test_a_table_a_scenario(tmp_path):
    groups = [*two_methods(tmp_path, "IID"), *two_methods(tmp_path, "2 classes")]
    table = write_comparison(tmp_path / "out", Question("t"), groups, "c")
    assert [row for row in table.splitlines() if row.startswith("## ")] == ["## IID", "## 2 classes"]
    assert [row[0] for row in rows(table)] == ["method", "fedpm", "a \\| b"] * 2


def test_results_hold_every_number(tmp_path):
    question = Question("t", targets=(0.75,), columns=("density",))
    write_comparison(tmp_path / "out", question, two_methods(tmp_path), "c")
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {key: found[key] for key in ("title", "command", "metric", "machine")} == {
        "title": "t",
        "command": "c",
        "metric": "accuracy",
        "machine": machine(),
    }
    fedpm = found["scenarios"]["default"]["fedpm"]
    assert fedpm["seeds"][1] == {
        "seed": 2,
        "metric": 0.6,
        "uplink_bpp": 0.2,
        "downlink_bpp": 2.0,
        "bytes_up": 20,
        "bytes_down": 70,
        "bytes": 90,
        "round_to_0.75": None,
        "bytes_to_0.75": None,
        "last_density": 0.4,
    }
    assert fedpm["mean"]["metric"] == pytest.approx(0.7)
    assert fedpm["sd"]["metric"] == pytest.approx(0.02**0.5)
    assert (fedpm["worst"], fedpm["reached"]) == (0.6, {"0.75": 1})
    assert (fedpm["mean"]["bytes_to_0.75"], fedpm["sd"]["bytes_to_0.75"]) == (90, None)
    assert found["scenarios"]["default"]["a | b"]["mean"]["metric"] is None


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({}, ["accuracy-bytes.png", "accuracy-rounds.png", "model_density-rounds.png"]),  # of those that know it
        ({"curves": ()}, ["accuracy-bytes.png", "accuracy-rounds.png"]),
        ({"curves": ("loss", "absent"), "metric": "loss"}, ["absent-rounds.png", "loss-bytes.png", "loss-rounds.png"]),
    ],
)
def test_figures_are_pictures(tmp_path, changes, files):
    write_comparison(tmp_path / "out", Question("t", **changes), two_methods(tmp_path), "c")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == files
    for name in files:
        data = (tmp_path / "out" / name).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", data[16:24])) > 300


def test_density_is_shown_unless_others_are_asked_for(tmp_path):
    table = write_comparison(tmp_path / "a", Question("t"), two_methods(tmp_path), "c")
    assert rows(table)[0][3] == "model_density"
    assert [row[3] for row in rows(table)[1:]] == ["-", "0.250"]
    table = write_comparison(tmp_path / "b", Question("t"), two_methods(tmp_path / "n")[:1], "c")
    assert (rows(table)[0][3], rows(table)[1][3]) == ("density", "0.400 ± 0.000")


# --- figures


@pytest.fixture
def panels(tmp_path):
    second = group(tmp_path, rounds("accuracy", 0.3, 0.4), method="other")
    first = group(tmp_path, rounds("accuracy", 0.5, 0.8), rounds("accuracy", 0.5, 0.6))
    both = {g.method: curve(g, "accuracy") for g in (first, second)}
    return {"A": both, "B": {"other": both["other"]}}


def lines(axes):
    return {c.get_label(): (list(c.get_xdata()), pytest.approx(list(c.get_ydata()))) for c in axes.lines}


def test_curves_are_where_they_should_be(panels):
    a, b = draw(panels, "accuracy", "rounds").axes
    assert lines(a) == {"fedpm": ([1, 2], [50, 70]), "other": ([1, 2], [30, 40])}
    assert lines(b) == {"other": ([1, 2], [30, 40])}
    assert (a.get_title(), b.get_title(), a.get_xscale()) == ("A", "B", "linear")
    assert (a.get_xlabel(), a.get_ylabel()) == ("round", "test accuracy, %")
    band = a.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in band[:-1].round(6)} == {(1, 50), (2, 60), (2, 80)}  # smallest to largest


def test_bytes_are_megabytes_on_a_log_scale(panels):
    a, _ = draw(panels, "accuracy", "bytes").axes
    assert lines(a)["fedpm"] == ([45e-6, 90e-6], [50, 70])
    assert a.get_xscale() == "log"
    assert "megabytes" in a.get_xlabel()


def test_a_method_looks_the_same_in_all_panels_and_no_other_looks_like_it(panels):
    a, b = draw(panels, "accuracy", "rounds").axes
    (again,) = b.lines
    looks = [(c.get_color(), c.get_marker(), c.get_linestyle()) for c in (*a.lines, again)]
    assert looks[1] == looks[2] != looks[0]
    many = {"A": {f"method {i}": panels["A"]["fedpm"] for i in range(14)}}
    drawn = draw(many, "accuracy", "rounds").axes[0].lines
    assert len({c.get_marker() for c in drawn}) == 14
    assert len({(c.get_color(), c.get_linestyle()) for c in drawn}) == 14


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_legend_is_outside_and_within_the_picture(panels, count):
    many = {f"panel {i}": {f"a method of some length, {i}": panels["A"]["fedpm"] for i in range(12)} for i in range(count)}
    figure = draw(many, "accuracy", "bytes")
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == 12
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.width
    assert legend.y1 <= min(axes.get_tightbbox().y0 for axes in figure.axes if axes.lines)
    assert all(axes.get_window_extent().height > 100 for axes in figure.axes)
    assert sum(axes.axison for axes in figure.axes) == count  # a grid's spare places stay white


def test_a_curve_without_rounds_is_left_out(panels, tmp_path):
    empty = curve(group(tmp_path / "e", rounds("accuracy", None)), "accuracy")
    figure = draw({"A": {"none": empty, "other": panels["B"]["other"]}}, "accuracy", "bytes")
    assert list(lines(figure.axes[0])) == ["other"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["other"]
    nothing = draw({"A": {"none": empty}}, "accuracy", "bytes")
    assert (nothing.legends, nothing.axes[0].get_xscale()) == ([], "linear")


# --- numbers in words


@pytest.mark.parametrize(
    ("value", "key", "text"),
    [
        (0.9666, "accuracy", "96.7"),
        (0.5, "accuracy_mean", "50.0"),
        (None, "accuracy", "-"),
        (0.4567, "density", "0.457"),
        (0.0, "loss", "0.000"),
        (0.00123, "loss", "0.00123"),
        (123456.0, "loss", "1.23e+05"),
    ],
)
def test_values_in_words(value, key, text):
    assert format_value(value, key) == text


def test_markdown_by_hand():
    assert markdown(["a", "b"], [[1, "x|y"]]) == ["| a | b |", "|---|---|", "| 1 | x\\|y |"]


# --- CSV and LaTeX


def test_csv_has_the_numbers_of_each_run(tmp_path):
    write_comparison(tmp_path / "out", Question("t", targets=(0.75,)), two_methods(tmp_path), "c")
    found = json.loads((tmp_path / "out" / "results.json").read_text())["scenarios"]["default"]
    read = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(read["method"]) == ["fedpm", "fedpm", "a | b"]
    seeds = [run for method in found.values() for run in method["seeds"]]
    assert list(read.columns) == ["scenario", "method", *seeds[0]]
    for row, run in zip(read.to_dict("records"), seeds, strict=True):
        assert {key: row[key] for key, value in run.items() if value is not None} == {
            k: v for k, v in run.items() if v is not None
        }
        assert all(math.isnan(row[key]) for key, value in run.items() if value is None)


def test_latex_is_a_table_for_booktabs(tmp_path):
    table = write_comparison(tmp_path / "out", Question("t", columns=()), two_methods(tmp_path), "c")
    text = (tmp_path / "out" / "table.tex").read_text()
    first, *lines, last = text.splitlines()
    assert (first, last) == (r"\begin{tabular}{lrrrrrrr}", r"\end{tabular}")
    assert [lines[0], lines[2], lines[-1]] == [r"\toprule", r"\midrule", r"\bottomrule"]
    cells = [[cell.strip() for cell in line.removesuffix(r"\\").split(" & ")] for line in (lines[1], *lines[3:-1])]
    plain = [[cell.replace(r"\%", "%").replace(r"\textbar{}", r"\|") for cell in line] for line in cells]
    assert plain == rows(table)


def test_latex_of_several_scenarios_names_them(tmp_path):
    groups = [*two_methods(tmp_path, "IID"), *two_methods(tmp_path, "2 classes")]
    write_comparison(tmp_path / "out", Question("t"), groups, "c")
    lines = (tmp_path / "out" / "table.tex").read_text().splitlines()
    assert lines[2].startswith(r"scenario & method & accuracy, \% & worst seed & ")
    assert [line.split(" & ")[0] for line in lines[4:-2]] == ["IID", "IID", "2 classes", "2 classes"]


def test_no_name_is_read_as_latex():
    special = {
        "\\": r"\textbackslash ",
        "~": r"\textasciitilde ",
        "^": r"\textasciicircum ",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{c: f"\\{c}" for c in "&%$#_{}"},
    }
    text = latex(["method"], [["".join(f"{c}a" for c in special) + "\nb"]], left=1)
    assert text.splitlines()[4] == "".join(f"{escaped}a" for escaped in special.values()) + r" b \\"
