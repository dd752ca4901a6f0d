"""The runs that lie in a folder, and how far each of them came."""

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedgates.config import folder
from fedgates.config.names import OUTPUT_DIR
from fedgates.errors import ConfigError
from fedgates.runs.log_reader import LogReader, read
from fedgates.runs.totals import metric, moved, number
from fedgates.util.text import columns, one_line

LAST = "last"
"""Stands for the newest run."""
_KNOWN_BY = {"strategy": str, "dataset": str, "seed": int, "num-server-rounds": int}


@dataclass(frozen=True)
class Entry:
    """A run, and what its last round reached."""

    name: str
    strategy: str
    dataset: str
    seed: int
    rounds: int
    of_rounds: int
    metric: str
    """What it is first of all judged by: accuracy, r2, or without test data the devices' accuracy."""
    reached: float | None
    """That, after the last round that counted."""
    bytes: int
    """Both ways, all clients."""
    model_bytes: int | None
    """Of ``model.fedgates``, where there is one."""
    under_way: bool
    """Whether a process is still at it."""
    problems: tuple[str, ...]
    """Lines of its ledger that cannot be read, and are left out of all this."""

    @property
    def so_far(self) -> str:
        """How far it is, for the error of a command that asks for more."""
        return f"{one_line(self.name, 80)} has {self.rounds} of {self.of_rounds} rounds{', running' if self.under_way else ''}"


def entries(base: Path) -> Iterator[Entry]:
    """The runs in a folder, the oldest first; folders that hold no run are passed over."""
    if not base.is_dir():
        return
    for path in _newest_last(base):
        try:
            yield entry(path)
        except ConfigError:
            continue


def _newest_last(base: Path) -> list[Path]:
    """Folders with a config, by when that was written, which is when a run starts; looking at one later moves nothing."""
    configs = [(path / "config.json") for path in base.iterdir()]
    return [config.parent for config in sorted((c for c in configs if c.is_file()), key=lambda c: (c.stat().st_mtime, c))]


def entry(path: Path) -> Entry:
    """What the files in a run's folder say.

    Raises
    ------
    ConfigError
        It is no run's folder.
    """
    config = config_of(path)
    found = read(path)
    counted = [line for line in found.sound if line.get("quorum", True)]
    judged = metric(counted)
    model = path / "model.fedgates"
    return Entry(
        path.absolute().name,
        config["strategy"],
        config["dataset"],
        seed=config["seed"],
        rounds=max((line["round"] for line in counted), default=0),
        of_rounds=config["num-server-rounds"],
        metric=judged.key,
        reached=counted[-1].get(judged.key) if counted else None,
        bytes=moved(found.sound, 0).both,
        model_bytes=model.stat().st_size if model.is_file() else None,
        under_way=under_way(path),
        problems=tuple(found.problems),
    )


def config_of(path: Path) -> dict[str, Any]:
    """A run's ``config.json``; the keys by which a run is known hold what they should.

    Raises
    ------
    ConfigError
        It is no run's folder.
    """
    config = None
    with suppress(OSError, ValueError, RecursionError):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ConfigError("run", str(path), "a run's folder, with its config.json")
    for key, kind in _KNOWN_BY.items():
        if type(config.get(key)) is not kind:
            expected = "text" if kind is str else "a whole number"
            raise ConfigError("run", str(path), f"a run's folder; in its config.json {key} is not {expected}")
    return config


def rounds(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's ledger, all of which are rounds.

    Raises
    ------
    ConfigError
        There is something else in them.
    """
    found = read(path)
    if found.problems:
        raise ConfigError("run", str(path), f"a run whose rounds.jsonl has a round in each line; {found.problems[0]}")
    return found.sound


def under_way(path: Path) -> bool:
    """Whether a process holds the run's folder, as one does as long as a run lasts."""
    try:
        with (path / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that look are not in each other's way
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def find(name: str, base: Path | None = None) -> Path:
    """The folder of a run: a path, a run's name in `base` (by default where runs are kept), or "last", the newest there.

    Raises
    ------
    ConfigError
        There is none.
    """
    base = folder(OUTPUT_DIR) if base is None else base
    if name == LAST:
        found = _newest_last(base) if base.is_dir() else []
        if not found:
            raise ConfigError("run", name, f"a run in {base}, and there is none")
        return found[-1]
    with suppress(OSError, RuntimeError):  # a name that no file can have, or ~ of somebody unknown
        for path in (Path(name).expanduser(), base / name) if name else ():
            if (path / "config.json").is_file():
                return path
    raise ConfigError("run", name, f'a run\'s folder, the name of one in {base}, or "{LAST}"')


def table(found: Sequence[Entry]) -> str:
    """A row a run."""
    header = ("run", "method", "data", "rounds", "reached", "MB, both ways", "model, bytes")
    rows = [header, *(_row(each) for each in found)]
    return "\n".join(line.rstrip() for line in columns(rows, left=3))


def _row(each: Entry) -> tuple[str, ...]:
    return (
        one_line(each.name, 80),
        one_line(each.strategy, 40),
        one_line(each.dataset, 40),
        f"{each.rounds}/{each.of_rounds}{', running' if each.under_way else ''}",
        _reached(each),
        f"{each.bytes / 1e6:,.2f}",
        "-" if each.model_bytes is None else f"{each.model_bytes:,}",
    )


def _reached(each: Entry) -> str:
    if each.reached is None:
        return "-"
    return f"{100 * each.reached:.1f} %" if "accuracy" in each.metric else f"{each.metric} {number(each.reached)}"


def as_values(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """The same for scripts."""
    return [asdict(each) for each in found]


def follow(path: Path, pause: float = 0.5) -> Iterator[tuple[LogReader, bool, bool]]:
    """A run's lines again and again, whether they have changed, and whether its process has ended, which is the last time.

    A run that is resumed takes lines back; whoever looks sees that, too.
    """
    lines = LogReader(path)
    while True:
        over = not under_way(path)
        yield lines, lines.look(), over
        if over:
            return
        time.sleep(pause)
