"""What tests share."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import effort
import pytest
import torch

Value = bool | int | float | str


LEFT_OUT = pytest.StashKey[dict[str, int]]()
"""Number of tests of each marker that were left out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``."""
    parser.addoption("--all", action="store_true", help="run slow tests and rehearsals, too (half an hour on two cores)")


def pytest_configure(config: pytest.Config) -> None:
    """Take as many examples as the tests ask for where all are run."""
    effort.thorough = bool(config.getoption("--all"))


@pytest.hookimpl(tryfirst=True)  # before -m selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests and rehearsals, unless ``--all`` or ``-m`` asks for them."""
    _mark_further_cases(items)
    counts = config.stash.setdefault(LEFT_OUT, {})
    if config.getoption("--all") or config.option.markexpr:
        return
    kept, left_out = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        marker = next((name for name in ("rehearsal", "slow") if item.get_closest_marker(name)), None)
        if marker is None:
            kept.append(item)
        else:
            counts[marker] = counts.get(marker, 0) + 1
            left_out.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


def _mark_further_cases(items: list[pytest.Item]) -> None:
    """Mark as slow the cases of a test beyond the number in its marker ``quick_cases``."""
    seen = Counter[str]()
    for item in items:
        marker = item.get_closest_marker("quick_cases")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            seen[test] += 1
            if seen[test] > marker.args[0]:
                item.add_marker(pytest.mark.slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report from a worker of pytest-xdist what it left out; every worker collects all tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take a worker's report."""
    counts = node.config.stash.setdefault(LEFT_OUT, {})
    counts.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was left out."""
    counts = terminalreporter.config.stash.get(LEFT_OUT, {})
    if counts:
        text = ", ".join(f"{count} {marker}" for marker, count in sorted(counts.items()))
        terminalreporter.write_line(f"left out: {text} (uv run pytest --all runs everything)")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads; a test that leaves another number behind would disturb the next."""
    torch.set_num_threads(1)
    yield
    logging.getLogger("fedgates").handlers.clear()
    logging.getLogger("fedgates").propagate = True


def small(folder: Path, **changes: Any) -> dict[str, Value]:
    """A small run config on digits, with changed keys (underscores stand for dashes)."""
    config = {
        "num_server_rounds": 2,
        "samples_per_client": 30,
        "local_epochs": 1,
        "output_dir": str(folder / "runs"),
        "round_timeout": 0.2,
        **changes,
    }
    return {key.replace("_", "-"): value for key, value in config.items()}


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., dict[str, Value]]:
    """A small run config on digits: ``raw(seed=3)`` changes a key."""
    return partial(small, tmp_path)


@pytest.fixture(scope="module")
def shared_raw(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Value]]:
    """The same, for runs that several tests of a module look at."""
    return partial(small, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def contract() -> list[str]:
    """The keys that every line of ``rounds.jsonl`` has, whoever reads it."""
    return [
        "round",
        "seconds",
        "accuracy",
        "loss",
        "density",
        "uplink_bytes",
        "downlink_bytes",
        "uplink_bpp",
        "downlink_bpp",
        "entropy_bpp",
        "clients_selected",
        "clients_counted",
        "clients_rejected",
        "clients_failed",
    ]
