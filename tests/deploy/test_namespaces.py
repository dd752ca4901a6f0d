"""A server and two devices in network namespaces of their own; the link of one device is down for a while."""

import os
import subprocess
from dataclasses import dataclass

import pytest
from engines import until
from federation import Federation, needs_nginx, write_npz

pytestmark = [pytest.mark.rehearsal, pytest.mark.slow, needs_nginx]

SERVER = "10.77.0.1"
DATA = {1: (0, 120), 2: (120, 240)}


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


@dataclass(frozen=True)
class Net:
    """The server's namespace, with a bridge, and one for each device, on a cable to it."""

    name: str

    def of(self, machine):
        return f"{self.name}-{machine}"

    def inside(self, machine):
        return ("ip", "netns", "exec", self.of(machine))

    def lay(self):
        for machine in ("server", *DATA):
            assert ip("netns", "add", self.of(machine)) == (0, "")
            assert ip("-n", self.of(machine), "link", "set", "lo", "up") == (0, "")
        server = self.of("server")
        commands = ["link add bridge type bridge", f"addr add {SERVER}/24 dev bridge", "link set bridge up"]
        for device in DATA:
            commands.append(f"link add to-{device} type veth peer name cable netns {self.of(device)}")
            commands += [f"link set to-{device} master bridge", f"link set to-{device} up"]
        for command in commands:
            assert ip("-n", server, *command.split()) == (0, ""), command
        for device in DATA:
            for command in (f"addr add 10.77.0.{10 + device}/24 dev cable", "link set cable up"):
                assert ip("-n", self.of(device), *command.split()) == (0, ""), command

    def cut(self, device):
        assert ip("-n", self.of("server"), "link", "set", f"to-{device}", "down") == (0, "")

    def mend(self, device):
        assert ip("-n", self.of("server"), "link", "set", f"to-{device}", "up") == (0, "")

    def remove(self):
        for machine in ("server", *DATA):
            ip("netns", "del", self.of(machine))


@pytest.fixture
def net():
    net = Net(f"fedgates{os.getpid()}")
    try:
        code, why = ip("netns", "add", net.of("probe"))
    except FileNotFoundError:
        pytest.skip("there is no `ip` command (iproute2)")
    if code:
        pytest.skip(f"network namespaces are not allowed here: {why}")
    ip("netns", "del", net.of("probe"))
    try:
        net.lay()
        yield net
    finally:
        net.remove()


def test_a_device_whose_link_was_down_is_counted_again(net, tmp_path):
    with Federation(tmp_path / "federation", SERVER, net.inside("server")) as federation:
        federation.start_server()
        data = {i: write_npz(federation.root / f"own-{i}.npz", first, last) for i, (first, last) in DATA.items()}
        federation.make_devices(*((i, data[i], {}) for i in DATA))
        for i in DATA:
            federation.start_device(i, net.inside(i))
        federation.wait_online(*DATA)

        many = {"num-server-rounds": 40, "server.max-failed-rounds": 40}  # on a busy machine either may be too slow for a round
        server = {"server.min-clients": 1, "server.round-timeout": 25.0}
        settings = federation.settings({"fraction-evaluate": 0.0, **server, **many})
        run, folder = federation.begin_run("cut", settings)
        wait_for(run, folder, lambda lines: 2 in counted(lines), "a round with both")
        net.cut(2)
        lost = len(folder.round_log.read())
        wait_for(run, folder, lambda lines: any("2" in line["failed"] for line in lines[lost:]), "a round without it")
        net.mend(2)
        mended = len(folder.round_log.read())  # TCP has waited longer and longer, and may take a minute to try again
        wait_for(run, folder, lambda lines: counted(lines[mended:])[-2:] == [2, 2], "two rounds with it again")


def wait_for(run, folder, holds, what):
    """Wait until a condition on the round log of a run is true; the run continues."""
    until(lambda: holds(folder.round_log.read()) or run.poll() is not None, what, 300)
    assert holds(folder.round_log.read()), what


def counted(lines):
    return [line["clients_counted"] for line in lines]
