"""Files that other programs read: Dockerfiles, the workflow, the hooks of pre-commit, and the citation."""

import re
import shutil
import subprocess

import pytest
import yaml
from engines import ROOT

from fedgates import __version__

DOCKERFILES = sorted((ROOT / "deploy").glob("*.Dockerfile"))
FILES = [*DOCKERFILES, ROOT / ".github/workflows/ci.yml", ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]


def test_there_is_a_dockerfile_for_each_kind_of_machine():
    assert [file.name for file in DOCKERFILES] == ["device.Dockerfile", "server.Dockerfile"]


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint: uv sync")
@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_finds_nothing(file):
    done = subprocess.run(["hadolint", "--no-color", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_a_dockerfile_copies_files_that_exist_and_are_in_the_context(file):
    text = file.read_text()
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [name for names in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in names.split()]
    assert copied
    assert all((ROOT / name).exists() and name.split("/")[0] in allowed for name in copied)
    assert re.search(r"^USER \d+$", text, re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_host_is_named(file):
    assert not re.search(r"https?://|\b[\w-]+\.(?:io|org|com|dev)\b", file.read_text())


def test_the_workflow_runs_all_checks():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert {"run": ".ci/run"} in job["steps"]
    assert workflow["permissions"] == {"contents": "read"}


def test_hooks_are_local_and_run_what_ci_runs():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    checks = (ROOT / ".ci/run").read_text()
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert " ".join(hook["entry"].split()[:3]) in checks


def test_the_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
