"""`fedgates data`: who would hold what."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import command

from fedgates.data.label_counts import LabelCounts, table
from fedgates.types import Problem

IMAGES = Problem.of_images((1, 8, 8), 10)
ROOT = Path(__file__).resolve().parents[2]


def test_data_says_what_each_client_would_hold(capsys, tmp_path):
    arguments = [
        "data",
        "--clients",
        5,
        "--app",
        ROOT,
        "--run-config",
        'partition="classes" seed=3',
        "--out",
        tmp_path / "out",
    ]
    code, out, err = command(capsys, *arguments, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["held"] == sum(map(sum, found["clients"]))
    assert [sum(n > 0 for n in row) for row in found["clients"]] == [2] * 5
    assert (tmp_path / "out" / "labels.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = command(capsys, *arguments[:-2])
    assert code == 0
    assert out.splitlines()[-2] == "inputs: x uint8 (C, H, W) = (1, 8, 8); task: classes; outputs: 10"
    assert out.splitlines()[-1].startswith(f"digits: {found['held']:,} of 1,437 training examples held by 5 clients")


def test_run_config_is_repeated_pairs_or_one_file_as_of_flwr_run(capsys, tmp_path):
    file = tmp_path / "keys.toml"
    file.write_text('strategy = "fedavg"\npartition = "classes"\nseed = 3\n[sgd]\nmomentum = 0.5\n')
    arguments = ["data", "--json", "--app", ROOT]
    pairs = ["--run-config", 'strategy="fedavg" partition="classes"', "--run-config", "seed=3 sgd.momentum=0.5"]
    (_, one, _), (_, other, _) = (command(capsys, *arguments, *given) for given in (["--run-config", file], pairs))
    assert json.loads(one) == json.loads(other)
    assert json.loads(one) != json.loads(command(capsys, *arguments)[1])
    for beside in ("seed=3", file):
        code, _, err = command(capsys, *arguments, "--run-config", file, "--run-config", beside)
        assert (code, err) == (
            2,
            f"fedgates: run-config = '{file}': expected a single .toml file, without pairs or other files\n",
        )
    code, _, err = command(capsys, *arguments, "--run-config", "seed=3", "--run-config", "seed=4")
    assert (code, err) == (2, "fedgates: seed = 4: expected each key once\n")


@pytest.mark.parametrize(
    ("names", "header", "below"),
    [
        (("cat", "dog"), ["cat", "dog"], []),
        (("\x1b[2J", "a\nb"), ["\\x1b[2J", "a", "b"], []),
        (("a" * 30, "b" * 30), ["0", "1"], [f"classes: 0 = {'a' * 30}, 1 = {'b' * 30}"]),
        (tuple(f"class {i}" for i in range(13)), ["most", "of", "one", "class"], []),
    ],
)
def test_names_of_classes_do_not_make_the_table_wide(names, header, below):
    counts = np.arange(2 * len(names)).reshape(2, -1)
    first, *lines = table(LabelCounts("mine", names, counts, counts.sum(1), int(counts.sum()), IMAGES)).splitlines()
    assert first.split() == ["client", "examples", "classes", *header]
    assert lines[2:-2] == below


def test_data_of_other_tasks(capsys, tmp_path):
    x, tokens = np.zeros((4, 3), np.float32), np.zeros((4, 5), np.int64)
    inputs = {f"x_{part}_{name}": array for part in ("train", "test") for name, array in (("a", x), ("b", tokens))}
    labels = {
        "multi-label": (np.array([[True, True, False]] * 4), [[2, 2, 0]] * 2, "multi-label; outputs: 3"),
        "positions": (np.array([[0, 2, -100]] * 4), [[2, 0, 2]] * 2, "positions; outputs: 3 for each of [3] positions"),
    }
    for task, (y, counts, shown) in labels.items():
        np.savez(tmp_path / "a.npz", **inputs, y_train=y, y_test=y)
        arguments = ["data", "--clients", 2, "--app", ROOT, "--run-config", f'dataset="npz:{tmp_path}/a.npz"']
        code, out, err = command(capsys, *arguments, "--json")
        assert code == 0, err
        found = json.loads(out)
        assert (found["clients"], found["held"], found["task"], found["outputs"]) == (counts, 4, task, 3)
        assert found["inputs"] == {"a": {"dtype": "float32", "shape": [3]}, "b": {"dtype": "int64", "shape": [5]}}
        lines = command(capsys, *arguments)[1].splitlines()
        assert lines[1].split()[:2] == ["0", "2"]
        assert lines[-2] == f"inputs: a float32 (3,), b int64 (5,); task: {shown}"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            "partition=classes",
            'run-config = \'partition=classes\': expected pairs without spaces around "=", such as model="mlp" seed=3',
        ),
        ('partitoin="classes"', "partitoin = 'classes': expected a known key; did you mean partition?"),
        ('partition="shards"', "partition = 'shards': expected one of iid, dirichlet, classes"),
        ('dataset="devices:8x8x1:10"', "dataset = 'devices:8x8x1:10': expected a data set on this machine"),
    ],
)
def test_data_that_cannot_be_divided_so(capsys, config, reason):
    code, out, err = command(capsys, "data", "--app", ROOT, "--run-config", config)
    assert (code, out) == (2, "")
    assert err.startswith(f"fedgates: {reason}")
    assert len(err.splitlines()) == 1


def test_data_of_what_is_no_app(capsys, tmp_path):
    code, _, err = command(capsys, "data", "--app", tmp_path)
    assert (code, err) == (2, f"fedgates: app = '{tmp_path}': expected the folder of a Flower app, with a pyproject.toml\n")
