"""Write windows of a smartwatch as an npz file: BasicMotions, which the package sktime contains.

Acceleration and rotation along three axes, 100 samples of a tenth of a second each; four motions, 40 windows for training and
40 for testing.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def main(target: Path) -> None:
    """Write the file."""
    spec = find_spec("sktime")
    if spec is None or spec.origin is None:
        sys.exit("this needs the data in sktime: pip install sktime")
    folder = Path(spec.origin).parent / "datasets" / "data" / "BasicMotions"
    arrays = {}
    for part in ("train", "test"):
        lines = (folder / f"BasicMotions_{part.upper()}.ts").read_text().splitlines()
        rows = [line.split(":") for line in lines if line and line[0] not in "#@"]
        windows = np.array([[channel.split(",") for channel in row[:-1]] for row in rows], np.float32)
        arrays[f"x_{part}"] = windows.transpose(0, 2, 1)  # [n, 100 samples, 6 channels]: features are the last axis
        arrays[f"y_{part}"] = np.array([row[-1] for row in rows])
    classes = np.unique(arrays["y_train"])
    for part in ("train", "test"):
        arrays[f"y_{part}"] = np.searchsorted(classes, arrays[f"y_{part}"])
    np.savez_compressed(target, **arrays, classes=classes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
