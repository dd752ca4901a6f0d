"""A server that is killed at any moment: its run, resumed, ends byte for byte as if nothing had been."""

import io
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch
from loopback_runs import OF_THE_DOWNLINK, run, without

from fedgates.flower.study import _FRESH
from fedgates.runs.folder import RunFolder

pytestmark = pytest.mark.slow
ROUNDS, EARLY, LATER, SEED = 4, 5, 15, 1
"""Kills before a round is written down, which takes most of a short run, and after."""
TWICE = 4
"""Of so many kills one is followed by another, of the run that was resumed."""
PAUSE = 0.005
"""Seconds that each piece of a file takes, and that the disk takes to have it: from the first line on, half of the time."""
LOOK, PATIENCE = 0.002, 60.0


class _SlowFile(io.FileIO):
    """A file that takes what is written to it piece by piece, each this share of what is left."""

    share = 1 / 3

    def write(self, data):
        time.sleep(PAUSE)
        return super().write(memoryview(data)[: max(32, int(len(data) * self.share))])


class _SlowLines(_SlowFile):
    share = 1 / 20


def _slow_disk():
    """Make this process's writes slow, so that a kill can come between any two of their steps."""
    opened, fsync, replace = Path.open, os.fsync, os.replace

    def slow_open(self, mode="r", buffering=-1, encoding=None, errors=None, newline=None):
        if not set(mode) & set("wax"):
            return opened(self, mode, buffering, encoding, errors, newline)
        if "b" in mode:
            return io.BufferedWriter(_SlowFile(self, mode.replace("b", "")))
        return io.TextIOWrapper(io.BufferedWriter(_SlowLines(self, mode)), encoding=encoding)

    def slow(act):
        def slowly(*args, **kwargs):
            time.sleep(PAUSE)
            act(*args, **kwargs)
            time.sleep(PAUSE)

        return slowly

    Path.open, os.fsync, os.replace = slow_open, slow(fsync), slow(replace)


def _serve(config):
    torch.set_num_threads(1)
    _slow_disk()
    run(config)


def start(config):
    process = _FRESH.Process(target=_serve, args=(config,))
    process.start()
    return process


def wait_until(there, process):
    """The moment at which something is there, while a process is alive."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert process.is_alive() or there(), f"the server ended with {process.exitcode}"
        assert time.monotonic() < end
        time.sleep(LOOK)
    return time.monotonic()


def opened(base):
    """The folder of the run that has its config by now, if there is one."""
    return next((path.parent for path in base.glob("*/config.json")), None)


def written(base):
    """Whether a round is being written down, or has been."""
    return any(base.glob("*/rounds.jsonl"))


def kill_after(seconds, process):
    """Whether it was still running by then."""
    time.sleep(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


@dataclass(frozen=True)
class Kill:
    """A run that was killed, and what it left."""

    since: str
    seconds: float
    folder: RunFolder
    rounds: int
    """Of its last checkpoint; -1 where there is none."""
    unfinished: tuple[str, ...]
    """Files that were being written."""

    def __str__(self):
        writing = ", ".join(self.unfinished) or "nothing"
        return f"{self.seconds:.3f} s after the {self.since}: round {self.rounds}, writing {writing}"


def left(folder):
    """The round of the last checkpoint in a folder, and which files are not whole."""
    rounds = max((int(path.stem[-5:]) for path in folder.glob("checkpoint-*.safetensors")), default=-1)
    unfinished = [path.name.removesuffix(".part") for path in folder.glob("*.part")]
    ledger = folder / "rounds.jsonl"
    if ledger.exists() and not ledger.read_bytes().endswith(b"\n"):
        unfinished.append(ledger.name)
    return rounds, tuple(unfinished)


SINCE = {"folder": opened, "first line": written}


def killed(raw, base, since, seconds):
    """A run that was killed so long after it had come so far, or earlier if it had ended by then."""
    for attempt in range(10):
        folder = base / str(attempt)
        config = raw(output_dir=str(folder))
        process = start(config)
        wait_until(partial(SINCE[since], folder), process)
        if kill_after(seconds, process):
            found = opened(folder)
            return config | {"resume": str(found)}, Kill(since, seconds, RunFolder(found), *left(found))
        seconds *= 0.7
    raise AssertionError("no run lasted until it was killed")


@pytest.fixture(scope="module")
def whole_and_kills(shared_raw, tmp_path_factory, writing_everything):
    """A run that nobody killed, and those that were and have been resumed; the moments are spread over its duration."""
    base = tmp_path_factory.mktemp("kills")
    raw = partial(shared_raw, num_server_rounds=ROUNDS, evaluations="threshold", fraction_train=0.75)
    process = start(raw(output_dir=str(base / "whole")))
    folder, line = (wait_until(partial(found, base / "whole"), process) for found in SINCE.values())
    whole = RunFolder(opened(base / "whole"))
    end = wait_until((whole.path / f"checkpoint-{ROUNDS:05d}.safetensors").exists, process)
    process.join()
    assert process.exitcode == 0

    lots = random.Random(SEED)
    parts = zip(SINCE, (EARLY, LATER), (line - folder, end - line), strict=True)
    plan = [
        (since, (i + lots.random()) / count * seconds, lots.random() * seconds)
        for since, count, seconds in parts
        for i in range(count)
    ]

    def kill(i):
        since, seconds, seconds_of_another = plan[i]
        again, found = killed(raw, base / f"kill{i}", since, seconds)
        if i % TWICE == TWICE - 1:
            kill_after(seconds_of_another, start(again))
        return again, found

    with ThreadPoolExecutor(2) as together:
        found = list(together.map(kill, range(len(plan))))
    with writing_everything():
        for again, _ in found:
            run(again)
    return whole, [kill for _, kill in found]


def files(folder):
    """What a run has left that is the same whoever runs it and when."""
    told = {"config.json", "rounds.jsonl", "report.html", "curves.png"}
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.name not in told}


def test_a_run_that_was_killed_and_resumed_ends_as_one_that_nobody_killed(whole_and_kills):
    whole, kills = whole_and_kills
    expected, lines = files(whole), without(whole.round_log.read(), *OF_THE_DOWNLINK)
    assert len(lines) == ROUNDS
    assert f"checkpoint-{ROUNDS:05d}.safetensors" in expected
    assert [str(kill) for kill in kills if files(kill.folder) != expected] == []
    assert [str(kill) for kill in kills if without(kill.folder.round_log.read(), *OF_THE_DOWNLINK) != lines] == []


def test_the_kills_came_before_the_first_round_was_kept_and_after_and_while_files_were_written(whole_and_kills):
    _, kills = whole_and_kills
    told = "\n".join(map(str, kills))
    assert sum(bool(kill.unfinished) for kill in kills) >= 4, told
    assert sum("rounds.jsonl" in kill.unfinished for kill in kills) >= 1, told
    assert sum(kill.rounds < 1 for kill in kills) >= 2, told
    assert sum(kill.rounds >= 1 for kill in kills) >= 5, told
