"""Number of examples of each class that each simulated client has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedgates.data import load, partition
from fedgates.data.shares import check_strata
from fedgates.errors import ConfigError
from fedgates.util.text import columns, one_line

if TYPE_CHECKING:
    from fedgates.config import RunConfig

_WIDEST = 12
"""Largest number of classes that are columns of the table."""
_NAMES = 50
"""Largest total length of the class names as column headers; above it the headers are numbers, and a line has the names."""


@dataclass(frozen=True)
class LabelCounts:
    """Counts of labels.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    classes : tuple of str
        Names of the classes; in a regression the deciles of the targets.
    counts : numpy.ndarray
        Number of training examples, shape ``[clients, classes]``.
    total : int
        Number of training examples in the data set.
    """

    dataset: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    total: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "dataset": self.dataset,
            "training_examples": self.total,
            "held": int(self.counts.sum()),
            "classes": list(self.classes),
            "clients": [[int(n) for n in row] for row in self.counts],
        }


def label_counts(config: "RunConfig", clients: int) -> LabelCounts:
    """Divide the configured data set among clients, as a run does, and count labels.

    Raises
    ------
    ConfigError
        The data set cannot be loaded or divided.
    """
    dataset = load(config)
    if not len(dataset.train):
        raise ConfigError("dataset", config.dataset, "a data set that is here: what devices hold only they know")
    strata = dataset.train.strata
    classes = dataset.class_names or tuple(f"decile {i}" for i in range(1, 11))
    check_strata(dataset, config)
    parts = partition(strata, clients, config)
    if dataset.train.task in {"multi-label", "positions"}:
        classes = ("all",)  # an example has many labels, so only examples are counted
    counts = np.stack([np.bincount(strata[part], minlength=len(classes)) for part in parts])
    return LabelCounts(config.dataset, classes, counts, len(strata))


def table(found: LabelCounts) -> str:
    """Return a table with a row per client: number of examples, number of classes, and examples of each class."""
    few = len(found.classes) <= _WIDEST
    numbered = sum(map(len, found.classes)) > _NAMES
    classes = [one_line(name, 40) for name in found.classes]
    names = map(str, range(len(classes))) if numbered else classes
    rows = [["client", "examples", "classes", *(names if few else ["most of one class"])]]
    for client, row in enumerate(found.counts):
        most = int(row.argmax())
        of_classes = [f"{n:,}" if n else "." for n in row] if few else [f"{row[most]:,} of {classes[most]}"]
        rows.append([str(client), f"{row.sum():,}", str(np.count_nonzero(row)), *of_classes])
    lines = columns(rows, left=0)
    if few and numbered:
        lines.append("classes: " + ", ".join(f"{i} = {name}" for i, name in enumerate(classes)))
    sizes = found.counts.sum(1)
    lines.append(
        f"{one_line(found.dataset)}: {sizes.sum():,} of {found.total:,} training examples held by {len(sizes)} clients, "
        + (f"{sizes.min():,} to {sizes.max():,} each" if sizes.min() < sizes.max() else f"{sizes.min():,} each")
    )
    return "\n".join(lines)


def draw(found: LabelCounts, folder: Path) -> Path:
    """Draw ``labels.png``: one bar per client, one colour per class; return its path."""
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
