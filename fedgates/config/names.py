"""Names that configuration keys accept, and parsers of their values; needs only the standard library."""

from pathlib import Path

CLIENTS = "simulated-clients"
"""Entry of ``config.json`` beside the keys: number of clients that a simulation divides the data among; null for devices."""
DATA_DIGEST = "data-digest"
"""Entry of ``config.json`` beside the keys: digest of the server's data set; empty if the server has no data."""
DEFAULT_STRATEGY = "coupled-masks"
SYNTHETIC = ("synthetic-linear", "synthetic-logistic")
DEVICES = "devices"
"""Prefix of the data set of a server without data: only devices have examples, whose shape the name gives."""
DATASETS = ("digits", *SYNTHETIC, "mnist", "fashion-mnist", "emnist", "cifar10", "cifar100")
OWN_KINDS = ("npz", "folder", "table")
"""Prefixes of the path of a user's own data."""
OWN_DATASETS = '"npz:/abs/file.npz", "folder:/abs/dir", "table:/abs/file.csv" or "devices:SHAPE:OUTPUT"'
MODELS = ("mlp", "cnn", "conv4", "conv6", "conv10", "leaf-cnn", "resnet8", "resnet18", "vgg11", "linear", "logistic")
WEIGHT_SCALE_IDS = {"kaiming": "kaiming", "authors-code": "released", "density": "density"}
"""Weight scales to their names in digests and model files, which stay the same when a scale is renamed."""
WEIGHT_SCALES = tuple(WEIGHT_SCALE_IDS)
UPLINKS = ("packed", "entropy", "side-info", "sampled")
TRACKERS = ("tensorboard", "wandb", "mlflow")
MAX_GATES = 50_000_000
"""Default of `limits.max-gates`, for commands that read a model without a configuration."""
OUTPUT_DIR = "~/fedgates/runs"
"""Default of `output-dir`, for commands that look for runs without a configuration."""
LIMITS = ("limits.max-gates", "limits.max-payload-mb", "limits.max-decode-mb", "limits.max-relay-updates")
"""Keys whose values a device may lower in its node config."""


def is_reference(value: str) -> bool:
    """Return whether a value has the form "module:name"."""
    module, colon, name = value.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def image_size(value: str) -> tuple[int, int] | None:
    """Parse "HEIGHTxWIDTH", both from 1 to 9,999; return None for any other value."""
    sizes = value.split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and size.isascii() and 1 <= len(size) <= 4 and int(size) for size in sizes):
        return None
    return int(sizes[0]), int(sizes[1])


def split_names(value: str) -> tuple[str, ...]:
    """Split a comma-separated list of names and strip spaces; an empty value gives an empty tuple."""
    return tuple(name.strip() for name in value.split(",")) if value.strip() else ()


def split_trackers(value: str) -> list[tuple[str, str]]:
    """Split the value of `trackers` into pairs of a name and the string after its "=", which may be empty."""
    parts = [part.strip().partition("=") for part in value.split(",")] if value.strip() else []
    return [(name, where) for name, _, where in parts]


def folder(value: str | Path) -> Path:
    """Return a path with ~ expanded; unchanged if ~ refers to an unknown user."""
    try:
        return Path(value).expanduser()
    except RuntimeError:
        return Path(value)
