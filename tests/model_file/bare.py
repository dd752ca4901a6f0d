"""A folder that holds some distributions of this environment, what they require, and nothing else."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def required(*names: str) -> dict[str, metadata.Distribution]:
    """The distributions of these names and, again and again, those that they require on this machine."""
    found: dict[str, metadata.Distribution] = {}
    seen, waiting = set[tuple[str, frozenset[str]]](), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        asked = (wanted.name, frozenset(wanted.extras))
        if asked in seen:
            continue
        seen.add(asked)
        found[wanted.name] = distribution = metadata.distribution(wanted.name)
        for further in map(Requirement, distribution.requires or ()):
            environments = [{"extra": extra} for extra in ("", *wanted.extras)]
            if further.marker is None or any(further.marker.evaluate(each) for each in environments):
                waiting.append(further)
    return found


def link(folder: Path, *names: str) -> None:
    """Link all that these distributions and those that they require have installed into `folder`."""
    for distribution in required(*names).values():
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            link_to = folder / top
            if not link_to.exists():
                link_to.symlink_to(Path(str(distribution.locate_file(top))).resolve())
