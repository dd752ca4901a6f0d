"""The claims and the tables of the documentation have the numbers of the studies' committed results."""

import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = ROOT / "benchmarks" / "study"
sys.path.insert(0, str(STUDIES))
import claims  # noqa: E402
import pages  # noqa: E402

sys.path.remove(str(STUDIES))


def test_claims_are_those_of_the_results():
    assert (STUDIES / "claims.md").read_text() == claims.text()


@pytest.mark.parametrize("path", pages.tables(), ids=lambda path: path.stem)
def test_the_tables_of_pages_are_those_of_the_results(path):
    page = path.read_text()
    assert page.count(pages.MARK) == 2
    assert pages.filled_in(page, pages.tables()[path]()) == page


def test_every_method_has_a_page_with_its_results():
    methods = {path.stem for path in (ROOT / "strategies").glob("*.py")}
    assert {path.stem for path in (ROOT / "docs/methods").glob("*.md")} == methods | {"index"}
    assert set(pages.NAMES) | {"lips"} == methods


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
