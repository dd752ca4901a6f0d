"""What W&B keeps of a run, offline, beside the run's ledger."""

import json
import struct
import time
from contextlib import suppress

import pytest
from tracked import line, run, tracking

pytest.importorskip("wandb", reason="no wandb: uv sync --extra wandb")
import wandb
from wandb.proto import wandb_internal_pb2

pytestmark = pytest.mark.slow  # its process takes seconds

_BLOCK, _OPENING, _HEADER = 32768, 7, struct.Struct("<IHB")
"""W&B's file is a log as LevelDB's: blocks of records, each with a checksum, a length, and which part of a whole it is."""


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))


def records(folder):
    """All that would be sent, in its order, of all files of the run."""
    return [record for file in sorted(folder.path.glob("wandb/offline-run-*/*.wandb")) for record in whole(file)]


def whole(file, patience=30):
    """The records of a file up to its last, the exit: W&B's own process may still be writing when `finish` returns."""
    for _ in range(patience * 20):
        found = list(parsed(file.read_bytes()))
        if found and kind(found[-1]) == "exit":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{file} has no end after {patience} s: {[kind(record) for record in found]}")


def parsed(data):
    at, record = _OPENING, b""
    while at + _HEADER.size <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER.size:  # what is left of a block is empty
            at += _BLOCK - at % _BLOCK
            continue
        _, length, part = _HEADER.unpack_from(data, at)
        at += _HEADER.size + length
        if at > len(data):  # not yet written to its end
            return
        record += data[at - length : at]
        if part in (1, 4):  # the whole, or its last part
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def kind(record):
    return record.WhichOneof("record_type")


def history(found):
    lines = []
    for record in found:
        if kind(record) == "history":
            items = record.history.item
            lines.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    return lines


def test_figures_and_config_are_the_ledgers(raw):
    folder = run(raw(trackers="wandb=me/masks", num_server_rounds=2))
    found = records(folder)
    told = [record.run for record in found if kind(record) == "run"]  # however often it is said
    assert {(each.entity, each.project, each.run_id) for each in told} == {("me", "masks", folder.path.name)}
    config = {update.key: json.loads(update.value_json) for each in told for update in each.config.update}
    assert config["num-server-rounds"] == 2
    lines = history(found)
    assert [each["_step"] for each in lines] == [1, 2]
    for each, ours in zip(lines, folder.round_log.read(), strict=True):
        assert each["accuracy"] == pytest.approx(ours["accuracy"])
        assert each["uplink_bytes"] == ours["uplink_bytes"]


def test_a_resumed_run_goes_on_in_the_same(raw):
    folder = run(raw(trackers="wandb", num_server_rounds=1))
    time.sleep(1)  # W&B names a folder by the second
    run(raw(trackers="wandb", num_server_rounds=2, resume=str(folder.path)))
    found = records(folder)
    assert {record.run.run_id for record in found if kind(record) == "run"} == {folder.path.name}
    assert [each["_step"] for each in history(found)] == [1, 2]


def test_what_wandb_is_asked_for(tmp_path, monkeypatch):
    asked, logged, ended = {}, [], []

    class Made:
        url = "there"

        def log(self, figures, **how):
            logged.append(how)

        def finish(self, exit_code):
            ended.append(exit_code)

    monkeypatch.setattr(wandb, "init", lambda **how: asked.update(how) or Made())
    folder = tmp_path / "a:run"
    folder.mkdir()
    for stops in (False, True):
        with suppress(RuntimeError), tracking("wandb=project", folder, {"seed": 1}) as log:
            log(line(1))
            if stops:
                raise RuntimeError
    assert logged == [{"step": 1, "commit": True}] * 2  # at once, not with the round after
    assert ended == [0, 1]
    assert (asked["id"], asked["project"], asked["entity"], asked["resume"]) == ("a-run", "project", None, "allow")
    settings = asked["settings"]
    assert (settings.init_timeout, settings.finish_timeout, settings.finish_timeout_raises) == (60, 60, True)
