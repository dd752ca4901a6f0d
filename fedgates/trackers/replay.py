"""Log an existing run to trackers."""

from pathlib import Path

from fedgates.config import RunConfig, parse
from fedgates.runs.config_file import read_config
from fedgates.runs.round_log import RoundLog
from fedgates.trackers.callback import TrackerCallback
from fedgates.trackers.named import KEY


def replay(trackers: str, folder: Path) -> int:
    """Log all rounds of an existing run to trackers, and return the number of lines in its log.

    Raises
    ------
    ConfigError
        `trackers` is invalid, `folder` is not the folder of a run, or a tracker cannot be opened.
    TrackerError
        A tracker failed.
    """
    parse(RunConfig, {KEY: trackers})
    config, lines = read_config(folder), RoundLog(folder).read()
    callback = TrackerCallback(trackers, folder.resolve(), config, lenient=False)
    callback.on_start(None, 1, resumed=False)
    finished = False
    try:
        for line in lines:
            callback.on_round_end(line, None)
        finished = True
    finally:
        callback.on_end(None, finished=finished)
    return len(lines)
