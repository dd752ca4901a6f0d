"""`dropout` in whole runs: the server's own silence is that of clients that never answer."""

import pytest
from loopback_runs import SMALL, Noting, last_checkpoint, run, run_on, silent_replies, with_faults, without
from scripted_runs import killed

from client_app import app
from fedgates import rng
from fedgates.errors import QuorumError

NETWORK = SMALL
CLIENTS, ROUNDS, SHARE = 5, 4, 0.3
REASONS = ("failed",)


def silent(seed=1):
    """(round, client, attempt) of all that do not answer in nine attempts at each round."""
    return {
        (at, client, attempt)
        for at in range(1, ROUNDS + 1)
        for client in range(CLIENTS)
        for attempt in range(1, 10)
        if rng.words(1, seed, f"dropout, attempt {attempt}", server_round=at, client=client)[0] < SHARE * 2**64
    }


def config_of(raw, **changes):
    return raw(**{"num_server_rounds": ROUNDS, "round_timeout": 0.5, **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"downlink": "relay"},
        {"strategy": "fedavg", "seed": 3},
        {"quorum": 0.7, "max_failed_rounds": 9, "downlink": "relay", "seed": 2},  # rounds are repeated
        {"fraction_train": 0.6, "quorum": 0.0, "downlink": "relay", "seed": 4},
    ],
)
def test_a_run_is_that_of_clients_that_never_answer(raw, changes):
    faults = dict.fromkeys(silent(changes.get("seed", 1)), silent_replies)
    config = config_of(raw, **changes, dropout=SHARE)
    grid = Noting(app, config, CLIENTS)
    ours = run_on(grid, config)
    plain = run(config_of(raw, **changes), CLIENTS, with_faults(faults))
    assert last_checkpoint(ours).read_bytes() == last_checkpoint(plain).read_bytes()
    assert without(ours.round_log.read(), *REASONS) == without(plain.round_log.read(), *REASONS)
    lines = ours.round_log.read()
    failed = [(line["round"], int(client), line["attempt"]) for line in lines for client in line["failed"]]
    assert set(failed) <= silent(changes.get("seed", 1))
    assert failed
    reasons = {reason for line in lines for reason in line["failed"].values()}
    assert reasons == {"no answer: simulated, dropout = 0.3"}
    asked = sum(line["clients_selected"] for line in lines)
    assert sum(map(len, grid.sent.values())) == asked - len(failed)  # nobody trained for nothing


def test_a_resumed_run_ends_bit_identically(raw):
    config = config_of(raw, dropout=SHARE, downlink="votes")
    whole, folder = run(config, CLIENTS), killed(config, 3, CLIENTS)
    resumed = run({**config, "resume": str(folder)}, CLIENTS)
    assert last_checkpoint(resumed).read_bytes() == last_checkpoint(whole).read_bytes()
    assert without(resumed.round_log.read()) == without(whole.round_log.read())


def test_a_run_in_which_nobody_answers_ends_at_its_quorum(raw):
    with pytest.raises(QuorumError, match=r"0 of 2 the last time, client 0: no answer: simulated, dropout = 0\.99"):
        run(config_of(raw, dropout=0.99, max_failed_rounds=2), 2)
