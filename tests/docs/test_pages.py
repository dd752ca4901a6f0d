"""The commands of the tutorial and of short guides, the settings that pages show, and the links between pages."""

import json
import re
import shlex
import subprocess
import tomllib

import pytest
from engines import ROOT, Sandbox
from flwr.common.config import parse_config_args
from guide import blocks, follow, prepared, run, runs, steps

import fedgates
from fedgates.methods.registry import configure
from fedgates.model_file import layout
from fedgates.wire import header

METHODS = sorted({page.stem for page in (ROOT / "docs" / "methods").glob("*.md")} - {"index"})
SETTINGS = re.findall(r"^\| [^|]+ \| `([^`]+)`", (ROOT / "docs/guides/settings.md").read_text(), re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
MENTION = re.compile(r"\bdocs/[\w/]+\.(?:md|png)\b")


def tracked(*patterns):
    found = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def commands(method):
    """Return number of clients and settings of each command of a method's page."""
    lines = "".join(block.text for block in blocks(method) if block.language == "bash").splitlines()
    for words in map(shlex.split, lines):
        assert words[:5] == ["uv", "run", "fedgates", "run", "--clients"]
        assert words[6] == "--run-config"
        yield int(words[5]), parse_config_args([words[7]])


def spreads(text):
    """Return the pairs of mean and standard deviation in a text, as shown but for zeros before the point."""
    return {(mean.lstrip("0"), sd.lstrip("0")) for mean, sd in re.findall(r"(\d*\.\d+)(?: %)? ± (\d*\.\d+)", text)}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("pairs", SETTINGS)
def test_the_settings_by_purpose_are_accepted(pairs):
    configure(parse_config_args([pairs]))


def test_there_are_as_many_purposes_as_rows():
    rows = re.findall(r"^\| (?!to |---)", (ROOT / "docs/guides/settings.md").read_text(), re.MULTILINE)
    assert len(SETTINGS) == len(rows) > 20


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("method", METHODS)
def test_the_commands_of_a_method_select_it(method):
    found = list(commands(method))
    assert found
    for _, settings in found:
        assert settings["strategy"] == method.replace("_", "-")
        configure(settings)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_commands_of_a_method_run(method, tmp_path):
    short = {"num-server-rounds": 1, "local-epochs": 1, "output-dir": str(tmp_path)}
    for clients, settings in commands(method):
        if settings.get("dataset", "digits") == "digits":
            settings["data.samples-per-client"] = 8
        assert len(fedgates.simulate(settings | short, clients, progress=False).history) == 1


@pytest.mark.parametrize("page", tracked("*.md"))
def test_every_link_leads_to_a_file(page):
    text = FENCED.sub("", (ROOT / page).read_text())
    assert [link for link in LINK.findall(text) if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_pages_that_texts_name_exist():
    named = {(file, path) for file in tracked("*.py", "*.toml", "*.md") for path in MENTION.findall((ROOT / file).read_text())}
    assert len(named) > 20
    assert [each for each in sorted(named) if not (ROOT / each[1]).exists()] == []


def test_the_changelog_has_the_versions_of_the_formats():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"- Wire format: version {header.VERSION}." in text
    assert f"- Model file: version {layout.VERSION}." in text


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/explanation/choosing_a_method.md"])
def test_means_and_spreads_are_those_of_the_results(page):
    results = {pair for path in tracked("benchmarks/*.md") for pair in spreads((ROOT / path).read_text())}
    text, *_ = (ROOT / page).read_text().split("<!-- made by")  # the rest is compared by tests/benchmarks/test_claims.py
    shown = spreads(text)
    assert len(shown) > 1
    assert shown - results == set()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700


@pytest.mark.rehearsal
@pytest.mark.slow
def test_the_tutorial(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        first, listed, uneven, python, compared, new = steps("tutorial", sandbox)
        engine, hard, simulated, one_process = runs(sandbox)
        assert "coupled-masks" in listed.printed
        last = json.loads((hard / "rounds.jsonl").read_text().splitlines()[-1])
        assert last["round"] == 5
        assert last["accuracy"] > 0.2
        assert str(simulated) in python.printed
        assert first.printed.count("/30 ") == 30
        assert (prepared(sandbox) / "benchmarks/study/first/table.md").stat().st_size
        assert "| fedavg |" in compared.printed
        (code,) = (block for block in blocks("compare") if block.language == "python")
        (prepared(sandbox) / code.file).write_text(code.text)
        assert "fedavg" in run(f"uv run python {code.file}", sandbox, prepared(sandbox))
        assert (prepared(sandbox) / "my_app" / "my_method.py").is_file()
        assert uneven.printed
        assert new.printed
        assert {engine.name, one_process.name}


@pytest.mark.rehearsal
@pytest.mark.slow
def test_the_guide_to_results(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        _, _, table = follow("results", sandbox)
        (folder,) = runs(sandbox)
        assert (folder / "model.safetensors").is_file()
        lines = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
        assert [float(row.split()[1]) for row in table.splitlines()[-3:]] == pytest.approx(
            [x["accuracy"] for x in lines], abs=1e-4
        )


@pytest.mark.rehearsal
@pytest.mark.slow
def test_the_codec_of_the_guide(tmp_path):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        sandbox.env["PYTHONPATH"] = str(prepared(sandbox))
        (step,) = steps("own_codec", sandbox)
        assert "mask, deflate, 10,673 bytes each" in step.printed


def test_every_page_with_commands_has_a_test():
    pages = {page.stem for page in (ROOT / "docs").rglob("*.md") if "```bash" in page.read_text()}
    tests = "".join(path.read_text() for path in (ROOT / "tests/docs").glob("test_*.py"))
    tested = {*METHODS, *re.findall(r"(?:PAGE = |steps\(|follow\(|blocks\()\"(\w+)\"", tests)}
    same = {"compare"}  # its command is one of the tutorial's
    downloads = {"pretrained"}
    assert pages == tested | same | downloads


def test_the_study_that_a_guide_shows_is_the_file():
    (shown,) = (block.text for block in blocks("compare") if block.language == "toml")
    assert tomllib.loads(shown) == tomllib.loads((ROOT / "benchmarks/study/first.toml").read_text())
