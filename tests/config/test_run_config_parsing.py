"""From keys and values to a configuration of each method: what is accepted, and the line that refuses the rest."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgates.config.fields import bounds_of, check_of
from fedgates.config.flat import flatten
from fedgates.config.keys import all_keys, keys_of, used_keys
from fedgates.config.names import DEFAULT_STRATEGY
from fedgates.config.parsing import changed, class_of, parse, require_density, to_dict, updated
from fedgates.config.run_config import RunConfig, WeightConfig
from fedgates.errors import ConfigError

METHODS = [
    "coupled-masks",
    "fedpm",
    "fedmask",
    "one-bit-gates",
    "entropy-gates",
    "sparsyfed",
    "lips",
    "topk",
    "signsgd",
    "fediht",
    "fedavg",
]
OF_MASKS = "gates.sent gates.gated gates.evaluations gates.weight-scale"
FLAT = """strategy dataset data-dir model partition num-server-rounds stop-accuracy stop-patience keep-best evaluate-every
fraction-train dropout fraction-evaluate local-epochs batch-size learning-rate learning-rate-final logit-adjustment loss metric
weights fresh personal-epochs precision seed uplink downlink output-dir trackers resume"""
TABLES = {
    "data": "seed dirichlet-alpha classes-per-client samples-per-client task standardise label features test-fraction resize"
    " augment",
    "synthetic": "features support examples noise",
    "server": "quorum max-failed-rounds round-timeout min-clients trim max-norm max-examples decoders",
    "client": "threads train-together",
    "density": "target penalty entropy-bonus entropy-bonus-final dual-learning-rate dual-restart",
    "wire": "sampled-extra-bits value-type",
    "privacy": "flip-probability",
    "limits": "max-gates max-payload-mb max-decode-mb max-relay-updates",
    "gates": "fixed personal sent gated frozen initial-theta sent-learning-rate sent-start weight-scale evaluations"
    " ensemble-size",
    "sgd": "momentum weight-decay",
    "coupled-masks": "trials score-learning-rate max-step class-prior",
    "fedpm": "straight-through eps prior reset-every score-init",
    "one-bit-gates": "initial-eps",
    "entropy-gates": "gate-learning-rate initial-density cut",
    "signsgd": "server-learning-rate",
    "fediht": "clients",
    "sparsyfed": "powerprop prune score dense-rounds density-rounds prune-activations prune-input",
    "lips": "every density",
}


def refused(configs, raw):
    with pytest.raises(ConfigError) as error:
        parse(configs[raw.get("strategy", DEFAULT_STRATEGY)], raw, configs.values())
    assert str(error.value).startswith(f"{error.value.key} = ")
    assert "\n" not in str(error.value)
    return str(error.value)


# --- the keys


def test_there_are_eleven_methods(configs):
    assert list(configs) == METHODS


def test_the_keys_are_those_of_the_contract(configs):
    tables = {f"{table}.{name}" for table, names in TABLES.items() for name in names.split()}
    assert set(all_keys(configs.values())) == {*FLAT.split(), *tables}


def test_flat_keys_come_first_and_in_order():
    assert list(keys_of(RunConfig))[: len(FLAT.split())] == FLAT.split()


@pytest.mark.parametrize(
    ("method", "absent"),
    [
        ("coupled-masks", "sgd density.target fedpm learning-rate logit-adjustment privacy wire.sampled-extra-bits"),
        ("fedpm", "sgd density.target density.entropy-bonus density.dual-restart"),
        ("fedmask", "sgd density.target fedpm.score-init wire.sampled-extra-bits"),
        ("one-bit-gates", "sgd density.penalty server.trim privacy entropy-gates"),
        (
            "entropy-gates",
            OF_MASKS + " fedpm density.penalty privacy uplink wire.sampled-extra-bits one-bit-gates",
        ),
        (
            "sparsyfed",
            OF_MASKS + " fedpm density.penalty density.entropy-bonus privacy wire.sampled-extra-bits",
        ),
        (
            "lips",
            OF_MASKS + " density uplink privacy wire.sampled-extra-bits sparsyfed",
        ),
        ("topk", OF_MASKS + " density.penalty privacy wire.sampled-extra-bits"),
        (
            "signsgd",
            OF_MASKS + " density server.trim wire.sampled-extra-bits wire.value-type server.max-norm",
        ),
        (
            "fediht",
            OF_MASKS + " density.penalty privacy wire.sampled-extra-bits",
        ),
        (
            "fedavg",
            OF_MASKS + " density.penalty uplink privacy wire.sampled-extra-bits lips",
        ),
    ],
)
def test_keys_that_do_not_apply_to_a_method(configs, method, absent):
    used = set(used_keys(configs[method]))
    for name in absent.split():
        assert not {key for key in used if key == name or key.startswith(f"{name}.")}


@pytest.mark.parametrize(
    ("method", "present"),
    [
        ("coupled-masks", "coupled-masks.trials coupled-masks.class-prior server.trim gates.evaluations uplink downlink"),
        ("fedpm", "fedpm.eps density.penalty server.trim privacy.flip-probability gates.evaluations wire.sampled-extra-bits"),
        ("fedmask", "fedpm.eps density.penalty server.trim privacy.flip-probability uplink"),
        ("one-bit-gates", "fedpm.eps one-bit-gates.initial-eps density.target density.dual-restart density.entropy-bonus"),
        ("entropy-gates", "entropy-gates.initial-density density.target density.dual-restart sgd.momentum wire.value-type"),
        ("sparsyfed", "sparsyfed.powerprop density.target sgd.momentum uplink learning-rate-final"),
        ("lips", "lips.every sgd.momentum learning-rate-final wire.value-type"),
        ("topk", "density.target sgd.momentum uplink wire.value-type"),
        ("signsgd", "signsgd.server-learning-rate privacy.flip-probability uplink learning-rate-final"),
        ("fediht", "fediht.clients density.target uplink wire.value-type"),
        ("fedavg", "server.trim server.max-norm density.target sgd.weight-decay wire.value-type learning-rate-final"),
    ],
)
def test_keys_that_apply_to_a_method(configs, method, present):
    assert set(present.split()) <= set(used_keys(configs[method]))


@pytest.mark.parametrize("method", METHODS)
def test_unused_names_keys_of_the_class(configs, method):
    assert configs[method].unused <= set(keys_of(configs[method]))


# --- what is accepted


@pytest.mark.parametrize("method", METHODS)
def test_defaults_pass_their_own_checks(configs, minimal, method):
    config = parse(configs[method], minimal(method), configs.values())
    assert changed(config).keys() <= minimal(method).keys()
    for key in keys_of(configs[method]).values():
        assert key.problem(key.default) is None
        assert type(key.default) is key.kind


@pytest.mark.parametrize("method", METHODS)
def test_every_key_of_every_method_may_be_set_to_its_default(configs, minimal, method):
    defaults = {name: key.default for name, key in all_keys(configs.values()).items()}
    assert parse(configs[method], {**defaults, **minimal(method)}, configs.values()) == parse(configs[method], minimal(method))


@pytest.mark.parametrize(
    ("method", "rate"),
    [(name, 0.1) for name in ("fedpm", "fedmask", "one-bit-gates", "signsgd")]
    + [(name, 0.3) for name in ("fedavg", "lips", "topk", "fediht")]
    + [(name, 0.5) for name in ("sparsyfed", "entropy-gates")],
)
def test_a_learning_rate_of_0_is_the_methods_own(configs, minimal, method, rate):
    for raw in ({}, {"learning-rate": 0}, {"learning-rate": 0.0}):
        config = parse(configs[method], {**minimal(method), **raw})
        assert config.learning_rate == rate == configs[method]().learning_rate
        assert to_dict(config)["learning-rate"] == rate
        assert "learning-rate" not in changed(config)
    assert parse(configs[method], {**minimal(method), "learning-rate": 1}).learning_rate == 1.0


def test_a_written_default_is_the_same_configuration(configs):
    assert parse(configs["fedavg"], {"strategy": "fedavg", "learning-rate": 0.3}) == configs["fedavg"](strategy="fedavg")


def test_values_are_typed_and_the_rest_has_its_default(configs):
    config = parse(configs["fedpm"], {"batch-size": 5, "learning-rate": 1, "model": "my.nets:small", "reset-every": 4})
    assert (config.batch_size, config.learning_rate, config.model, config.fedpm.reset_every) == (5, 1.0, "my.nets:small", 4)
    assert type(config.learning_rate) is float
    assert config.local_epochs == 3


def test_values_go_to_json_and_back_exactly(configs):
    config = parse(configs["fedpm"], {"seed": 2**53 + 1, "eps": 1 / 3})
    assert (config.seed, config.fedpm.eps) == (2**53 + 1, 1 / 3)
    assert parse(configs["fedpm"], json.loads(json.dumps(to_dict(config)))) == config
    assert list(to_dict(config)) == list(keys_of(configs["fedpm"]))


def test_changed_keys_are_in_the_order_of_declaration(configs):
    config = parse(configs["fedavg"], {"sgd": {"momentum": 0.9}, "seed": 3, "strategy": "fedavg", "data.dirichlet-alpha": 0.5})
    assert list(changed(config).items()) == [("strategy", "fedavg"), ("seed", 3), ("sgd.momentum", 0.9)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fraction-train", 1),
        ("fraction-train", 1e-9),
        ("fraction-evaluate", 0),
        ("server.quorum", 1.0),
        ("seed", 2**63 - 1),
        ("seed", 0),
        ("num-server-rounds", 1_000_000),
        ("dataset", "npz:/a b/c.npz"),
        ("dataset", "folder:/a"),
        ("dataset", "devices:28x28x1:10"),
        ("dataset", "synthetic-logistic"),
        ("synthetic.features", 1),
        ("synthetic.support", 1_000_000),
        ("synthetic.noise", 0),
        ("data-dir", "~"),
        ("data-dir", "~/x"),
        ("output-dir", "/"),
        ("resume", "/runs/one"),
        ("model", "leaf-cnn"),
        ("model", "a.b:c"),
        ("trackers", "tensorboard,wandb=me/mine,own:Tracker"),
        ("density.penalty", 10),
        ("fedpm.prior", 2.5),
        ("fedpm.eps", 1e-6),
        ("fedpm.straight-through", "authors-code"),
        ("uplink", "packed"),
        ("uplink", "entropy"),
        ("uplink", "side-info"),
        ("uplink", "sampled"),
        ("downlink", "votes"),
        ("downlink", "float32"),
        ("downlink", "relay"),
        ("wire.sampled-extra-bits", 0),
        ("wire.sampled-extra-bits", 7.5),
        ("wire.value-type", "float32"),
        ("limits.max-gates", 2**32 - 1),
        ("gates.weight-scale", "authors-code"),
        ("gates.evaluations", "threshold"),
        ("gates.evaluations", "ensemble,threshold"),
    ],
)
def test_the_edges_are_included(configs, key, value):
    assert to_dict(parse(configs["fedpm"], {key: value}))[key] == value


def values_of(key):
    """A strategy for valid values of a key."""
    if key.name == "learning-rate":
        return st.floats(1e-6, 10.0)
    if key.choices:
        return st.sampled_from(key.choices)
    if key.kind is bool:
        return st.booleans()
    if key.kind is str:
        others = {"path": ["/a", "~/b c"], "resume": ["", "/r"], "model": ["cnn", "a:b"], "dataset": ["mnist", "npz:/ä.npz"]}
        return st.sampled_from([key.default, *others.get(check_of(key.field), [])])
    bounds = bounds_of(key.field)
    low = bounds.get("ge", bounds.get("gt", -1e6))
    high = min(bounds.get("le", 1e6), 1e6) if key.kind is float else bounds["le"]
    if key.kind is int:
        return st.integers(int(low), int(high))
    return st.floats(low, high, exclude_min="gt" in bounds)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", METHODS)
def test_parse_inverts_to_dict(configs, minimal, method):
    keys = {name: key for name, key in used_keys(configs[method]).items() if name not in ("strategy", "density.target")}

    @settings(max_examples=20, deadline=None)
    @given(st.fixed_dictionaries({}, optional={name: values_of(key) for name, key in keys.items()}))
    def inverse(raw):
        config = parse(configs[method], {**raw, **minimal(method)}, configs.values())
        written = to_dict(config)
        assert {name: written[name] for name in raw} == raw
        assert parse(configs[method], json.loads(json.dumps(written)), configs.values()) == config
        assert parse(configs[method], {**minimal(method), **changed(config)}, configs.values()) == config

    inverse()


def test_tables_and_dotted_keys_are_the_same():
    assert flatten({"a": {"b": {"c": 1}, "d": 2}, "e": "x", "f": {}}) == {"a.b.c": 1, "a.d": 2, "e": "x"}
    with pytest.raises(ConfigError, match=r"^a\.b = 2: expected each key once$"):
        flatten({"a": {"b": 1}, "a.b": 2})


def test_a_copy_has_other_values_and_is_checked(configs):
    before = parse(configs["fedpm"], {"seed": 3, "fedpm.eps": 0.01})
    after = updated(before, {"eps": 0.02, "server": {"quorum": 1}})
    assert changed(after) == {"seed": 3, "fedpm.eps": 0.02, "server.quorum": 1.0}
    assert changed(before) == {"seed": 3, "fedpm.eps": 0.01}
    with pytest.raises(ConfigError, match=r"^fedpm\.eps = 7: expected a number from 1e-06 to 0\.499$"):
        updated(before, {"fedpm.eps": 7})


# --- what is refused

DATASETS = "digits, synthetic-linear, synthetic-logistic, mnist, fashion-mnist, emnist, cifar10, cifar100"
DATASET = f'one of {DATASETS}, "npz:/abs/file.npz", "folder:/abs/dir", "table:/abs/file.csv" or "devices:SHAPE:OUTPUT"'
MODEL = 'one of mlp, cnn, conv4, conv6, conv10, leaf-cnn, resnet8, resnet18, vgg11, linear, logistic or "module:name"'
PATH = "an absolute path, or one under ~ (the app does not run in your working directory)"
MILLION = "a whole number from 1 to 1,000,000"
KNOWN_TRACKERS = 'tensorboard, wandb or wandb=entity/project, mlflow or mlflow=URI, "module:Class"'
TRACKERS = f"empty, or each tracker once, separated by commas: {KNOWN_TRACKERS}"
EVALUATIONS = "threshold, then any of sample, mean, ensemble, separated by commas"
RATE = "a number of at least 0; 0 is the method's own default"
UPLINKS = "one of packed, entropy, side-info, sampled"
BAD = [
    # unknown keys
    ("batchsize", 3, "a known key; did you mean batch-size?"),
    ("learning_rate", 0.1, "a known key; did you mean learning-rate?"),
    ("straigth-through", "identity", "a known key; did you mean fedpm.straight-through?"),
    ("fedpm.straight_through", "identity", "a known key; did you mean fedpm.straight-through?"),
    ("quorom", 0.5, "a known key; did you mean server.quorum?"),
    ("target", 0.5, "a known key; did you mean density.target?"),
    ("wire.uplink", "packed", "a known key; did you mean uplink?"),
    ("zzz", 1, "a known key"),
    ("server", 1, "a table; its keys are " + ", ".join(f"server.{name}" for name in TABLES["server"].split())),
    # types
    ("batch-size", True, MILLION),
    ("batch-size", 16.0, MILLION),
    ("batch-size", "16", MILLION),
    ("batch-size", [16], MILLION),
    ("batch-size", None, MILLION),
    ("seed", False, "a whole number from 0 to 9,223,372,036,854,775,807"),
    ("learning-rate", True, RATE),
    ("learning-rate", "0.1", RATE),
    ("fedpm.eps", False, "a number from 1e-06 to 0.499"),
    ("model", 3, f"a string: {MODEL}"),
    ("strategy", 1, "a string: a strategy's name"),
    ("resume", False, f"a string: empty, or the folder of a stopped run: {PATH}"),
    ("uplink", 1, f"a string: {UPLINKS}"),
    ("uplink", ["packed"], f"a string: {UPLINKS}"),
    # not numbers
    ("learning-rate", math.nan, RATE),
    ("learning-rate", math.inf, RATE),
    ("density.penalty", math.nan, "a number of at least 0"),
    ("density.penalty", math.inf, "a number of at least 0"),
    ("fraction-train", math.nan, "a number above 0 and at most 1"),
    ("server.round-timeout", math.inf, "a number above 0"),
    ("learning-rate", 10**400, RATE),
    ("num-server-rounds", 10**400, MILLION),
    ("seed", 10**400, "a whole number from 0 to 9,223,372,036,854,775,807"),
    # ranges
    ("batch-size", 0, MILLION),
    ("batch-size", -5, MILLION),
    ("num-server-rounds", 0, MILLION),
    ("num-server-rounds", 1_000_001, MILLION),
    ("local-epochs", 0, MILLION),
    ("fraction-train", 0.0, "a number above 0 and at most 1"),
    ("fraction-train", 1.01, "a number above 0 and at most 1"),
    ("fraction-evaluate", -0.1, "a number from 0 to 1"),
    ("server.quorum", 1.5, "a number from 0 to 1"),
    ("server.trim", 0.5, "a number from 0 to 0.49"),
    ("data.dirichlet-alpha", 0.0, "a number above 0"),
    ("data.classes-per-client", 0, MILLION),
    ("data.samples-per-client", -1, "a whole number from 0 to 1,000,000,000"),
    ("data.resize", "32", 'empty, or HEIGHTxWIDTH such as "32x32"'),
    ("data.resize", "0x32", 'empty, or HEIGHTxWIDTH such as "32x32"'),
    ("data.augment", "flip,spin", "empty, or each of flip, crop, rotate, trivial, erase at most once, separated by commas"),
    ("data.augment", "flip,flip", "empty, or each of flip, crop, rotate, trivial, erase at most once, separated by commas"),
    ("learning-rate", -0.1, RATE),
    ("seed", -1, "a whole number from 0 to 9,223,372,036,854,775,807"),
    ("seed", 2**63, "a whole number from 0 to 9,223,372,036,854,775,807"),
    ("density.penalty", -1.0, "a number of at least 0"),
    ("privacy.flip-probability", 0.495, "a number from 0 to 0.49"),
    ("wire.sampled-extra-bits", -0.1, "a number from 0 to 7.5"),
    ("wire.sampled-extra-bits", 7.6, "a number from 0 to 7.5"),
    ("wire.sampled-extra-bits", math.nan, "a number from 0 to 7.5"),
    ("wire.sampled-extra-bits", "5", "a number from 0 to 7.5"),
    ("fedpm.eps", 0.0, "a number from 1e-06 to 0.499"),
    ("fedpm.eps", 0.5, "a number from 1e-06 to 0.499"),
    ("fedpm.prior", 0.9, "a number from 1 to 1,000,000"),
    ("fedpm.reset-every", -1, "a whole number from 0 to 1,000,000,000; 0 is the method's own default"),
    ("gates.ensemble-size", 0, "a whole number from 1 to 1,000"),
    ("limits.max-gates", 2**32, "a whole number from 1 to 4,294,967,295"),
    ("limits.max-relay-updates", True, "a whole number from 0 to 65,535"),
    # names
    ("strategy", "", "a strategy's name"),
    ("model", "resnet9", f"{MODEL}; did you mean resnet8?"),
    ("model", "my_nets:", MODEL),
    ("model", "my-nets:f\nb", MODEL),
    ("partition", "IID", "one of iid, dirichlet, classes; did you mean iid?"),
    ("partition", "shards", "one of iid, dirichlet, classes"),
    ("precision", "float16", "one of float32, bfloat16; did you mean bfloat16?"),
    ("uplink", "votes", UPLINKS),
    ("uplink", "side_info", f"{UPLINKS}; did you mean side-info?"),
    ("downlink", "packed", "one of votes, float32, delta, relay"),
    ("downlink", "", "one of votes, float32, delta, relay"),
    ("gates.weight-scale", "he", "one of kaiming, authors-code, density"),
    ("fedpm.straight-through", "", "one of identity, authors-code"),
    ("fedpm.score-init", "zero", "one of half, normal"),
    ("gates.evaluations", "sample", EVALUATIONS),
    ("gates.evaluations", "threshold,threshold", EVALUATIONS),
    ("gates.evaluations", "threshold,", EVALUATIONS),
    ("gates.evaluations", "threshold,smaple", f"{EVALUATIONS}; did you mean sample?"),
    ("trackers", "tensorbord", f"{TRACKERS}; did you mean tensorboard?"),
    ("trackers", "wandb,wandb", TRACKERS),
    ("trackers", "tensorboard=x", TRACKERS),
    # data and paths
    ("dataset", "MNIST", f"{DATASET}; did you mean mnist?"),
    ("dataset", "synthetic", f"{DATASET}; did you mean synthetic-linear?"),
    ("dataset", "zip:/a", DATASET),
    ("dataset", "/a", DATASET),
    ("dataset", "devices:8x8:10", DATASET),
    ("dataset", "npz:rel.npz", f'{PATH}, after "npz:"'),
    ("dataset", "folder:", f'{PATH}, after "folder:"'),
    ("synthetic.features", 0, MILLION),
    ("synthetic.support", 0, MILLION),
    ("synthetic.examples", 1_000_001, MILLION),
    ("synthetic.noise", -0.1, "a number from 0 to 1,000"),
    ("data-dir", "data", PATH),
    ("data-dir", "", PATH),
    ("output-dir", "./runs", PATH),
    ("output-dir", "~no_such_user_here/runs", PATH),
    ("output-dir", "/runs\0", PATH),
    ("data-dir", "~no_such_user_here/runs", PATH),
    ("data-dir", "/runs\0", PATH),
    ("resume", "~no_such_user_here/runs", f"empty, or the folder of a stopped run: {PATH}"),
    ("resume", "/runs\0", f"empty, or the folder of a stopped run: {PATH}"),
    ("resume", "runs/one", f"empty, or the folder of a stopped run: {PATH}"),
    # what fedpm does not use: keys of shared tables, and keys of other methods
    ("density.target", 0.1, "0.0: strategy fedpm does not use it"),
    ("density.entropy-bonus", -0.1, "0.0: strategy fedpm does not use it"),
    ("density.target", 1.1, "0.0: strategy fedpm does not use it"),
    ("wire.value-type", "bfloat16", "one of float32, float16; did you mean float16?"),
    ("sgd.momentum", 0.9, "0.0: strategy fedpm does not use it"),
    ("sgd.momentum", False, "a number from 0 to 0.9999"),
    ("sparsyfed.powerprop", -3, "1.25: strategy fedpm does not use it"),
    ("sparsyfed.prune", "both", "'weights': strategy fedpm does not use it"),
    ("lips.every", 4, "5: strategy fedpm does not use it"),
    ("lips.every", 5.0, MILLION),
    # the same, by old names
    ("momentum", 0.9, "0.0: strategy fedpm does not use it"),
    ("powerprop", -3, "1.25: strategy fedpm does not use it"),
    ("eps", 0.5, "a number from 1e-06 to 0.499"),
    ("quorum", 2, "a number from 0 to 1"),
]


@pytest.mark.parametrize(("key", "value", "expected"), BAD, ids=lambda v: str(v)[:20])
def test_bad_input_is_one_line_with_key_value_and_expectation(configs, key, value, expected):
    raw = {"strategy": "fedpm", "local-epochs": 5 if key != "local-epochs" else value, key: value}
    with pytest.raises(ConfigError) as error:
        parse(configs["fedpm"], raw, configs.values())
    assert str(error.value) == f"{key} = {value!r}: expected {expected}"
    assert error.value.key == key


@pytest.mark.parametrize("value", [math.nan, -math.inf, "x"])
def test_a_number_without_bounds_is_a_number(configs, value):
    raw = {"strategy": "entropy-gates", "density.target": 0.1, "density.entropy-bonus": value}
    assert refused(configs, raw) == f"density.entropy-bonus = {value!r}: expected a number"


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, "0.1", True])
def test_a_density_is_a_share(configs, value):
    line = f"density.target = {value!r}: expected a number from 0 to 1"
    assert refused(configs, {"strategy": "topk", "density.target": value}) == line


@pytest.mark.parametrize("value", ["bfloat16", "", "float64"])
def test_values_travel_in_one_of_two_types(configs, value):
    line = f"wire.value-type = {value!r}: expected one of float32, float16"
    assert refused(configs, {"strategy": "fedavg", "wire.value-type": value}).startswith(line)


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
def test_fedavg_refuses_shared_keys_that_it_does_not_use(configs, key, value, default):
    line = f"{key} = {value!r}: expected {default!r}: strategy fedavg does not use it"
    assert refused(configs, {"strategy": "fedavg", key: value}) == line
    assert parse(configs["fedavg"], {"strategy": "fedavg", key: default}) == configs["fedavg"](strategy="fedavg")


def test_fedavg_uses_the_keys_of_its_values_and_of_its_state(configs):
    config = parse(configs["fedavg"], {"strategy": "fedavg", "value-type": "float16", "downlink": "relay"})
    assert (config.wire.value_type, config.downlink) == ("float16", "relay")


@pytest.mark.parametrize("known", [{"eps": 0.001}, {"fedpm.eps": 0.001}])
def test_another_methods_key_does_not_hide_an_unknown_one(configs, known):
    line = "esp = 0.1: expected a known key; did you mean fedpm.eps?"
    assert refused(configs, {"strategy": "fedavg", **known, "esp": 0.1}) == line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"strategy": "fedavg", "fedpm.eps": 0.5}, "fedpm.eps = 0.5: expected 0.001: strategy fedavg does not use it"),
        ({"strategy": "fedavg", "eps": 0.01}, "eps = 0.01: expected 0.001: strategy fedavg does not use it"),
        (
            {"strategy": "fedavg", "uplink": "packed"},
            "uplink = 'packed': expected 'side-info': strategy fedavg does not use it",
        ),
        (
            {"strategy": "signsgd", "wire": {"value-type": "float16"}},
            "wire.value-type = 'float16': expected 'float32': strategy signsgd does not use it",
        ),
        (
            {"strategy": "fedavg", "privacy.flip-probability": 0.1},
            "privacy.flip-probability = 0.1: expected 0.0: strategy fedavg does not use it",
        ),
        ({"strategy": "lips", "density.target": 0.1}, "density.target = 0.1: expected 0.0: strategy lips does not use it"),
        (
            {"strategy": "fedmask", "fedpm.score-init": "normal"},
            "fedpm.score-init = 'normal': expected 'half': strategy fedmask does not use it",
        ),
    ],
)
def test_a_key_that_the_method_does_not_use_must_be_at_its_default(configs, raw, line):
    assert refused(configs, raw) == line


@pytest.mark.parametrize("method", ["one-bit-gates", "entropy-gates", "topk", "fediht", "sparsyfed"])
def test_a_method_that_needs_a_density_refuses_to_run_without_one(configs, method):
    line = f"density.target = 0.0: expected a share above 0: strategy {method} needs one, such as density.target=0.1"
    assert configs[method].requires_density
    assert refused(configs, {"strategy": method}) == line
    old = f"target-density = 0.0: expected a share above 0: strategy {method} needs one, such as target-density=0.1"
    assert refused(configs, {"strategy": method, "target-density": 0}) == old
    with pytest.raises(ConfigError) as error:
        require_density(configs[method](strategy=method))
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("name", "hint"), [("fedpn", "; did you mean fedpm?"), ("Sparsy_Fed", "; did you mean sparsyfed?"), ("x", ""), (3, "")]
)
def test_an_unknown_method_is_refused_with_the_nearest_name(configs, name, hint):
    with pytest.raises(ConfigError) as error:
        class_of(name, configs)
    assert str(error.value) == f'strategy = {name!r}: expected one of {", ".join(METHODS)} or "module:Class"{hint}'


def test_other_methods_keys_are_known_only_if_their_classes_are_given(configs):
    with pytest.raises(ConfigError, match=r"^lips\.every = 5: expected a known key"):
        parse(configs["fedpm"], {"lips.every": 5})
    assert parse(configs["fedpm"], {"lips.every": 5}, [configs["lips"]]) == configs["fedpm"]()


# --- what methods compute of their keys


def test_a_final_learning_rate_is_approached_exponentially():
    config = parse(RunConfig, {"learning-rate": 0.4, "learning-rate-final": 0.1, "num-server-rounds": 3})
    assert [config.rate(n) for n in (1, 2, 3, 4)] == pytest.approx([0.4, 0.2, 0.1, 0.1])
    assert parse(RunConfig, {"learning-rate": 0.4, "learning-rate-final": 0.1, "num-server-rounds": 1}).rate(1) == 0.4
    assert WeightConfig().rate(30) == 0.3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_final_learning_rate(configs, method):
    assert "learning-rate-final" in used_keys(configs[method])


def test_density_control(configs):
    raw = {"density.target": 0.1, "num-server-rounds": 3, "density": {"entropy-bonus": 0.2, "entropy-bonus-final": -0.2}}
    config = parse(configs["entropy-gates"], {"strategy": "entropy-gates", **raw})
    assert [config.bonus(n) for n in (1, 2, 3, 9)] == pytest.approx([0.2, 0.0, -0.2, -0.2])
    assert config.dual_step(1.0, 0.3) == pytest.approx(1 + 2.5 * 0.2)
    assert config.dual_step(1.0, 0.1) == 0.0
    kept = parse(type(config), {"density.target": 0.1, "density.dual-restart": False, "density.dual-learning-rate": 2.0})
    assert kept.dual_step(1.0, 0.05) == pytest.approx(0.9)
    assert configs["one-bit-gates"](strategy="x").default_dual_learning_rate == 20.0


def test_the_eps_of_one_bit_gates_falls_geometrically(configs):
    raw = {"density.target": 0.1, "one-bit-gates.initial-eps": 0.1, "fedpm.eps": 0.001, "num-server-rounds": 3}
    config = parse(configs["one-bit-gates"], raw)
    assert [config.clip(n) for n in (1, 2, 3, 4)] == pytest.approx([0.1, 0.01, 0.001, 0.001])
    assert parse(configs["one-bit-gates"], {**raw, "num-server-rounds": 1}).clip(1) == pytest.approx(0.001)
