"""Whole runs on the loopback grid: the contract of a run's folder, and the invariants of DESIGN."""

import json
from pathlib import Path

import numpy as np
import pytest
from fedgates.strategies.fedavg import FedAvg
from fedgates.strategies.fedpm import FedPM
from loopback_runs import MLP, OF_THE_DOWNLINK, Dying, Reversed, last_checkpoint, run, votes_of, without
from loopback_runs import MLP_SIZE as D
from safetensors.numpy import load_file

from client_app import app
from fedgates import data
from fedgates.config import DEFAULT_STRATEGY, RunConfig
from fedgates.errors import ConfigError, QuorumError
from fedgates.federation.membership import sample_clients
from fedgates.flower import LoopbackGrid, run_on_grid


def entropy_of(folder):
    """Bytes of the votes after the first round, by how often each number of them occurs."""
    shares = np.bincount(load_file(folder.path / "checkpoint-00001.safetensors")["votes"]) / D
    return -(shares * np.log2(shares)).sum() * D / 8


@pytest.mark.usefixtures("whole_runs")
def test_a_run_leaves_the_files_and_the_figures_of_the_contract(raw, contract):
    folder = run(raw(**MLP, downlink="votes"))
    first, second = folder.round_log.read()
    assert set(contract) <= set(first)
    assert first["uplink"] == {"mask, side-info": {"messages": 4, "bytes": first["uplink_bytes"]}}
    assert first["downlink"] == {"votes": {"messages": 4, "bytes": 4 * 36}}  # nothing is known yet: the state is its header
    assert second["downlink"] == {"votes": {"messages": 4, "bytes": second["downlink_bytes"]}}
    assert entropy_of(folder) < second["downlink_bytes"] / 4 - 36 < entropy_of(folder) + 20  # five frequencies, a range code
    assert second["uplink_bpp"] == pytest.approx(8 * second["uplink_bytes"] / (4 * D))
    assert first["clients_selected"] == first["clients_counted"] == 4
    assert 0.3 < first["density"] < 0.7
    assert first["accuracy"] < second["accuracy"] <= 1
    assert {"accuracy_sample", "accuracy_mean"} <= set(second)
    config = json.loads((folder.path / "config.json").read_text())
    assert config["strategy"] == DEFAULT_STRATEGY
    assert config["data.samples-per-client"] == 30
    assert (folder.path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in sorted(folder.path.glob("checkpoint-*"))] == [
        "checkpoint-00001.safetensors",
        "checkpoint-00002.safetensors",
    ]


@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_the_order_of_replies_changes_no_byte(raw, strategy):
    config = raw(strategy=strategy, round_timeout=60.0)
    one, other = run(config), run(config, grid=Reversed)
    assert last_checkpoint(one).read_bytes() == last_checkpoint(other).read_bytes()
    assert without(one.round_log.read()) == without(other.round_log.read())


@pytest.mark.parametrize(("method", "by_name"), [(FedAvg, True), (FedPM, False)])
def test_values_are_summed_in_the_order_of_names_and_votes_as_they_come(raw, monkeypatch, method, by_name):
    seen, aggregate = [], method.aggregate

    def watch(self, state, updates, server_round):
        updates = list(updates)
        seen.append([update.metrics["loss"] for update in updates])
        return aggregate(self, state, updates, server_round)

    monkeypatch.setattr(method, "aggregate", watch)
    config = raw(strategy=method.__name__.lower(), num_server_rounds=1, round_timeout=60.0)
    for grid in (LoopbackGrid, Reversed):
        run(config, grid=grid)
    assert len(set(seen[0])) == 4
    assert seen[1] == (seen[0] if by_name else seen[0][::-1])


def test_the_seed_changes_the_run(raw):
    one, other = run(raw(seed=1)), run(raw(seed=2))
    assert not np.array_equal(votes_of(one), votes_of(other))


@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_a_resumed_run_ends_bit_identically(raw, strategy):
    changes = {"strategy": strategy, "num_server_rounds": 4, "fraction_train": 0.5}
    whole = run(raw(**changes))
    with pytest.raises(KeyboardInterrupt):
        run(raw(**changes), grid=Dying)
    stopped = max(whole.path.parent.iterdir(), key=lambda p: p.stat().st_ctime)
    assert len((stopped / "rounds.jsonl").read_text().splitlines()) == 2
    resumed = run(raw(**changes, resume=str(stopped)))
    assert resumed.path == stopped
    assert last_checkpoint(resumed).name == "checkpoint-00004.safetensors"
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.round_log.read(), *OF_THE_DOWNLINK) == without(whole.round_log.read(), *OF_THE_DOWNLINK)


@pytest.mark.slow
def test_resume_goes_on_from_the_checkpoint_when_the_ledger_is_ahead(raw):
    whole = run(raw(num_server_rounds=3))
    cut = run(raw(num_server_rounds=3))
    last_checkpoint(cut).unlink()  # killed after the line of round 3 was written, before its checkpoint was
    resumed = run(raw(num_server_rounds=3, resume=str(cut.path)))
    assert without(resumed.round_log.read(), *OF_THE_DOWNLINK) == without(whole.round_log.read(), *OF_THE_DOWNLINK)
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()


def test_resume_with_another_config_names_the_key(raw):
    folder = run(raw(num_server_rounds=1))
    with pytest.raises(ConfigError, match=r"local-epochs = 2: expected 1, as in the run to resume"):
        run(raw(num_server_rounds=2, local_epochs=2, resume=str(folder.path)))


def test_resume_with_fewer_rounds_than_are_done_is_refused_and_changes_nothing(raw):
    folder = run(raw(num_server_rounds=2), 4)
    before = (folder.path / "config.json").read_bytes()
    with pytest.raises(
        ConfigError, match=r"^num-server-rounds = 1: expected at least 2, the number of completed rounds of the run to resume"
    ):
        run(raw(num_server_rounds=1, resume=str(folder.path)), 4)
    assert (folder.path / "config.json").read_bytes() == before
    assert len(folder.round_log.read()) == 2


def test_resume_with_another_number_of_clients_is_refused(raw):
    folder = run(raw(num_server_rounds=1))
    with pytest.raises(ConfigError, match=r"num-supernodes = 5: expected 4, as in the run to resume"):
        run(raw(num_server_rounds=2, resume=str(folder.path)), clients=5)


def test_who_evaluates_is_a_choice_apart_from_who_trains():
    def chosen(purpose):
        return [sample_clients(range(10), 0.2, 1, purpose, server_round) for server_round in range(20)]

    assert chosen("choose") == chosen("choose")
    assert chosen("choose") != chosen("choose evaluators")
    assert {len(c) for c in chosen("choose")} == {2}
    assert sample_clients([], 0.5, 1, "choose", 1) == []
    assert sample_clients([7], 0.01, 1, "choose", 1) == [7]


def test_who_trains_is_a_function_of_seed_and_round(raw):
    class Noting(LoopbackGrid):
        def deliver(self, message):
            if message.metadata.message_type == "train":
                chosen.append(self.contexts[message.metadata.dst_node_id].node_config["partition-id"])
            return super().deliver(message)

    rounds = []
    for _ in range(2):
        chosen: list[int] = []
        run(raw(fraction_train=0.4, num_server_rounds=3), clients=5, grid=Noting)
        rounds.append([chosen[i : i + 2] for i in range(0, 6, 2)])
    assert rounds[0] == rounds[1]
    assert len({tuple(r) for r in rounds[0]}) > 1


def test_dense_fedavg_learns_and_costs_what_it_costs(raw):
    folder = run(raw(**MLP, strategy="fedavg", samples_per_client=100, local_epochs=3, num_server_rounds=8))
    last = folder.round_log.read()[-1]
    assert last["accuracy"] > 0.85
    assert last["uplink_bytes"] == last["downlink_bytes"] == 4 * (36 + 4 * D)
    assert list(last["uplink"]) == list(last["downlink"]) == ["values, float32"]
    assert last["density"] == 1
    assert last["entropy_bpp"] == 32


def test_clients_evaluate_on_images_that_they_do_not_train_on(raw):
    seen = {}

    class Noting(LoopbackGrid):
        def deliver(self, message):
            reply = super().deliver(message)
            kind = message.metadata.message_type
            if kind != "query":
                seen.setdefault(kind, set()).add(reply.content.metric_records["metrics"]["num-examples"])
            return reply

    first, second = run(raw(fraction_evaluate=0.5, samples_per_client=50, downlink="votes"), grid=Noting).round_log.read()
    assert seen == {"train": {40}, "evaluate": {10}}
    assert 0 <= first["client_accuracy"] <= 1
    assert first["evaluation_downlink"] == {"votes": {"messages": 2, "bytes": first["evaluation_downlink_bytes"]}}
    assert first["evaluation_downlink_bytes"] / 2 == second["downlink_bytes"] / 4  # the state that opens the next round
    assert first["clients_evaluating"] == 2


def save_npz(path: Path, digits, part, **changes):
    x, y = digits
    arrays = {"x_train": x[part], "y_train": y[part], "x_test": x[:20], "y_test": y[:20], **changes}
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return str(path)


@pytest.fixture
def digits():
    train = data.load(RunConfig()).train
    return train.x, train.y


def test_nodes_with_a_data_path_use_their_own_data_and_a_bad_one_is_left_out(raw, tmp_path, digits, caplog):
    nodes = [
        {"data-path": save_npz(tmp_path / "a.npz", digits, slice(0, 60), x_test=None, y_test=None)},
        {"data-path": save_npz(tmp_path / "b.npz", digits, slice(60, 90)), "partition-id": 7},
        {"data-path": str(tmp_path / "absent.npz"), "partition-id": 8},
    ]
    config = raw(num_server_rounds=1)
    folder = run_on_grid(LoopbackGrid(app, config, node_configs=nodes), config | {"samples-per-client": 0})
    line = folder.round_log.read()[0]
    assert line["clients_selected"] == line["clients_counted"] == 2
    assert "client 8 is left out: data-path" in caplog.text


def test_no_usable_client_at_all_ends_the_run_with_the_reason(raw, tmp_path):
    nodes = [{"data-path": str(tmp_path / "absent.npz")}] * 2
    config = raw(samples_per_client=0)
    with pytest.raises(QuorumError, match=r"the first of the others: data-path = .*absent\.npz"):
        run_on_grid(LoopbackGrid(app, config, node_configs=nodes), config)


BAD = [
    ({"min_clients": 13}, r"min-clients = 13: expected at most 12, the number of simulated clients"),
    ({"batch_size": 2**70}, r"batch-size = .*: expected a whole number from 1 to 1,000,000"),
    ({"strategy": "fedprox"}, r"strategy = 'fedprox': expected one of coupled-masks, fedpm, fedmask"),
    ({"strategy": "nowhere:Nothing"}, r"strategy = 'nowhere:Nothing': expected .*No module named .nowhere."),
    ({"strategy": "json:JSONDecoder"}, r"strategy = 'json:JSONDecoder': expected a class derived from"),
    ({"model": "conv10"}, r"model = 'conv10': expected .*32"),
    ({"dataset": "npz:/absent/x.npz"}, r"dataset = 'npz:/absent/x.npz': expected"),
    (
        {"strategy": "fedpm", "learning_rate": -1.0},
        r"learning-rate = -1.0: expected a number of at least 0; 0 is the method's own default",
    ),
    ({"strategy": "fedavg", "density_penalty": 1.0}, r"density-penalty = 1.0: expected 0.0: strategy fedavg does not use it"),
    (
        {"strategy": "fedavg", "uplink": "sampled"},
        r"uplink = 'sampled': expected 'side-info': strategy fedavg does not use it",
    ),
    (
        {"value_type": "float16"},
        r"value-type = 'float16': expected 'float32': strategy coupled-masks sends no values",
    ),
    (
        {"strategy": "top_share:TopShare", "uplink": "sampled"},
        r"uplink = 'sampled': expected one of packed, entropy, side-info: the masks of strategy top_share:TopShare are not",
    ),
    ({"uplink": "votes"}, r"uplink = 'votes': expected one of packed, entropy, side-info, sampled"),
    ({"partition": "classes", "classes_per_client": 11}, r"classes-per-client = 11: expected at most 10, the number"),
    ({"samples_per_client": 1000}, r"samples-per-client = 1000: expected at most"),
    ({"partition": "dirichlet", "dirichlet_alpha": 1e-4}, r"dirichlet-alpha = 0.0001: expected"),
    ({"resume": "/absent/run"}, r"resume = '/absent/run': expected the folder of a run"),
    ({"output_dir": "/dev/null/x"}, r"output-dir = '/dev/null/x': expected a writable folder"),
]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(b[0]) for b in BAD])
def test_bad_config_is_one_line_before_anything_is_sent(raw, changes, message):
    class Untouched(LoopbackGrid):
        def push_messages(self, messages):
            raise AssertionError("something was sent")

    config = raw(**changes)
    with pytest.raises(ConfigError, match=message) as caught:
        run_on_grid(Untouched(app, config, 12), config)
    assert "\n" not in str(caught.value)
