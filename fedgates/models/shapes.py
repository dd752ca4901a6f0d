"""Shape of a network's input, and its validation."""

from fedgates.errors import ConfigError

Shape = tuple[int, int, int]
"""(channels, height, width) of one image."""
AnyShape = tuple[int, ...] | dict[str, tuple[int, ...]]
"""Shape of one example: (C, H, W) for an image, any shape for another input, or a dictionary of shapes for several inputs."""


def check_size(name: str, input_shape: Shape, smallest: int) -> None:
    """Raise a :class:`ConfigError` if images are less than `smallest` pixels high or wide."""
    if min(input_shape[1:]) < smallest:
        height, width = input_shape[1:]
        raise ConfigError(
            "model", name, f"images of at least {smallest}x{smallest}, but those of the data set are {height}x{width}"
        )
