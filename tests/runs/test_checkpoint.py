import os

import numpy as np
import pytest

from fedgates.errors import ConfigError
from fedgates.runs.checkpoint import BEST, load, load_best, save, save_best
from fedgates.types import Votes, Weights

DIGEST = bytes.fromhex("0123456789abcdef")


def votes(*counts, trials=3):
    return Votes(np.array(counts, dtype=np.uint32), trials)


def same(one, two):
    if one.scalars != two.scalars or memory_of(one) != memory_of(two):
        return False
    if isinstance(one, Votes):
        return isinstance(two, Votes) and (one.votes.tolist(), one.trials) == (two.votes.tolist(), two.trials)
    return isinstance(two, Weights) and one.values.tobytes() == two.values.tobytes()


def memory_of(state):
    return {name: (array.dtype, array.tobytes()) for name, array in state.server_memory.items()}


def names(path):
    return sorted(p.name for p in path.iterdir())


@pytest.mark.parametrize(
    "state",
    [
        votes(0, 1, 2, 3),
        votes(0, 0, trials=0),
        votes(2**32 - 1, trials=2**32 - 1),
        Weights(np.array([0.1, -0.0, 3e38, 1e-45], dtype=np.float32)),
        Weights(np.arange(8, dtype=np.float32)[::2]),  # not contiguous
        Votes(np.array([1, 2], dtype=np.uint32), 2, (0.1, 1e300)),
        Weights(np.array([1, 2], dtype=np.float32), (5e-324,)),
        Weights(np.array([1, 2], dtype=np.float32), (), {"weights": np.array([3e-45, -0.0], dtype=np.float32)}),
        Votes(np.array([1, 2], dtype=np.uint32), 2, (0.1,), {"speed": np.arange(6, dtype=np.float32)[::3]}),
    ],
    ids=[
        "votes",
        "no trials",
        "many trials",
        "weights",
        "strided weights",
        "votes with scalars",
        "weights with a scalar",
        "weights with memory",
        "votes with memory",
    ],
)
def test_a_loaded_state_is_bit_identical(tmp_path, state):
    path = save(tmp_path, state, 12, DIGEST)
    assert path == tmp_path / "checkpoint-00012.safetensors"
    found, server_round = load(tmp_path, DIGEST)
    assert server_round == 12
    assert same(state, found)
    array = found.votes if isinstance(found, Votes) else found.values
    assert array.dtype == (np.uint32 if isinstance(found, Votes) else np.float32)


def test_equal_states_are_equal_files(tmp_path):
    files = []
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        files.append(save(tmp_path / name, votes(1, 2), 3, DIGEST).read_bytes())
    assert len(set(files)) == 1


def test_the_last_two_are_kept_and_the_latest_is_loaded(tmp_path):
    for server_round in (1, 2, 3, 9, 10):
        save(tmp_path, votes(server_round, trials=99), server_round, DIGEST)
    assert names(tmp_path) == ["checkpoint-00009.safetensors", "checkpoint-00010.safetensors"]
    found, server_round = load(tmp_path, DIGEST)
    assert (found.votes.tolist(), server_round) == ([10], 10)


def test_rounds_are_ordered_as_numbers(tmp_path):
    for server_round in (99_998, 99_999, 100_000, 1_000_000):
        save(tmp_path, votes(1), server_round, DIGEST)
        assert load(tmp_path, DIGEST)[1] == server_round
    assert len(names(tmp_path)) == 2


def test_other_files_are_left_alone(tmp_path):
    for name in ("model.fedgates", "checkpoint-00009.safetensors.part", "checkpoints.txt"):
        (tmp_path / name).write_text("x")
    for server_round in (1, 2, 3):
        save(tmp_path, votes(1), server_round, DIGEST)
    assert {"model.fedgates", "checkpoint-00009.safetensors.part", "checkpoints.txt"} < set(names(tmp_path))
    assert load(tmp_path, DIGEST)[1] == 3


@pytest.fixture
def two(tmp_path):
    """A folder with checkpoints of rounds 1 and 2; the path of the second."""
    save(tmp_path, votes(0, 1, 2, 0, 1), 1, DIGEST)
    return save(tmp_path, votes(0, 1, 2, 3, 3), 2, DIGEST)


def test_a_truncated_checkpoint_falls_back_to_the_one_before(two):
    whole = two.read_bytes()
    for length in range(len(whole)):
        two.write_bytes(whole[:length])
        found, server_round = load(two.parent, DIGEST)
        assert (found.votes.tolist(), server_round) == ([0, 1, 2, 0, 1], 1)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(two):
    """Whichever byte is damaged: never another state than was saved, and never another error."""
    whole = two.read_bytes()
    wrong = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        two.write_bytes(damaged)
        try:
            found, server_round = load(two.parent, DIGEST)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is wrong
            wrong.append((place, repr(error)))
            continue
        if (found.votes.tolist(), found.trials, server_round) not in (
            ([0, 1, 2, 0, 1], 3, 1),
            ([0, 1, 2, 3, 3], 3, 2),
        ):
            wrong.append((place, found, server_round))
    assert wrong == []


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"PK\3\4 something else", b"\x80\4\x95pickle"])
def test_another_file_under_its_name_is_skipped(two, content):
    two.write_bytes(content)
    assert load(two.parent, DIGEST)[1] == 1


def test_the_error_for_no_undamaged_checkpoint_names_resume(tmp_path, two):
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"^resume = '.*': expected the folder of a run with an undamaged checkpoint"
    ) as error:
        load(tmp_path, DIGEST)
    assert error.value.key == "resume"
    assert str(tmp_path) in str(error.value)


def test_a_folder_without_checkpoints_has_no_state(tmp_path):
    assert load(tmp_path, DIGEST) is None


def test_a_checkpoint_of_another_network_is_refused(two):
    with pytest.raises(ConfigError, match=r"^resume = .* expected a run of network fedcba98.*, not 0123456789abcdef") as error:
        load(two.parent, bytes.fromhex("fedcba9876543210"))
    assert error.value.key == "resume"


def test_a_kill_during_a_save_leaves_the_checkpoints_before(two, monkeypatch):
    def killed(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            save(two.parent, votes(9, 9, 9, 9, 9, trials=9), 3, DIGEST)
    assert load(two.parent, DIGEST)[1] == 2
    save(two.parent, votes(9, 9, 9, 9, 9, trials=9), 3, DIGEST)  # and what the kill left is not in the way
    assert load(two.parent, DIGEST)[1] == 3


# --- the best round


@pytest.mark.parametrize("state", [votes(1, 2, 3), Weights(np.array([0.5, -1], dtype=np.float32), (2.0,))])
def test_the_best_checkpoint_is_like_that_of_its_round(tmp_path, state):
    assert load_best(tmp_path, DIGEST) is None
    save_best(tmp_path, votes(9), 1, DIGEST)
    save_best(tmp_path, state, 12, DIGEST)
    found, number = load_best(tmp_path, DIGEST)
    assert number == 12
    assert same(found, state)
    assert (tmp_path / BEST).read_bytes() == save(tmp_path, state, 12, DIGEST).read_bytes()


def test_the_best_checkpoint_stays_and_is_not_resumed_from(tmp_path):
    save_best(tmp_path, votes(9), 1, DIGEST)
    assert load(tmp_path, DIGEST) is None
    for server_round in range(2, 6):
        save(tmp_path, votes(server_round), server_round, DIGEST)
    assert names(tmp_path) == ["checkpoint-00004.safetensors", "checkpoint-00005.safetensors", BEST]
    assert load(tmp_path, DIGEST)[1] == 5


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_best_checkpoint_that_is_damaged_or_of_another_network_is_none(tmp_path, damage):
    save_best(tmp_path, votes(9), 1, DIGEST)
    if damage is None:
        assert load_best(tmp_path, DIGEST[::-1]) is None
    else:
        (tmp_path / BEST).write_bytes(damage)
        assert load_best(tmp_path, DIGEST) is None
