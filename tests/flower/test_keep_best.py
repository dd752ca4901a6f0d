"""`keep-best`: which state and model are kept, through kills, resumes and worse rounds; and what reads them."""

import numpy as np
import pytest
from loopback_runs import D, run
from safetensors.numpy import load_file
from scripted_runs import SCRIPT, by_script, killed, newest

from client_app import app
from fedgates import model_file
from fedgates.federation import Callback, Server
from fedgates.federation import callbacks as of_runs
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.report import write_page
from fedgates.runs import checkpoint
from fedgates.types import Weights

BEST, MODEL = "checkpoint-best.safetensors", "model-best.fedgates"


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    monkeypatch.setattr(Server, "evaluate", by_script)


def config_of(raw, **changes):
    return raw(**{"num_server_rounds": 5, "keep_best": True, **changes})


def kept_round(folder):
    """The round of the best checkpoint."""
    return checkpoint._read(folder / BEST)[1]


def as_whole(raw, server_round):
    """The bytes of the state after a round, from a run that ends with it."""
    folder = run(raw(num_server_rounds=server_round)).path
    return (folder / f"checkpoint-{server_round:05d}.safetensors").read_bytes()


def test_without_the_key_nothing_is_kept(raw):
    folder = run(config_of(raw, keep_best=False))
    assert not [path for path in folder.path.iterdir() if "best" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "best"), [(1, 1), (2, 2), (3, 2), (5, 2), (6, 6)])
def test_a_later_round_replaces_the_best_only_if_it_is_better(raw, rounds, best):
    folder = run(config_of(raw, num_server_rounds=rounds))
    assert (folder.path / BEST).read_bytes() == as_whole(raw, best)
    assert (folder.path / f"checkpoint-{rounds:05d}.safetensors").read_bytes() == as_whole(raw, rounds)


@pytest.mark.slow
@pytest.mark.parametrize("server_round", [2, 3, 4, 5])
def test_the_best_survives_a_kill_and_a_resume(raw, server_round):
    config = config_of(raw)
    folder = killed(config, server_round)
    run({**config, "resume": str(folder)})
    assert kept_round(folder) == 2
    assert (folder / BEST).read_bytes() == as_whole(raw, 2)


@pytest.mark.slow
@pytest.mark.parametrize("server_round", [1, 2, 3])
@pytest.mark.parametrize("at", ["save", "save_best"])
def test_a_kill_between_a_line_and_the_checkpoints_changes_nothing(raw, monkeypatch, at, server_round):
    write = getattr(checkpoint, at)

    def die(folder, state, number, digest):
        if number == server_round:
            raise KeyboardInterrupt
        return write(folder, state, number, digest)

    config = config_of(raw)
    with monkeypatch.context() as patch:
        patch.setattr(of_runs.checkpoint, at, die)
        try:
            folder = run(config).path  # a round that is no best is not written as one
        except KeyboardInterrupt:
            folder = newest(config)
    run({**config, "resume": str(folder)})
    assert (folder / BEST).read_bytes() == as_whole(raw, 2)


def test_a_run_that_is_resumed_with_the_key_keeps_the_best_from_there_on(raw):
    config = config_of(raw, num_server_rounds=6)
    folder = killed({**config, "keep-best": False}, 4)
    run({**config, "num-server-rounds": 5, "resume": str(folder)})
    assert kept_round(folder) == 4  # of rounds 3 to 5
    run({**config, "resume": str(folder)})
    assert kept_round(folder) == 6


def test_a_damaged_best_checkpoint_is_replaced(raw):
    config = config_of(raw)
    folder = killed(config, 4)
    (folder / BEST).write_bytes(b"damage")
    run({**config, "resume": str(folder)})
    assert kept_round(folder) == 4


@pytest.mark.usefixtures("whole_runs")
def test_the_best_model_is_a_file_like_the_last(raw, tmp_path):
    folder = run(config_of(raw, model="mlp", strategy="fedavg", num_server_rounds=3)).path
    facts = model_file.read_contents(folder / MODEL).facts
    assert (facts.training["rounds"], facts.training["accuracy"]) == (2, SCRIPT[1])
    assert model_file.read_contents(folder / "model.fedgates").facts.training["rounds"] == 3
    weights = load_file(folder / BEST)["weights"]
    first = next(iter(model_file.load(folder / MODEL).parameters())).numpy().ravel()
    held = weights[: len(first)]
    assert ((first == held) | (first == 0)).all()  # a model file leaves dead units out
    assert (first != 0).any()
    page = (folder / "report.html").read_text()
    assert f"The best model, of round 2 (accuracy 50.0 %), is <code>{MODEL}</code>" in page


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
def test_a_page_copes_with_a_best_round_whose_line_is_missing(raw):
    folder = run(config_of(raw, model="mlp", num_server_rounds=3)).path
    lines = (folder / "rounds.jsonl").read_text().splitlines(keepends=True)
    (folder / "rounds.jsonl").write_text(lines[0] + lines[2])
    assert f"The best model, of round 2, is <code>{MODEL}</code>" in write_page(folder).read_text()


@pytest.mark.usefixtures("whole_runs")
def test_a_best_model_that_cannot_be_written_takes_nothing_from_the_last(raw, caplog):
    class Damage(Callback):
        def on_round_end(self, record, server):
            if record["round"] == 3:
                checkpoint.save_best(newest(config), Weights(np.full(D, np.nan, np.float32)), 2, server.method.digest)

    config = config_of(raw, strategy="fedavg", num_server_rounds=3)
    folder = run_on_grid(LoopbackGrid(app, config, 4), config, callbacks=[Damage()]).path
    assert f"no {MODEL}: ValueError: the weights are not finite" in caplog.text
    assert (folder / "model.fedgates").is_file()
    assert not (folder / MODEL).exists()
