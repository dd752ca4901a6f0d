"""deploy/README.md on 127.0.0.1: its commands, unregistered devices, kills in mid-round, and the bytes that Flower counts."""

import re

import pytest
from engines import free_ports, until
from federation import Federation, end_group, keys_of, needs_nginx, results_of, write_npz

import fedgates
from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid

pytestmark = [pytest.mark.slow, needs_nginx]

FRAMING = 2000
"""Bytes that Flower may add to a message: its metadata, a header an object, and the other records (1.3 to 1.6 kB with 1.41)."""
DATA = {0: (0, 150, 7), 1: (150, 240, None), 2: (240, 320, None)}
"""First and last digit of each device, and the class that it lacks."""
STRANGER, DECEIVED = 8, 9


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with Federation(tmp_path_factory.mktemp("deployment")) as federation:
        federation.start_server()
        yield federation


@pytest.fixture(scope="module")
def devices(federation):
    """Processes of the SuperNodes of three devices that are online, and of two that are not accepted."""
    data = {i: write_npz(federation.root / f"own-{i}.npz", a, b, without=lacks) for i, (a, b, lacks) in DATA.items()}
    other = federation.root / "other"
    code, out = federation.run("deploy/certificates.sh", str(other / "ca"), str(other / "server"), federation.address)
    assert code == 0, out
    federation.make_devices(
        *((i, data[i], {}) for i in DATA),
        (STRANGER, data[0], {"register": False}),
        (DECEIVED, data[0], {"ca": other / "server" / "ca.crt"}),
    )
    processes = {number: federation.start_device(number) for number in (*DATA, STRANGER, DECEIVED)}
    federation.wait_online(*DATA)
    return processes


@pytest.fixture(scope="module")
def first_run(federation, devices):
    """Output and folder of the page's run."""
    out = federation.do('--run-config "$SETTINGS"')
    return out, results_of(out)


def test_keys_are_registered_once_and_bad_ones_named(federation, devices):
    """The page's command for the folder of all keys; the devices' own were registered by it."""
    for name, text in (("7", "no key"), ("x y", "no key"), ("30", (federation.keys / "0.pub").read_text())):
        (federation.keys / f"{name}.pub").write_text(text)
    new = federation.root / "another"
    assert federation.run("deploy/device-key.sh", str(new))[0] == 0
    (federation.keys / "12.pub").write_bytes((new / "device.pub").read_bytes())
    code, out = federation.run("bash", "-c", federation.script("register.sh"))
    assert code == 1
    lines = dict(line.split(": ", 1) for line in out.splitlines()[:-1])
    assert re.fullmatch(r"registered, node \d+", lines.pop("12"))
    assert int(out.split("registered, node ")[1].split()[0]) in federation.statuses()
    assert lines == {
        **{str(i): "known already: registered before, or removed for good" for i in DATA},
        str(DECEIVED): "known already: registered before, or removed for good",
        "7": "not registered: expected a device.pub that device-key.sh makes",
        "x\\ y": "not registered: expected the device's number as the name of the file",
        "30": "not registered: its key is that of device 0; make one on each device",
    }
    assert out.splitlines()[-1] == "8 keys: 1 registered, 4 known already, 3 not registered"


def test_devices_train_on_their_own_data(federation, first_run):
    out, folder = first_run
    lines = folder.round_log.read()
    assert [line["clients_counted"] for line in lines] == [3, 3, 3], out
    assert [line["clients_evaluating"] for line in lines] == [3, 3, 3]
    assert lines[-1]["client_accuracy"] > 0.3  # chance is .1
    assert (folder.path / "checkpoint-00003.safetensors").exists()
    assert fedgates.load(folder.path / "model.fedgates").facts.training["rounds"] == 3
    assert federation.runs("fed")[0]["status"] == "finished:completed"


def test_bytes_of_rounds_jsonl_are_those_that_flower_counts(federation, first_run):
    """The run relays sampled masks, so that each client's memory has to last from one message's process to the next one's."""
    lines = first_run[1].round_log.read()
    assert [list(line["uplink"]) for line in lines] == [["mask, sampled"]] * 3
    assert [list(line["downlink"]) for line in lines] == [["votes"], ["relay, sampled"], ["relay, sampled"]]
    uplink, downlink, evaluation = (
        sum(line[key] for line in lines) for key in ("uplink_bytes", "downlink_bytes", "evaluation_downlink_bytes")
    )
    traffic = federation.runs("fed")[0]["network-traffic"]
    messages = 3 * 3 * 2 + 3  # three rounds of three clients that train and evaluate, and one introduction each
    for ours, flower in ((uplink, traffic["inbound-bytes"]), (downlink + evaluation, traffic["outbound-bytes"])):
        assert ours < flower < ours + messages * FRAMING, (uplink, downlink, evaluation, traffic)
    assert f"A device sends {uplink / 9:,.0f} bytes a round" in federation.do("fedgates cost", RESULTS=first_run[1].path)


def test_unregistered_devices_are_refused(federation, devices, first_run):
    known = {federation.node_id(number) for number in DATA}
    others = {node: status for node, status in federation.statuses().items() if node not in known}
    assert list(others.values()) == ["registered"] * 2  # of another authority, or not started; never online
    reasons = {STRANGER: "Failed to activate SuperNode", DECEIVED: "CERTIFICATE_VERIFY_FAILED"}
    for number, reason in reasons.items():
        log = federation.log(f"device-{number}")
        assert reason in log
        assert "SuperNode ID" not in log
        assert "Receiving" not in log
        assert devices[number].wait(60) != 0


def test_superlink_itself_refuses_a_supernode_without_a_key(federation):
    link, ca = f"127.0.0.1:{federation.local}", str(federation.root / "fedgates" / "server" / "ca.crt")
    port = str(free_ports(1)[0])
    keyless = federation.start(
        *("flower-supernode", "--superlink", link, "--root-certificates", ca, "--port", port), name="keyless"
    )
    assert keyless.wait(120) != 0
    assert "All SuperNodes must be registered" in federation.log("keyless")


def test_a_round_continues_without_a_device_that_is_killed(federation, devices, first_run):
    settings = federation.settings({"fraction-evaluate": 0.0, "num-server-rounds": 1, "server.round-timeout": 50.0})
    run, folder = federation.begin_run("loss", settings)
    federation.in_round(folder, 1, *DATA)
    end_group(devices[2])
    assert run.wait(180) == 0
    (line,) = folder.round_log.read()
    assert (line["clients_selected"], line["clients_counted"], list(line["failed"])) == (3, 2, ["2"])
    assert federation.runs("fed")[0]["status"] == "finished:completed"
    federation.do("flwr supernode unregister", NODE=federation.node_id(2))


def test_a_run_whose_server_is_killed_resumes_to_the_same_end(federation, devices, first_run):
    """Twice in its second round: first the run's own process alone, then SuperLink with it."""
    assert devices[2].poll() is not None
    settings = federation.settings({"fraction-evaluate": 0.0, "num-server-rounds": 2})
    resume = 'resume=\\"$RESULTS\\"'

    stopped, folder = federation.begin_run("killed", settings)
    federation.in_round(folder, 2, 0, 1)
    assert federation.kill("flwr-serverapp") == 1
    run = federation.runs("fed")[0]
    assert run["status"] == "running"  # for a while, to Flower
    federation.do("flwr log", RUN=run["run-id"], RESULTS=folder.path)
    federation.do("flwr stop", RUN=run["run-id"])
    assert stopped.wait(60) is not None

    stopped, same = federation.begin_run("killed again", settings, resume, RESULTS=folder.path)
    assert same == folder
    federation.in_round(folder, 2, 0, 1)
    for words in (("flower-superlink",), ("flower-superexec", str(federation.local)), ("flwr-serverapp",)):
        assert federation.kill(*words) == 1
    assert stopped.wait(60) is not None
    assert [line["round"] for line in folder.round_log.read()] == [1]
    federation.start_superlink("superlink again")

    last, _ = federation.begin_run("unharmed", settings, resume, RESULTS=folder.path)
    assert last.wait(240) == 0
    assert "resumed after round 1" in federation.log("unharmed")

    config = keys_of(settings) | {"output-dir": str(federation.root / "reference")}
    nodes = [{"partition-id": i, "data-path": str(federation.devices[i]["DATA"])} for i in (0, 1)]
    reference = run_on_grid(LoopbackGrid(app, config, node_configs=nodes), config)
    name = "checkpoint-00002.safetensors"
    assert (folder.path / name).read_bytes() == (reference.path / name).read_bytes()


def test_an_unregistered_device_is_not_accepted_again(federation, devices, first_run):
    federation.do("flwr supernode unregister", NODE=federation.node_id(1))
    until(lambda: devices[1].poll() is not None, "the end of its SuperNode", 20)
    assert federation.statuses()[federation.node_id(1)] == "unregistered"
    stranger = federation.root / "device-1" / "device.pub"
    code, out = federation.run("flwr", "supernode", "register", str(stranger), "fed")
    assert (code, "already in use" in out) == (1, True), out  # for good
    federation.do("flwr supernode list")
    watched = federation.do("openssl x509", RESULTS=first_run[1].path)
    assert '"round": 3' in watched
    assert "Certificate will not expire" in watched
    federation.do("uv pip freeze")
    assert "flwr==" in (federation.root / "fedgates" / "server" / "versions.txt").read_text()


def test_every_command_of_the_page_was_run(federation, devices, first_run):
    assert not federation.page.rest
