import json
import os
import re
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from configs import config_of

from fedgates.config import RunConfig, number, parse, to_dict
from fedgates.errors import ConfigError
from fedgates.runs.checkpoint import RunFolder, open_run
from fedgates.runs.round_log import RoundLog
from fedgates.types import Votes, Weights

DIGEST = bytes.fromhex("0123456789abcdef")


def votes(*counts, trials=3):
    return Votes(np.array(counts, dtype=np.uint32), trials)


def same(one, two):
    if one.scalars != two.scalars:
        return False
    if isinstance(one, Votes):
        return isinstance(two, Votes) and (one.votes.tolist(), one.trials) == (two.votes.tolist(), two.trials)
    return isinstance(two, Weights) and one.values.tobytes() == two.values.tobytes()


def names(path):
    return sorted(p.name for p in path.iterdir())


# --- checkpoints


@pytest.mark.parametrize(
    "state",
    [
        votes(0, 1, 2, 3),
        votes(0, 0, trials=0),
        votes(2**32 - 1, trials=2**32 - 1),
        Weights(np.array([0.1, -0.0, 3e38, 1e-45], dtype=np.float32)),
        Weights(np.arange(8, dtype=np.float32)[::2]),  # not contiguous
        Votes(np.array([1, 2], dtype=np.uint32), 2, (0.1, 1e300)),
        Weights(np.array([1, 2], dtype=np.float32), (5e-324,)),
    ],
    ids=["votes", "no trials", "many trials", "weights", "strided weights", "votes with scalars", "weights with a scalar"],
)
def test_a_state_comes_back_to_the_bit(tmp_path, state):
    path = RunFolder(tmp_path).save(state, 12, DIGEST)
    assert path == tmp_path / "checkpoint-00012.safetensors"
    found, server_round = RunFolder(tmp_path).load(DIGEST)
    assert server_round == 12
    assert same(state, found)
    array = found.votes if isinstance(found, Votes) else found.values
    assert array.dtype == (np.uint32 if isinstance(found, Votes) else np.float32)


def test_equal_states_are_equal_files(tmp_path):
    files = []
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        files.append(RunFolder(tmp_path / name).save(votes(1, 2), 3, DIGEST).read_bytes())
    assert len(set(files)) == 1


def test_two_are_kept_and_the_latest_is_loaded(tmp_path):
    run = RunFolder(tmp_path)
    for server_round in (1, 2, 3, 9, 10):
        run.save(votes(server_round, trials=99), server_round, DIGEST)
    assert names(tmp_path) == ["checkpoint-00009.safetensors", "checkpoint-00010.safetensors"]
    found, server_round = run.load(DIGEST)
    assert (found.votes.tolist(), server_round) == ([10], 10)


def test_rounds_are_ordered_as_numbers(tmp_path):
    run = RunFolder(tmp_path)
    for server_round in (99_998, 99_999, 100_000, 1_000_000):
        run.save(votes(1), server_round, DIGEST)
        assert run.load(DIGEST)[1] == server_round
    assert len(names(tmp_path)) == 2


def test_other_files_are_left_alone(tmp_path):
    for name in ("model.fedgates", "checkpoint-00009.safetensors.part", "checkpoints.txt"):
        (tmp_path / name).write_text("x")
    for server_round in (1, 2, 3):
        RunFolder(tmp_path).save(votes(1), server_round, DIGEST)
    assert {"model.fedgates", "checkpoint-00009.safetensors.part", "checkpoints.txt"} < set(names(tmp_path))
    assert RunFolder(tmp_path).load(DIGEST)[1] == 3


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints of rounds 1 and 2; the path of the second."""
    RunFolder(tmp_path).save(votes(0, 1, 2, 0, 1), 1, DIGEST)
    return RunFolder(tmp_path).save(votes(0, 1, 2, 3, 3), 2, DIGEST)


def test_a_checkpoint_cut_short_falls_back_to_the_one_before(two):
    whole = two.read_bytes()
    for length in range(len(whole)):
        two.write_bytes(whole[:length])
        found, server_round = RunFolder(two.parent).load(DIGEST)
        assert (found.votes.tolist(), server_round) == ([0, 1, 2, 0, 1], 1)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(two):
    """Whichever byte is damaged: never another state than was saved, and never another error."""
    whole = two.read_bytes()
    wrong = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        two.write_bytes(damaged)
        try:
            found, server_round = RunFolder(two.parent).load(DIGEST)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is wrong
            wrong.append((place, repr(error)))
            continue
        if (found.votes.tolist(), found.trials, server_round) not in (
            ([0, 1, 2, 0, 1], 3, 1),
            ([0, 1, 2, 3, 3], 3, 2),
        ):
            wrong.append((place, found, server_round))
    assert wrong == []


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"PK\3\4 something else", b"\x80\4\x95pickle"])
def test_another_file_under_its_name_is_passed_over(two, content):
    two.write_bytes(content)
    assert RunFolder(two.parent).load(DIGEST)[1] == 1


def test_nothing_to_load_names_resume(tmp_path, two):
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"^resume = '.*': expected a run's folder with a whole checkpoint") as error:
        RunFolder(tmp_path).load(DIGEST)
    assert error.value.key == "resume"
    assert str(tmp_path) in str(error.value)


def test_a_run_that_was_ended_before_its_first_checkpoint_has_no_state(tmp_path):
    assert RunFolder(tmp_path).load(DIGEST) is None


def test_a_checkpoint_of_another_network_is_refused(two):
    with pytest.raises(ConfigError, match=r"^resume = .* expected a run of network fedcba98.*, not 0123456789abcdef") as error:
        RunFolder(two.parent).load(bytes.fromhex("fedcba9876543210"))
    assert error.value.key == "resume"


def test_a_kill_while_a_checkpoint_is_written_leaves_the_ones_before(two, monkeypatch):
    def killed(descriptor):
        raise KeyboardInterrupt

    run = RunFolder(two.parent)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            run.save(votes(9, 9, 9, 9, 9, trials=9), 3, DIGEST)
    assert run.load(DIGEST)[1] == 2
    run.save(votes(9, 9, 9, 9, 9, trials=9), 3, DIGEST)  # and what the kill left is not in the way
    assert run.load(DIGEST)[1] == 3


# --- a run's folder


def config(tmp_path, **changes):
    return config_of(RunConfig, output_dir=str(tmp_path / "runs"), **changes)


def test_every_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("fedgates.runs.checkpoint.time.strftime", lambda form: "20250131-235959")
    opened = [open_run(config(tmp_path)).path for _ in range(3)]
    assert [path.name for path in opened] == [
        "20250131-235959-fedpm-digits-seed1",
        "20250131-235959-fedpm-digits-seed1-2",
        "20250131-235959-fedpm-digits-seed1-3",
    ]
    assert {path.parent for path in opened} == {tmp_path / "runs"}
    assert all(path.is_dir() for path in opened)


@pytest.mark.parametrize("dataset", ["npz:/data/my set.npz", "folder:/data/../cats", "emnist"])
def test_a_folders_name_is_plain(tmp_path, dataset):
    run = open_run(config(tmp_path, dataset=dataset, strategy="my_module:Mine", seed=7))
    assert re.fullmatch(r"\d{8}-\d{6}-[A-Za-z0-9-]+-seed7", run.path.name)
    assert run.path.parent == tmp_path / "runs"


def test_the_config_is_written_down(tmp_path):
    asked = config(tmp_path, seed=2**60 + 1, learning_rate=0.3)
    run = open_run(asked)
    assert names(run.path) == ["config.json"]
    written = json.loads((run.path / "config.json").read_text())
    assert written.pop("simulated-clients") is None
    assert written == to_dict(asked)
    assert parse(RunConfig, written) == asked


def test_a_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = open_run(config_of(RunConfig, output_dir="~/here"))
    assert run.path.parent == tmp_path / "here"
    assert open_run(config_of(RunConfig, output_dir="~/here", resume=f"~/here/{run.path.name}")).path == run.path


def test_the_ledger_lies_in_the_folder(tmp_path):
    assert isinstance(RunFolder(tmp_path).ledger, RoundLog)
    assert RunFolder(tmp_path).ledger.path == tmp_path / "rounds.jsonl"


@pytest.mark.parametrize("inside", ["", "/deeper"])
def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path, inside):
    (tmp_path / "runs").write_text("a file")
    asked = replace(config(tmp_path), output_dir=str(tmp_path / "runs") + inside)
    with pytest.raises(ConfigError, match=r"^output-dir = '.*': expected a folder that can be written \(.+\)$") as error:
        open_run(asked)
    assert error.value.key == "output-dir"
    assert asked.output_dir in str(error.value)


# --- resume


def test_resume_opens_the_same_folder_and_makes_none(tmp_path):
    first = open_run(config(tmp_path))
    assert open_run(config(tmp_path, resume=str(first.path))) == first
    assert len(names(tmp_path / "runs")) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 2),
        ("learning_rate", 0.2),
        ("strategy", "fedavg"),
        ("dataset", "mnist"),
        ("model", "cnn"),
        ("fraction_train", 0.5),
        ("client_threads", 2),
        ("trim", 0.2),
        ("flip_probability", 0.1),
        ("density_penalty", 0.1),
        ("precision", "bfloat16"),
        ("uplink", "packed"),
        ("downlink", "relay"),
        ("sampled_extra_bits", 3.0),
        ("value_type", "float16"),
    ],
)
def test_a_run_of_another_config_is_not_resumed(tmp_path, field, value):
    first = open_run(config(tmp_path))
    before = getattr(RunConfig(), field)
    with pytest.raises(ConfigError) as error:
        open_run(config(tmp_path, resume=str(first.path), **{field: value}))
    key = field.replace("_", "-")
    assert str(error.value) == f"{key} = {value!r}: expected {before!r}, as in the run to resume"
    assert error.value.key == key


@dataclass(frozen=True)
class OwnConfig(RunConfig):
    rate: float = number(0.5, 0, 1)


def test_a_methods_own_keys_must_agree_too(tmp_path):
    first = open_run(config_of(OwnConfig, output_dir=str(tmp_path)))
    asked = config_of(OwnConfig, output_dir=str(tmp_path), resume=str(first.path))
    assert open_run(asked) == first
    with pytest.raises(ConfigError, match=r"^rate = 0\.6: expected 0\.5, as in the run to resume"):
        open_run(replace(asked, rate=0.6))


def test_what_does_not_change_a_round_may_be_set_anew(tmp_path):
    first = open_run(config(tmp_path))
    anew = RunConfig(
        output_dir="/elsewhere",
        data_dir="/elsewhere",
        num_server_rounds=99,
        round_timeout=1.5,
        max_failed_rounds=9,
        min_clients=5,
        resume=str(first.path),
    )
    assert open_run(anew) == first


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", b"\xff\xfe"])
def test_a_folder_that_is_no_run_is_not_resumed(tmp_path, content):
    if isinstance(content, str):
        (tmp_path / "config.json").write_text(content)
    elif content:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^resume = '.*': expected a run's folder, with its config.json") as error:
        open_run(config(tmp_path, resume=str(tmp_path)))
    assert error.value.key == "resume"


def test_a_run_is_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("fedgates.runs.checkpoint._PATIENCE", 1)
    run = open_run(config(tmp_path))
    with run.held():
        pass
    with run.held(), pytest.raises(ConfigError, match=r"^resume = '.*': expected a run that no other process goes on with$"):  # noqa: SIM117
        with run.held():
            pass
    with run.held():
        pass


def test_who_waits_for_another_process_goes_on_at_its_end(tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgates")
    run, order = open_run(config(tmp_path)), []

    def hold():
        with run.held():
            held.set()
            time.sleep(0.3)
            order.append("first")

    held = threading.Event()
    first = threading.Thread(target=hold)
    first.start()
    held.wait()
    with run.held():
        order.append("second")
    first.join()
    assert order == ["first", "second"]
    assert caplog.text.count("another process is still at this run") == 1


def test_a_simulation_is_not_resumed_on_real_devices_nor_the_other_way_round(tmp_path):
    run = open_run(config(tmp_path), 4)
    again = replace(config(tmp_path), resume=str(run.path))
    for before, now, said in (
        (4, None, "expected a run of real devices, as this is, not of 4 simulated clients"),
        (None, 3, "expected a run of 3 simulated clients, as this is, not of real devices"),
    ):
        run.note(config(tmp_path), before)
        with pytest.raises(ConfigError, match=f"^resume = .*: {said}$"):
            open_run(again, now)
