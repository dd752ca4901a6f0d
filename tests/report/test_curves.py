"""``curves.png``."""

import struct
import warnings

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from round_lines import line

from fedgates.report.curves import draw_curves
from fedgates.runs.round_log import RoundLog


def fedpm_line(server_round, **changes):
    return line(server_round, accuracy_sample=0.4, accuracy_mean=0.45, **changes)


def write(folder, lines):
    for one in lines:
        RoundLog(folder).append(one)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Return a function that draws the curves of lines and returns the two axes."""
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


LOGS = {
    "empty": [],
    "fedavg": [line(1), line(2, accuracy=0.6)],
    "fedpm": [fedpm_line(1), fedpm_line(2, accuracy=0.6)],
    "one round": [fedpm_line(1)],
    "nothing measured": [line(1, accuracy=None)],
}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", LOGS)
def test_curves_are_a_png_with_content(tmp_path, name):
    write(tmp_path, LOGS[name])
    path = draw_curves(tmp_path, 1000)
    assert path == tmp_path / "curves.png"
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (9 * 130, round(3.4 * 130))
    assert len(np.unique(image.imread(path))) > 2


@pytest.mark.parametrize("name", LOGS)
def test_curves_are_drawn_without_a_warning(drawn, name):
    assert len(drawn(LOGS[name])) == 2


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
    by_round, _ = drawn(lines)
    assert by_round.get_ylabel() == "test r2"
    assert curves(by_round)["thresholded mask"] == ([1, 2], [0.1, 0.2])


def test_a_weight_method_has_one_curve(drawn):
    assert list(curves(drawn([line(1), line(2)])[0])) == ["model"]


def test_a_mask_method_is_named_by_its_other_evaluations(drawn):
    lines = [line(r, accuracy_mean=0.4) for r in (1, 2)]
    assert list(curves(drawn(lines)[0])) == ["thresholded mask", "mean network"]


def test_bytes_of_rounds_without_an_accuracy_count(drawn):
    by_round, by_bytes = drawn([line(1, accuracy=None), line(2)])
    assert curves(by_round)["model"] == ([2], [50])
    assert curves(by_bytes)["model"][0] == pytest.approx([0.008])
