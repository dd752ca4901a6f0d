"""The documentation site: built without warnings, and complete without other hosts."""

import os
import re
import subprocess
import sys

import pytest
from engines import ROOT

pytest.importorskip("mkdocs", reason="no mkdocs: uv sync --group docs")
pytest.importorskip("material", reason="no mkdocs-material: uv sync --group docs")
pytestmark = pytest.mark.slow
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"(?!data:)([^\"]+)\"|<link[^>]+href=\"([^\"]+)\"|url\((https?:[^)]+)\)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | nowhere | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.html")}


def test_pages_load_nothing_from_other_hosts(site):
    loaded = {"".join(found) for text in site.values() for found in LOADED.findall(text)}
    assert loaded
    assert [each for each in sorted(loaded) if "//" in each] == []


def test_equations_are_mathml(site):
    methods = {name: text for name, text in site.items() if re.fullmatch(r"methods/(?!index)\w+\.html", name)}
    assert len(methods) == 11
    for name, text in methods.items():
        assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"' in text, name
        assert not re.search(
            r"\$|equation(?:block|inline)-|\\[a-z]", re.sub(r"<(script|code)\b.*?</\1>", "", text, flags=re.DOTALL)
        ), name


def test_the_reference_has_commands_keys_and_classes(site):
    from fedgates.cli import cli  # noqa: PLC0415

    names = {command.name or command.callback.__name__ for command in cli.registered_commands}
    assert names
    assert all(f"fedgates {name}" in site["reference/command_line.html"] for name in names)
    assert "coupled-masks.trials" in site["reference/configuration.html"]
    assert "uplink_bytes" in site["reference/rounds.html"]
    assert all(name in site["reference/python/methods.html"] for name in ("local_update", "MaskMethod", "WeightMethod", "Spec"))
    assert "CoupledMasks" in site["reference/python/strategies.html"]
    assert not [name for name, text in site.items() if re.search(r":(?:func|class|mod|meth):<", text)]


def test_pages_from_outside_docs_are_linked_on_the_site(site):
    assert 'href="../benchmarks/study/claims.html"' in site["explanation/choosing_a_method.html"]
    assert {"deploy/index.html", "fedgates/wire/FORMAT.html", "benchmarks/study/uneven_digits/table.html"} <= set(site)
