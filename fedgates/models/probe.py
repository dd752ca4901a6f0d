"""A trial of a user's own network, like training, before anything starts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedgates.errors import ConfigError
from fedgates.models.batch_norm import drop_running_statistics
from fedgates.models.modes import parts_in_evaluation_mode, set_mode
from fedgates.models.shapes import Shape
from fedgates.util.text import error_line, one_line

_BATCHES = (2, 1)
"""Numbers of images: a client's last batch may have only one, and so may a prediction."""


def probe(reference: str, build: Callable[[], nn.Module], input_shape: Shape, num_classes: int) -> None:
    """Run a network on random images, one and two at a time, in evaluation and in training mode with a backward pass.

    Parameters
    ----------
    reference : str
        "module:function" of the network, for the error.
    build : callable
        Builds the network as every process of a run does; called twice.
    input_shape : tuple of int
        Shape (C, H, W) of one image.
    num_classes : int
        Number of classes; 0 for a regression.

    Raises
    ------
    ConfigError
        The network raises; its output is not one tensor of finite logits for each image, or has no gradient; it ends in a
        softmax; training changes a buffer, or two processes would have different networks. Names
        `model`.
    """
    network, other = build(), build()
    fixed = parts_in_evaluation_mode(network)
    for each in (network, other):  # as training does
        drop_running_statistics(each)
    problem = _difference(network, other) or _failure(network, input_shape, num_classes, fixed)
    problem = problem or _other_outputs(network, other, input_shape)
    if problem:
        raise ConfigError("model", reference, problem)


def _difference(network: nn.Module, other: nn.Module) -> str:
    """Return which part is another one after a second call; empty if none is. Weights may differ: the server sends its own."""
    wanted = "the same network in every process, drawn from torch's global generator alone"
    layouts = [{name: parameter.shape for name, parameter in each.named_parameters()} for each in (network, other)]
    if layouts[0] != layouts[1]:
        return f"{wanted}; a second call of the function gave other parameters"
    first, second = (dict(each.named_buffers()) for each in (network, other))
    different = [name for name, buffer in first.items() if name not in second or not _same(buffer, second[name])]
    return f"{wanted}; a second call of the function gave another buffer {one_line(different[0])!r}" if different else ""


def _other_outputs(network: nn.Module, other: nn.Module, input_shape: Shape) -> str:
    """Return a message if two networks with the same weights differ, as by a tensor that is no buffer; empty if they do not."""
    outputs = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        weights = dict(network.named_parameters())
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name])
        state = torch.get_rng_state()
        images = torch.rand(2, *input_shape, generator=torch.Generator().manual_seed(0)).mul_(2).sub_(1)
        for each in (network, other):
            torch.set_rng_state(state)
            outputs.append(each.eval()(images))
    if torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5):
        return ""
    wanted = "the same network in every process, drawn from torch's global generator alone"
    return f"{wanted}; a second call of the function gave other outputs with the same weights"


def _failure(network: nn.Module, input_shape: Shape, num_classes: int, fixed: set[nn.Module]) -> str:
    """Return what is wrong with the network's outputs, gradients or buffers; empty if nothing is."""
    shares = []
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which seeds every GPU's generator, too
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        for images in _BATCHES:
            x = 2 * torch.rand(images, *input_shape) - 1
            for training in (False, True):
                before = _buffers(network)
                output = _output(network, x, num_classes or 1, training=training, fixed=fixed)
                if isinstance(output, str):
                    return output
                problem = _gradient_problem(network, output, num_classes) if training else ""
                problem = problem or _moved(network, before)
                if problem:
                    return problem
                shares.append(num_classes > 1 and _are_shares(output.detach()))
    return "logits, without a softmax at the end: the loss is the cross-entropy of logits" if all(shares) else ""


def _output(network: nn.Module, x: Tensor, outputs: int, *, training: bool, fixed: set[nn.Module]) -> Tensor | str:
    """Return the network's output, or what is wrong with it."""
    mode = "in training mode" if training else "in evaluation mode"
    wanted = f"a network that maps {list(x.shape)} to {[len(x), outputs]}, {mode}, too"
    set_mode(network, training=training, fixed=fixed)
    try:
        with torch.set_grad_enabled(training):
            output = network(x)
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        return f"{wanted}; it raised {error_line(error)}"
    if not isinstance(output, Tensor):
        return f"{wanted}; it gave {type(output).__name__}"
    if tuple(output.shape) != (len(x), outputs):
        return f"{wanted}; it gave {list(output.shape)}"
    if not bool(output.isfinite().all()):
        return f"finite outputs for images from -1 to 1; {mode} it gave others"
    return output


def _gradient_problem(network: nn.Module, output: Tensor, num_classes: int) -> str:
    """Run backward; return why the parameters cannot be trained. One that the output does not depend on is allowed."""
    if not output.requires_grad:
        return "an output with a gradient; in training mode it has none, as after detach() or in no_grad()"
    y = torch.zeros(len(output), dtype=torch.int64)
    loss = F.cross_entropy(output.float(), y) if num_classes else output.float().square().mean()
    network.zero_grad()
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        return f"a network that can be trained; backward raised {error_line(error)}"
    if all(parameter.grad is None for parameter in network.parameters()):
        return "an output that depends on the parameters; none of them has a gradient"
    return ""


def _are_shares(output: Tensor) -> bool:
    """Return whether each row is a probability distribution."""
    return bool((output >= 0).all()) and torch.allclose(output.sum(1), torch.ones(len(output)), atol=1e-4)


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def _moved(network: nn.Module, before: dict[str, Tensor]) -> str:
    after = dict(network.named_buffers())
    moved = [name for name, buffer in before.items() if name not in after or not _same(buffer, after[name])]
    if not moved:
        return ""
    return f"buffers that stay as they are, because only parameters are federated; training changes {one_line(moved[0])!r}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
