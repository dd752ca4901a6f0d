"""Save the files and run the commands of a guide, in a copy of the app, with a home folder of its own.

A block that begins with a comment naming a file (``# my_network.py``) is saved under that name beside ``client_app.py``;
blocks of bash are run there, in order; each ends with the first command that fails. Other blocks are expected output, or
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
_FOLDERS = ("docs", "docs/guides", "docs/methods")
_STUDY = "benchmarks/study/first.toml"
_APP = (
    "client_app.py",
    "server_app.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "fedgates",
    "strategies",
    "examples",
    _STUDY,
)
_UV = f"""#!/bin/sh
# uv run [--extra NAME]... COMMAND, in the environment of these tests
[ "$1" = run ] || {{ echo "the tests of the guides support only uv run, not uv $1" >&2; exit 2; }}
shift
while [ "$1" = --extra ]; do shift 2; done
PATH="{BIN}:$PATH" exec "$@"
"""


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the name of the file that it is, or an empty text."""

    language: str
    text: str
    file: str


@dataclass(frozen=True)
class Step:
    """A block of bash, its output, and the output that the page shows."""

    script: str
    printed: str
    shown: str


def blocks(name):
    """Return all blocks of a page that is run: the tutorial, a guide, or the page of a method."""
    (page,) = filter(Path.exists, (ROOT / folder / f"{name}.md" for folder in _FOLDERS))
    text = page.read_text(encoding="utf-8")
    found = [Block(language, code, _name(code)) for language, code in _BLOCK.findall(text)]
    assert sum(block.language == "bash" for block in found) == text.count("```bash")
    return found


def follow(name, sandbox, skip=lambda command: False):
    """Save the files and run the commands of a guide, except those with `skip`; return the output of each block of bash."""
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
    """Run a guide that shows output, and compare; a block may fail if the page shows an error line. Return the steps.

    The expected output of a block of bash is in a block of text right after it: some of its lines in order, `...` for others.
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
    """Assert that the page's lines are among those printed: the same words, numbers within a third, any times and dates."""
    lines = iter(_COLOUR.sub("", printed).splitlines())
    for line in shown.splitlines():
        wanted = _PLACE.sub("", line).split()
        assert wanted == ["..."] or any(_alike(wanted, _PLACE.sub("", found).split()) for found in lines), f"{line}\n{printed}"


def run(script, sandbox, app, timeout=400, *, fails=False):
    """Run a block of bash and return its output. If it `fails`, it may exit with 2, the code of a refused value."""
    code, out = sandbox.run("bash", "-euo", "pipefail", "-c", script, cwd=app, timeout=timeout)
    assert code == 0 or (fails and code == 2), f"{script}\n{out}"
    return out


def prepared(sandbox):
    """Return a copy of the app in the sandbox; give the sandbox a home folder, and a `uv run` that installs nothing."""
    folder = sandbox.home.parent
    app = folder / "fedgates"
    if not app.exists():
        app.mkdir()
        for part in _APP:
            source, target = ROOT / part, app / part
            target.parent.mkdir(parents=True, exist_ok=True)
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
    """Return the folders of the runs, the oldest first."""
    return sorted(Path(sandbox.env["HOME"]).glob("fedgates/runs/*"))


def _alike(wanted, found):
    pairs = list(zip(wanted, found, strict=False))
    spread = [("", ""), *pairs[:-1]]  # the word before each; the spread of seeds differs from machine to machine
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
