"""Write BasicMotions, which the package sktime ships, to ``~/fedgates/sensors/sensors.npz``, or to the folder that is given.

Four people wore a watch while they stood, walked, ran or played badminton: 80 windows of 10 s, 100 samples of acceleration and
rotation in three axes each.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLASSES = ("Badminton", "Running", "Standing", "Walking")


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return windows ``[n, 6, 100]`` and labels ``[n]`` of a .ts file: a line each, its channels and its class after colons."""
    _, lines = path.read_text().split("@data\n")
    windows, labels = [], []
    for line in lines.splitlines():
        *channels, label = line.split(":")
        windows.append([[float(value) for value in channel.split(",")] for channel in channels])
        labels.append(CLASSES.index(label))
    return np.array(windows, np.float32), np.array(labels, np.int64)


def main(folder: Path) -> None:
    """Write the file."""
    package = find_spec("sktime")  # found, but not imported: its files are all that is needed
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
