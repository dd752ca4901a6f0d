"""Old names of keys and old values stay readable."""

import pytest

from fedgates.config.aliases import ALIASES, OLD_NAMES, VALUE_ALIASES, current_name, current_names, merged
from fedgates.config.keys import all_keys, keys_of, used_keys
from fedgates.config.parsing import parse, to_dict
from fedgates.errors import ConfigError

# every key of [tool.flwr.app.config] in version 0.1
OLD_KEYS = """strategy dataset data-dir synthetic-features synthetic-support synthetic-examples synthetic-noise model partition
dirichlet-alpha classes-per-client samples-per-client num-server-rounds fraction-train fraction-evaluate quorum
max-failed-rounds round-timeout min-clients trim max-examples local-epochs batch-size learning-rate precision client-threads
seed density-penalty target-density entropy-bonus uplink sampled-extra-bits downlink value-type flip-probability max-gates
max-payload-mb max-decode-mb max-relay-updates output-dir trackers resume weight-scale evaluations ensemble-size
straight-through eps prior reset-every score-init dual-learning-rate dual-restart entropy-bonus-final gate-learning-rate
initial-density initial-eps momentum weight-decay final-learning-rate server-learning-rate iht-clients powerprop prune
prune-activations lips-every lips-density personal"""
OLD = OLD_KEYS.split()


@pytest.mark.parametrize("old", OLD)
def test_every_old_key_has_a_present_name(configs, old):
    assert current_name(old) in all_keys(configs.values())


def test_aliases_are_the_old_keys_that_were_renamed(configs):
    known = all_keys(configs.values())
    assert set(ALIASES) == {name for name in OLD if name not in known}
    assert len(OLD_NAMES) == len(ALIASES)
    assert set(VALUE_ALIASES) <= set(known)
    assert {current_name(name) for name in OLD} <= set(known)


def test_old_values_are_read_under_either_name(configs):
    raw = {"weight-scale": "released", "fedpm.straight-through": "released", "score-init": "released"}
    assert current_names(raw) == {
        "gates.weight-scale": "authors-code",
        "fedpm.straight-through": "authors-code",
        "fedpm.score-init": "released",
    }
    config = parse(configs["fedpm"], {"weight-scale": "released"})
    assert to_dict(config)["gates.weight-scale"] == "authors-code"


def test_both_spellings_of_a_key_are_refused(configs):
    for raw in ({"eps": 0.01, "fedpm.eps": 0.02}, {"fedpm": {"eps": 0.02}, "eps": 0.01}):
        with pytest.raises(ConfigError) as error:
            parse(configs["fedpm"], raw)
        assert str(error.value) == "eps = 0.01: expected either eps or fedpm.eps, which are the same key"


def test_a_later_config_replaces_a_key_under_either_name(configs):
    app = {"seed": 1, "fedpm.eps": 0.001, "quorum": 0.5}
    found = merged(app, {"eps": 0.01, "server.quorum": 0.4}, {"server.quorum": 0.3})
    assert found == {"seed": 1, "eps": 0.01, "server.quorum": 0.3}
    assert app == {"seed": 1, "fedpm.eps": 0.001, "quorum": 0.5}
    assert merged() == {}
    with pytest.raises(ConfigError):  # but one config with both spellings stays ambiguous
        parse(configs["fedpm"], merged(app, {"eps": 0.01, "fedpm.eps": 0.02}))


def test_unknown_keys_pass_through():
    assert current_names({"fade": 2, "a.b": [1]}) == {"fade": 2, "a.b": [1]}
    assert current_names({"prune": 1}, own=["prune"]) == {"prune": 1}


def test_a_config_written_before_the_tables_is_read(configs):
    old = {
        "strategy": "sparsyfed",
        "target-density": 0.05,
        "learning-rate": 0.5,
        "final-learning-rate": 0.01,
        "weight-decay": 0.001,
        "prune-activations": False,
        "client-threads": 2,
    }
    config = parse(configs["sparsyfed"], old, configs.values())
    assert (config.density.target, config.learning_rate_final, config.sgd.weight_decay) == (0.05, 0.01, 0.001)
    assert (config.sparsyfed.prune_activations, config.client.threads) == (False, 2)
    assert parse(configs["sparsyfed"], to_dict(config)) == config
    assert set(to_dict(config)) == set(keys_of(configs["sparsyfed"]))


def test_a_whole_config_of_every_method_is_read_under_old_names(configs, minimal):
    defaults = {old: all_keys(configs.values())[current_name(old)].default for old in OLD}
    for name, config in configs.items():
        rate = {"learning-rate": 0.1} if "learning-rate" in used_keys(config) else {}
        old = {**defaults, **rate, "strategy": name, "target-density": minimal(name).get("density.target", 0.0)}
        parsed = parse(config, old, configs.values())
        assert to_dict(parsed) == to_dict(parse(config, {**minimal(name), **rate}))
