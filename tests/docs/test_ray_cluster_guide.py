"""The commands of docs/guides/ray_cluster.md with two Ray nodes on one machine, and, if namespaces are allowed, on two."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from engines import Sandbox, free_ports, until
from guide import blocks, prepared, runs

from client_app import app as client_app
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.runs.folder import RunFolder

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow]
FIRST, OTHER, STATUS, RUN, TIMELINE, STOP = (block.text for block in blocks("ray_cluster") if block.language == "bash")
ADDRESS = "192.168.1.10:6379"
"""Address of the first machine on the page."""
CLIENTS, ROUNDS = 6, 3
ADDRESSES = {"first": "10.79.0.1", "other": "10.79.0.2"}
"""Addresses of the two machines that are made of namespaces."""


@dataclass(frozen=True)
class Machine:
    """A machine on which commands are run in the app's folder."""

    sandbox: Sandbox
    enter: tuple[str, ...] = ()
    """Prefix of a command that enters the machine."""

    def run(self, script):
        code, out = self.sandbox.run(*self.enter, "bash", "-euo", "pipefail", "-c", script, cwd=prepared(self.sandbox))
        assert code == 0, f"{script}\n{out}"
        return out


def test_two_nodes_train_to_the_same_bytes_as_one(tmp_path, short):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        sandbox.env["RAY_TMPDIR"] = short  # or the simulations of other tests would join
        here, (port,) = Machine(sandbox), free_ports(1)
        here.run(RUN)  # SuperLink starts before the cluster

        here.run(FIRST.replace("--head", f"--head --port={port} --num-cpus=1"))
        address = Path(short, "ray", "ray_current_cluster").read_text()
        here.run(OTHER.replace(ADDRESS, f"{address} --num-cpus=1 --node-ip-address=127.0.0.2"))
        until(lambda: nodes(here) == 2, "the second node")
        here.run(RUN)

        assert set(trained(here)) == {address.partition(":")[0], "127.0.0.2"}
        alone, together = map(RunFolder, runs(sandbox))
        assert left(together) == left(alone)
        # the last command of the page would end every Ray process of this machine, those of other tests, too
    assert not sandbox.processes()


def test_two_machines_that_share_only_the_clone(tmp_path, cable):
    with Sandbox(tmp_path / "sandbox") as sandbox:
        prepared(sandbox)
        first = machine(sandbox, cable, "first", "/tmp/ray")
        other = machine(sandbox, cable, "other", "/tmp/ray", sandbox.home, sandbox.env["HOME"])
        first.run(FIRST)
        other.run(OTHER.replace(ADDRESS.partition(":")[0], ADDRESSES["first"]))
        until(lambda: nodes(first) == 2, "the second machine")
        first.run(RUN)

        assert set(trained(first)) == set(ADDRESSES.values())
        for each in (other, first):
            each.run(STOP)
        assert not sandbox.processes("raylet")
        assert not sandbox.processes("gcs_server")
        (folder,) = map(RunFolder, runs(sandbox))
        settings = {"num-server-rounds": ROUNDS, "output-dir": str(tmp_path / "loopback")}
        loopback = run_on_grid(LoopbackGrid(client_app, settings, CLIENTS), settings)
        assert left(folder) == left(loopback)


@pytest.fixture
def short():
    """Return a folder for Ray, whose sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cable():
    """Make two network namespaces with a cable between them; return the prefix of their names."""
    name = f"fedgates-ray-{os.getpid()}"
    try:
        ip("netns", "add", f"{name}-first")
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', '') or error}")
    try:
        ip("netns", "add", f"{name}-other")
        lay = f"link add cable type veth peer name cable netns {name}-other"
        ip("-n", f"{name}-first", *lay.split())
        for of, address in ADDRESSES.items():
            for command in (
                f"addr add {address}/24 dev cable",
                "link set lo up",
                "link set cable up",
                "route add default dev cable",
            ):
                ip("-n", f"{name}-{of}", *command.split())
        yield name
    finally:
        for of in ADDRESSES:
            subprocess.run(["ip", "netns", "del", f"{name}-{of}"], check=False)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def machine(sandbox, cable, name, *own):
    """Return a machine with its own address, processes, and folders, which are empty at first."""
    Path("/tmp/ray").mkdir(exist_ok=True)
    mounts = [f"mount -t tmpfs none '{folder}'" for folder in own]
    script = "; ".join([*mounts, "echo up", "trap exit TERM", "while sleep 1; do :; done"])
    command = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-euc", script)
    outer = sandbox.start("ip", "netns", "exec", f"{cable}-{name}", *command, name=name).pid
    until(lambda: "up" in sandbox.log(name), f"the {name} machine")
    inner = Path(f"/proc/{outer}/task/{outer}/children").read_text().strip()
    return Machine(sandbox, ("nsenter", "--target", inner, "--mount", "--pid", "--net", f"--wd={prepared(sandbox)}"))


def nodes(place):
    """Return the number of nodes that `ray status` lists as active."""
    return len(re.findall(r"^ 1 node_", place.run(STATUS).partition("Pending")[0], re.MULTILINE))


def trained(place):
    """Wait until Ray's log has all messages, an introduction and one a round; return their number for each address."""

    def counted():
        trace = re.search(r"written to (\S+)", place.run(TIMELINE))[1]
        events = json.loads(place.run(f"cat {trace}"))
        found = Counter(event["pid"] for event in events if event["cat"] == "task::ClientAppActor.run")
        return found if found.total() == CLIENTS * (1 + ROUNDS) else None

    return until(counted, "Ray's log of all messages")


def left(folder):
    """Return the results of a run that do not vary: lines without seconds, and files."""
    lines = [{key: value for key, value in line.items() if "seconds" not in key} for line in folder.round_log.read()]
    files = sorted(path for path in folder.path.iterdir() if path.suffix in (".safetensors", ".fedgates"))
    assert len(lines) == ROUNDS
    return lines, {path.name: path.read_bytes() for path in files}
