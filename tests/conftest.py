"""What tests share."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

Value = bool | int | float | str


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads; a test that leaves another number behind would disturb the next."""
    torch.set_num_threads(1)
    yield
    logging.getLogger("fedgates").handlers.clear()
    logging.getLogger("fedgates").propagate = True


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., dict[str, Value]]:
    """A small run config on digits: ``raw(seed=3)`` changes a key (underscores stand for dashes)."""

    def make(**changes: Any) -> dict[str, Value]:
        small = {
            "num_server_rounds": 2,
            "samples_per_client": 30,
            "local_epochs": 1,
            "output_dir": str(tmp_path / "runs"),
            "round_timeout": 0.2,
            **changes,
        }
        return {key.replace("_", "-"): value for key, value in small.items()}

    return make


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
