"""``curves.png``: the headline metric of a run against rounds and against bytes."""

from itertools import accumulate
from pathlib import Path

from fedgates.runs.folder import CURVES
from fedgates.runs.round_log import read_rounds
from fedgates.runs.totals import downlink_bytes, headline_metric
from fedgates.util.log_axis import log_x


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
    import matplotlib as mpl  # noqa: PLC0415  # takes half a second, and only the end of a run needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    log = read_rounds(folder).lines
    moved = accumulate(line["uplink_bytes"] + downlink_bytes(line) for line in log)
    total = dict(zip((line["round"] for line in log), moved, strict=True))
    metric = headline_metric(log)
    scale = 100 if metric.is_share else 1
    label = metric.name[0].lower() + metric.name[1:] + (", %" if metric.is_share else "")
    lines = [line for line in log if line.get(metric.key) is not None]
    rounds = [line["round"] for line in lines]
    so_far = [total[r] for r in rounds]
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        by_round, by_bytes = figure.subplots(1, 2, sharey=True)
        for key, name in (
            (
                metric.key,
                "thresholded mask" if lines and any(key.startswith(f"{metric.key}_") for key in lines[0]) else "model",
            ),
            (f"{metric.key}_sample", "one sampled mask"),
            (f"{metric.key}_mean", "mean network"),
            (f"{metric.key}_ensemble", "ensemble of masks"),
        ):
            values = [scale * line[key] for line in lines if line.get(key) is not None]
            if len(values) == len(lines) and values:
                by_round.plot(rounds, values, label=name)
                by_bytes.plot([n / 1e6 for n in so_far], values, label=name)
        if lines:
            first = lines[0]["clients_selected"]
            dense = 4 * size * (2 * first + lines[0].get("clients_evaluating", 0)) / 1e6
            by_bytes.axvline(dense, color="grey", linestyle="--", linewidth=1, label="one round of dense FedAvg")
        by_round.set(xlabel="round", ylabel=label)
        by_round.xaxis.get_major_locator().set_params(integer=True)
        by_bytes.set(xlabel="megabytes moved, both ways, all clients")
        if any(so_far):
            log_x(by_bytes)
        if lines:
            by_bytes.legend(frameon=False, fontsize=8)
        target = folder / CURVES
        figure.savefig(target, dpi=130)
    return target
