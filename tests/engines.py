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
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        self._logs = folder / "logs"
        self._logs.mkdir()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._ours():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            deadline = time.monotonic() + 10
            while self._ours() and time.monotonic() < deadline:
                time.sleep(0.1)

    def _ours(self):
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") and b"Z" not in _state(entry):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def run(self, *command, cwd=ROOT, timeout=240):
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

    def start(self, *command, name):
        log = (self._logs / name).open("w")
        return subprocess.Popen(command, env=self.env, stdout=log, stderr=subprocess.STDOUT, cwd=self._logs)

    def log(self, name):
        return (self._logs / name).read_text()

    def runs(self, connection=None):
        """Flower's own list of runs, newest first."""
        command = ["flwr", "list", *([connection] if connection else []), "--format", "json"]
        code, out = self.run(*command)
        assert code == 0, out
        return json.loads(out[out.index("{") :])["runs"]


def _state(entry):
    return (entry / "stat").read_bytes().rsplit(b")", 1)[1].split()[0]


def config_override(config):
    """A run config as one --run-config argument."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
