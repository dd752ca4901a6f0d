"""Comparisons are made where neither torch nor Flower is installed."""

import subprocess
import sys

import pytest
from written_runs import rounds, write_run

CODE = """
import sys
for name in ("torch", "flwr", "ray"):
    sys.modules[name] = None
from pathlib import Path
from fedgates.compare import Question, group_runs, read_run, write_comparison
folder = Path(sys.argv[1])
groups = group_runs(read_run(folder / name) for name in "ab")
print(write_comparison(folder / "out", Question("two runs"), groups, "a command").splitlines()[0])
"""


@pytest.mark.slow
def test_a_comparison_needs_neither_torch_nor_flower(tmp_path):
    for seed, name in enumerate("ab", 1):
        write_run(tmp_path / name, rounds("accuracy", 0.5, 0.6), seed)
    done = subprocess.run([sys.executable, "-c", CODE, tmp_path], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("# two runs\n", "")
