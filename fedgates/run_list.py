"""The runs that lie in a folder, and how far each of them came."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedgates.config import ConfigError, RunConfig, folder
from fedgates.ledger import Ledger

LAST = "last"
"""Stands for the newest run."""


@dataclass(frozen=True)
class Entry:
    """A run, and what its last round reached."""

    name: str
    strategy: str
    dataset: str
    seed: int
    rounds: int
    of_rounds: int
    accuracy: float | None
    """Of the test set, or where the server has none the devices'; None of a regression."""
    bytes: int
    """Both ways, all clients."""
    model_bytes: int | None
    """Of ``model.fedgates``, where there is one."""


def entries(base: Path) -> Iterator[Entry]:
    """The runs in a folder, the oldest first; folders that hold no run, or a damaged one, are passed over."""
    if not base.is_dir():
        return
    for path in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime):
        try:
            yield entry(path)
        except ConfigError:
            continue


def entry(path: Path) -> Entry:
    """What the files in a run's folder say.

    Raises
    ------
    ConfigError
        It is no run's folder.
    """
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        strategy, dataset = str(config["strategy"]), str(config["dataset"])
        seed, of_rounds = int(config["seed"]), int(config["num-server-rounds"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError("run", str(path), "a run's folder, with its config.json") from None
    lines = Ledger(path).read()
    last = lines[-1] if lines else {}
    moved = ("uplink_bytes", "downlink_bytes", "evaluation_downlink_bytes")
    reached = last.get("accuracy")
    model = path / "model.fedgates"
    return Entry(
        path.name,
        strategy,
        dataset,
        seed=seed,
        rounds=max((line["round"] for line in lines if line.get("quorum", True)), default=0),
        of_rounds=of_rounds,
        accuracy=last.get("client_accuracy") if reached is None else reached,
        bytes=sum(line.get(key, 0) for line in lines for key in moved),
        model_bytes=model.stat().st_size if model.is_file() else None,
    )


def find(name: str, base: Path | None = None) -> Path:
    """The folder of a run: a path, a run's name in `base` (by default where runs are kept), or "last", the newest there.

    Raises
    ------
    ConfigError
        There is none.
    """
    base = folder(RunConfig.output_dir) if base is None else base
    if name == LAST:
        found = [path for path in base.iterdir() if (path / "config.json").is_file()] if base.is_dir() else []
        if not found:
            raise ConfigError("run", name, f"a run in {base}, and there is none")
        return max(found, key=lambda path: path.stat().st_mtime)
    for path in (Path(name).expanduser(), base / name):
        if (path / "config.json").is_file():
            return path
    raise ConfigError("run", name, f'a run\'s folder, the name of one in {base}, or "{LAST}"')


def table(found: Sequence[Entry]) -> str:
    """A row a run."""
    header = ("run", "method", "data", "rounds", "accuracy", "MB, both ways", "model, bytes")
    rows = [header, *(_row(each) for each in found)]
    wide = [max(len(row[i]) for row in rows) for i in range(len(header))]
    left = 3
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(each: Entry) -> tuple[str, ...]:
    return (
        each.name,
        each.strategy,
        each.dataset,
        f"{each.rounds}/{each.of_rounds}",
        "-" if each.accuracy is None else f"{100 * each.accuracy:.1f} %",
        f"{each.bytes / 1e6:,.2f}",
        "-" if each.model_bytes is None else f"{each.model_bytes:,}",
    )


def as_values(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """The same for scripts."""
    return [asdict(each) for each in found]


def follow(path: Path, pause: float = 0.5) -> Iterator[list[dict[str, Any]]]:
    """The lines of a run's ledger, again whenever there are more, until its last round is there.

    A run that is resumed takes lines back; whoever looks sees that, too.
    """
    seen: int | None = None
    while True:
        lines = Ledger(path).read()
        if len(lines) != seen:
            seen = len(lines)
            yield lines
        now = entry(path)
        if now.rounds >= now.of_rounds:
            return
        time.sleep(pause)
