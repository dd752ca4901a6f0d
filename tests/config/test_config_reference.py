"""What is generated from the declarations: pages, blocks and lists, and that the written ones are up to date."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fedgates.config import reference
from fedgates.config.aliases import ALIASES, current_name
from fedgates.config.flat import flatten
from fedgates.config.keys import all_keys
from fedgates.config.parsing import parse
from fedgates.config.run_config import RunConfig
from fedgates.errors import ConfigError

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"
SHIPPED = flatten(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"])
PAGE = ROOT / "docs/reference/configuration.md"

CONTRACT = """strategy dataset data-dir partition dirichlet-alpha classes-per-client samples-per-client model num-server-rounds
fraction-train fraction-evaluate local-epochs batch-size learning-rate precision seed density-penalty target-density
entropy-bonus uplink downlink output-dir resume"""


def test_the_shipped_block_is_the_generated_one(configs):
    assert reference.toml_block(configs) in PYPROJECT.read_text(encoding="utf-8"), "run: fedgates config --toml"
    assert list(SHIPPED) == list(flatten(tomllib.loads(reference.toml_block(configs))["tool"]["flwr"]["app"]["config"]))


@pytest.mark.parametrize("old", CONTRACT.split())
def test_every_key_that_others_rely_on_is_in_pyproject(old):
    assert current_name(old) in SHIPPED


def test_the_shipped_strategy_is_one_of_ours(configs):
    assert SHIPPED["strategy"] in configs
    assert RunConfig().strategy == SHIPPED["strategy"]


def test_the_reference_page_is_the_generated_one(configs):
    assert PAGE.read_text(encoding="utf-8") == reference.markdown(configs), "run: fedgates config --markdown"


def test_the_block_has_every_key_at_its_default(configs, minimal):
    block = flatten(tomllib.loads(reference.toml_block(configs))["tool"]["flwr"]["app"]["config"])
    assert block == {name: key.default for name, key in all_keys(configs.values()).items()}
    assert {name: type(value) for name, value in block.items()} == {
        n: key.kind for n, key in all_keys(configs.values()).items()
    }
    for name, config in configs.items():
        assert parse(config, {**block, **minimal(name)}, configs.values()) == parse(config, minimal(name))


def test_every_line_of_the_block_has_a_comment(configs):
    lines = reference.toml_block(configs).splitlines()
    pairs = [line for line in lines if line and not line.startswith(("#", "["))]
    assert len(pairs) == len(all_keys(configs.values()))
    assert [line for line in pairs if not re.fullmatch(r'[a-z-]+ = ("[^"]*"|[^"# ]+) *  # [A-Z].*\.', line)] == []


def test_a_methods_block_has_its_keys_and_its_defaults(configs):
    block = flatten(tomllib.loads(reference.toml_block(configs, "sparsyfed"))["tool"]["flwr"]["app"]["config"])
    assert (block["strategy"], block["learning-rate"], block["sparsyfed.powerprop"]) == ("sparsyfed", 0.5, 1.25)
    assert "fedpm.eps" not in block


def test_every_description_is_one_sentence(configs):
    for key in all_keys(configs.values()).values():
        assert re.fullmatch(r"[A-Z][^\n]*\.", key.description), key.name
        assert not re.search(r"[a-z)]\. [A-Z]", key.description), key.name


def test_the_page_names_every_key_and_every_old_name(configs):
    page = reference.markdown(configs)
    for name in all_keys(configs.values()):
        assert len(re.findall(rf"^\| `{re.escape(name)}` \|", page, re.MULTILINE)) == 1
    for old, new in ALIASES.items():
        assert f"| `{old}` | `{new}` |" in page
    assert all(line.count(" | ") in (1, 2, 4) for line in page.splitlines() if line.startswith("| "))


def test_a_key_is_found_by_its_old_name_and_refused_with_the_nearest(configs):
    assert reference.find_key("eps", configs).name == reference.find_key("fedpm.eps", configs).name == "fedpm.eps"
    with pytest.raises(ConfigError) as error:
        reference.find_key("momentun", configs)
    assert str(error.value) == "KEY = 'momentun': expected a key or a table of the configuration; did you mean sgd.momentum?"


def test_an_explanation(configs):
    key = all_keys(configs.values())["fedpm.straight-through"]
    assert reference.explanation(key, configs, width=110).splitlines() == [
        "fedpm.straight-through",
        "  Gradient of a mask with respect to theta: identity, or multiplied by theta as in the authors' code.",
        "  accepts:   one of identity, authors-code",
        '  default:   "identity"',
        "  used by:   fedpm, fedmask, one-bit-gates",
        "  old name:  straight-through",
        "  old value: released, now authors-code",
        "  example:   flwr run . --run-config 'fedpm.straight-through=\"authors-code\"'",
    ]


def test_each_example_is_accepted_and_changes_a_key_that_is_off(configs):
    for name, key in all_keys(configs.values()).items():
        assert key.problem(key.example) is None, name
        assert key.example != key.default or key.default not in {0, -1, ""}, name  # 0 is False, too


def test_a_listing_is_as_wide_as_it_may_be_and_has_every_key(configs):
    keys = all_keys(configs.values())
    lines = reference.listing(keys.values(), configs, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    for name in keys:
        assert len([line for line in lines if line.startswith(f"  {name} = ")]) == 1


def test_the_json_schema_has_types_bounds_and_texts(configs):
    schema = json.loads(json.dumps(reference.json_schema(configs)))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {name.partition(".")[0] for name in all_keys(configs.values())}
    eps = schema["$defs"]["FedPMTable"]["properties"]["eps"]
    assert (eps["type"], eps["minimum"], eps["maximum"], eps["default"]) == ("number", 1e-6, 0.499, 0.001)
    assert schema["properties"]["uplink"]["enum"] == ["packed", "entropy", "side-info", "sampled"]
    assert "fedpm" not in reference.json_schema(configs, "fedavg")["properties"]


def test_values_for_scripts(configs):
    (found,) = reference.as_values([all_keys(configs.values())["learning-rate"]], configs, "lips")
    assert found == {
        "key": "learning-rate",
        "table": "",
        "type": "number",
        "default": 0.3,
        "accepts": "a number of at least 0; 0 is the method's own default",
        "choices": [],
        "example": 0.05,
        "description": found["description"],
        "used_by": [name for name in configs if name != "coupled-masks"],
        "old_name": None,
    }
