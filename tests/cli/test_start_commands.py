"""`fedgates run` and `fedgates new`: a run from the shell, and an app of one's own."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import command, refused
from engines import ROOT, Sandbox

SMALL = "num-server-rounds=2 data.samples-per-client=20 local-epochs=1"


def test_run_prints_its_rounds_and_leaves_a_folder(capfd, tmp_path):
    code, out, _ = command(capfd, "run", "--clients", "3", "--run-config", f'{SMALL} seed=4 output-dir="{tmp_path}"')
    assert code == 0
    assert "changed: num-server-rounds=2 local-epochs=1 seed=4 data.samples-per-client=20" in out
    assert "round 2/2  accuracy" in out
    (folder,) = tmp_path.glob("*/config.json")
    config = json.loads(folder.read_text())
    assert (config["seed"], config["strategy"], config["simulated-clients"]) == (4, "coupled-masks", 3)


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        ("seed=x", 'run-config = \'seed=x\': expected pairs without spaces around "=", such as model="mlp" seed=3'),
        ("momentum=0.9", "momentum = 0.9: expected 0.0: strategy coupled-masks does not use it"),
        (
            'uplink="side_info"',
            "uplink = 'side_info': expected one of packed, entropy, side-info, sampled; did you mean side-info?",
        ),
        (
            'strategy="sparsyfed"',
            "density.target = 0.0: expected a share above 0: strategy sparsyfed needs one, such as density.target=0.1",
        ),
    ],
)
def test_run_refuses_settings_in_one_line(capsys, pairs, line):
    assert refused(capsys, "run", "--run-config", pairs) == line


@pytest.mark.slow
def test_a_quorum_that_is_missed_is_one_line_and_exit_code_1(tmp_path):
    own = tmp_path / "own_method.py"
    own.write_text(
        "from fedgates.strategies.fedpm import FedPM\n"
        "class Broken(FedPM):\n"
        "    def local_update(self, state, task):\n        raise ValueError('broken')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from fedgates.cli import main; main(sys.argv[1:])"
    pairs = f'strategy="own_method:Broken" server.max-failed-rounds=1 {SMALL} output-dir="{tmp_path}"'
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--clients", "2", "--run-config", pairs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "ValueError: broken" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("fedgates: round 1 had fewer accepted updates than ")


@pytest.mark.slow
def test_new_writes_an_app_whose_method_runs(capfd, tmp_path, monkeypatch):
    app = tmp_path / "my app"
    assert command(capfd, "new", app)[0] == 0
    names = sorted(path.name for path in app.iterdir())
    assert names == ["README.md", "client_app.py", "my_method.py", "pyproject.toml", "server_app.py"]
    assert 'name = "my-app"' in (app / "pyproject.toml").read_text()
    monkeypatch.chdir(app)
    pairs = f'strategy="my_method:FadingVotes" fading.fade=3 {SMALL} output-dir="{tmp_path / "runs"}"'
    code, out, err = command(capfd, "run", "--app", ".", "--clients", "2", "--run-config", pairs)
    assert code == 0, err
    assert "my_method:FadingVotes, 2 rounds" in out
    (config,) = (tmp_path / "runs").glob("*/config.json")
    assert json.loads(config.read_text())["fading.fade"] == 3


def test_new_refuses_a_folder_with_files(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert refused(capsys, "new", tmp_path) == f"FOLDER = {str(tmp_path)!r}: expected a new or empty folder"
    assert refused(capsys, "new", tmp_path / "file") == f"FOLDER = {str(tmp_path / 'file')!r}: expected a new or empty folder"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.slow
def test_a_wheel_has_the_methods_and_flwr_runs_a_new_app(tmp_path):
    subprocess.run(["uv", "build", "--wheel", "-q", "-o", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        assert not [name for name in archive.namelist() if name.startswith("strategies/") or name.endswith("ruff.toml")]
        templates = {f"fedgates/report/templates/{name}.md" for name in ("page.html", "style.css", "sections/accuracy.html")}
        assert templates <= set(archive.namelist())
    with Sandbox(tmp_path / "sandbox") as sandbox:
        sandbox.env |= {"PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)}
        code = (
            "from fedgates.methods.registry import BUILT_IN, method_class\n"
            "print(*{method_class(name).__module__ for name in BUILT_IN}, sep='\\n')\n"
            "import sys; print(sys.modules['fedgates.strategies.fedpm'].__file__)"
        )
        status, out = sandbox.run(sys.executable, "-c", code, cwd=tmp_path)
        assert status == 0, out
        *modules, place = out.splitlines()
        assert len(modules) == 11
        assert all(module.startswith("fedgates.strategies.") for module in modules)
        assert Path(place).is_relative_to(tmp_path / "installed")
        status, out = sandbox.run("fedgates", "new", "app", cwd=tmp_path)
        assert status == 0, out
        federation = "num-supernodes=2 client-resources-num-cpus=1"
        config = f'strategy="fading" fading.fade=3 {SMALL} output-dir="{tmp_path / "runs"}"'
        command = ("flwr", "run", "app", "--stream", "--federation-config", federation, "--run-config", config)
        status, out = sandbox.run(*command, cwd=tmp_path)
    assert status == 0, out
    assert "fading, 2 rounds" in out
