"""Shape of a network's input, and its validation."""

from fedgates.errors import ConfigError

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""
AnyShape = tuple[int, ...] | dict[str, tuple[int, ...]]
"""Shape of one example: an image's (C, H, W), that of another input, or by name the shapes of several inputs."""


def check_size(name: str, input_shape: Shape, smallest: int) -> None:
    """Raise :class:`ConfigError` if images are less than `smallest` pixels high or wide."""
    if min(input_shape[1:]) < smallest:
        height, width = input_shape[1:]
        raise ConfigError(
            "model", name, f"images of at least {smallest}x{smallest} for it, and the data set's are {height}x{width}"
        )
