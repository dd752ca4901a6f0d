"""A run that has left its folder, told to trackers afterwards."""

from pathlib import Path

from fedgates.config import RunConfig, parse
from fedgates.runs.listing import config_of, rounds
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
    config, lines, folder = config_of(folder), rounds(folder), folder.resolve()
    with following(trackers, folder, config, lenient=False) as tell:
        for line in lines:
            tell(line)
    return len(lines)
