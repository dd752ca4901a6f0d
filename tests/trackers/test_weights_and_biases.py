"""What W&B keeps of a run, offline, beside the run's ledger."""

import json
import struct
from contextlib import suppress

import pytest
from tracked import run

from fedgates.trackers import following

pytest.importorskip("wandb", reason="no wandb: uv sync --extra wandb")
import wandb
from wandb.proto import wandb_internal_pb2

_BLOCK, _OPENING, _HEADER = 32768, 7, struct.Struct("<IHB")
"""W&B's file is a log as LevelDB's: blocks of records, each with a checksum, a length, and which part of a whole it is."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))


def records(folder):
    """All that would be sent, in its order, of all files of the run."""
    found = []
    for file in sorted(folder.path.glob("wandb/offline-run-*/*.wandb")):
        data, at, whole = file.read_bytes(), _OPENING, b""
        while at + _HEADER.size <= len(data):
            if _BLOCK - at % _BLOCK < _HEADER.size:  # what is left of a block is empty
                at += _BLOCK - at % _BLOCK
                continue
            _, length, part = _HEADER.unpack_from(data, at)
            whole += data[at + _HEADER.size : at + _HEADER.size + length]
            at += _HEADER.size + length
            if part in (1, 4):  # the whole, or its last part
                found.append(wandb_internal_pb2.Record.FromString(whole))
                whole = b""
    return found


def history(found):
    lines = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            lines.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return lines


def test_figures_and_config_are_the_ledgers(raw):
    folder = run(raw(trackers="wandb=me/masks", num_server_rounds=2))
    found = records(folder)
    told = [record.run for record in found if record.WhichOneof("record_type") == "run"]  # however often it is said
    assert {(each.entity, each.project, each.run_id) for each in told} == {("me", "masks", folder.path.name)}
    config = {update.key: json.loads(update.value_json) for each in told for update in each.config.update}
    assert config["num-server-rounds"] == 2
    lines = history(found)
    assert [line["_step"] for line in lines] == [1, 2]
    for line, ours in zip(lines, folder.ledger.read(), strict=True):
        assert line["accuracy"] == pytest.approx(ours["accuracy"])
        assert line["uplink_bytes"] == ours["uplink_bytes"]


def test_a_resumed_run_goes_on_in_the_same(raw):
    folder = run(raw(trackers="wandb", num_server_rounds=1))
    run(raw(trackers="wandb", num_server_rounds=2, resume=str(folder.path)))
    found = records(folder)
    assert {record.run.run_id for record in found if record.WhichOneof("record_type") == "run"} == {folder.path.name}
    assert [line["_step"] for line in history(found)] == [1, 2]


def test_what_wandb_is_asked_for(tmp_path, monkeypatch):
    asked, ended = {}, []

    class Made:
        url = "there"

        def finish(self, exit_code):
            ended.append(exit_code)

    monkeypatch.setattr(wandb, "init", lambda **how: asked.update(how) or Made())
    folder = tmp_path / "a:run"
    folder.mkdir()
    for stops in (False, True):
        with suppress(RuntimeError), following("wandb=project", folder, {"seed": 1}):
            if stops:
                raise RuntimeError
    assert ended == [0, 1]
    assert (asked["id"], asked["project"], asked["entity"], asked["resume"]) == ("a-run", "project", None, "allow")
    settings = asked["settings"]
    assert (settings.init_timeout, settings.finish_timeout, settings.finish_timeout_raises) == (60, 60, True)
