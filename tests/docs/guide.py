"""A guide followed as its reader would follow it: files saved, commands run, in a copy of the app, with a home of its own.

A block that begins with a comment naming a file (``# my_network.py``) is saved under that name beside ``client_app.py``;
blocks of bash are run there, in their order, and end with the first command that fails. Other blocks are what one will see, or
parts of files, and belong to the guide's test.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from engines import BIN, ROOT

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/.-]+\.\w+)\n")
_APP = ("client_app.py", "server_app.py", "pyproject.toml", "README.md", "LICENSE", "fedgates", "strategies")
_UV = f"""#!/bin/sh
# uv run [--extra NAME]... COMMAND, in the environment of these tests
[ "$1" = run ] || {{ echo "the guides' tests know only uv run, not uv $1" >&2; exit 2; }}
shift
while [ "$1" = --extra ]; do shift 2; done
PATH="{BIN}:$PATH" exec "$@"
"""


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the name of the file it is, or nothing."""

    language: str
    text: str
    file: str


def blocks(name):
    """All blocks of ``docs/NAME.md``."""
    text = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    found = [Block(language, code, _name(code)) for language, code in _BLOCK.findall(text)]
    assert sum(block.language == "bash" for block in found) == text.count("```bash")
    return found


def follow(name, sandbox, skip=lambda command: False):
    """Save and run all that a guide says; what each block of bash printed. `skip` says which blocks cannot be run here."""
    app = prepared(sandbox)
    printed = []
    for block in blocks(name):
        if block.file:
            (app / block.file).parent.mkdir(parents=True, exist_ok=True)
            (app / block.file).write_text(block.text)
        elif block.language == "bash" and not skip(block.text):
            printed.append(run(block.text, sandbox, app))
    return printed


def run(script, sandbox, app, timeout=300):
    """Run a block of bash; what it printed."""
    code, out = sandbox.run("bash", "-euo", "pipefail", "-c", script, cwd=app, timeout=timeout)
    assert code == 0, f"{script}\n{out}"
    return out


def prepared(sandbox):
    """A copy of the app in the sandbox, which from now on has a home of its own, and a `uv run` that installs nothing."""
    folder = sandbox.home.parent
    app = folder / "fedgates"
    if not app.exists():
        app.mkdir()
        for part in _APP:
            source, target = ROOT / part, app / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        for made in ("bin", "home"):
            (folder / made).mkdir()
        (folder / "bin" / "uv").write_text(_UV)
        (folder / "bin" / "uv").chmod(0o755)
        sandbox.env |= {
            "HOME": str(folder / "home"),
            "PATH": f"{folder / 'bin'}:{sandbox.env['PATH']}",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        }
    return app


def runs(sandbox):
    """The folders of the runs that were made, the oldest first."""
    return sorted(Path(sandbox.env["HOME"]).glob("fedgates/runs/*"))


def _name(code):
    named = _FILE.match(code)
    return named[1] if named else ""
