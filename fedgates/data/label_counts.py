"""Counts of the examples of each class that each simulated client has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data import load, partition
from fedgates.data.dataset import IGNORED, Examples
from fedgates.data.shares import check_strata
from fedgates.errors import ConfigError
from fedgates.types import Problem
from fedgates.util.text import columns, one_line

if TYPE_CHECKING:
    from fedgates.config import RunConfig

_WIDEST = 12
"""Largest number of classes for which the table has a column per class."""
_NAMES = 50
"""Largest total length of class names in column headers; above it, headers are numbers, and a line below lists the names."""


@dataclass(frozen=True)
class LabelCounts:
    """Counts of labels.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    classes : tuple of str
        Names of the classes or labels; for regression, deciles of the first target.
    counts : numpy.ndarray
        Number of training examples of each class, shape ``[clients, classes]``. For "multi-label", number of examples with the
        label on; for "positions", number of positions of each class.
    sizes : numpy.ndarray
        Number of training examples of each client, shape ``[clients]``.
    total : int
        Number of training examples in the data set.
    problem : Problem
        Inputs and outputs.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    total: int
    problem: Problem

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "dataset": self.dataset,
            "training_examples": self.total,
            "held": int(self.sizes.sum()),
            "inputs": {spec.name: {"dtype": spec.dtype, "shape": list(spec.shape)} for spec in self.problem.inputs},
            "task": self.problem.task,
            "outputs": self.problem.outputs,
            "classes": list(self.classes),
            "clients": [[int(n) for n in row] for row in self.counts],
        }


def label_counts(config: "RunConfig", clients: int) -> LabelCounts:
    """Divide the configured data set among clients as a run does, and count labels.

    Raises
    ------
    ConfigError
        The data set cannot be loaded or divided.
    """
    dataset = load(config)
    if not len(dataset.train):
        raise ConfigError("dataset", config.dataset, "a data set on this machine; only devices can count their own data")
    check_strata(dataset, config)
    parts = partition(dataset.train.strata, clients, config)
    classes = dataset.class_names or tuple(f"decile {i}" for i in range(1, 11))
    counts = np.stack([_counts(dataset.train, part, len(classes)) for part in parts])
    sizes = np.array([len(part) for part in parts], np.int64)
    return LabelCounts(config.dataset, classes, counts, sizes, len(dataset.train), dataset.problem)


def _counts(examples: Examples, part: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the number of occurrences of each class among the examples of one client."""
    if examples.task == "multi-label":
        return np.asarray(examples.y[part].sum(0, dtype=np.int64))
    labels = examples.y[part].ravel() if examples.task == "positions" else examples.strata[part]
    return np.bincount(labels[labels != IGNORED], minlength=classes)


def table(found: LabelCounts) -> str:
    """Format a table with a row per client (number of examples, of classes, of examples per class), then the problem."""
    few = len(found.classes) <= _WIDEST
    numbered = sum(map(len, found.classes)) > _NAMES
    classes = [one_line(name, 40) for name in found.classes]
    names = map(str, range(len(classes))) if numbered else classes
    rows = [["client", "examples", "classes", *(names if few else ["most of one class"])]]
    for client, (row, size) in enumerate(zip(found.counts, found.sizes, strict=True)):
        most = int(row.argmax())
        of_classes = [f"{n:,}" if n else "." for n in row] if few else [f"{row[most]:,} of {classes[most]}"]
        rows.append([str(client), f"{size:,}", str(np.count_nonzero(row)), *of_classes])
    lines = columns(rows, left=0)
    if few and numbered:
        lines.append("classes: " + ", ".join(f"{i} = {name}" for i, name in enumerate(classes)))
    sizes, problem = found.sizes, found.problem
    inputs = ", ".join(f"{spec.name} {spec.kind}" for spec in problem.inputs)
    positions = f" for each of {list(problem.positions)} positions" if problem.positions else ""
    lines.append(f"inputs: {inputs}; task: {problem.task}; outputs: {problem.outputs:,}{positions}")
    lines.append(
        f"{one_line(found.dataset)}: {sizes.sum():,} of {found.total:,} training examples held by {len(sizes)} clients, "
        + (f"{sizes.min():,} to {sizes.max():,} each" if sizes.min() < sizes.max() else f"{sizes.min():,} each")
    )
    return "\n".join(lines)


def draw(found: LabelCounts, folder: Path) -> Path:
    """Draw ``labels.png`` with one bar per client and one colour per class, and return its path."""
    import matplotlib as mpl  # noqa: PLC0415  # takes half a second
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    clients, classes = found.counts.shape
    figure = Figure(figsize=(8, max(2.0, 1.2 + 0.22 * clients)), layout="constrained")
    panel = figure.subplots()
    left = np.zeros(clients)
    colours = mpl.colormaps["tab20" if classes > 10 else "tab10"]
    for i, name in enumerate(found.classes):
        panel.barh(range(clients), found.counts[:, i], left=left, label=name, color=colours(i % colours.N), height=0.8)
        left += found.counts[:, i]
    panel.set(xlabel="training examples", ylabel="client", title=found.dataset)
    panel.invert_yaxis()
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    if classes <= 2 * _WIDEST:
        panel.legend(title="class", frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    target = folder / "labels.png"
    figure.savefig(target, dpi=130)
    return target
