"""Tuning files: the same number of settings for each method, on seeds that the study does not report."""

import importlib.util
from pathlib import Path

import pytest
from loopback_runs import run

from fedgates.config import merged
from fedgates.errors import ConfigError
from fedgates.methods.registry import configure

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "benchmarks" / "tuning").glob("*.toml"))
spec = importlib.util.spec_from_file_location("tune", ROOT / "benchmarks" / "tune.py")
tune = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tune)

STUDY = """
seeds = [4, 5]
metric = "accuracy"
[config]
num-server-rounds = 2
local-epochs = 1
model = "tiny_network:build"
[methods.fedavg]
strategy = "fedavg"
[methods.fediht]
strategy = "fediht"
density.target = 0.5
"""
TUNING = """
study = "study.toml"
seeds = [1, 2]
[[settings.fedavg]]
learning-rate = 0.1
[[settings.fedavg]]
learning-rate = 1e30
"""


@pytest.fixture
def write(tmp_path):
    def written(tuning):
        (tmp_path / "study.toml").write_text(STUDY)
        (tmp_path / "tuning.toml").write_text(tuning)
        return tmp_path / "tuning.toml"

    return written


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_here_is_sound_and_has_its_table(path):
    tuning = tune.read_tuning(path)
    table = path.with_suffix(".md").read_text()
    assert [line.removeprefix("## ") for line in table.splitlines() if line.startswith("## ")] == list(tuning.methods)
    assert all("**" in section for section in table.split("\n## ")[1:])  # several where means are equal


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_study_has_a_setting_that_was_tried(path):
    for shared, settings in tune.read_tuning(path).methods.values():
        own = configure(shared)[1]  # a setting may be the default, which a study need not name
        assert any(configure(merged(shared, setting))[1] == own for setting in settings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1, 2]", "[1, 4]", r"^seeds = \[1, 4\]: expected seeds that the study does not report, not \[4, 5\]"),
        ("settings.fedavg", "settings.fedpm", r"^settings\.fedpm = 'fedpm': expected one of the study's methods, fedavg"),
        ("seeds", "scenario = 'IID'\nseeds", r"^scenario = 'IID': expected one of default"),
    ],
)
def test_a_bad_file_is_refused(write, old, new, message):
    with pytest.raises(ConfigError, match=message):
        tune.read_tuning(write(TUNING.replace(old, new)))


def test_methods_with_different_numbers_of_settings_are_refused(write):
    with pytest.raises(ConfigError, match=r"^settings = .*: expected the same number of settings for each method"):
        tune.read_tuning(write(TUNING + "[[settings.fediht]]\nlearning-rate = 0.1\n"))


def test_the_best_mean_is_in_bold_and_a_run_that_diverges_is_not(write):
    path = write(TUNING)
    tuning = tune.read_tuning(path)
    _, settings = tuning.methods["fedavg"]
    each = [("fedavg", setting) for setting in settings]
    table = tune.report(tuning, [1, 2], each, [[{"accuracy": 0.5}, {"accuracy": 0.7}], [{}, {"accuracy": 0.9}]], path)
    assert [line for line in table.splitlines() if line[:3] in {"| 0", "| 1"}] == [
        "| 0.1 | **60.0 ± 14.1** |",
        "| 1e+30 | diverged |",
    ]


def test_a_run_ends_at_the_state_of_the_loopback_grid(write, raw):
    shared, settings = tune.read_tuning(write(TUNING)).methods["fedavg"]
    config = raw(**merged(shared, settings[0], {"seed": 3}))
    assert tune.last_round((config, 4))["accuracy"] == run(config).round_log.read()[-1]["accuracy"]


def test_a_run_that_diverges_has_no_metrics(write):
    shared, settings = tune.read_tuning(write(TUNING)).methods["fedavg"]
    assert tune.last_round((merged(shared, settings[1]), 2)) == {}
