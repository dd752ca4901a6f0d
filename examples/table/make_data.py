"""Write scikit-learn's breast cancer data to ``table.csv`` in ``~/fedgates/table`` or a given folder.

There are 569 tumours with 30 features of cell nuclei each; the column `diagnosis` is benign or malignant.
"""

import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main(folder: Path) -> None:
    """Write the CSV file."""
    found = load_breast_cancer(as_frame=True)
    table = found.data.assign(diagnosis=found.target_names[found.target])
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "table.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.home() / "fedgates" / "table")
