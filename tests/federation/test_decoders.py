"""Updates decoded by other processes: the same results in the same order, and nothing left when they or the server die."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

from fedgates.errors import WireError
from fedgates.federation import decoders
from fedgates.federation.decoders import FEWEST_GATES, Decoders, processes
from fedgates.federation.messages import Reply
from fedgates.types import Update, Votes, Weights, pack
from fedgates.wire import Codec, VersionedState, WireOptions

LAYERS, TAIL, CLIENTS = (900, 70, 30), 6, 9
SIZE = sum(LAYERS)
KINDS = {
    "mask": ({}, 0),
    "mask, sampled": ({"uplink": "sampled"}, 0),
    "mask, entropy": ({"uplink": "entropy"}, 0),
    "mask and values": ({}, 0),
    "mask and values, float16": ({"value_type": "float16"}, 0),
    "mask and tail": ({}, TAIL),
}


def federation(name, server_round=4):
    """A codec, the state that opens a round, and each client's payload; some are damaged."""
    options, tail = KINDS[name]
    kind = name.split(",")[0]
    random = np.random.default_rng(3)
    values = random.normal(size=SIZE).astype(np.float32)
    votes = Votes(random.binomial(10, random.beta(0.4, 0.4, SIZE)).astype(np.uint32), 10, tail=values[:tail])
    state = VersionedState(Weights(values) if kind == "mask and values" else votes, server_round)
    codec = Codec(WireOptions(**options, seed=2), LAYERS, b"12345678", kind, tail=tail)
    payloads = []
    for client in range(CLIENTS):
        theta = random.random(SIZE).astype(np.float32)
        mask = random.random(SIZE) < theta
        update = Update(pack(mask), theta=None if kind == "mask and values" else theta)
        if kind == "mask and values":
            update = replace(update, values=values[mask])
        elif tail:
            update = replace(update, tail=values[:tail])
        payloads.append(codec.pack_update(update, state, client))
    payloads[2], payloads[5], payloads[6] = payloads[2][:-1], b"", payloads[1]
    return codec.reader(state), payloads


def replies(payloads):
    return ((client, Reply(client, payload)) for client, payload in enumerate(payloads))


def results(found):
    """Clients with the bytes of their update, or the reason why they have none."""
    return [(client, reply.node, outcome(update)) for client, reply, update in found]


def outcome(update):
    if isinstance(update, WireError):
        return str(update)
    return [None if part is None else (part.dtype, part.tobytes()) for part in (update.mask, update.values, update.tail)]


def expected_of(reader, payloads):
    return [(client, client, outcome(reader.try_read(payload, client))) for client, payload in enumerate(payloads)]


@pytest.fixture
def started(monkeypatch):
    """The processes that were started; after the test none of them may be running."""
    found, start = [], decoders._start
    monkeypatch.setattr(decoders, "_start", lambda: found.append(start()) or found[-1])
    yield found
    assert [process.poll() is None for process in found] == [False] * len(found)


@pytest.mark.parametrize(
    ("wanted", "gates", "simulated", "expected"),
    [
        (0, FEWEST_GATES, False, 4),
        (0, FEWEST_GATES, True, 1),
        (0, FEWEST_GATES - 1, False, 1),
        (1, 10**8, False, 1),
        (2, 10**8, True, 2),
        (20, 10**8, False, 20),
        (20, FEWEST_GATES - 1, False, 1),
        (20, 0, False, 1),
    ],
)
def test_processes_are_those_that_are_asked_for_and_only_for_large_networks(monkeypatch, wanted, gates, simulated, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert processes(wanted, gates, simulated=simulated) == expected


def test_by_default_there_are_no_more_than_eight(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert processes(0, 10**8, simulated=False) == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes(0, 10**8, simulated=False) == 1


@pytest.mark.parametrize(
    ("kind", "uplink", "gates"),
    [("mask", "packed", 0), ("values", "side-info", 0), ("mask", "entropy", SIZE)],
)
def test_gates_count_where_they_are_coded(kind, uplink, gates):
    assert Codec(WireOptions(uplink), LAYERS, b"12345678", kind).coded_gates == gates


@pytest.mark.parametrize("name", KINDS)
def test_one_process_decodes_by_itself(name, started):
    reader, payloads = federation(name)
    with Decoders() as one:
        found = results(one.decode(reader, replies(payloads)))
    assert found == expected_of(reader, payloads)
    assert sum(isinstance(each, str) for _, _, each in found) >= 2
    assert not started


def test_two_processes_find_the_same_in_the_same_order(started):
    with Decoders(2) as two:
        for name in (*KINDS, "mask"):  # each is another round, of which the processes learn
            reader, payloads = federation(name)
            assert results(two.decode(reader, replies(payloads))) == expected_of(reader, payloads)
    assert 1 <= len(started) <= 2


def test_arrays_can_be_written_to_as_those_that_are_decoded_here(started):
    reader, payloads = federation("mask and values")
    with Decoders(2) as two:
        ((_, _, update),) = two.decode(reader, replies(payloads[:1]))
    update.mask[0] ^= 1
    update.values[0] = 0


def test_only_a_few_replies_are_taken_ahead(started):
    reader, payloads = federation("mask")
    taken = []
    endless = ((0, Reply(0, payloads[0])) for number in count() if taken.append(number) is None)
    with Decoders(2) as two:
        found = two.decode(reader, endless)
        for yielded in range(1, 20):
            next(found)
            assert len(taken) <= yielded + 2 * 2
    taken.clear()
    next(Decoders().decode(reader, endless))
    assert len(taken) == 1


def test_a_process_that_dies_between_updates_is_replaced(started, caplog):
    reader, payloads = federation("mask")
    with Decoders(2) as two:
        for _ in range(2):
            assert results(two.decode(reader, replies(payloads))) == expected_of(reader, payloads)
            for process in started:
                process.kill()
                process.wait()
    assert len(started) >= 2
    assert set(caplog.messages) == {"a process that decodes updates ended, status -9: the server decodes its update"}


def test_a_process_that_dies_while_it_decodes_fails_no_client(started, caplog):
    reader, payloads = federation("mask")
    with Decoders(2) as two:
        assert len(list(two.decode(reader, replies(payloads)))) == CLIENTS
        for process in started:
            process.send_signal(signal.SIGSTOP)  # it has taken an update when it dies
            Timer(0.2, process.kill).start()
        assert results(two.decode(reader, replies(payloads))) == expected_of(reader, payloads)
    assert caplog.messages


@pytest.mark.parametrize("program", ["pass", "import sys; sys.stdin.buffer.read(100)", "print('x')", "1 / 0"])
def test_processes_that_cannot_work_are_given_up(monkeypatch, capfd, program):
    starts = []

    def start():
        starts.append(1)
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    monkeypatch.setattr(decoders, "_start", start)
    reader, payloads = federation("mask")
    with Decoders(2) as two:
        for _ in range(3):
            assert results(two.decode(reader, replies(payloads))) == expected_of(reader, payloads)
    assert 3 <= len(starts) <= 2 * 3


def test_a_program_that_is_not_there_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    reader, payloads = federation("mask")
    with Decoders(2) as two:
        assert results(two.decode(reader, replies(payloads))) == expected_of(reader, payloads)
    assert "No such file or directory" in caplog.messages[0]


def test_processes_end_after_an_error(started):
    reader, payloads = federation("mask")

    def stopped():
        yield from replies(payloads * 2)
        raise KeyboardInterrupt

    two = Decoders(2)
    with pytest.raises(KeyboardInterrupt), two:
        list(two.decode(reader, stopped()))
    assert started


def test_a_process_that_hangs_does_not_outlive_the_server(started):
    reader, payloads = federation("mask")
    with Decoders(2) as two:
        list(two.decode(reader, replies(payloads)))
        for process in started:
            process.send_signal(signal.SIGSTOP)
        two._threads.submit(two._read, reader, payloads[0], 0)


def test_they_import_no_torch():
    code = "import sys, fedgates.wire.worker; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.slow
def test_a_script_without_a_guard_is_not_run_again_and_a_killed_server_leaves_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n"
        "from test_decoders import Decoders, decoders, federation, replies\n"
        "print('begins', flush=True)\n"
        "start = decoders._start\n"
        "def noted():\n"
        "    process = start()\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "decoders._start = noted\n"
        "reader, payloads = federation('mask')\n"
        "with Decoders(2) as two:\n"
        "    list(two.decode(reader, replies(payloads)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    begins, *pids = done.stdout.split()
    assert begins == "begins"
    assert pids
    deadline = time.monotonic() + 20
    while any(is_running(int(pid)) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
