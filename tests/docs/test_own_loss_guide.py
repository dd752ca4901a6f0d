"""The functions, the commands and the errors of docs/guides/own_loss.md."""

import importlib
import json
import sys

import pytest
from engines import Sandbox
from guide import blocks, runs, steps
from loopback_runs import run

from fedgates.errors import ConfigError
from fedgates.methods.registry import build, configure
from fedgates.types import Problem

PAGE = "own_loss"


def text_of(language):
    (text,) = (block.text for block in blocks(PAGE) if block.language == language)
    return text


@pytest.fixture
def my_functions(tmp_path, monkeypatch):
    (tmp_path / "my_functions.py").write_text(text_of("python"))
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_functions")
    sys.modules.pop("my_functions")


@pytest.mark.rehearsal
@pytest.mark.slow
def test_commands_run_and_the_log_is_what_the_page_shows(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        assert len(steps(PAGE, sandbox)) == 2
        own, augmented = [(folder / "rounds.jsonl").read_text().splitlines() for folder in runs(sandbox)]
    last = json.loads(own[-1])
    assert {key: pytest.approx(last[key], abs=0.05) for key in json.loads(text_of("json"))} == json.loads(text_of("json"))
    assert len(augmented) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("my_functions")
def test_the_numbers_are_those_of_the_page(raw):
    changes = {"loss": "my_functions:smoothed", "metric": "my_functions:top_2", "fraction-evaluate": 1.0}
    rounds = {"num-server-rounds": 5, "local-epochs": 3, "samples-per-client": 0}
    last = run(raw() | changes | rounds, clients=10).round_log.read()[-1]
    shown = json.loads(text_of("json"))
    assert {key: pytest.approx(last[key], abs=0.02) for key in shown} == shown


@pytest.mark.usefixtures("my_functions")
def test_errors_are_those_of_the_page():
    found = []
    for key, name in (("metric", "top_3"), ("loss", "top_2")):
        with pytest.raises(ConfigError) as error:
            build(*configure({key: f"my_functions:{name}"}), Problem.of_images((1, 8, 8), 10))
        found.append(f"fedgates: {error.value}")
    assert found == text_of("text").splitlines()
