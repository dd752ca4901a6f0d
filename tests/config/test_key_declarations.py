"""Keys that an author declares: how they are checked, and which declarations are refused."""

import importlib
import sys
from typing import Literal, Self

import pytest
from pydantic import ValidationError, model_validator

from fedgates.config.fields import key
from fedgates.config.keys import keys_of
from fedgates.config.parsing import changed, parse, to_dict
from fedgates.config.run_config import MaskConfig
from fedgates.config.tables import Table
from fedgates.errors import ConfigError


class FadingTable(Table):
    """Votes that fade."""

    fade: int = key(2, "Votes of earlier rounds are divided by this each round.", ge=1, le=1000)
    shrink: float = key(0.97, "Factor of the learning rate each round.", gt=0, lt=1)
    colour: Literal["red", "blue"] = key("red", "A colour.")
    warm: bool = key(default=False, description="Whether to start warm.")
    network: str = key("a:b", "A function.", check="reference")
    log_dir: str = key("/logs", "A folder.", check="path")


class FadingConfig(MaskConfig):
    """Keys of fading votes."""

    fading: FadingTable = FadingTable()
    any_number: float = key(0.0, "A number without bounds.")
    steps: int = key(3, "A whole number without bounds.")


FADING = ["fade", "shrink", "colour", "warm", "network", "log-dir"]


def refused(raw, config=FadingConfig):
    with pytest.raises(ConfigError) as error:
        parse(config, {"strategy": "own:Fading", **raw})
    return str(error.value)


def test_values_are_nested_and_typed():
    config = parse(FadingConfig, {"fading": {"fade": 3, "shrink": 0.5}, "fading.warm": True, "any-number": 2, "steps": -4})
    assert (config.fading.fade, config.fading.shrink, config.fading.warm) == (3, 0.5, True)
    assert (config.any_number, type(config.any_number)) == (2.0, float)
    assert config.steps == -4
    assert config.server.quorum == 0.5


def test_keys_are_the_dotted_kebab_case_of_the_fields_flat_ones_first():
    names = list(keys_of(FadingConfig))
    assert names[-6:] == [f"fading.{name}" for name in FADING]
    assert names.index("any-number") < names.index("data.dirichlet-alpha")
    assert list(to_dict(FadingConfig())) == names


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"fading.fade": 0}, "fading.fade = 0: expected a whole number from 1 to 1,000"),
        ({"fading.fade": True}, "fading.fade = True: expected a whole number from 1 to 1,000"),
        ({"fading": {"fade": 2.0}}, "fading.fade = 2.0: expected a whole number from 1 to 1,000"),
        ({"fading.shrink": 0}, "fading.shrink = 0: expected a number above 0 and below 1"),
        ({"fading.shrink": 1.0}, "fading.shrink = 1.0: expected a number above 0 and below 1"),
        ({"fading.colour": "Blue"}, "fading.colour = 'Blue': expected one of red, blue; did you mean blue?"),
        ({"fading.colour": "green"}, "fading.colour = 'green': expected one of red, blue"),
        ({"fading.warm": 1}, "fading.warm = 1: expected true or false"),
        ({"fading.network": "a"}, "fading.network = 'a': expected \"module:name\""),
        ({"steps": True}, "steps = True: expected a whole number"),
        ({"any-number": "x"}, "any-number = 'x': expected a number"),
        ({"any-number": float("nan")}, "any-number = nan: expected a number"),
        ({"any_number": 1}, "any_number = 1: expected a known key; did you mean any-number?"),
        ({"fade": 3}, "fade = 3: expected a known key; did you mean fading.fade?"),
        (
            {"fading": 3},
            "fading = 3: expected a table; its keys are " + ", ".join(f"fading.{name}" for name in FADING),
        ),
    ],
)
def test_bad_values_are_one_line(raw, line):
    assert refused(raw) == line


def test_instances_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        FadingConfig().seed = 2
    with pytest.raises(ValidationError, match="frozen"):
        FadingConfig().fading.fade = 3


def test_python_builds_them_by_field_names_and_refuses_others():
    config = FadingConfig(seed=3, fading=FadingTable(fade=5))
    assert changed(config) == {"seed": 3, "fading.fade": 5}
    with pytest.raises(ValidationError):
        FadingConfig(sead=3)


@pytest.mark.parametrize(
    ("annotation", "default", "reason"),
    [
        (int, 3, "no default or no description"),
        (int, key(3, "A size.", le=9, example=10), "the example 10, which it does not accept"),
        (int, key(3, "A size.", example="zzz"), "the example .zzz., which it does not accept"),
        (list, key(1, "A list."), "expected bool, int, float, str, a Literal of strings, or a Table"),
        (Literal[1, 2], key(1, "A number."), "expected bool, int, float, str, a Literal of strings, or a Table"),
        (int | None, key(1, "A number."), "expected bool, int, float, str, a Literal of strings, or a Table"),
    ],
)
def test_an_incomplete_declaration_is_refused(annotation, default, reason):
    with pytest.raises(TypeError, match=f"^Own.size .*{reason}"):
        type("Own", (Table,), {"__annotations__": {"size": annotation}, "size": default, "__module__": __name__})


def test_a_key_needs_a_description_and_a_known_check():
    with pytest.raises(ValueError, match="a key needs a description"):
        key(1, " ")
    with pytest.raises(ValueError, match="check = 'url': expected one of strategy, path, weights, resume, dataset, "):
        key("", "A URL.", check="url")


class SpanTable(Table):
    """A span."""

    low: int = key(1, "The lower end.")
    high: int = key(2, "The upper end.")

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError("a low end below the high end")
        return self


class SpanConfig(MaskConfig):
    """Keys of a span."""

    span: SpanTable = SpanTable()


def test_an_author_may_compare_keys():
    assert parse(SpanConfig, {"span.low": 5, "span.high": 6}).span.low == 5
    line = "span = {'span.low': 5}: expected a low end below the high end"
    assert refused({"span.low": 5}, SpanConfig) == line


def test_annotations_may_be_postponed(tmp_path, monkeypatch):
    (tmp_path / "own_config_postponed_keys.py").write_text(
        "from __future__ import annotations\n"
        "from fedgates.config.fields import key\n"
        "from fedgates.config.run_config import RunConfig\n"
        "from fedgates.config.tables import Table\n"
        "class OwnTable(Table):\n"
        "    rate: float = key(0.5, 'A rate.', ge=0, le=1)\n"
        "class Own(RunConfig):\n"
        "    own: OwnTable = OwnTable()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        own = importlib.import_module("own_config_postponed_keys").Own
        assert parse(own, {"own.rate": 1}).own.rate == 1.0
        assert refused({"own.rate": 2}, own) == "own.rate = 2: expected a number from 0 to 1"
    finally:
        sys.modules.pop("own_config_postponed_keys", None)
