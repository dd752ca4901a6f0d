"""Operations on a single input (an array or a tensor) or on several inputs by name."""

from collections.abc import Callable, Mapping
from typing import Any

SINGLE = "x"
"""Name of a single input."""


def by_name(x: Any) -> dict[str, Any]:  # noqa: ANN401  # an array or a tensor, or a mapping of them
    """Return inputs by name; a single input is named "x"."""
    return dict(x) if isinstance(x, Mapping) else {SINGLE: x}


def mapped(x: Any, function: Callable[[Any], Any]) -> Any:  # noqa: ANN401  # as above
    """Apply a function to a single input, or to each of several by name."""
    return {name: function(value) for name, value in x.items()} if isinstance(x, Mapping) else function(x)


def take(x: Any, index: Any) -> Any:  # noqa: ANN401  # as above; an index of NumPy or torch
    """Return the examples at an index, which is a slice or an array of positions."""
    return mapped(x, lambda value: value[index])


def count(x: Any) -> int:  # noqa: ANN401  # as above
    """Return the number of examples."""
    return len(next(iter(by_name(x).values())))
