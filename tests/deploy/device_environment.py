"""A device's environment: the packages of the dependency group `device` alone, linked from the environment of the tests."""

import re
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, distribution, distributions

from engines import ROOT
from packaging.requirements import Requirement

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUP = PROJECT["dependency-groups"]["device"]


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def with_dependencies(requirements):
    """Return the names of packages and of all that they need here, themselves included."""
    extras, todo = {}, [Requirement(text) for text in requirements]
    while todo:
        asked = todo.pop()
        name = _normal(asked.name)
        if name in extras and asked.extras <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | asked.extras
        try:
            needed = [Requirement(text) for text in distribution(name).requires or []]
        except PackageNotFoundError:  # of another platform, or of an extra that is not installed
            continue
        wanted = [{"extra": extra} for extra in asked.extras or {""}]
        todo += [one for one in needed if one.marker is None or any(one.marker.evaluate(extra) for extra in wanted)]
    return set(extras)


def make(folder):
    """Make the environment; return its folder of commands, which has those of Flower."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    allowed = with_dependencies(GROUP)
    owners, files = {}, []
    for package in distributions():
        name = _normal(package.name)
        for file in package.files or ():
            top = file.parts[0]
            if top == "..":  # a command
                continue
            owners.setdefault(top, set()).add(name)
            if name in allowed:
                files.append((file, package.locate_file("")))
    for file, installed in files:
        top = file.parts[0]
        link = top if owners[top] <= allowed else file  # a folder of several packages is linked file by file
        if not (site / link).is_symlink():
            (site / link).parent.mkdir(parents=True, exist_ok=True)
            (site / link).symlink_to(installed / link)
    for command in distribution("flwr").entry_points.select(group="console_scripts"):
        script = folder / "bin" / command.name
        script.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom {command.module} import {command.attr}\nsys.exit({command.attr}())\n"
        )
        script.chmod(0o755)
    return folder / "bin"
