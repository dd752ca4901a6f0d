"""python benchmarks/study/inertia.py RUNS: how far each layer of the LIPS study moves a round, from its runs.

RUNS is the folder that ``fedgates compare benchmarks/study/lips.toml`` names. Writes lips/inertia.md, .json and .png.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import matplotlib as mpl
from matplotlib.figure import Figure

from fedgates.compare import read_run, read_study
from fedgates.compare.tables import markdown

HERE = Path(__file__).resolve().parent
PREFIX = "rms_inertia_"
EARLY, LATE = 5, 10
"""Rounds at the start and at the end that are averaged."""


def main() -> None:
    """Read the runs, write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    lines: dict[str, list[list[dict[str, float]]]] = {}
    for job in read_study(HERE / "lips.toml").jobs():
        lines.setdefault(job.method, []).append([dict(line) for line in read_run(runs / job.folder).lines])
    layers = [key for key in lines["fedavg"][0][0] if key.startswith(PREFIX)]
    table = ["# Layer-wise inertia in the LIPS study", "", "`python benchmarks/study/inertia.py RUNS`", ""]
    text = (
        f"The root mean square of each layer's global update, mean and standard deviation over seeds: in the first {EARLY} "
        f"rounds, in the last {LATE}, and the latter as a share of the former. Layers are in the network's order."
    )
    table += [text, ""]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for method, of_seeds in lines.items():
        rows = []
        for layer in layers:
            early = [mean(line[layer] for line in of_run[:EARLY]) for of_run in of_seeds]
            late = [mean(line[layer] for line in of_run[-LATE:]) for of_run in of_seeds]
            share = [b / a for a, b in zip(early, late, strict=True)]
            found.setdefault(method, {})[layer.removeprefix(PREFIX)] = {"early": mean(early), "late": mean(late)}
            rows.append([layer.removeprefix(PREFIX), *(f"{mean(v):.5f} ± {stdev(v):.5f}" for v in (early, late, share))])
        table += [f"## {method}", "", *markdown(["layer", f"first {EARLY}", f"last {LATE}", "share"], rows), ""]
    (HERE / "lips" / "inertia.md").write_text("\n".join(table), encoding="utf-8")
    (HERE / "lips" / "inertia.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table))
    _draw(lines, layers).savefig(HERE / "lips" / "inertia.png", dpi=130)


def _draw(lines: dict[str, list[list[dict[str, float]]]], layers: list[str]) -> Figure:
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(4.6 * len(lines), 3.8), layout="constrained")
        colours = mpl.colormaps["viridis"].resampled(len(layers))
        for panel, (method, of_seeds) in zip(figure.subplots(1, len(lines), sharey=True), lines.items(), strict=True):
            for i, layer in enumerate(layers):
                curve = [mean(of_run[r][layer] for of_run in of_seeds) for r in range(len(of_seeds[0]))]
                panel.plot(range(1, len(curve) + 1), curve, color=colours(i), label=layer.removeprefix(PREFIX))
            panel.set(title=method, xlabel="round", yscale="log")
        figure.axes[0].set_ylabel("root mean square of a layer's global update")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
