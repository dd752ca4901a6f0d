"""What clients of a method that remembers keep for it, from round to round, in Flower's own client state."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedgates.strategies.fedavg import FedAvg
from fedgates.strategies.topk import as_read
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from loopback_runs import FIRST_NODE, Dying, Noting, client_of, last_checkpoint, method, payload_of, run, run_on, state_payload

from client_app import app
from fedgates.data import partition, to_tensors
from fedgates.data.digits import digits
from fedgates.flower.client_app import MEMORY
from fedgates.flower.records import METRICS, UPDATE
from fedgates.methods.training import Task

DIARY = "test_client_memory:Diary"
SEEN: list[tuple[int, int, list[float]]] = []
"""Round, client, and the earlier rounds that it remembers."""


class Diary(FedAvg):
    """A client remembers the rounds in which it trained; in round 4 nothing new, and in round 6 the first of them fails."""

    spec = replace(FedAvg.spec, memory=("rounds",))

    def local_update(self, state, task):
        rounds = task.memory.get("rounds", np.zeros(0, dtype=np.float32))
        SEEN.append((task.server_round, task.client, rounds.tolist()))
        update = super().local_update(state, task)
        if task.server_round == 4:
            return update
        if task.server_round == 6 and sum(server_round == 6 for server_round, _, _ in SEEN) == 1:
            return replace(update, values=update.values[:-1], memory={"rounds": np.float32([-1])})
        return replace(update, memory={"rounds": np.append(rounds, np.float32(task.server_round))})


class Forgetful(Diary):
    """It asks for what it never said it would keep."""

    spec = FedAvg.spec


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def test_each_client_is_given_what_it_left_however_often_it_takes_part(raw):
    config = raw(strategy=DIARY, fraction_train=0.5, num_server_rounds=12, max_failed_rounds=12)
    grid = Noting(app, config, 2)
    lines = run_on(grid, config).round_log.read()
    # one of the two each round; the sixth was repeated
    assert [server_round for server_round, _, _ in SEEN] == sorted([*range(1, 13), 6])
    assert {client for _, client, _ in SEEN} == {0, 1}
    kept = {0: [], 1: []}
    for i, (server_round, client, remembered) in enumerate(SEEN):
        assert remembered == kept[client]
        if server_round != 4 and i != 5:  # it left what it had; its update could not be sent
            kept[client].append(server_round)
    assert min(len(rounds) for rounds in kept.values()) > 1
    assert [line["round"] for line in lines if line["clients_failed"]] == [6]
    for client, rounds in kept.items():
        (array,) = grid.contexts[FIRST_NODE + client].state.array_records[MEMORY].values()
        assert array.numpy().tolist() == rounds


def test_it_does_not_travel(raw):
    class Watching(Noting):
        def deliver(self, message):
            reply = super().deliver(message)
            if message.metadata.message_type == "train":
                assert set(message.content) == {"state", "problem"}
                assert set(reply.content) == {UPDATE, METRICS}
                assert set(reply.content.metric_records[METRICS]) == {"num-examples", "seconds", "loss"}
            return reply

    folder = run(raw(strategy=DIARY, num_server_rounds=3), 2, Watching)
    assert [line["clients_counted"] for line in folder.round_log.read()] == [2] * 3
    dense = run(raw(strategy="fedavg", num_server_rounds=3), 2)
    assert last_checkpoint(folder).read_bytes() == last_checkpoint(dense).read_bytes()
    assert folder.round_log.read()[-1]["uplink_bytes"] == dense.round_log.read()[-1]["uplink_bytes"]


def test_a_method_that_does_not_remember_is_given_nothing_and_leaves_nothing(raw):
    config = raw(strategy="test_client_memory:Forgetful", num_server_rounds=3)
    grid = Noting(app, config, 2)
    run_on(grid, config)
    assert [remembered for _, _, remembered in SEEN] == [[]] * 6
    assert all(MEMORY not in context.state for context in grid.contexts.values())


def stored(**arrays):
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def cut(record):
    (name, array), *_ = record.items()
    return ArrayRecord({name: Array(array.dtype, array.shape, array.stype, array.data[:-3])})


def pickled(record):
    """An array of Python objects, which NumPy would have to unpickle."""
    array = Array(np.array([1, 2], dtype=np.float32))
    data = array.data.replace(b"'<f4'", b"'|O' ")
    return ArrayRecord({"rounds": Array("object", (2,), array.stype, data)})


DAMAGE = {
    "nothing": None,
    "another sort of record": lambda record: MetricRecord({"rounds": 1.0}),
    "no array": lambda record: ArrayRecord(),
    "cut": cut,
    "another serialisation": lambda record: ArrayRecord({"rounds": Array("float32", (1,), "other", b"abcd")}),
    "pickled": pickled,
    "under another name": lambda record: stored(others=np.zeros(3, dtype=np.float32)),
}


class Disturbed(Noting):
    """Before the third round, something happens to what client 1 keeps."""

    change = None

    def deliver(self, message):
        context = self.contexts[FIRST_NODE + 1]
        if message.metadata.message_type == "train" and client_of(message) == 1 and len(self.states) > 3:
            if self.change:
                context.state[MEMORY] = self.change(context.state.array_records[MEMORY])
            else:
                context.state = RecordDict()
            self.deliver = super().deliver
        return super().deliver(message)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_client_whose_memory_is_lost_or_damaged_starts_anew(raw, damage):
    config = raw(strategy=DIARY, num_server_rounds=3)
    grid = Disturbed(app, config, 2)
    grid.change = DAMAGE[damage]
    lines = run_on(grid, config).round_log.read()
    assert [line["clients_counted"] for line in lines] == [2, 2, 2]
    assert SEEN[-2:] == [(3, 0, [1, 2]), (3, 1, [])]


def test_a_resumed_run_says_that_clients_start_anew(raw, caplog):
    config = raw(strategy=DIARY, num_server_rounds=3)
    with pytest.raises(KeyboardInterrupt):
        run_on(Dying(app, config, 2), config)
    (stopped,) = Path(config["output-dir"]).iterdir()
    SEEN.clear()
    with caplog.at_level("WARNING", logger="fedgates"):
        run(config | {"resume": str(stopped)}, 2)
    assert f"clients of {DIARY} start with empty memory (rounds)" in caplog.text
    assert SEEN == [(3, 0, []), (3, 1, [])]


# --- Top-K with error feedback

TOPK = {"strategy": "topk", "target_density": 0.05, "value_type": "float16", "samples_per_client": 30, "local_epochs": 1}


class Following(Noting):
    """Does each client's work again, from what it kept before, and compares."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.owed = {}

    def deliver(self, message):
        if message.metadata.message_type != "train":
            return super().deliver(message)
        client, found = client_of(message), method(**TOPK)
        kept = self.contexts[FIRST_NODE + client].state
        before = {name: array.numpy() for name, array in kept.array_records.get(MEMORY, {}).items()}
        reply = super().deliver(message)
        known = found.codec.unpack_state(state_payload(message))
        own = digits().train.take(partition(digits().train.strata, 2, found.config)[client])
        update = found.local_update(known.state, Task(*to_tensors(own, "cpu"), known.server_round, client, before))
        sent = found.codec.unpack_update(payload_of(reply), known, client)
        assert sent.mask.tobytes() == update.mask.tobytes()
        assert sent.values.tobytes() == as_read(update.values, "float16").tobytes()
        after = kept.array_records[MEMORY]["error"].numpy()
        assert after.tobytes() == update.memory["error"].tobytes()
        self.owed.setdefault(client, []).append((np.abs(before.get("error", np.zeros(1))).sum(), np.abs(after).sum()))
        return reply


def test_what_top_k_owes_stays_with_each_client_until_it_trains_again(raw):
    config = raw(**TOPK, fraction_train=0.5, num_server_rounds=8)
    grid = Following(app, config, 2)
    lines = run_on(grid, config).round_log.read()
    assert [line["clients_counted"] for line in lines] == [1] * 8
    assert sorted(grid.owed) == [0, 1]
    for rounds in grid.owed.values():
        assert len(rounds) > 1
        assert rounds[0][0] == 0
        assert [before for before, _ in rounds[1:]] == [after for _, after in rounds[:-1]]
        assert min(after for _, after in rounds) > 0
