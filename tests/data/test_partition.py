import subprocess
import sys
import warnings

import numpy as np
import pytest
from configs import config_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgates.config import RunConfig
from fedgates.data import partition
from fedgates.errors import ConfigError

pytest.importorskip("flwr_datasets")
LABELS = np.arange(300) % 10


def config(scheme="iid", **values):
    return config_of(RunConfig, partition=scheme, **values)


def as_lists(parts):
    return [part.tolist() for part in parts]


def assert_disjoint(parts, count, *, all_held):
    held = np.concatenate(parts)
    assert len(np.unique(held)) == len(held)
    assert held.min() >= 0
    assert held.max() < count
    assert not all_held or len(held) == count


def test_iid_by_exact_numbers():
    parts = partition(np.zeros(7, np.int64), 3, config(seed=1))
    assert [part.dtype for part in parts] == [np.int64] * 3
    assert [len(part) for part in parts] == [3, 2, 2]
    assert sorted(np.concatenate(parts).tolist()) == list(range(7))
    # the indices themselves: whoever changes them changes every published run
    assert as_lists(parts) == [[3, 5, 2], [1, 6], [0, 4]]


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 200), clients=st.integers(1, 200), seed=st.integers(0, 2**63 - 1))
def test_iid_covers_everything_once(count, clients, seed):
    clients = min(clients, count)
    parts = partition(np.arange(count) % 3, clients, config(seed=seed))
    assert len(parts) == clients
    assert_disjoint(parts, count, all_held=True)
    assert {len(part) for part in parts} <= {count // clients, -(-count // clients)}


@settings(max_examples=25, deadline=None)
@given(clients=st.integers(1, 8), alpha=st.floats(0.3, 100), seed=st.integers(0, 2**63 - 1))
def test_dirichlet_gives_every_client_something_and_covers_everything(clients, alpha, seed):
    parts = partition(LABELS, clients, config("dirichlet", dirichlet_alpha=alpha, seed=seed))
    assert len(parts) == clients
    assert min(map(len, parts)) >= 1
    assert_disjoint(parts, len(LABELS), all_held=True)


@settings(max_examples=25, deadline=None)
@given(clients=st.integers(1, 12), classes=st.integers(1, 10), seed=st.integers(0, 2**63 - 1))
def test_classes_gives_every_client_so_many_classes(clients, classes, seed):
    parts = partition(LABELS, clients, config("classes", classes_per_client=classes, seed=seed))
    assert_disjoint(parts, len(LABELS), all_held=False)
    for client, part in enumerate(parts):
        held = set(LABELS[part].tolist())
        assert len(held) == classes
        assert client % 10 in held


SCHEMES = [config(), config("dirichlet", dirichlet_alpha=1.0), config("classes")]


@pytest.mark.parametrize("base", SCHEMES, ids=lambda c: c.partition)
def test_a_function_of_the_seed_alone(base):
    def lists(seed):
        return as_lists(partition(LABELS, 5, config(base.partition, dirichlet_alpha=1.0, seed=seed)))

    assert lists(1) == lists(1)
    # seeds that agree in their low 32 bits are different seeds
    assert len({str(lists(seed)) for seed in (1, 2, 2**32 + 1, 2**63 - 1)}) == 4


@pytest.mark.parametrize("scheme", ["dirichlet", "classes"])
def test_who_holds_how_much_depends_on_the_seed_too(scheme):
    def held(seed):
        parts = partition(LABELS, 5, config(scheme, seed=seed, dirichlet_alpha=1.0))
        return str([np.bincount(LABELS[part], minlength=10).tolist() for part in parts])

    assert len({held(seed) for seed in range(4)}) == 4


@pytest.mark.parametrize("base", SCHEMES, ids=lambda c: c.partition)
def test_global_generators_are_neither_read_nor_moved(base):
    np.random.seed(3)  # noqa: NPY002 - the one that must not matter
    first = as_lists(partition(LABELS, 5, base))
    assert np.random.get_state()[1].tolist() == np.random.RandomState(3).get_state()[1].tolist()  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    assert as_lists(partition(LABELS, 5, base)) == first


@pytest.mark.slow
def test_importing_the_partitioners_moves_no_global_generator():
    code = (
        "import numpy as np; from fedgates.config import RunConfig; from fedgates.data import partition;"
        "np.random.seed(3); partition(np.zeros(9, np.int64), 2, RunConfig()); a = np.random.rand();"
        "np.random.seed(3); assert a == np.random.rand()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_order_is_shuffled_within_a_client():
    part = partition(LABELS, 2, config("classes", classes_per_client=5))[0]
    labels = LABELS[part]
    assert np.count_nonzero(np.diff(labels)) > len(labels) // 2  # in blocks by class it would be 4
    assert np.count_nonzero(np.diff(part) < 0) > len(part) // 4  # in ascending blocks it would be 4 at most


def test_source_order_does_not_decide_who_holds_what():
    part = partition(np.zeros(100, np.int64), 2, config("dirichlet", dirichlet_alpha=10.0))[0]
    assert part.max() > len(part) + 10


def test_quiet(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        partition(LABELS, 3, config("classes", classes_per_client=1))  # leaves seven classes unused
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("base", SCHEMES, ids=lambda c: c.partition)
def test_samples_per_client_keeps_the_first(base):
    whole = partition(LABELS, 5, base)
    limited = partition(LABELS, 5, config(base.partition, dirichlet_alpha=1.0, samples_per_client=20))
    assert as_lists(limited) == [part[:20].tolist() for part in whole]


def test_samples_per_client_is_an_upper_bound_for_dirichlet():
    sizes = [len(part) for part in partition(LABELS, 5, config("dirichlet", samples_per_client=60))]
    whole = [len(part) for part in partition(LABELS, 5, config("dirichlet"))]
    assert min(whole) < 60 < max(whole)
    assert sizes == [min(60, size) for size in whole]


@pytest.mark.parametrize(
    ("clients", "base", "message"),
    [
        (0, config(), r"^clients = 0: expected 1 to 300, the number of"),
        (301, config(), r"^clients = 301: expected 1 to 300, the number of"),
        (301, config("classes"), "^clients = 301: expected 1 to 300, the number of"),
        (7, config(samples_per_client=43), "^data.samples-per-client = 43: expected at most 42: .* iid and 7 clients"),
        (
            10,
            config("classes", classes_per_client=1, samples_per_client=31),
            "^data.samples-per-client = 31: expected at most 30: .* classes and 10 clients",
        ),
        (
            5,
            config("classes", classes_per_client=11),
            "^data.classes-per-client = 11: expected at most 10, the number of classes",
        ),
        (
            100,
            config("classes", classes_per_client=5),
            r"^data.classes-per-client = 5: expected .*fewer clients: more of 100 clients .*\(the rarest class has 30\)$",
        ),
        (
            100,
            config("dirichlet", dirichlet_alpha=0.01),
            "^data.dirichlet-alpha = 0.01: expected a larger value or .*, some of 100 clients got none of 300 examples$",
        ),
        (
            5,
            config().model_copy(update={"partition": "by-hand"}),
            "^partition = 'by-hand': expected one of iid, dirichlet, classes$",
        ),
    ],
)
def test_what_cannot_be_met(clients, base, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match=message) as error:
            partition(LABELS, clients, base)
    assert "\n" not in str(error.value)


def test_exactly_what_can_be_met():
    assert [len(part) for part in partition(LABELS, 7, config(samples_per_client=42))] == [42] * 7
    assert [len(part) for part in partition(LABELS, 300, config())] == [1] * 300


def test_a_class_without_examples_is_no_class():
    labels = np.array([0, 2] * 10)
    parts = partition(labels, 2, config("classes", classes_per_client=2))
    assert [sorted(set(labels[part].tolist())) for part in parts] == [[0, 2], [0, 2]]
    with pytest.raises(ConfigError, match="at most 2, the number of classes"):
        partition(labels, 2, config("classes", classes_per_client=3))


def test_iid_needs_no_flwr_datasets():  # which takes seconds to import, in each process of a simulation
    code = (
        "import sys, numpy as np; from fedgates.config import RunConfig; from fedgates.data import partition;"
        "partition(np.arange(20), 3, RunConfig()); sys.exit('datasets' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
