"""A server and devices on this machine, brought up by the commands of deploy/README.md."""

import os
import re
import shutil
import signal
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shlex import quote

import device_environment
import numpy as np
import pytest
from commands import Page
from engines import ROOT, Sandbox, free_ports, until

from fedgates.config import flatten
from fedgates.data.digits import digits
from fedgates.runs.folder import RunFolder

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="THERE IS NO NGINX: nothing of the devices' gate is tested")


def write_npz(path, first, last, *, without=None):
    """Write the data of a device, some of the digits without one class; return the file."""
    train = digits().train
    x, y = train.x[first:last], train.y[first:last]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=x[y != without], y_train=y[y != without])
    return path


def keys_of(settings):
    """Return the run config of a --run-config argument: dotted key to value."""
    return flatten(tomllib.loads("\n".join(settings.split())))


def results_of(out):
    """Return the folder that a run printed."""
    return RunFolder(Path(re.findall(r"^results: (.+)$", out, re.MULTILINE)[0]))


class Federation(Sandbox):
    """A server and devices with a home folder of their own, so that the page's paths need no change.

    Devices reach the server at `address`; its commands are run with the prefix `inside`, which may enter a network namespace.
    """

    def __init__(self, folder, address="127.0.0.1", inside=()):
        super().__init__(folder)
        self.inside = inside
        self.page = Page()
        self.root = folder / "home"
        self.root.mkdir()
        self.env["HOME"] = str(self.root)
        self.address = address
        self.port, self.local = free_ports(2)
        self.keys = self.root / "fedgates" / "keys"
        self.keys.mkdir(parents=True)
        self.devices = {}
        self.device_commands = device_environment.make(folder / "device-environment")
        self.nobodys = None
        self.gates = []

    def __exit__(self, *what):
        super().__exit__(*what)
        for gate in self.gates:  # nginx writes its title over the environment by which the sandbox knows its processes
            with suppress(ProcessLookupError):
                end_group(gate, signal.SIGTERM)
        if self.nobodys:
            shutil.rmtree(self.nobodys)

    def run(self, *command, **options):
        return super().run(*self.inside, *command, **options)

    # --- the page's blocks

    def script(self, command, **values):
        own = {"ADDRESS": self.address, "PORT": self.port, "LOCAL": self.local} if "SERVER" not in values else {}
        return self.page.script(command, **{name: quote(str(value)) for name, value in {**own, **values}.items()})

    def do(self, command, **values):
        """Run a block to its end; return its output."""
        code, out = self.run("bash", "-c", self.script(command, **values))
        assert code == 0, out
        return out

    def begin(self, command, name, inside=None, cwd=ROOT, **values):
        """Start a block in a process of its own; return the process."""
        return self.start(
            *(self.inside if inside is None else inside), "bash", "-c", self.script(command, **values), name=name, cwd=cwd
        )

    # --- machines

    def start_server(self):
        self.do("certificates.sh")
        self.start_superlink()
        self.start_gate()
        self.do("connection.sh")

    def start_gate(self):
        """Start nginx as a user without privileges; where the tests are root's, as `nobody`, with copies of what it reads."""
        values, cwd, user = {}, ROOT, ()
        if os.geteuid() == 0:
            self.nobodys = cwd = self.nobodys or self._copy_for_nobody()
            values["SITE"] = cwd / "server"
            user = ("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups")
        gate = self.begin("gate.sh", "gate", (*self.inside, *user), cwd=cwd, **values)
        self.gates.append(gate)
        until(lambda: self.run("bash", "-c", f"exec 3<>/dev/tcp/{self.address}/{self.port}")[0] == 0, "the gate")
        return gate

    def _copy_for_nobody(self):
        folder = Path(tempfile.mkdtemp(prefix="fedgates-gate-"))
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        (folder / "server").mkdir()
        for name in ("ca.crt", "server.crt", "server.key"):
            shutil.copy(self.root / "fedgates" / "server" / name, folder / "server")
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody", "nogroup")
        return folder

    def start_superlink(self, name="superlink"):
        self.begin("superlink.sh", name)
        until(lambda: "Uvicorn running on https://" in self.log(name), "SuperLink")

    def make_device(self, number, data, *, register=True, ca=None):
        """Make a device with a key, the authority's certificate and data; store its values of the page's variables.

        With `register` its public key is added to `keys`.
        """
        site = self.root / f"device-{number}"
        values = {"SITE": site, "SERVER": f"{self.address}:{self.port}", "NUMBER": number, "DATA": data}
        values["LOCAL"] = free_ports(1)[0]
        self.do("device-key.sh", **values)
        shutil.copy(ca or self.root / "fedgates" / "server" / "ca.crt", site / "ca.crt")
        if register:
            shutil.copy(site / "device.pub", self.keys / f"{number}.pub")
        self.devices[number] = values

    def make_devices(self, *devices):
        """Make devices, and register them all at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda device: self.make_device(*device[:2], **device[2]), devices))
        self.do("register.sh")

    def start_device(self, number, inside=()):
        """Start a SuperNode with the packages of a device alone, and without this repository's modules."""
        bare = ("env", "-u", "PYTHONPATH", f"PATH={self.device_commands}:/usr/bin:/bin")
        return self.begin("supernode.sh", f"device-{number}", (*inside, *bare), **self.devices[number])

    def node_id(self, number):
        return int(re.findall(r"SuperNode ID: (\d+)", self.log(f"device-{number}"))[0])

    def statuses(self):
        """Return the status of every registered SuperNode by node id."""
        return {int(node["node-id"]): node["status"] for node in self.nodes("fed")}

    def wait_online(self, *numbers):
        until(lambda: all("SuperNode ID" in self.log(f"device-{number}") for number in numbers), "devices online")

    # --- runs

    def settings(self, changes):
        """Return the page's settings of a run, with some keys changed."""
        changed = keys_of(self.page.value("SETTINGS")) | changes
        return " ".join(f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in changed.items())

    def begin_run(self, name, settings, command='--run-config "$SETTINGS"', **values):
        """Start a run and wait for its folder; return its process and the folder."""
        process = self.begin(command, name, SETTINGS=settings, **values)
        until(lambda: "\nresults: " in self.log(name) or process.poll() is not None, "the run's folder")
        return process, results_of(self.log(name))

    def asked(self, number, kind="train"):
        """Return the number of messages of a kind that a device received."""
        return self.log(f"device-{number}").count(f"Receiving: {kind} message")

    def in_round(self, folder, server_round, *numbers):
        """Wait until these devices have received their messages of a round that is not over."""
        until(lambda: len(folder.round_log.read()) == server_round - 1, f"the end of round {server_round - 1}", 120)
        before = {number: self.asked(number) for number in numbers}
        until(lambda: all(self.asked(number) > before[number] for number in numbers), f"round {server_round} under way")
        assert len(folder.round_log.read()) == server_round - 1


def end_group(process, sig=signal.SIGKILL):
    os.killpg(process.pid, sig)
    process.wait()
