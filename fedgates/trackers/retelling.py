"""A run that has left its folder, told to trackers afterwards."""

import json
from pathlib import Path

from fedgates.config import ConfigError, RunConfig, parse
from fedgates.run_list import rounds
from fedgates.trackers.following import following
from fedgates.trackers.named import KEY


def retell(trackers: str, folder: Path) -> int:
    """Tell trackers a run from its folder, from the first round on; how many rounds there were.

    Raises
    ------
    ConfigError
        There are no such trackers, it is no run's folder, or a tracker cannot be opened.
    TrackerError
        One fails.
    """
    parse(RunConfig, {KEY: trackers})
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError("run", str(folder), "a run's folder, with its config.json") from None
    lines, folder = rounds(folder), folder.resolve()
    with following(trackers, folder, config, lenient=False) as tell:
        for line in lines:
            tell(line)
    return len(lines)
