"""Rooms of the package, imports between them, and import cycles.

    python benchmarks/architecture.py [CHECKOUT ...]

A room is a folder of ``fedgates/``, or a module at its root. Imports count once for each pair of rooms, including those inside
functions and for type checking. A cycle is a set of rooms, or of modules, that import each other.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def modules(package: Path) -> dict[str, Path]:
    """Return the mapping from dotted name to file of a package's modules."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules among the known ones that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]  # noqa: PLW2901
            if name and name != "fedgates":
                yield name


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the strongly connected components of more than one node."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, stack = set[str](), [start]
        while stack:
            for target in graph.get(stack.pop(), set()) - seen:
                seen.add(target)
                stack.append(target)
        reach[start] = seen
    groups = {frozenset({b for b in reach[a] if a in reach.get(b, set())}) for a in graph if a in reach[a]}
    return [set(group) for group in groups if len(group) > 1]


def facts(root: Path) -> dict[str, str]:
    """Return the counts for a checkout."""
    package = root / "fedgates"
    known = modules(package)
    room = {name: name.split(".")[1] if "." in name else "fedgates" for name in known}
    by_module = {name: set(imports(path, known)) - {name} for name, path in known.items()}
    by_room: dict[str, set[str]] = {}
    for name, targets in by_module.items():
        by_room.setdefault(room[name], set()).update({room[target] for target in targets} - {room[name]})
    by_room.pop("fedgates", None)
    loose = [p.stem for p in package.glob("*.py") if not p.stem.startswith("__")]
    files = [*package.rglob("*.py"), *(root / "strategies").glob("*.py")]
    longest = max(files, key=lambda path: path.read_text(encoding="utf-8").count("\n"))
    found = cycles({name: targets - {"fedgates"} for name, targets in by_room.items()})
    return {
        "rooms": str(len([p for p in package.iterdir() if p.is_dir() and any(p.glob("*.py"))])),
        "loose modules at the root": str(len(loose)),
        "imports between rooms": str(sum(len(targets - {"fedgates"}) for targets in by_room.values())),
        "import cycles of rooms": f"{len(found)}" + (f", of {', '.join(str(len(c)) for c in found)} rooms" if found else ""),
        "import cycles of modules": str(len(cycles(by_module))),
        "modules": str(len(files)),
        "longest file, lines": f"{longest.read_text(encoding='utf-8').count(chr(10))} ({longest.relative_to(root)})",
    }


def main() -> None:
    """Print a table with a column for each checkout."""
    roots = [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT]
    columns = [facts(root) for root in roots]
    print("| | " + " | ".join(f"checkout {i + 1}" for i in range(len(roots))) + " |\n|---|" + "---|" * len(roots))
    for key in columns[0]:
        print(f"| {key} | " + " | ".join(column[key] for column in columns) + " |")


if __name__ == "__main__":
    main()
