"""What tests of the Flower room share: runs of a tiny network, without model file and report unless a test asks for them."""

from contextlib import contextmanager
from functools import partial

import pytest
from fedgates.strategies.coupled_masks import CoupledMasks
from loopback_runs import TINY

from fedgates.federation.model_callback import ModelCallback
from fedgates.flower import client_app
from fedgates.methods import MaskMethod
from fedgates.report.callback import ReportCallback

CLOSING = (ModelCallback, ReportCallback)
ON_END = {callback: callback.on_end for callback in CLOSING}


def _nothing(self, server, *, finished):
    """Take the place of ``on_end``."""


@pytest.fixture
def raw(request, raw):
    """A small run config with a network of 610 parameters, or with the module's NETWORK."""
    return partial(raw, **getattr(request.module, "NETWORK", TINY))


@pytest.fixture(scope="module")
def shared_raw(request, shared_raw):
    """The same, for runs that several tests of a module look at."""
    return partial(shared_raw, **getattr(request.module, "NETWORK", TINY))


@pytest.fixture(scope="module", autouse=True)
def _short_runs():
    """Leave out the model file, its predictions, the curves and the page."""
    with pytest.MonkeyPatch.context() as patch:
        for callback in CLOSING:
            patch.setattr(callback, "on_end", _nothing)
        yield


@pytest.fixture
def without_deltas(monkeypatch):
    """Have masks count as not depending on coins, so that a relay is the only alternative to a snapshot."""
    for kind in (MaskMethod, CoupledMasks):
        monkeypatch.setattr(kind, "coupling", None)
    client_app._method.cache_clear()
    yield
    client_app._method.cache_clear()


@contextmanager
def _writing_everything():
    with pytest.MonkeyPatch.context() as patch:
        for callback, on_end in ON_END.items():
            patch.setattr(callback, "on_end", on_end)
        yield


@pytest.fixture(scope="session")
def writing_everything():
    """A context in which runs write all files."""
    return _writing_everything


@pytest.fixture
def whole_runs():
    """Have the runs of a test write all files."""
    with _writing_everything():
        yield
