"""Training and evaluation mode of the parts of a network."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def keeping_modes(module: nn.Module) -> Iterator[None]:
    """Restore the mode of every part afterwards: a function may have put some of them into evaluation mode."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def set_mode(module: nn.Module, *, training: bool, fixed: Collection[nn.Module]) -> None:
    """Put a network into a mode, but for the parts that stay in evaluation mode."""
    module.train(training)
    for part in fixed:
        part.training = False


def parts_in_evaluation_mode(module: nn.Module) -> set[nn.Module]:
    """Return the parts that a network's function has put into evaluation mode; none of a network that is in it as a whole."""
    return {part for part in module.modules() if not part.training} if module.training else set()
