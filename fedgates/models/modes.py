"""Training and evaluation modes of the modules in a network."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def keeping_modes(module: nn.Module) -> Iterator[None]:
    """Restore the mode of every submodule after the context; a network's function may have put some into evaluation mode."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def set_mode(module: nn.Module, *, training: bool, fixed: Collection[nn.Module]) -> None:
    """Set the mode of a network, except for the submodules in `fixed`, which stay in evaluation mode."""
    module.train(training)
    for part in fixed:
        part.training = False


def parts_in_evaluation_mode(module: nn.Module) -> set[nn.Module]:
    """Return the submodules that a network's function has put into evaluation mode; none if the whole network is in it."""
    return {part for part in module.modules() if not part.training} if module.training else set()
