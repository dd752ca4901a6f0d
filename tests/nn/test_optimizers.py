"""Own optimizers against torch's, and what they must not import."""

import subprocess
import sys

import pytest
import torch

from fedgates.nn.optimizers import SGD, Adam


def steps(make, count=7):
    """The parameter after each step, with gradients that depend on it."""
    draw = torch.Generator().manual_seed(3)
    parameter, gradient = torch.randn(1000, generator=draw), torch.empty(1000)
    noise = torch.randn(count, 1000, generator=draw)
    optimizer, history = make(parameter, gradient), []
    for i in range(count):
        torch.add(parameter, noise[i], out=gradient)
        optimizer.step()
        history.append(parameter.clone())
    return torch.stack(history)


def of_torch(kind, **options):
    def make(parameter, gradient):
        parameter.grad = gradient
        return kind([parameter], **options)

    return make


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_sgd_steps_equal_those_of_torch_bit_for_bit(momentum, decay):
    ours = steps(lambda p, g: SGD(p, g, learning_rate=0.1, momentum=momentum, weight_decay=decay))
    assert torch.equal(ours, steps(of_torch(torch.optim.SGD, lr=0.1, momentum=momentum, weight_decay=decay)))


@pytest.mark.parametrize("epsilon", [1e-8, 1e-12])
def test_adam_steps_equal_those_of_torch_bit_for_bit(epsilon):
    ours = steps(lambda p, g: Adam(p, g, learning_rate=0.1, epsilon=epsilon))
    assert torch.equal(ours, steps(of_torch(torch.optim.Adam, lr=0.1, eps=epsilon, fused=True)))


@pytest.mark.slow
def test_a_step_does_not_import_dynamo():
    code = (
        "import sys, torch; from fedgates.nn.optimizers import SGD, Adam\n"
        "w, g = torch.ones(3), torch.ones(3)\n"
        "SGD(w, g, learning_rate=.1, momentum=.9, weight_decay=.1).step(); Adam(w, g, learning_rate=.1).step()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
