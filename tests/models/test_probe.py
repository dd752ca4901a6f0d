"""The trial of a network before a run: the line for each kind of network that cannot be trained, and those that pass."""

from functools import partial

import odd_networks
import pytest
import torch

import fedgates
from client_app import app
from fedgates import models
from fedgates.config.names import MODELS
from fedgates.data import to_tensors
from fedgates.data.digits import digits
from fedgates.errors import ConfigError, QuorumError
from fedgates.flower.client_app import _method
from fedgates.flower.loopback import LoopbackGrid
from fedgates.flower.server_app import run_on_grid
from fedgates.models.probe import probe
from fedgates.types import Problem

MAPS = r"a network that maps \[{n}, 1, 8, 8\] to \[{n}, 10\]{mode}; it {found}$"


def maps(n, mode, found):
    return MAPS.format(n=n, mode=mode and f" in {mode} mode", found=found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Squeezed", maps(1, "evaluation", r"returned \[10\]")),
        ("Auxiliary", maps(2, "training", "returned tuple")),
        ("Named", maps(2, "", "returned dict")),  # already when it is built
        ("Detached", r"an output with a gradient; in training mode it has none, as after detach\(\) or in no_grad\(\)$"),
        ("Constant", "an output that depends on the parameters; none of them has a gradient$"),
        ("Undefined", "finite outputs for inputs from -1 to 1; in evaluation mode, some are not finite$"),
        ("WithoutBackward", "a network that can be trained; backward raised RuntimeError: no backward for this$"),
        ("Average", "constant buffers, because only parameters are federated; training changes 'ema'$"),
        ("Replaced", "constant buffers, because only parameters are federated; training changes 'ema'$"),
        ("Drawn", "the same network in every process, .*; a second call of the function returned a different buffer 'shift'$"),
        ("Plain", "the same network in every process, .*; a second call of the function gives different outputs .*$"),
        ("any_width", "the same network in every process, .*; a second call of the function returned different parameters$"),
        ("softmax", "logits, without a softmax at the end: the loss is the cross-entropy of logits$"),
    ],
)
def test_a_network_that_cannot_be_trained_is_one_line(name, expected):
    with pytest.raises(ConfigError, match=f"^model = 'odd_networks:{name}': expected {expected}") as caught:
        models.check(f"odd_networks:{name}", Problem.of_images((1, 8, 8), 10), seed=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tied", "Unused", "Scaled", "Projected", "weights_by_numpy", "norm_by_batch", "frozen_part"])
def test_a_network_that_can_be_trained_passes_and_nothing_is_disturbed(name):
    before = torch.get_rng_state()
    models.check(f"odd_networks:{name}", Problem.of_images((1, 8, 8), 10))
    assert torch.equal(torch.get_rng_state(), before)


def test_one_output_of_a_regression_is_no_softmax():
    probe(
        "ones",
        lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 1), torch.nn.Softplus()),
        Problem.of_images((1, 3, 3), 0),
    )


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])
def test_every_built_in_network_would_pass(name):
    shape = (3, 32, 32) if name in ("resnet8", "resnet18", "conv6", "conv8", "conv10") else (1, 28, 28)
    problem = Problem.of_images(shape, 10)
    probe(name, lambda: models.build(name, problem), problem)


def test_the_linear_network_would_pass():
    problem = Problem.of_images((1, 1, 30), 0)
    probe("linear", lambda: models.build("linear", problem), problem)


# --- before anything starts, and runs of those that pass


@pytest.mark.parametrize("strategy", ["coupled-masks", "fedavg"])
def test_a_run_with_such_a_network_does_not_start(raw, tmp_path, strategy):
    config = raw(model="odd_networks:Squeezed", strategy=strategy, output_dir=str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match=r"^model = 'odd_networks:Squeezed': .*it returned \[10\]$"):
        run_on_grid(LoopbackGrid(app, config, 2), config)
    assert not (tmp_path / "runs").exists()


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("strategy", ["coupled-masks", "fedpm", "fedavg"])
@pytest.mark.parametrize("name", ["tied", "Unused", "Scaled", "Projected"])
def test_a_network_that_passes_trains_and_predicts_a_single_picture(raw, strategy, name):
    config = raw(model=f"odd_networks:{name}", strategy=strategy, num_server_rounds=2, samples_per_client=31, batch_size=5)
    folder = run_on_grid(LoopbackGrid(app, config, 3), config)  # the last batch of a client has one image
    lines = folder.round_log.read()
    assert [line["clients_counted"] for line in lines] == [3, 3]
    model = fedgates.load(folder.path / "model.fedgates", network=getattr(odd_networks, name))
    images = to_tensors(digits().test, "cpu")[0]
    with torch.no_grad():
        alone = torch.cat([model(images[i : i + 1]) for i in range(8)])
        torch.testing.assert_close(alone, model(images)[:8])
    score = (model(images).argmax(1).numpy() == digits().test.y).mean()
    assert score == pytest.approx(lines[-1]["accuracy"], abs=0.005)


def test_a_device_whose_buffers_are_others_is_refused(raw, monkeypatch):
    config = raw(model="odd_networks:Scaled", strategy="fedavg", num_server_rounds=1, max_failed_rounds=1)

    class Elsewhere(LoopbackGrid):
        """The devices have another version of the user's file."""

        def deliver(self, message):
            monkeypatch.setattr(odd_networks, "Scaled", partial(odd_networks.Scaled, scale=3.0))
            _method.cache_clear()
            try:
                return super().deliver(message)
            finally:
                monkeypatch.undo()
                _method.cache_clear()

    with pytest.raises(QuorumError, match="digest"):
        run_on_grid(Elsewhere(app, config, 2), config)
