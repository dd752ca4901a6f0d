"""The shell command that repeats or resumes a run."""

import shlex

from fedgates.config import CLIENTS
from fedgates.config.app import as_pair
from fedgates.report.run_data import RunData


def command(run: RunData, *, resume: bool = False) -> str:
    """Return the shell command that repeats the run or, with `resume`, resumes it; keys with default values are left out."""
    parts = ["uv run flwr run . --stream"]
    clients = run.config.get(CLIENTS)
    if clients is not None:
        parts.append(f"--federation-config {shlex.quote(f'num-supernodes={clients} client-resources-num-cpus=1')}")
    pairs = [as_pair(key, run.config[key]) for key in run.changed] + [as_pair("resume", str(run.folder))] * resume
    if pairs:
        parts.append(f"--run-config {shlex.quote(' '.join(pairs))}")
    return " \\\n  ".join(parts)
