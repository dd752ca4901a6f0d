"""Networks of somebody's own: a file names the function that builds one, and whoever loads it gives that function."""

import functools
import math
import threading

import pytest
import torch
from model_files import SHAPE, facts, images, logits, masked, own, statistics
from torch import nn

import fedgates
from fedgates import model_file
from fedgates.errors import ModelFileError
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.nn.size import network_size
from fedgates.types import Problem


def own_file(folder, name="model_files:own", gated=False):
    network = Network(own(SHAPE, 10))
    gates = Gates(network, 3) if gated else None
    weights = gates.frozen.clone() if gated else network.weights.clone()
    model_file.save(folder / "m", network, facts(name), weights, gates=gates)
    return folder / "m", logits(network, weights, images())


@pytest.mark.parametrize("gated", [False, True])
def test_it_is_built_by_the_function_that_is_given(tmp_path, gated):
    path, expected = own_file(tmp_path, gated=gated)
    torch.testing.assert_close(fedgates.load(path, network=own)(images()), expected, rtol=0, atol=0)
    torch.testing.assert_close(fedgates.load(path, network=functools.partial(own))(images()), expected, rtol=0, atol=0)


def test_what_a_file_names_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path, _ = own_file(tmp_path, "trap:own")
    line = (
        "its network is built by trap:own, which is not imported automatically: pass that function, "
        r"as load\(\.\.\., network=\) or as --network trap:own$"
    )
    with pytest.raises(ModelFileError, match=line):
        fedgates.load(path)


def test_its_batch_norms_have_statistics_too(tmp_path):
    def normed(input_shape, num_outputs):
        norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, num_outputs))

    network = Network(normed(SHAPE, 10))
    measured = statistics(network, network.weights.clone(), images(64))
    model_file.save(tmp_path / "m", network, facts("a:b"), network.weights.clone(), statistics=measured)
    found = fedgates.load(tmp_path / "m", network=normed)
    torch.testing.assert_close(found(images())[:1], found(images()[:1]))


def another(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, num_outputs))


def of_other_names(input_shape, num_outputs):
    return nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def with_a_norm(input_shape, num_outputs):
    return nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten(), nn.Linear(64, num_outputs))


def lazy(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs))


def lazy_for_others(input_shape, num_outputs):
    return nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(num_outputs))


def raising(input_shape, num_outputs):
    raise KeyError("of\nthe function")


def nothing(input_shape, num_outputs):
    return None


def takes_none():
    return None


ASKED = r"expected a function that builds a network from \(\(1, 8, 8\), 10\)"


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (another, "the network passed as network has 385 parameters, expected 650 as in the file"),
        (of_other_names, r"another network than the file's model_files:own: digest \w{16}, expected \w{16}$"),
        (with_a_norm, r"another network than the file's model_files:own: digest \w{16}, expected \w{16}$"),
        (lazy_for_others, f"network = lazy_for_others: {ASKED}; it raised RuntimeError: .*mat1 and mat2 shapes"),
        (raising, f"network = raising: {ASKED}; it raised KeyError: 'of.nthe function'"),
        (nothing, f"network = nothing: {ASKED}; it returned NoneType"),
        (takes_none, rf"network = takes_none: {ASKED}; it raised TypeError: takes_none\(\) takes 0 positional arguments"),
    ],
)
def test_another_function_than_the_files_is_found_out(tmp_path, gated, function, message):
    path, _ = own_file(tmp_path, gated=gated)
    with pytest.raises(ModelFileError, match=message) as caught:
        fedgates.load(path, network=function)
    assert len(str(caught.value).splitlines()) == 1


def test_lazy_layers_have_the_shapes_that_an_image_gives_them(tmp_path):
    path, expected = own_file(tmp_path)
    torch.testing.assert_close(fedgates.load(path, network=lazy)(images()), expected, rtol=0, atol=0)


def test_what_a_function_raised_can_be_looked_at(tmp_path):
    path, _ = own_file(tmp_path)
    with pytest.raises(ModelFileError) as caught:
        fedgates.load(path, network=raising)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_network_of_ours_may_be_given_as_well(file):
    network, _, weights = masked()
    expected = logits(network, weights, images())
    found = fedgates.load(file, network=lambda shape, outputs: masked(shape=shape, classes=outputs)[0].module)
    torch.testing.assert_close(found(images()), expected, rtol=0, atol=0)


# --- sizes


def test_one_that_is_larger_than_is_allowed_is_not_built(tmp_path):
    path, _ = own_file(tmp_path)
    with pytest.raises(ModelFileError, match=r"a network of 650 parameters, expected at most 649 \(max_gates"):
        fedgates.load(path, network=raising, max_gates=649)
    assert fedgates.load(path, network=own, max_gates=650)


def test_one_that_is_built_larger_takes_no_more_than_itself(tmp_path, monkeypatch):
    path, _ = own_file(tmp_path)
    monkeypatch.setattr("fedgates.model_file.reading.Network", lambda _: pytest.fail("its vectors were made"))
    with pytest.raises(ModelFileError, match="has 66 parameters, expected 650"):
        fedgates.load(path, network=lambda *_: nn.Linear(65, 1))


class Awkward(nn.Sequential):
    """Of somebody's own, and not made to be tried on images without numbers, nor to be copied."""

    def __init__(self, how):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.how, self.lock = how, threading.Lock() if how == "lock" else None

    def forward(self, x):
        if self.how == "numpy":
            x.detach().numpy()
        if self.how == "assert":
            assert float(x.sum()) == float(x.sum())
        if self.how == "never" and not float(x.abs().sum()):
            raise KeyError("zeros")
        return super().forward(x)


@pytest.mark.parametrize(("how", "known"), [("numpy", True), ("assert", True), ("lock", True), ("never", False)])
def test_a_network_that_cannot_be_measured_is_a_model_all_the_same(tmp_path, how, known):
    network = Network(Awkward(how))
    model_file.save(tmp_path / "m", network, facts("a:b"), network.weights.clone())
    found = model_file.read_contents(tmp_path / "m").facts
    assert (found.whole is not None) == known
    assert network.module.training
    fedgates.load(tmp_path / "m", network=lambda *_: Awkward(how))


def test_a_norm_over_single_values_is_measured_too(tmp_path):
    norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
    module = nn.Sequential(nn.Conv2d(1, 4, 8), norm, nn.Flatten(), nn.Linear(4, 10))
    assert network_size(module, Problem.of_images((1, 8, 8), 10)).multiply_adds == 4 * 64 + 40
