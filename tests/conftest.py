"""What tests share."""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

Value = bool | int | float | str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip rehearsals, with the reason, where nobody asks for them."""
    if not os.environ.get("FEDGATES_TEST_REHEARSALS"):
        for item in items:
            if item.get_closest_marker("rehearsal"):
                item.add_marker(pytest.mark.skip(reason="FEDGATES_TEST_REHEARSALS is not set"))


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
