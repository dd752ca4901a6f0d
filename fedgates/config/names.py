"""Names that keys of the configuration take, and how their values are read; standard library alone."""

from pathlib import Path

CLIENTS = "simulated-clients"
"""Beside the config's keys in ``config.json``: how many clients a simulation shares the data among; null for real devices."""
DATA_DIGEST = "data-digest"
"""There as well: the digest of the server's data set; empty if it has none."""
DEFAULT_STRATEGY = "coupled-masks"
SYNTHETIC = ("synthetic-linear", "synthetic-logistic")
DEVICES = "devices"
"""The data set of a server that has none: the devices' own, of the shape that its name says."""
DATASETS = ("digits", *SYNTHETIC, "mnist", "fashion-mnist", "emnist", "cifar10", "cifar100")
OWN_KINDS = ("npz", "folder", "table")
"""What comes before the path of data of one's own."""
OWN_DATASETS = '"npz:/abs/file.npz", "folder:/abs/dir", "table:/abs/file.csv" or "devices:SHAPE:OUTPUT"'
MODELS = ("mlp", "cnn", "conv4", "conv6", "conv10", "leaf-cnn", "resnet8", "resnet18", "vgg11", "linear", "logistic")
WEIGHT_SCALE_IDS = {"kaiming": "kaiming", "authors-code": "released", "density": "density"}
"""Name of each weight scale to its name in digests and model files, which do not change when a scale is renamed."""
WEIGHT_SCALES = tuple(WEIGHT_SCALE_IDS)
UPLINKS = ("packed", "entropy", "side-info", "sampled")
TRACKERS = ("tensorboard", "wandb", "mlflow")
MAX_GATES = 50_000_000
"""Default of `limits.max-gates`, for commands that read a model without a configuration."""
OUTPUT_DIR = "~/fedgates/runs"
"""Default of `output-dir`, for commands that look for runs without a configuration."""
LIMITS = ("limits.max-gates", "limits.max-payload-mb", "limits.max-decode-mb", "limits.max-relay-updates")
"""Keys of which a device may set lower values in its node config."""


def is_reference(value: str) -> bool:
    """Whether a value has the form "module:name"."""
    module, colon, name = value.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def image_size(value: str) -> tuple[int, int] | None:
    """Return height and width of "HEIGHTxWIDTH", each from 1 to 9,999; None of any other value."""
    sizes = value.split("x")
    if len(sizes) != 2 or not all(size.isdecimal() and size.isascii() and 1 <= len(size) <= 4 and int(size) for size in sizes):
        return None
    return int(sizes[0]), int(sizes[1])


def split_names(value: str) -> tuple[str, ...]:
    """Return the names that a value lists with commas, without spaces around them; none of an empty value."""
    return tuple(name.strip() for name in value.split(",")) if value.strip() else ()


def split_trackers(value: str) -> list[tuple[str, str]]:
    """The value of `trackers` as names, each with the text after its "=", which may be empty."""
    parts = [part.strip().partition("=") for part in value.split(",")] if value.strip() else []
    return [(name, where) for name, _, where in parts]


def folder(value: str | Path) -> Path:
    """A path that somebody has typed, with ~ expanded where it is known whose it is."""
    try:
        return Path(value).expanduser()
    except RuntimeError:
        return Path(value)
