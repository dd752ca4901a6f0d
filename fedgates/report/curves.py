"""``curves.png``: the headline metric of a run against rounds and against bytes."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from fedgates.runs.folder import CURVES
from fedgates.runs.round_log import read_rounds
from fedgates.runs.totals import Line, Metric, downlink_bytes, headline_metric
from fedgates.util.axes import figure_style, megabytes_x, rounds_x
from fedgates.util.palette import PALETTE

_OTHERS = (("_sample", "one sampled mask"), ("_mean", "mean network"), ("_ensemble", "ensemble of masks"))
"""Suffixes of the metric's key for other evaluations than that of the thresholded mask, and their names."""


def draw_curves(folder: Path, size: int) -> Path:
    """Draw ``curves.png`` in the folder of a run and return its path.

    The left panel shows accuracy (for regression r2) against rounds, the right panel against bytes moved both ways. A dashed
    line marks the bytes of one round of dense float32 FedAvg.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    size : int
        Number of parameters of the network.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # takes half a second, and only the end of a run needs it

    log = read_rounds(folder).lines
    metric, total = headline_metric(log), bytes_so_far(log)
    scale = 100 if metric.is_share else 1
    label = metric.name[0].lower() + metric.name[1:] + (", %" if metric.is_share else "")
    lines = [line for line in log if line.get(metric.key) is not None]
    rounds = [line["round"] for line in lines]
    so_far = [total[r] for r in rounds]
    with figure_style():
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        by_round, by_bytes = figure.subplots(1, 2, sharey=True)
        for name, shares, i in metric_curves(lines, metric):
            values = [scale * value for value in shares]
            by_round.plot(rounds, values, label=name, color=PALETTE[i])
            by_bytes.plot([n / 1e6 for n in so_far], values, label=name, color=PALETTE[i])
        if any(so_far):
            dense = dense_round(lines[0], size) / 1e6
            by_bytes.axvline(dense, color="grey", linestyle="--", linewidth=1, label="one round of dense FedAvg")
        by_round.set_ylabel(label)
        rounds_x(by_round)
        megabytes_x(by_bytes)
        if lines:
            by_bytes.legend(frameon=False, fontsize=8)
        target = folder / CURVES
        figure.savefig(target, dpi=130)
    return target


def metric_curves(lines: Sequence[Line], metric: Metric) -> list[tuple[str, list[float], int]]:
    """Return name, values and number of the colour of the metric and of the other evaluations that all `lines` have."""
    masks = bool(lines) and any(key.startswith(f"{metric.key}_") for key in lines[0])
    named = (("", "thresholded mask" if masks else "model"), *_OTHERS)
    found = [(name, [line.get(metric.key + end) for line in lines], i) for i, (end, name) in enumerate(named)]
    return [
        (name, [float(v) for v in values if v is not None], i) for name, values, i in found if values and None not in values
    ]


def bytes_so_far(lines: Sequence[Line]) -> dict[int, int]:
    """Return the bytes moved both ways until the end of each round, failed attempts included."""
    moved = accumulate(line["uplink_bytes"] + downlink_bytes(line) for line in lines)
    return dict(zip((line["round"] for line in lines), moved, strict=True))


def dense_round(line: Line, size: int) -> int:
    """Return the bytes of dense float32 FedAvg in a round with as many clients, for a network with `size` parameters."""
    return 4 * size * int(2 * line["clients_selected"] + line.get("clients_evaluating", 0))
