"""The opening of docs/own_strategy.md, followed; the reference below it is held by tests/flower."""

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
def test_every_command_does_what_the_page_says(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        copied, tried, run, compared = steps(PAGE, sandbox)
        assert not copied.printed
        assert [bool(step.shown) for step in (tried, run, compared)] == [True] * 3
        alone, engine = [ledger(folder) for folder in runs(sandbox)]
        for key in ("accuracy", "density", "uplink_bytes", "downlink_bytes"):
            assert [line[key] for line in alone] == [line[key] for line in engine]
        assert alone[-1]["accuracy"] > 0.85
        assert re.findall(r"^\| (fed\w+|fading.*?) \|", compared.printed, re.MULTILINE) == ["fedpm", "fading", "fading slowly"]
        assert {file.name for file in (prepared(sandbox) / "fading").iterdir()} >= {"table.md", "results.json"}
        settings = 'strategy="my_method:FadingVotes" fade=4'
        code, out = sandbox.run("flwr", "run", ".", "--stream", "--run-config", settings, cwd=prepared(sandbox))
        assert code == 1
        assert "Invalid run configuration" in out


def ledger(folder):
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


def test_bad_names_say_what_the_page_shows(my_method, errors):
    said = []
    for name in ("my_method:FadingVote", "my_method:FadingConfig"):
        with pytest.raises(ConfigError) as error:
            configure({"strategy": name})
        said.append(f"fedgates: {error.value}")
    assert errors[:2] == said


def test_a_bad_update_says_what_the_page_shows(my_method, errors, raw, caplog):
    class Short(my_method.FadingVotes):
        def local_update(self, state, task):
            update = super().local_update(state, task)
            return replace(update, mask=update.mask[:-2])

    my_method.Short = Short
    settings = raw(strategy="my_method:Short", max_failed_rounds=1)
    caplog.set_level(logging.INFO, "fedgates")
    with pytest.raises(QuorumError):
        run_on_grid(LoopbackGrid(app, settings, 2), settings)
    why = errors[2].partition(" failed: ")[2]  # as of one client; those who say the same share a line
    assert any(why in record.getMessage() for record in caplog.records)


def test_keys_of_a_method_with_a_name_are_passed_over_by_others(my_method):
    with pytest.raises(ConfigError, match=r"^fade = 2: expected a known key$"):
        configure({"strategy": "fedpm", "fade": 2})
    named = {"fading": "my_method:FadingVotes"}
    configure({"strategy": "fedpm", "fade": 2}, named)
    _, config = configure({"strategy": "fading", "fade": 4}, named)
    assert config.fade == 4


def test_the_page_counts_the_examples_lines():
    (lines,) = re.findall(r"It has (\d+) lines", (ROOT / "docs" / f"{PAGE}.md").read_text())
    assert int(lines) == len(EXAMPLE.read_text().splitlines())
