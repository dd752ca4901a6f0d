"""Every key that a method writes to ``rounds.jsonl`` is in the schema, and every key of the schema has a writer."""

import pytest

from client_app import app
from fedgates.config import MaskConfig
from fedgates.federation.model_callback import ModelCallback
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.registry import BUILT_IN, method_class
from fedgates.report import ReportCallback
from fedgates.runs.schema import KEYS, key_of, problem

pytestmark = pytest.mark.slow
DIGITS = {"model": "tiny_network:build", "fraction-evaluate": 1.0, "samples-per-client": 30}
LOGISTIC = {"model": "logistic", "dataset": "synthetic-logistic", "synthetic-features": 50, "synthetic-support": 5}
LINEAR = {"model": "linear", "dataset": "synthetic-linear", "synthetic-features": 50, "synthetic-support": 5}
WITHOUT_WRITER = {"loss_sample", "loss_mean", "loss_ensemble", "withdrawn", "f1", "client_f1", "client_f1_macro"}
"""Keys that only a method of the user's own can write, a round that fails, or data with several labels."""


def settings(method, folder, data):
    """Settings of a run of one round with every evaluation."""
    config = method_class(method).Config
    found = {"strategy": method, "num-server-rounds": 1, "local-epochs": 1, "output-dir": str(folder), **data}
    if config.requires_density:
        found["density.target"] = 0.3
    if issubclass(config, MaskConfig):
        found |= {"gates.evaluations": "threshold,sample,mean,ensemble", "gates.ensemble-size": 2}
    return found


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The line of a round of every method on images, and of two methods on each kind of synthetic data."""
    folder = tmp_path_factory.mktemp("runs")
    deep = DIGITS | {"model": "mlp"}  # lips needs a layer between the first and the last
    cases = [(method, deep if method == "lips" else DIGITS) for method in BUILT_IN] + [
        (m, data) for m in ("fedpm", "fedavg") for data in (LOGISTIC, LINEAR)
    ]
    lines = {}
    with pytest.MonkeyPatch.context() as patch:
        for callback in (ModelCallback, ReportCallback):
            patch.setattr(callback, "on_end", lambda self, server, *, finished: None)
        for i, (method, data) in enumerate(cases):
            raw = settings(method, folder / str(i), data)
            (lines[method, data["model"]],) = run_on_grid(LoopbackGrid(app, raw, 2), raw).round_log.read()
    return lines


def test_every_key_of_every_method_is_in_the_schema(lines):
    unknown = {(case, key) for case, line in lines.items() for key in line if key_of(key) is None}
    assert not unknown
    assert {case: problem(line) for case, line in lines.items()} == dict.fromkeys(lines)


def test_every_key_of_the_schema_is_written_by_a_method(lines):
    written = {key_of(key).name for line in lines.values() for key in line}
    assert {key.name for key in KEYS} - written == WITHOUT_WRITER
