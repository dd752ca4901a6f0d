"""Write the data set BasicMotions from the package sktime to ``sensors.npz`` in ``~/fedgates/sensors`` or a given folder.

Four people wore a watch while they stood, walked, ran or played badminton. The data are 80 windows of 10 s, each with 100
samples of acceleration and rotation in three axes.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("Badminton", "Running", "Standing", "Walking")


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read windows ``[n, 6, 100]`` and labels ``[n]`` from a .ts file, whose lines have channels and a class between colons."""
    _, lines = path.read_text().split("@data\n")
    windows, labels = [], []
    for line in lines.splitlines():
        *channels, label = line.split(":")
        windows.append([[float(value) for value in channel.split(",")] for channel in channels])
        labels.append(CLASSES.index(label))
    return np.array(windows, np.float32), np.array(labels, np.int64)


def main(folder: Path) -> None:
    """Write the npz file."""
    package = find_spec("sktime")  # not imported, because only its files are needed
    if package is None or package.origin is None:
        raise SystemExit("sktime is not installed: uv pip install --no-deps sktime")
    source = Path(package.origin).parent / "datasets" / "data" / "BasicMotions"
    x_train, y_train = read(source / "BasicMotions_TRAIN.ts")
    x_test, y_test = read(source / "BasicMotions_TEST.ts")
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    np.savez_compressed(folder / "sensors.npz", **parts, classes=np.array(CLASSES))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / "fedgates" / "sensors")
