"""The axis of bytes: some numbers on it, none over another, whatever it spans."""

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fedgates.util.axes import log_x

SPANS = [(5.2, 5.9), (0.9, 3), (5, 45), (20, 150), (120, 900), (1_000, 8_000), (400, 9_000), (0.04, 8), (0.01, 30_000)]


def labels(low, high, figsize):
    """Texts and extents, in pixels, of the labels that are seen."""
    figure = Figure(figsize=figsize, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots(1, 2, sharey=True)[1]
    panel.plot([low, (low * high) ** 0.5, high], [1, 2, 3])
    log_x(panel)
    canvas.draw()
    least, most = panel.get_xlim()
    ticks = [*panel.xaxis.get_major_ticks(), *panel.xaxis.get_minor_ticks()]
    found = [(tick.get_loc(), tick.label1) for tick in ticks if tick.label1.get_text() and least <= tick.get_loc() <= most]
    return [(text.get_text(), text.get_window_extent()) for _, text in sorted(found, key=lambda each: each[0])]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("figsize", [(9, 3.4), (9.2, 3.7)])  # a run's curves; a panel of a comparison
@pytest.mark.parametrize(("low", "high"), SPANS)
def test_some_numbers_and_none_over_another(low, high, figsize):
    found = labels(low, high, figsize)
    assert len(found) >= 2
    for (_, left), (_, right) in pairwise(found):
        assert left.x1 < right.x0


@pytest.mark.parametrize(
    ("span", "said"),
    [((5, 45), ["5", "10", "20", "50"]), ((1_000, 8_000), ["1,000", "2,000", "5,000"]), ((0.04, 8), ["0.1", "1", "10"])],
)
def test_numbers_are_plain(span, said):
    assert [text for text, _ in labels(*span, (9, 3.4))] == said
