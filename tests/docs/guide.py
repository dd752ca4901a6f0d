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
_ERROR = "fedgates: "
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PLACE = re.compile(r"/\S*(?=/fedgates/(?:runs|studies))|(?<=/)\d{8}-\d{6}")
_TIME = re.compile(r"\d+:\d\d")
_NUMBER = re.compile(r"([\d,]*\.?\d+)([%x.,:;)]*)")
_APP = ("client_app.py", "server_app.py", "pyproject.toml", "README.md", "LICENSE", "fedgates", "strategies", "examples")
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


@dataclass(frozen=True)
class Step:
    """A block of bash, what it printed, and what the page says that it prints."""

    script: str
    printed: str
    shown: str


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


def steps(name, sandbox):
    """Follow a guide that shows what it prints, and compare; a block may fail where the page shows the line of an error.

    What a block of bash prints stands in a block of text right after it: some of its lines in their order, `...` for others.
    """
    app = prepared(sandbox)
    found = []
    listed = blocks(name)
    for block, after in zip(listed, [*listed[1:], Block("", "", "")], strict=True):
        if block.file:
            (app / block.file).parent.mkdir(parents=True, exist_ok=True)
            (app / block.file).write_text(block.text)
        elif block.language == "bash":
            shown = after.text if after.language == "text" else ""
            printed = run(block.text, sandbox, app, fails=shown.startswith(_ERROR))
            assert "Traceback" not in printed, printed
            expect_shown(shown, printed)
            found.append(Step(block.text, printed, shown))
    return found


def expect_shown(shown, printed):
    """Lines that a page shows are among those printed: the same words, numbers within a third, any times and dates."""
    lines = iter(_COLOUR.sub("", printed).splitlines())
    for line in shown.splitlines():
        wanted = _PLACE.sub("", line).split()
        assert wanted == ["..."] or any(_alike(wanted, _PLACE.sub("", found).split()) for found in lines), f"{line}\n{printed}"


def run(script, sandbox, app, timeout=400, *, fails=False):
    """Run a block of bash; what it printed. One that `fails` may end as a command does that refuses a value."""
    code, out = sandbox.run("bash", "-euo", "pipefail", "-c", script, cwd=app, timeout=timeout)
    assert code == 0 or (fails and code == 2), f"{script}\n{out}"
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
        }
    return app


def runs(sandbox):
    """The folders of the runs that were made, the oldest first."""
    return sorted(Path(sandbox.env["HOME"]).glob("fedgates/runs/*"))


def _alike(wanted, found):
    pairs = list(zip(wanted, found, strict=False))
    spread = [("", ""), *pairs[:-1]]  # what stands before each word; how far apart seeds lie differs from machine to machine
    return len(wanted) == len(found) and all(a[0] == "±" or _near(*b) for a, b in zip(spread, pairs, strict=True))


def _near(wanted, found):
    if wanted == found or (_TIME.fullmatch(wanted) and _TIME.fullmatch(found)):
        return True
    numbers = [_NUMBER.fullmatch(word) for word in (wanted, found)]
    if not all(numbers) or numbers[0][2] != numbers[1][2]:
        return False
    a, b = (float(number[1].replace(",", "")) for number in numbers)
    return abs(a - b) <= abs(a) / 3


def _name(code):
    named = _FILE.match(code)
    return named[1] if named else ""
