"""Check of a user's own network by a short trial before training starts."""

from collections.abc import Callable, Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedgates.data.inputs import count, take
from fedgates.errors import ConfigError
from fedgates.models.batch_norm import drop_running_statistics
from fedgates.models.modes import parts_in_evaluation_mode, set_mode
from fedgates.types import InputSpec, Problem
from fedgates.util.text import error_line, one_line

Inputs = Tensor | Mapping[str, Tensor]
"""A normalised input ``[n, ...]``, or several by name."""
_BATCHES = (2, 1)
"""Sizes of the batches to try: a client's last batch, or a prediction, may have only one example."""


def probe(reference: str, build: Callable[[], nn.Module], problem: Problem, examples: Inputs | None = None) -> None:
    """Run a network on one and on two examples, in evaluation mode, and in training mode with a backward pass.

    Parameters
    ----------
    reference : str
        "module:function" of the network, for the error message.
    build : callable
        Builds the network in the same way as every process of a run; called twice.
    problem : Problem
        Inputs, task and outputs.
    examples : Tensor or mapping, optional
        At least two inputs to run the network on; by default random ones (:func:`random_inputs`).

    Raises
    ------
    ConfigError
        The network raises; its output is not one finite tensor of the problem's shape, or has no gradient; it ends in a
        softmax; training changes a buffer; or two processes would have different networks. The message names `model`.
    """
    network, other = build(), build()
    fixed = parts_in_evaluation_mode(network)
    for each in (network, other):  # as training does
        drop_running_statistics(each)
    tried = random_inputs(problem, max(_BATCHES)) if examples is None else examples
    found = _difference(network, other) or _failure(network, problem, tried, fixed)
    found = found or _other_outputs(network, other, tried)
    if found:
        raise ConfigError("model", reference, found)


def random_inputs(problem: Problem, examples: int) -> Inputs:
    """Draw random inputs: floats in [-1, 1); for int64, 0 or 1, which are valid tokens of any vocabulary of at least two."""
    draw = torch.Generator().manual_seed(0)
    drawn = {spec.name: _random(spec, examples, draw) for spec in problem.inputs}
    return drawn if len(drawn) > 1 else drawn[problem.inputs[0].name]


def _random(spec: InputSpec, examples: int, draw: torch.Generator) -> Tensor:
    if spec.dtype == "int64":
        return torch.randint(0, 2, (examples, *spec.shape), generator=draw)
    return torch.rand(examples, *spec.shape, generator=draw).mul_(2).sub_(1)


def run(network: Callable[..., Tensor], x: Inputs) -> Tensor:
    """Call a network with one input, or with several inputs as keyword arguments."""
    return network(**x) if isinstance(x, Mapping) else network(x)


def output_of(
    network: nn.Module, x: Inputs, problem: Problem, *, training: bool, fixed: Collection[nn.Module] = ()
) -> Tensor | str:
    """Return the network's output in training or in evaluation mode, or a description of what is wrong with it.

    The submodules in `fixed` stay in evaluation mode.
    """
    wanted_shape = [count(x), *problem.output_shape]
    mode = "training" if training else "evaluation"
    inputs = ", ".join(f"{name}: {list(each.shape)}" for name, each in x.items()) if isinstance(x, Mapping) else list(x.shape)
    in_mode = "" if count(x) > 1 and not training else f" in {mode} mode"
    wanted = f"a network that maps {inputs} to {wanted_shape}{in_mode}"
    set_mode(network, training=training, fixed=fixed)
    try:
        with torch.set_grad_enabled(training):
            output = run(network, x)
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        return f"{wanted}; it raised {error_line(error)}"
    if not isinstance(output, Tensor):
        return f"{wanted}; it returned {type(output).__name__}"
    if list(output.shape) != wanted_shape:
        return f"{wanted}; it returned {list(output.shape)}"
    if not bool(output.isfinite().all()):
        return f"finite outputs for inputs from -1 to 1; in {mode} mode, some are not finite"
    return output


def _difference(network: nn.Module, other: nn.Module) -> str:
    """Describe which parameter or buffer differs after a second call; empty if none does.

    Initial weights may differ, because the server sends its own.
    """
    wanted = "the same network in every process, drawn from torch's global generator alone"
    layouts = [{name: parameter.shape for name, parameter in each.named_parameters()} for each in (network, other)]
    if layouts[0] != layouts[1]:
        return f"{wanted}; a second call of the function returned different parameters"
    first, second = (dict(each.named_buffers()) for each in (network, other))
    different = [name for name, buffer in first.items() if name not in second or not _same(buffer, second[name])]
    if not different:
        return ""
    return f"{wanted}; a second call of the function returned a different buffer {one_line(different[0])!r}"


def _other_outputs(network: nn.Module, other: nn.Module, x: Inputs) -> str:
    """Return a message if two networks with the same weights have different outputs; empty if they do not.

    They differ if the function sets a random tensor that is not a buffer, for example.
    """
    outputs = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        weights = dict(network.named_parameters())
        for name, parameter in other.named_parameters():
            parameter.copy_(weights[name])
        state = torch.get_rng_state()
        for each in (network, other):
            torch.set_rng_state(state)
            outputs.append(run(each.eval(), x))
    if torch.allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-5):
        return ""
    wanted = "the same network in every process, drawn from torch's global generator alone"
    return f"{wanted}; a second call of the function gives different outputs with the same weights"


def _failure(network: nn.Module, problem: Problem, tried: Inputs, fixed: Collection[nn.Module]) -> str:
    """Describe what is wrong with the network's outputs, gradients or buffers; empty if nothing is."""
    shares = []
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also seed the generator of every GPU
        torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
        for examples in _BATCHES:
            x = take(tried, slice(examples))
            for training in (False, True):
                before = _buffers(network)
                output = output_of(network, x, problem, training=training, fixed=fixed)
                if isinstance(output, str):
                    return output
                found = _gradient_problem(network, output, problem) if training else ""
                found = found or _moved(network, before)
                if found:
                    return found
                shares.append(problem.task in {"classes", "positions"} and problem.outputs > 1 and _are_shares(output.detach()))
    return "logits, without a softmax at the end: the loss is the cross-entropy of logits" if all(shares) else ""


def _gradient_problem(network: nn.Module, output: Tensor, problem: Problem) -> str:
    """Run backward and describe why the parameters cannot be trained; empty if they can. Unused parameters are allowed."""
    if not output.requires_grad:
        return "an output with a gradient; in training mode it has none, as after detach() or in no_grad()"
    if problem.task in {"classes", "positions"}:
        loss = F.cross_entropy(output.float(), torch.zeros(len(output), *problem.positions, dtype=torch.int64))
    else:
        loss = output.float().square().mean()
    network.zero_grad()
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001  # the user's code may raise anything
        return f"a network that can be trained; backward raised {error_line(error)}"
    if all(parameter.grad is None for parameter in network.parameters()):
        return "an output that depends on the parameters; none of them has a gradient"
    return ""


def _are_shares(output: Tensor) -> bool:
    """Return whether the second axis of the output holds probability distributions."""
    return bool((output >= 0).all()) and torch.allclose(output.sum(1), torch.ones_like(output[:, 0]), atol=1e-4)


def _buffers(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def _moved(network: nn.Module, before: dict[str, Tensor]) -> str:
    after = dict(network.named_buffers())
    moved = [name for name, buffer in before.items() if name not in after or not _same(buffer, after[name])]
    if not moved:
        return ""
    return f"constant buffers, because only parameters are federated; training changes {one_line(moved[0])!r}"


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.nan_to_num(), b.nan_to_num())
