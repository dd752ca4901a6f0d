"""The commands of docs/guides/trackers.md."""

import json
import re
import urllib.request

import pytest
from engines import Sandbox, free_ports, until
from guide import follow, runs

pytest.importorskip("tensorboard", reason="no tensorboard: uv sync --extra tensorboard")
pytestmark = [pytest.mark.rehearsal, pytest.mark.slow]


def test_commands_log_what_the_page_describes(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        inspected, table = follow("trackers", sandbox)
        (folder,) = runs(sandbox)
        lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
        assert len(lines) == 3
        assert re.search(r"scalars\s+accuracy", inspected), inspected
        assert re.search(r"histograms\s+theta", inspected), inspected
        rows = [row.split(",") for row in table.splitlines() if re.fullmatch(r"\d,[\d.]+,[\d.]+", row)]
        assert [(int(n), float(accuracy)) for n, accuracy, _ in rows] == [(n + 1, lines[n]["accuracy"]) for n in range(3)]

        (port,) = free_ports(1)
        sandbox.start("tensorboard", "--logdir", str(folder.parent), "--host", "127.0.0.1", "--port", str(port), name="page")
        served = until(lambda: asked(f"http://127.0.0.1:{port}/data/plugin/scalars/tags"), "TensorBoard's page")
        assert "accuracy" in served[f"{folder.name}/tensorboard"]


def asked(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None
