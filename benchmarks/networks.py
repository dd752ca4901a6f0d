"""python benchmarks/networks.py: one round of a small federation for each of many networks and every method.

Writes docs/explanation/architectures.md, which tests/flower/test_architectures.py keeps up to date.
"""

import logging
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from sweep import ROOT, arguments, machine

from fedgates.compare import markdown

sys.path.insert(0, str(ROOT / "tests" / "support"))
PAGE = ROOT / "docs/explanation/architectures.md"
TEXT = """# Architectures

Small versions of common networks, for images of 32x32 pixels, tokens, series, or two inputs
(`tests/support/architectures.py`). With each network and each method, two clients train for one round; the model file is
written and loaded; its exported safetensors load into the plain network, which gives the same outputs; and the prediction for
an example is the same alone and in a batch.

"yes" means that all of this works. A number refers to the line that ends the run before it starts.
"""


def outcomes(name: str) -> list[str]:
    """Return the outcome for a network with each method."""
    import torch  # each worker has its own
    from architecture_runs import METHODS, outcome, write_data

    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(Path(folder))
        return [outcome(name, method, data, Path(folder) / "runs") for method in METHODS]


def main() -> None:
    """Try all networks, and write the page."""
    from architecture_runs import METHODS, NETWORKS

    args = arguments(__doc__ or "")
    with ProcessPoolExecutor(args.workers) as pool:
        found = dict(zip(NETWORKS, pool.map(outcomes, NETWORKS), strict=True))
    lines = list(dict.fromkeys(each for row in found.values() for each in row if each != "yes"))
    rows = [[name, *(each if each == "yes" else lines.index(each) + 1 for each in row)] for name, row in found.items()]
    notes = [f"{i}. `{line}`" for i, line in enumerate(lines, 1)]
    table = markdown(["network", *METHODS], rows)
    command = ["`python benchmarks/networks.py`", "", machine(), ""]
    PAGE.write_text("\n".join([TEXT, *table, "", *notes, "", *command]), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
