"""docs/guides/long_runs.md: its commands, and the settings of its table."""

import re

import pytest
from engines import ROOT, Sandbox
from flwr.common.config import parse_config_args
from guide import blocks, follow, runs

from fedgates.methods.registry import configure

ROWS = re.findall(r"^\| [^|]+ \| `([^`]+)`", (ROOT / "docs/guides/long_runs.md").read_text(), re.MULTILINE)


def test_the_settings_of_the_table_are_accepted():
    assert len(ROWS) == 8
    for pairs in ROWS:
        configure(parse_config_args([pairs]))


@pytest.mark.rehearsal
@pytest.mark.slow
def test_commands_print_what_the_page_shows(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        printed, inspected = follow("long_runs", sandbox)
        (folder,) = runs(sandbox)
    (shown,) = (block.text for block in blocks("long_runs") if block.language == "text")
    stopped = re.search(r"^stopped early, after round (\d+): accuracy .* reached stop-accuracy = 0.95$", printed, re.MULTILINE)
    assert re.sub(r"\d+\.?\d*", "N", stopped[0]) == re.sub(r"\d+\.?\d*", "N", shown.strip())
    assert f"{stopped[1]}/200, stopped early" in printed
    assert f"rounds {stopped[1]}" in inspected
    assert (folder / "checkpoint-best.safetensors").is_file()
