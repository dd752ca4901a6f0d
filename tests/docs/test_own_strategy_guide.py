"""The commands of docs/guides/own_strategy.md and the errors that it shows; tests/flower tests the reference part."""

import importlib
import json
import logging
import re
import shutil
import sys
from dataclasses import replace

import pytest
from engines import ROOT, Sandbox
from guide import blocks, prepared, runs, steps

from client_app import app
from fedgates.errors import ConfigError, QuorumError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods.registry import configure

PAGE = "own_strategy"
EXAMPLE = ROOT / "examples" / "own_strategy" / "own_strategy.py"


@pytest.mark.rehearsal
@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        copied, tried, run, compared, new = steps(PAGE, sandbox)
        assert not copied.printed
        assert [bool(step.shown) for step in (tried, run, compared, new)] == [True] * 4
        alone, engine, own_app = [rounds(folder) for folder in runs(sandbox)]
        for key in ("accuracy", "density", "uplink_bytes", "downlink_bytes"):
            assert [line[key] for line in alone] == [line[key] for line in engine]
        assert alone[-1]["accuracy"] > 0.85
        assert own_app[-1]["accuracy"] > 0.85
        assert re.findall(r"^\| (fed\w+|fading.*?) \|", compared.printed, re.MULTILINE) == ["fedpm", "fading", "fading slowly"]
        assert {file.name for file in (prepared(sandbox) / "fading").iterdir()} >= {"table.md", "results.json"}
        settings = 'strategy="my_method:FadingVotes" fade=4'
        code, out = sandbox.run("flwr", "run", ".", "--stream", "--run-config", settings, cwd=prepared(sandbox))
        assert code == 1
        assert "Invalid run configuration" in out


def rounds(folder):
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


@pytest.fixture
def my_method(tmp_path, monkeypatch):
    shutil.copy(EXAMPLE, tmp_path / "my_method.py")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_method")
    sys.modules.pop("my_method")


@pytest.fixture
def errors():
    (text,) = (block.text for block in blocks(PAGE) if block.text.startswith("fedgates: strategy"))
    return text.splitlines()


def test_errors_of_bad_names_are_those_that_the_page_shows(my_method, errors):
    messages = []
    for name in ("my_method:FadingVote", "my_method:FadingConfig"):
        with pytest.raises(ConfigError) as error:
            configure({"strategy": name})
        messages.append(f"fedgates: {error.value}")
    assert errors[:2] == messages


def test_the_error_of_a_bad_update_is_that_which_the_page_shows(my_method, errors, raw, caplog):
    class Short(my_method.FadingVotes):
        def local_update(self, state, task):
            update = super().local_update(state, task)
            return replace(update, mask=update.mask[:-2])

    my_method.Short = Short
    settings = raw(strategy="my_method:Short", max_failed_rounds=1)
    caplog.set_level(logging.INFO, "fedgates")
    with pytest.raises(QuorumError):
        run_on_grid(LoopbackGrid(app, settings, 2), settings)
    why = errors[2].partition(" failed: ")[2]  # of one client; clients with the same error share a line
    assert any(why in record.getMessage() for record in caplog.records)


def test_other_methods_ignore_the_keys_of_a_method_with_a_name(my_method):
    with pytest.raises(ConfigError, match=r"^fade = 2: expected a known key$"):
        configure({"strategy": "fedpm", "fade": 2})
    named = {"fading": "my_method:FadingVotes"}
    configure({"strategy": "fedpm", "fade": 2}, named)
    _, config = configure({"strategy": "fading", "fade": 4}, named)
    assert config.fade == 4


def test_the_page_states_the_number_of_lines_of_the_example():
    (lines,) = re.findall(r"The file has (\d+) lines", (ROOT / "docs" / "guides" / f"{PAGE}.md").read_text())
    assert int(lines) == len(EXAMPLE.read_text().splitlines())
