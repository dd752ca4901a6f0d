"""A network beyond this end's limits is refused before anything is done with it; through runs: test_limits.py."""

import re
import sys

import pytest
from fedgates.strategies.fedpm import FedPM, FedPMConfig
from loopback_runs import MLP_SIZE as D

from client_app import app
from fedgates.config import key
from fedgates.errors import ConfigError
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.methods import MaskMethod
from fedgates.methods.registry import build, configure, method_class
from fedgates.types import Problem

DIGITS = (1, 8, 8), 10
NEEDED = 40 * D / 1e6
"""Megabytes to decode a message of one vector in."""
TWO_VECTORS = {"strategy": "entropy-gates", "target-density": 0.1}


def built(shape=DIGITS, **changes):
    return build(*configure({key.replace("_", "-"): value for key, value in changes.items()}), Problem.of_images(*shape))


def refusal(shape=DIGITS, **changes):
    with pytest.raises(ConfigError) as error:
        built(shape, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


BEYOND = [
    ({"max-gates": D - 1}, "limits.max-gates = 85001: expected at least 85,002, the size of model mlp"),
    (
        {"max-gates": 1, "model": "conv4", "dataset": "npz:/x"},
        "limits.max-gates = 1: expected at least 2,425,930, the size of model conv4",
    ),
    ({"max-decode-mb": 1.0}, "limits.max-decode-mb = 1.0: expected at least 3.41"),
    ({"max-decode-mb": 2 * NEEDED - 1e-6, **TWO_VECTORS}, "limits.max-decode-mb = 6.8001"),
]


@pytest.mark.parametrize(("changes", "message"), BEYOND, ids=lambda v: str(v)[:30])
def test_a_network_beyond_a_limit_is_one_line_with_key_value_and_expectation(changes, message):
    shape = ((3, 32, 32), 10) if "model" in changes else DIGITS
    said = refusal(shape, **changes)
    assert said.startswith(message)
    if "max-decode-mb" in changes:
        assert re.search(r": expected at least [0-9.]+, the memory needed to decode messages of 85,002 parameters$", said)


@pytest.mark.parametrize(
    "changes", [{"max-gates": D}, {"max-decode-mb": NEEDED}, {"max-decode-mb": 2 * NEEDED, **TWO_VECTORS}], ids=str
)
def test_a_network_at_a_limit_is_built(changes):
    assert built(**changes).network.size == D


@pytest.mark.parametrize("strategy", [{}, TWO_VECTORS], ids=["one vector", "two"])
def test_the_megabytes_that_it_asks_for_are_enough(strategy):
    (asked,) = re.findall(r"at least ([0-9.]+),", refusal(**strategy, max_decode_mb=0.5))
    assert built(**strategy, max_decode_mb=float(asked)).network.size == D


def test_a_network_that_fits_in_no_memory_is_refused_by_its_size():
    # a device is told the shape by a server; what it may cost must be known before it is spent
    said = refusal(((99_999, 99_999, 99_999), 10))
    assert re.match(r"limits\.max-gates = 50000000: expected at least [0-9,]{17,}, the size of model mlp$", said)


@pytest.mark.parametrize("changes", [{"max_gates": 85_001}, {"max_decode_mb": 2.0}], ids=str)
def test_such_a_run_sends_nothing(raw, changes):
    class Untouched(LoopbackGrid):
        def push_messages(self, messages):
            raise AssertionError("something was sent")

    config = raw(**changes)
    with pytest.raises(ConfigError, match=next(iter(changes)).replace("_", "-")):
        run_on_grid(Untouched(app, config, 3), config)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max-gates", 0, "a whole number from 1 to 4,294,967,295"),
        ("max-gates", 2**32, "a whole number from 1 to 4,294,967,295"),
        ("max-gates", 1e6, "a whole number from 1 to 4,294,967,295"),
        ("max-payload-mb", 0, "a number above 0"),
        ("max-payload-mb", float("inf"), "a number above 0"),
        ("max-decode-mb", -1.0, "a number above 0"),
        ("max-relay-updates", -1, "a whole number from 0 to 65,535"),
        ("max-relay-updates", True, "a whole number from 0 to 65,535"),
    ],
)
def test_a_limit_that_is_none_is_refused(key, value, expected):
    with pytest.raises(ConfigError) as error:
        configure({key: value})
    assert str(error.value).startswith(f"{key} = ")
    assert str(error.value).endswith(f": expected {expected}")


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        ({"momentum": 0.9}, "momentum = 0.9: expected 0.0: strategy coupled-masks does not use it"),
        ({"strategy": "fedpm", "sgd": {"momentum": 0.9}}, "sgd.momentum = 0.9: expected 0.0: strategy fedpm does not use it"),
        ({"powerprop": -3}, "powerprop = -3: expected 1.25: strategy coupled-masks does not use it"),
        (
            {"strategy": "sparsyfed"},
            "density.target = 0.0: expected a share above 0: strategy sparsyfed needs one, such as density.target=0.1",
        ),
        (
            {"quorum": 0.4, "server.quorum": 0.5},
            "quorum = 0.4: expected either quorum or server.quorum, which are the same key",
        ),
        (
            {"server": {"quorum": 0.5}, "quorum": 0.5},
            "quorum = 0.5: expected either quorum or server.quorum, which are the same key",
        ),
    ],
)
def test_a_run_config_is_refused_in_one_line(raw, line):
    with pytest.raises(ConfigError) as error:
        configure(raw)
    assert str(error.value) == line


class PrunedConfig(FedPMConfig):
    """Keys of a method whose flat key was once another method's."""

    prune: int = key(1, "Number of gates to prune.", ge=1, le=9)


class Pruned(FedPM):
    """A method with such a key."""

    Config = PrunedConfig


def test_a_methods_own_flat_key_is_not_read_as_an_old_name():
    raw = {"strategy": "test_registry:Pruned", "prune": 3, "sparsyfed.prune": "weights"}
    assert configure(raw)[1].prune == 3


def test_no_relay_at_all_can_be_asked_for():
    assert configure({"max-relay-updates": 0})[1].limits.max_relay_updates == 0


class Unfinished(MaskMethod):
    """A method that leaves out a rule."""

    def local_update(self, state, task):
        return None


class Raising(FedPM):
    def __init__(self, config, network):
        raise KeyError("of the method")


@pytest.mark.parametrize(
    ("name", "why"),
    [("Unfinished", "TypeError: Can't instantiate abstract class Unfinished"), ("Raising", "KeyError: 'of the method'")],
)
def test_a_class_that_cannot_be_built_is_a_line(name, why):
    method, config = configure({"strategy": f"test_registry:{name}"})
    with pytest.raises(ConfigError) as error:
        build(method, config, Problem.of_images((1, 8, 8), 10))
    expected = f"strategy = 'test_registry:{name}': expected a class with the constructor arguments (config, network); {why}"
    assert str(error.value).startswith(expected)


# --- names of installed packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path whose entry points name a method; it fails when it is imported, if `broken`."""

    def install(name, *, broken=False):
        source = "from fedgates.strategies.fedpm import FedPM\nclass Theirs(FedPM):\n    '''Theirs.'''\n"
        (tmp_path / "their_package.py").write_text("raise RuntimeError('broken')\n" if broken else source)
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fedgates.methods]\n{name} = their_package:Theirs\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "their_package", raising=False)

    return install


def test_an_installed_package_names_its_methods(installed):
    installed("theirs")
    method, config = configure({"strategy": "theirs", "fedpm.eps": 0.01})
    assert (method.__module__, method.__name__, config.fedpm.eps) == ("their_package", "Theirs", 0.01)


def test_it_hides_no_built_in_name(installed):
    installed("fedpm")
    assert method_class("fedpm").__module__ == "fedgates.strategies.fedpm"


def test_a_broken_package_costs_only_runs_of_its_own_method(installed):
    installed("theirs", broken=True)
    configure({"strategy": "fedpm"})
    line = r"^strategy = 'their_package:Theirs': expected a module that can be imported; RuntimeError: broken$"
    with pytest.raises(ConfigError, match=line):
        configure({"strategy": "theirs"})


@pytest.mark.parametrize("value", [1e-9, 0.5, 0.999])
def test_a_norm_below_the_median_would_reject_honest_updates(value):
    with pytest.raises(ConfigError, match=r"^server\.max-norm = .*: expected 0, or a number of at least 1$"):
        configure({"strategy": "fedavg", "server.max-norm": value})
    assert configure({"strategy": "fedavg", "server.max-norm": 1.0})[1].server.max_norm == 1
