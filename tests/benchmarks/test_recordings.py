"""The network that the wire's benchmarks share can be built."""

import importlib.util
import sys
from pathlib import Path

spec = importlib.util.spec_from_file_location(
    "recordings", Path(__file__).resolve().parents[2] / "benchmarks" / "recordings.py"
)
recordings = importlib.util.module_from_spec(spec)


def test_the_network_of_the_recordings(monkeypatch):
    monkeypatch.setitem(sys.modules, "recordings", recordings)  # its dataclasses look their module up
    spec.loader.exec_module(recordings)
    assert sum(recordings.layers()) == recordings.strategy().network.size
