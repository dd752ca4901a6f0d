import importlib
import json
import math
import re
import sys
import tomllib
from dataclasses import FrozenInstanceError, dataclass, fields
from pathlib import Path

import pytest
from fedgates.strategies.fedavg import FedAvgConfig
from fedgates.strategies.fedpm import FedPMConfig

from fedgates.config import RunConfig, choice, folder, is_reference, key_names, number, parse, to_dict
from fedgates.errors import ConfigError
from fedgates.methods.registry import BUILT_IN

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
SHIPPED = tomllib.loads(PYPROJECT.read_text())["tool"]["flwr"]["app"]["config"]
METHODS = {
    name: getattr(importlib.import_module(reference.partition(":")[0]), reference.partition(":")[2])
    for name, reference in BUILT_IN.items()
}
CONTRACT = """strategy dataset data-dir partition dirichlet-alpha classes-per-client samples-per-client model num-server-rounds
fraction-train fraction-evaluate local-epochs batch-size learning-rate precision seed density-penalty target-density
entropy-bonus uplink downlink output-dir resume"""


def all_keys():
    return {key for method in METHODS.values() for key in key_names(method.Config)}


# --- the block in pyproject.toml


@pytest.mark.parametrize("key", CONTRACT.split())
def test_every_key_that_others_rely_on_is_in_pyproject(key):
    assert key in SHIPPED
    assert key in key_names(RunConfig)


def test_pyproject_has_the_keys_of_the_methods_and_no_others():
    assert set(SHIPPED) == all_keys()


@pytest.mark.parametrize("name", METHODS)
def test_the_shipped_block_parses_to_the_defaults(name):
    config = METHODS[name].Config
    parsed = parse(config, {**SHIPPED, "strategy": name}, all_keys())
    assert parsed == config(strategy=name)
    shipped = {key: SHIPPED[key] for key in to_dict(parsed) if key != "strategy"}
    defaults = {key: value for key, value in to_dict(config()).items() if key != "strategy"}
    assert shipped == defaults
    assert {key: type(value) for key, value in shipped.items()} == {key: type(value) for key, value in defaults.items()}


def test_the_shipped_strategy_is_one_of_ours():
    assert SHIPPED["strategy"] in METHODS
    assert RunConfig().strategy == SHIPPED["strategy"]


def test_every_line_of_the_block_has_a_comment():
    block = PYPROJECT.read_text().partition("[tool.flwr.app.config]\n")[2].partition("\n[")[0]
    lines = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(SHIPPED)
    assert [line for line in lines if not re.fullmatch(r'[a-z-]+ = ("[^"]*"|[^"#]+?) +# \S.*', line)] == []


def test_defaults_pass_their_own_checks():
    for config in {RunConfig, *(method.Config for method in METHODS.values())}:
        assert parse(config, to_dict(config())) == config()


# --- what is right


def test_values_arrive_typed_and_the_rest_has_its_default():
    config = parse(FedPMConfig, {"batch-size": 5, "learning-rate": 1, "model": "my.nets:small", "reset-every": 4})
    assert (config.batch_size, config.learning_rate, config.model, config.reset_every) == (5, 1.0, "my.nets:small", 4)
    assert type(config.learning_rate) is float
    assert config.local_epochs == 3


def test_a_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        RunConfig().seed = 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fraction-train", 1),
        ("fraction-train", 1e-9),
        ("fraction-evaluate", 0),
        ("quorum", 1.0),
        ("seed", 2**63 - 1),
        ("seed", 0),
        ("num-server-rounds", 1_000_000),
        ("dataset", "npz:/a b/c.npz"),
        ("dataset", "folder:/a"),
        ("dataset", "synthetic-logistic"),
        ("synthetic-features", 1),
        ("synthetic-support", 1_000_000),
        ("synthetic-noise", 0),
        ("data-dir", "~"),
        ("data-dir", "~/x"),
        ("output-dir", "/"),
        ("resume", "/runs/one"),
        ("model", "leaf-cnn"),
        ("model", "a.b:c"),
        ("density-penalty", 10),
        ("prior", 2.5),
        ("eps", 1e-6),
        ("uplink", "packed"),
        ("uplink", "entropy"),
        ("uplink", "side-info"),
        ("uplink", "sampled"),
        ("downlink", "votes"),
        ("downlink", "float32"),
        ("downlink", "relay"),
        ("sampled-extra-bits", 0),
        ("sampled-extra-bits", 7.5),
        ("value-type", "float32"),
        ("evaluations", "threshold"),
        ("evaluations", "ensemble,threshold"),
    ],
)
def test_the_edges_are_included(key, value):
    assert to_dict(parse(FedPMConfig, {key: value}))[key] == value


def test_keys_of_other_methods_are_passed_over():
    assert parse(FedAvgConfig, {"eps": 0.1, "momentum": 0.5}, foreign=["eps"]).momentum == 0.5


def test_a_dict_goes_to_json_and_back():
    config = FedPMConfig(seed=2**53 + 1, eps=1 / 3)
    assert parse(FedPMConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert list(to_dict(config)) == list(key_names(FedPMConfig))


def test_folder_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert folder("~/runs") == Path("/somewhere/runs")
    assert folder("/runs") == Path("/runs")


def test_references():
    assert [v for v in ("a:b", "a.b:c", "_a:B1") if not is_reference(v)] == []
    assert [
        v for v in ("", "a", ":b", "a:", "a.:b", ".a:b", "a b:c", "a:b.c", "a:b:c", "1a:b", "a-b:c") if is_reference(v)
    ] == []


# --- what is wrong

PATH = r"an absolute path, or one under ~ \(the app's working directory is not yours\)"
BAD = [
    # unknown keys
    ("batchsize", 3, "a known key; did you mean batch-size?"),
    ("learning_rate", 0.1, "a known key; did you mean learning-rate?"),
    ("straigth-through", "identity", "a known key; did you mean straight-through?"),
    ("zzz", 1, "a known key"),
    ("momentum", 0.9, "a known key"),  # of fedavg; foreign only where the registry says so
    # types
    ("batch-size", True, "a whole number of at least 1 and at most 1,000,000"),
    ("batch-size", 16.0, "a whole number of at least 1 and at most 1,000,000"),
    ("batch-size", "16", "a whole number of at least 1 and at most 1,000,000"),
    ("seed", False, "a whole number of at least 0 and at most 9,223,372,036,854,775,807"),
    ("learning-rate", True, "a number above 0"),
    ("learning-rate", "0.1", "a number above 0"),
    ("eps", False, "a number of at least 1e-06 and at most 0.499"),
    (
        "model",
        3,
        'a text: one of mlp, cnn, conv4, conv6, conv10, leaf-cnn, resnet8, resnet18, vgg11, linear, logistic or "module:name"',
    ),
    ("strategy", 1, "a text: a strategy's name"),
    ("resume", False, "a text: empty, or the folder of a stopped run: " + PATH.replace("\\", "")),
    # not numbers
    ("learning-rate", math.nan, "a number above 0"),
    ("learning-rate", math.inf, "a number above 0"),
    ("density-penalty", math.nan, "a number of at least 0"),
    ("density-penalty", math.inf, "a number of at least 0"),
    ("fraction-train", math.nan, "a number above 0 and at most 1"),
    ("round-timeout", math.inf, "a number above 0"),
    # ranges
    ("batch-size", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("batch-size", -5, "a whole number of at least 1 and at most 1,000,000"),
    ("num-server-rounds", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("num-server-rounds", 1_000_001, "a whole number of at least 1 and at most 1,000,000"),
    ("local-epochs", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("fraction-train", 0.0, "a number above 0 and at most 1"),
    ("fraction-train", 1.01, "a number above 0 and at most 1"),
    ("fraction-evaluate", -0.1, "a number of at least 0 and at most 1"),
    ("quorum", 1.5, "a number of at least 0 and at most 1"),
    ("dirichlet-alpha", 0.0, "a number above 0"),
    ("classes-per-client", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("samples-per-client", -1, "a whole number of at least 0 and at most 1,000,000,000"),
    ("learning-rate", 0.0, "a number above 0"),
    ("learning-rate", -0.1, "a number above 0"),
    ("seed", -1, "a whole number of at least 0 and at most 9,223,372,036,854,775,807"),
    ("seed", 2**63, "a whole number of at least 0 and at most 9,223,372,036,854,775,807"),
    ("density-penalty", -1.0, "a number of at least 0"),
    ("target-density", 1.1, "a number of at least 0 and at most 1"),
    ("sampled-extra-bits", -0.1, "a number of at least 0 and at most 7.5"),
    ("sampled-extra-bits", 7.6, "a number of at least 0 and at most 7.5"),
    ("sampled-extra-bits", math.nan, "a number of at least 0 and at most 7.5"),
    ("sampled-extra-bits", "5", "a number of at least 0 and at most 7.5"),
    ("eps", 0.0, "a number of at least 1e-06 and at most 0.499"),
    ("eps", 0.5, "a number of at least 1e-06 and at most 0.499"),
    ("prior", 0.9, "a number of at least 1 and at most 1,000,000"),
    ("reset-every", -1, "a whole number of at least 0 and at most 1,000,000,000"),
    ("ensemble-size", 0, "a whole number of at least 1 and at most 1,000"),
    # names
    ("strategy", "", "a strategy's name"),
    (
        "model",
        "resnet9",
        'one of mlp, cnn, conv4, conv6, conv10, leaf-cnn, resnet8, resnet18, vgg11, linear, logistic or "module:name"',
    ),
    (
        "model",
        "my_nets:",
        'one of mlp, cnn, conv4, conv6, conv10, leaf-cnn, resnet8, resnet18, vgg11, linear, logistic or "module:name"',
    ),
    (
        "model",
        "my-nets:f\nb",
        'one of mlp, cnn, conv4, conv6, conv10, leaf-cnn, resnet8, resnet18, vgg11, linear, logistic or "module:name"',
    ),
    ("partition", "IID", "one of iid, dirichlet, classes"),
    ("precision", "float16", "one of float32, bfloat16"),
    ("uplink", "votes", "one of packed, entropy, side-info, sampled"),
    ("uplink", "side_info", "one of packed, entropy, side-info, sampled"),
    ("uplink", 1, "a text: one of packed, entropy, side-info, sampled"),
    ("downlink", "packed", "one of votes, float32, relay"),
    ("downlink", "", "one of votes, float32, relay"),
    ("value-type", "bfloat16", "one of float32, float16"),
    ("weight-scale", "he", "one of kaiming, released, density"),
    ("straight-through", "", "one of identity, released"),
    ("score-init", "zero", "one of half, normal"),
    ("evaluations", "sample", "threshold, then any of sample, mean, ensemble, separated by commas"),
    ("evaluations", "threshold,threshold", "threshold, then any of sample, mean, ensemble, separated by commas"),
    ("evaluations", "threshold,", "threshold, then any of sample, mean, ensemble, separated by commas"),
    # data and paths
    (
        "dataset",
        "MNIST",
        "one of digits, synthetic-linear, synthetic-logistic, mnist, fashion-mnist, emnist, cifar10, cifar100, ",
    ),
    ("dataset", "synthetic", "one of digits, synthetic-linear, synthetic-logistic, "),
    ("synthetic-features", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("synthetic-support", 0, "a whole number of at least 1 and at most 1,000,000"),
    ("synthetic-examples", 1_000_001, "a whole number of at least 1 and at most 1,000,000"),
    ("synthetic-noise", -0.1, "a number of at least 0 and at most 1,000"),
    ("dataset", "npz:rel.npz", 'an absolute path, or one under ~ (the app\'s working directory is not yours), after "npz:"'),
    ("dataset", "folder:", 'an absolute path, or one under ~ (the app\'s working directory is not yours), after "folder:"'),
    ("dataset", "zip:/a", '"npz:/abs/file.npz", "folder:/abs/dir" or "devices:HxWxC:classes"'),
    ("dataset", "/a", '"npz:/abs/file.npz", "folder:/abs/dir" or "devices:HxWxC:classes"'),
    ("data-dir", "data", PATH.replace("\\", "")),
    ("data-dir", "", PATH.replace("\\", "")),
    ("output-dir", "./runs", PATH.replace("\\", "")),
    ("resume", "runs/one", "empty, or the folder of a stopped run: " + PATH.replace("\\", "")),
    # what fedpm does not heed
    ("target-density", 0.1, "0.0: strategy fedpm does not use it"),
    ("entropy-bonus", -0.1, "0.0: strategy fedpm does not use it"),
    ("value-type", "float16", "'float32': strategy fedpm does not use it"),
]


def refuse(config, raw, key, foreign=()):
    with pytest.raises(ConfigError) as error:
        parse(config, raw, foreign)
    assert error.value.key == key
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("key", "value", "expected"), BAD, ids=lambda v: str(v)[:20])
def test_bad_input_is_one_line_with_key_value_and_expectation(key, value, expected):
    message = refuse(FedPMConfig, {"local-epochs": 5, key: value}, key)
    assert message.startswith(f"{key} = {value!r}: expected ")
    said = message.removeprefix(f"{key} = {value!r}: expected ")
    assert said == expected or (key == "dataset" and expected in said)


@pytest.mark.parametrize("value", [math.nan, -math.inf, "x"])
def test_a_number_without_bounds_is_asked_for_in_plain_words(value):
    assert refuse(RunConfig, {"entropy-bonus": value}, "entropy-bonus").endswith("expected a number")


@pytest.mark.parametrize("key", ["seed", "num-server-rounds", "learning-rate"])
def test_a_number_too_large_for_a_float_is_out_of_range(key):
    refuse(RunConfig, {key: 10**400}, key)


@pytest.mark.parametrize("value", ["~no_such_user_here/runs", "/runs\0"])
@pytest.mark.parametrize("key", ["output-dir", "data-dir", "resume"])
def test_a_path_that_no_system_can_open_is_refused(key, value):
    refuse(RunConfig, {key: value}, key)


@pytest.mark.parametrize(
    ("key", "value", "default"),
    [
        ("density-penalty", 0.1, 0.0),
        ("entropy-bonus", 1.0, 0.0),
        ("entropy-bonus", -1.0, 0.0),
        ("uplink", "packed", "side-info"),
        ("uplink", "sampled", "side-info"),
        ("sampled-extra-bits", 3.0, 5.0),
    ],
)
def test_fedavg_refuses_what_it_does_not_heed(key, value, default):
    message = refuse(FedAvgConfig, {"strategy": "fedavg", key: value}, key)
    assert message == f"{key} = {value!r}: expected {default!r}: strategy fedavg does not use it"
    assert parse(FedAvgConfig, {"strategy": "fedavg", key: default}) == FedAvgConfig(strategy="fedavg")


def test_fedavg_takes_what_concerns_its_values_and_its_state():
    config = parse(FedAvgConfig, {"strategy": "fedavg", "value-type": "float16", "downlink": "relay"})
    assert (config.value_type, config.downlink) == ("float16", "relay")


def test_a_foreign_key_does_not_hide_an_unknown_one():
    refuse(FedAvgConfig, {"eps": 0.1, "esp": 0.1}, "esp", foreign=["eps"])


# --- a user's own method


@dataclass(frozen=True)
class OwnConfig(RunConfig):
    rate: float = number(0.5, 0, 1)
    colour: str = choice("red", "red", "blue")
    warm: bool = False
    steps: int = 3


def test_own_keys_are_checked_like_ours():
    config = parse(OwnConfig, {"rate": 1, "colour": "blue", "warm": True, "steps": -4, "seed": 2})
    assert (config.rate, config.colour, config.warm, config.steps, config.seed) == (1.0, "blue", True, -4, 2)
    assert refuse(OwnConfig, {"rate": 2}, "rate") == "rate = 2.0: expected a number of at least 0 and at most 1"
    assert refuse(OwnConfig, {"colour": "green"}, "colour") == "colour = 'green': expected one of red, blue"
    assert refuse(OwnConfig, {"warm": 1}, "warm") == "warm = 1: expected true or false"
    assert refuse(OwnConfig, {"steps": True}, "steps") == "steps = True: expected a whole number"


def test_own_config_may_postpone_its_annotations(tmp_path, monkeypatch):
    (tmp_path / "own_config_postponed.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from fedgates.config import RunConfig, number\n"
        "@dataclass(frozen=True)\n"
        "class Own(RunConfig):\n"
        "    rate: float = number(0.5, 0, 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        own = importlib.import_module("own_config_postponed").Own
        assert parse(own, {"rate": 1}).rate == 1.0
        assert refuse(own, {"rate": 2}, "rate") == "rate = 2.0: expected a number of at least 0 and at most 1"
    finally:
        sys.modules.pop("own_config_postponed", None)


def test_keys_are_kebab_case_of_the_fields():
    assert key_names(OwnConfig)[-4:] == ("rate", "colour", "warm", "steps")
    assert [name.replace("-", "_") for name in key_names(RunConfig)] == [f.name for f in fields(RunConfig)]
