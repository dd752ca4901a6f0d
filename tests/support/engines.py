"""Flower's real engines in a sandbox: a private FLWR_HOME, free ports on 127.0.0.1, and only our own processes ended."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from fedgates.config import current_names

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Sandbox:
    """Commands with an environment of their own; on exit, every process that carries it is ended."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "flwr"
        self.home.mkdir(parents=True)
        http, control = free_ports(2)
        self.env = os.environ | {
            "FLWR_HOME": str(self.home),
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(http),
            "FLWR_LOCAL_CONTROL_API_PORT": str(control),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",  # that takes longer than a run; the README's commands do it
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)  # each message's process would compile the app anew
        self._logs = folder / "logs"
        self._logs.mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            self.kill(sig=sig)
            deadline = time.monotonic() + 10
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.1)

    def processes(self, *words):
        """Our processes that have all these words in their command lines."""
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                ours = mark in (entry / "environ").read_bytes().split(b"\0") and b"Z" not in _state(entry)
            except OSError:
                continue
            if ours and all(word in command for word in words):
                found.append(int(entry.name))
        return found

    def kill(self, *words, sig=signal.SIGKILL):
        """End the processes that have these words in their command lines; how many there were."""
        found = self.processes(*words)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        return len(found)

    def run(self, *command, cwd=ROOT, timeout=400):
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.env,
            timeout=timeout,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self, *command, name, cwd=None):
        """A process in a group of its own, whose output is ``log(name)``."""
        with (self._logs / name).open("w") as log:
            return subprocess.Popen(
                command, env=self.env, stdout=log, stderr=subprocess.STDOUT, cwd=cwd or self._logs, start_new_session=True
            )

    def log(self, name):
        return (self._logs / name).read_text()

    def runs(self, connection=None):
        """Flower's own list of runs, newest first."""
        return self._listed("flwr", "list", *([connection] if connection else []))["runs"]

    def nodes(self, connection):
        """Flower's own list of SuperNodes."""
        return self._listed("flwr", "supernode", "list", connection)["nodes"]

    def _listed(self, *command):
        code, out = self.run(*command, "--format", "json")
        assert code == 0, out
        return json.loads(out[out.index("{") :])


def until(condition, what, seconds=120):
    """Wait until a condition holds; what it returned."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return found


def _state(entry):
    return (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()[0]


def config_override(config):
    """A run config as one --run-config argument, under the keys' present names: Flower accepts no others."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in current_names(config).items())
