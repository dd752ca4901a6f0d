"""A server and two devices in network namespaces of their own: the link of one of them is down for a while."""

import os
import subprocess
from dataclasses import dataclass

import pytest
from engines import until
from federation import Federation, write_npz

pytestmark = pytest.mark.slow

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

        settings = federation.settings(fraction_evaluate=0.0, num_server_rounds=20, min_clients=1, round_timeout=25.0)
        run, folder = federation.begin_run("cut", settings)
        federation.in_round(folder, 2, *DATA)
        net.cut(2)
        until(lambda: len(folder.ledger.read()) == 2, "the end of the round without it")
        net.mend(2)
        back = "two rounds with it again"  # for which TCP, that has waited longer and longer, may take a minute
        until(lambda: clients_counted(folder)[2:][-2:] == [2, 2] or run.poll() is not None, back, 300)
        assert clients_counted(folder)[0] == 2
        assert "2" in folder.ledger.read()[1]["failed"]
        assert clients_counted(folder)[-2:] == [2, 2]


def clients_counted(folder):
    return [line["clients_counted"] for line in folder.ledger.read()]
