import math

import pytest
from written_runs import line, rounds, write_run

from fedgates.compare import group_runs, read_run
from fedgates.errors import ConfigError


def runs(tmp_path, *configs):
    folders = [write_run(tmp_path / str(i), rounds("accuracy", 0.5), **config) for i, config in enumerate(configs)]
    return [read_run(folder) for folder in folders]


def names(groups):
    return {group.method: [run.seed for run in group.runs] for group in groups}


def test_runs_that_differ_in_the_seed_alone_are_a_group(tmp_path):
    found = runs(tmp_path, {"seed": 2}, {"seed": 1, "resume": "/elsewhere"}, {"strategy": "fedavg", "momentum": 0.5})
    assert names(group_runs(found)) == {"fedpm": [1, 2], "fedavg": [1]}


def test_groups_are_named_group_runs(tmp_path):
    shared = {"uplink": "packed", "simulated_clients": 4}
    different = [{}, {"uplink": "entropy"}, {"simulated_clients": 8}]
    found = runs(tmp_path, *({**shared, **changes} for changes in different))
    assert names(group_runs(found)) == {
        "fedpm, uplink packed, simulated-clients 4": [1],
        "fedpm, uplink entropy, simulated-clients 4": [1],
        "fedpm, uplink packed, simulated-clients 8": [1],
    }


def test_keys_of_one_method_alone_do_not_name_it(tmp_path):
    found = runs(tmp_path, {"eps": 0.1}, {"strategy": "fedavg", "momentum": 0.0}, {"strategy": "fedavg", "momentum": 0.9})
    assert list(names(group_runs(found))) == ["fedpm", "fedavg, sgd.momentum 0.0", "fedavg, sgd.momentum 0.9"]


def test_runs_that_differ_in_a_key_that_one_of_them_has_not_are_apart(tmp_path):
    found = runs(tmp_path, {}, {"synthetic_noise": 0.1})
    assert names(group_runs(found)) == {"fedpm": [1], "fedpm (1)": [1]}


def test_a_repetition_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run = '.*1': expected a run with another configuration or seed than .*0$"):
        group_runs(runs(tmp_path, {}, {}))


def test_an_unfinished_run_is_refused(tmp_path):
    folder = write_run(tmp_path / "a", rounds("accuracy", 0.5, 0.6), num_server_rounds=3)
    with pytest.raises(ConfigError, match="expected a finished run; it has 2 of 3 rounds"):
        read_run(folder)
    empty = write_run(tmp_path / "b", [], num_server_rounds=3)
    with pytest.raises(ConfigError, match="it has 0 of 3 rounds"):
        read_run(empty)


def test_a_run_that_stopped_early_is_finished(tmp_path):
    lines = rounds("accuracy", 0.5, 0.6, 0.6, 0.4)
    keys = {"num_server_rounds": 9, "stop_patience": 2}
    assert len(read_run(write_run(tmp_path / "a", lines, **keys)).lines) == 4
    for name, changes in (("b", {"stop_patience": 3}), ("c", {"stop_patience": 0}), ("d", {"stop_accuracy": 0.5})):
        folder = write_run(tmp_path / name, lines, **{**keys, "stop_patience": 0, **changes})
        with pytest.raises(ConfigError, match="it has 4 of 9 rounds"):
            read_run(folder)


@pytest.mark.parametrize(("key", "values"), [("keep_best", (True, False)), ("server.decoders", (1, 8))])
def test_keys_that_change_no_result_are_not_compared(tmp_path, key, values):
    found = runs(tmp_path, *({"seed": seed, key: value} for seed, value in enumerate(values, 1)))
    assert names(group_runs(found)) == {"fedpm": [1, 2]}


NO_RUN = "the folder of a run, with a readable config.json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, NO_RUN),
        ("{", NO_RUN),
        ("[]", NO_RUN),
        ("[" * 100_000, NO_RUN),
        ("{}", "the folder of a run; strategy in its config.json is not text"),
        ('{"seed": 1}', "the folder of a run; strategy in its config.json is not text"),
        (
            '{"strategy": "a", "dataset": "b", "seed": "1", "num-server-rounds": 1}',
            "the folder of a run; seed in its config.json is not a whole number",
        ),
        (
            '{"strategy": "a", "dataset": "b", "seed": 1.5}',
            "the folder of a run; seed in its config.json is not a whole number",
        ),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_run(tmp_path)
    assert str(error.value) == f"run = {str(tmp_path)!r}: expected {expected}"


@pytest.mark.parametrize(
    ("damaged", "wrong"),
    [
        ({"round": None}, "round = null: expected a whole number from 1"),
        ({"uplink_bytes": "a"}, 'uplink_bytes = "a": expected a whole number'),
        ({"downlink_bytes": None}, "downlink_bytes = null: expected a whole number"),
        ({"accuracy": "a"}, 'accuracy = "a": expected a number from 0 to 1, or null'),
        ({"loss": math.nan}, "not a JSON object"),
    ],
)
def test_invalid_values_in_a_log_are_refused(tmp_path, damaged, wrong):
    folder = write_run(tmp_path / "a", [line(1), line(2) | damaged])
    with pytest.raises(ConfigError, match=r"^run = '.*a': expected a run with a valid rounds\.jsonl; ") as error:
        read_run(folder)
    assert f"rounds.jsonl, line 2: {wrong}" in str(error.value)


def test_an_unreadable_log_is_named(tmp_path):
    folder = write_run(tmp_path / "a", [])
    (folder / "rounds.jsonl").unlink()
    (folder / "rounds.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"rounds\.jsonl: Is a directory"):
        read_run(folder)


@pytest.mark.parametrize("dataset", ["digits", "npz:/abs/own.npz", "mnist"])
def test_runs_on_other_data_of_one_name_are_refused(tmp_path, dataset):
    for i, digest in enumerate(["a" * 16, "a" * 16, "b" * 16]):
        write_run(tmp_path / str(i), rounds("accuracy", 0.5), seed=i, dataset=dataset, data_digest=digest)
    write_run(tmp_path / "older", rounds("accuracy", 0.5), seed=9, dataset=dataset)
    same = [read_run(tmp_path / name) for name in ("0", "older", "1")]
    assert names(group_runs(same)) == {"fedpm": [0, 1, 9]}
    expected = f"a run on the data of {tmp_path / '0'} ({dataset}: digest {'a' * 16}, not {'b' * 16})"
    with pytest.raises(ConfigError) as caught:
        group_runs([*same, read_run(tmp_path / "2")])
    assert str(caught.value) == f"run = '{tmp_path / '2'}': expected {expected}"


def test_synthetic_data_of_other_seeds_are_other_data_by_right(tmp_path):
    for seed in (1, 2):
        data = {"dataset": "synthetic-linear", "data_digest": str(seed) * 16}
        write_run(tmp_path / str(seed), rounds("accuracy", 0.5), seed=seed, **data)
    assert names(group_runs([read_run(tmp_path / "1"), read_run(tmp_path / "2")])) == {"fedpm": [1, 2]}
    data = {"dataset": "synthetic-linear", "data_digest": "3" * 16, "data.seed": 5}
    write_run(tmp_path / "3", rounds("accuracy", 0.5), seed=1, **data)
    write_run(tmp_path / "4", rounds("accuracy", 0.5), seed=2, **data | {"data_digest": "4" * 16})
    with pytest.raises(ConfigError, match="expected a run on the data of"):
        group_runs([read_run(tmp_path / "3"), read_run(tmp_path / "4")])
