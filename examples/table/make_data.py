"""Write a table as CSV: measurements of cell nuclei and the diagnosis, which the package scikit-learn contains."""

import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer


def main(target: Path) -> None:
    """Write the file: 569 rows, 30 columns of numbers, and the column diagnosis, benign or malignant."""
    found = load_breast_cancer(as_frame=True)
    frame = found.data.assign(diagnosis=[str(found.target_names[label]) for label in found.target])
    frame.to_csv(target, index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser())
