"""The claims and the README's table say what the studies' committed results say."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "benchmarks" / "study"
spec = importlib.util.spec_from_file_location("claims", STUDIES / "claims.py")
claims = importlib.util.module_from_spec(spec)
spec.loader.exec_module(claims)


def test_claims_are_those_of_the_results():
    assert (STUDIES / "claims.md").read_text() == claims.text()


def test_the_readmes_table_is_that_of_the_results():
    readme = (ROOT / "README.md").read_text()
    assert claims.filled_in(readme) == readme


@pytest.mark.parametrize("study", sorted(path.stem for path in STUDIES.glob("*.toml") if path.stem != "first"))
def test_every_study_has_its_results_for_every_seed_and_method(study):
    asked = tomllib.loads((STUDIES / f"{study}.toml").read_text())
    scenarios = asked.get("scenarios", {"default": {}})
    found = claims.study(study)
    assert {name: list(methods) for name, methods in found.items()} == {name: list(asked["methods"]) for name in scenarios}
    for methods in found.values():
        for numbers in methods.values():
            assert [run["seed"] for run in numbers["seeds"]] == asked["seeds"]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.8, "held"), (0.79, "held in part"), (0.31, "held in part"), (0.3, "not held")]
)
def test_a_verdict_is_by_its_thresholds(value, expected):
    assert claims.verdict(value, 0.8, 0.31) == expected
