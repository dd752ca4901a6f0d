"""The commands of docs/guides/personal.md."""

import json
import tomllib

import pytest
import torch
from engines import Sandbox
from guide import blocks, runs, steps

from fedgates.config import RunConfig, flatten, parse

PAGE = "personal"


@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        (script,) = steps(PAGE, sandbox)
        (folder,) = runs(sandbox)
        lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
        assert lines[-1]["accuracy"] is None
        assert f"{100 * lines[-1]['client_accuracy']:.1f} %" in script.printed
        saved = tmp_path / "sandbox" / "fedgates" / "client_3.pt"
        assert sum(p.numel() for p in torch.load(saved, weights_only=False).parameters()) == 85_002


def test_the_settings_that_the_page_shows():
    (block,) = (block for block in blocks(PAGE) if block.language == "toml")
    config = parse(RunConfig, flatten(tomllib.loads(block.text)))
    assert (config.gates.personal, config.personal_epochs) == ("last", RunConfig().personal_epochs)
