import json
import re
import threading
import time

import pytest

from fedgates.config import DensityTable, MaskConfig, RunConfig, Table, key, parse, to_dict
from fedgates.config.aliases import ALIASES
from fedgates.errors import ConfigError
from fedgates.runs.config_file import write_config
from fedgates.runs.folder import RunFolder, open_run
from fedgates.runs.round_log import RoundLog
from fedgates.runs.software import software


def names(path):
    return sorted(p.name for p in path.iterdir())


class OwnTable(Table):
    rate: float = key(0.5, "A rate.", ge=0, le=1)


class OwnConfig(MaskConfig):
    """A method's configuration, which uses every key."""

    density: DensityTable = DensityTable()
    own: OwnTable = OwnTable()
    unused = frozenset()


def config(tmp_path, changes=None, **fields):
    """A configuration; `changes` maps dotted keys to values, `fields` have underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return parse(OwnConfig, {"output-dir": str(tmp_path / "runs"), **named, **(changes or {})})


def test_every_run_has_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("fedgates.runs.folder.time.strftime", lambda form: "20250131-235959")
    opened = [open_run(config(tmp_path)).path for _ in range(3)]
    assert [path.name for path in opened] == [
        "20250131-235959-coupled-masks-digits-seed1",
        "20250131-235959-coupled-masks-digits-seed1-2",
        "20250131-235959-coupled-masks-digits-seed1-3",
    ]
    assert {path.parent for path in opened} == {tmp_path / "runs"}
    assert all(path.is_dir() for path in opened)


@pytest.mark.parametrize("dataset", ["npz:/data/my set.npz", "folder:/data/../cats", "emnist"])
def test_a_folders_name_is_plain(tmp_path, dataset):
    run = open_run(config(tmp_path, dataset=dataset, strategy="my_module:Mine", seed=7))
    assert re.fullmatch(r"\d{8}-\d{6}-[A-Za-z0-9-]+-seed7", run.path.name)
    assert run.path.parent == tmp_path / "runs"


def test_a_new_run_writes_its_config(tmp_path):
    asked = config(tmp_path, seed=2**60 + 1, learning_rate=0.3)
    run = open_run(asked, data_digest="0123456789abcdef")
    assert names(run.path) == ["config.json"]
    written = json.loads((run.path / "config.json").read_text())
    assert written.pop("simulated-clients") is None
    assert written.pop("data-digest") == "0123456789abcdef"
    assert written.pop("software") == software()
    assert written.pop("method-defaults")["own.rate"] == 0.5
    assert written == to_dict(asked)
    assert parse(OwnConfig, written) == asked


def test_a_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = open_run(RunConfig(output_dir="~/here"))
    assert run.path.parent == tmp_path / "here"
    assert open_run(RunConfig(output_dir="~/here", resume=f"~/here/{run.path.name}")).path == run.path


def test_the_round_log_is_in_the_folder(tmp_path):
    assert isinstance(RunFolder(tmp_path).round_log, RoundLog)
    assert RunFolder(tmp_path).round_log.path == tmp_path / "rounds.jsonl"


@pytest.mark.parametrize("inside", ["", "/deeper"])
def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path, inside):
    (tmp_path / "runs").write_text("a file")
    asked = config(tmp_path, {"output-dir": str(tmp_path / "runs") + inside})
    with pytest.raises(ConfigError, match=r"^output-dir = '.*': expected a writable folder \(.+\)$") as error:
        open_run(asked)
    assert error.value.key == "output-dir"
    assert asked.output_dir in str(error.value)


# --- resume


def test_resume_opens_the_same_folder_and_makes_none(tmp_path):
    first = open_run(config(tmp_path))
    assert open_run(config(tmp_path, resume=str(first.path))) == first
    assert len(names(tmp_path / "runs")) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2),
        ("learning-rate", 0.2),
        ("strategy", "fedavg"),
        ("dataset", "mnist"),
        ("model", "cnn"),
        ("fraction-train", 0.5),
        ("client.threads", 2),
        ("server.trim", 0.2),
        ("privacy.flip-probability", 0.1),
        ("density.penalty", 0.1),
        ("precision", "bfloat16"),
        ("uplink", "packed"),
        ("downlink", "relay"),
        ("wire.sampled-extra-bits", 3.0),
        ("wire.value-type", "float16"),
        ("own.rate", 0.6),
    ],
)
def test_a_run_of_another_config_is_not_resumed(tmp_path, key, value):
    first = open_run(config(tmp_path))
    before = to_dict(OwnConfig())[key]
    with pytest.raises(ConfigError) as error:
        open_run(config(tmp_path, {key: value}, resume=str(first.path)))
    assert str(error.value) == f"{key} = {value!r}: expected {before!r}, as in the run to resume"
    assert error.value.key == key


def test_a_run_with_old_names_of_keys_is_resumed(tmp_path):
    first = open_run(config(tmp_path, {"density.penalty": 0.1}))
    file = first.path / "config.json"
    old = {present: name for name, present in ALIASES.items()}  # as runs were written before keys had tables
    values = {old.get(name, name): value for name, value in json.loads(file.read_text()).items()}
    file.write_text(json.dumps({name: value for name, value in values.items() if "." not in name}))
    assert "density-penalty" in file.read_text()
    assert open_run(config(tmp_path, {"density.penalty": 0.1}, resume=str(first.path))) == first
    with pytest.raises(ConfigError, match=r"^density\.penalty = 0\.2: expected 0\.1, as in the run to resume$"):
        open_run(config(tmp_path, {"density.penalty": 0.2}, resume=str(first.path)))


def test_keys_that_do_not_change_a_round_may_change(tmp_path):
    first = open_run(config(tmp_path))
    changes = {
        "output-dir": "/elsewhere",
        "data-dir": "/elsewhere",
        "num-server-rounds": 99,
        "server.round-timeout": 1.5,
        "server.max-failed-rounds": 9,
        "server.min-clients": 5,
        "server.decoders": 2,
        "limits.max-gates": 99,
    }
    assert open_run(config(tmp_path, changes, resume=str(first.path))) == first


@pytest.mark.parametrize("content", [None, "", "{", "[]", "3", b"\xff\xfe"])
def test_a_folder_without_a_config_is_not_resumed(tmp_path, content):
    if isinstance(content, str):
        (tmp_path / "config.json").write_text(content)
    elif content:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"^resume = '.*': expected the folder of a run, with a readable config\.json$"
    ) as error:
        open_run(config(tmp_path, resume=str(tmp_path)))
    assert error.value.key == "resume"


def test_one_process_at_a_time_locks_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("fedgates.runs.folder._LOCK_TIMEOUT", 1)
    run = open_run(config(tmp_path))
    with run.lock():
        pass
    with run.lock(), pytest.raises(ConfigError, match=r"^resume = '.*': expected a run that no other process is running$"):  # noqa: SIM117
        with run.lock():
            pass
    with run.lock():
        pass


def test_a_process_waits_for_the_lock(tmp_path, caplog):
    caplog.set_level("INFO", logger="fedgates")
    run, order = open_run(config(tmp_path)), []

    def hold():
        with run.lock():
            held.set()
            time.sleep(0.3)
            order.append("first")

    held = threading.Event()
    first = threading.Thread(target=hold)
    first.start()
    held.wait()
    with run.lock():
        order.append("second")
    first.join()
    assert order == ["first", "second"]
    assert caplog.text.count("waiting for another process to finish with this run") == 1


def test_a_run_does_not_change_between_simulation_and_real_devices(tmp_path):
    run = open_run(config(tmp_path), 4)
    again = config(tmp_path, resume=str(run.path))
    for before, now, expected in (
        (4, None, "expected a run on real devices, like this one, not on 4 simulated clients"),
        (None, 3, "expected a run on 3 simulated clients, like this one, not on real devices"),
    ):
        write_config(run.path, config(tmp_path), before, "")
        with pytest.raises(ConfigError, match=f"^resume = .*: {expected}$"):
            open_run(again, now)


def test_a_run_resumes_on_its_own_data_alone(tmp_path):
    run = open_run(config(tmp_path), 4, "0123456789abcdef")
    again = config(tmp_path, resume=str(run.path))
    assert open_run(again, 4, "0123456789abcdef").path == run.path
    expected = r"^dataset = 'digits': expected the data of the run to resume \(digest 0123456789abcdef, not fedcba9876543210\)$"
    with pytest.raises(ConfigError, match=expected):
        open_run(again, 4, "fedcba9876543210")
    values = json.loads((run.path / "config.json").read_text())
    del values["data-digest"]  # as an older version wrote it
    (run.path / "config.json").write_text(json.dumps(values))
    assert open_run(again, 4, "fedcba9876543210").path == run.path
