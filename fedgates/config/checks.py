"""Named checks of string values: paths, data sets, networks, trackers, evaluations and references."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedgates.config.devices import devices_problem
from fedgates.config.names import (
    DATASETS,
    DEVICES,
    MODELS,
    OWN_DATASETS,
    OWN_KINDS,
    TRACKERS,
    image_size,
    is_reference,
    split_names,
    split_trackers,
)
from fedgates.config.suggestions import did_you_mean

EVALUATIONS = ("threshold", "sample", "mean", "ensemble")
"""Models that a mask method can evaluate."""
AUGMENTATIONS = ("flip", "crop", "rotate", "trivial", "erase")
"""Random augmentations of training images."""
_PATH = "an absolute path, or one under ~ (the app does not run in your working directory)"
_TRACKERS = 'tensorboard, wandb or wandb=entity/project, mlflow or mlflow=URI, "module:Class"'


@dataclass(frozen=True)
class Check:
    """A check of a string value."""

    accepts: Callable[[str], bool]
    """Returns whether a value is valid."""
    expected: Callable[[str], str]
    """Describes what is accepted instead of an invalid value; for an empty string, what is accepted in general."""


def _is_path(value: str) -> bool:
    try:
        return "\0" not in value and Path(value).expanduser().is_absolute()
    except RuntimeError:  # "~name" of a user that does not exist on this machine
        return False


def _is_dataset(value: str) -> bool:
    kind, colon, rest = value.partition(":")
    if kind == DEVICES:
        return devices_problem(value) is not None
    return value in DATASETS or (bool(colon) and kind in OWN_KINDS and _is_path(rest))


def _expected_dataset(value: str) -> str:
    kind, colon, _ = value.partition(":")
    if colon and kind in OWN_KINDS:
        return f'{_PATH}, after "{kind}:"'
    return f"one of {', '.join(DATASETS)}, {OWN_DATASETS}" + did_you_mean(value, DATASETS)


def _expected_model(value: str) -> str:
    return f'one of {", ".join(MODELS)} or "module:name"' + did_you_mean(value, MODELS)


def _are_trackers(value: str) -> bool:
    pairs = split_trackers(value)
    names = [name for name, _ in pairs]
    known = all(name in TRACKERS or is_reference(name) for name in names)
    return known and len(set(names)) == len(names) and not dict(pairs).get("tensorboard")


def _expected_trackers(value: str) -> str:
    unknown = [name for name, _ in split_trackers(value) if name not in TRACKERS and not is_reference(name)]
    hint = did_you_mean(unknown[0], TRACKERS) if unknown else ""
    return f"empty, or each tracker once, separated by commas: {_TRACKERS}{hint}"


def _are_evaluations(value: str) -> bool:
    names = value.split(",")
    return "threshold" in names and set(names) <= set(EVALUATIONS) and len(names) == len(set(names))


def _expected_evaluations(value: str) -> str:
    unknown = [name for name in value.split(",") if name and name not in EVALUATIONS]
    hint = did_you_mean(unknown[0], EVALUATIONS) if unknown else ""
    return f"threshold, then any of {', '.join(EVALUATIONS[1:])}, separated by commas{hint}"


def _are_augmentations(value: str) -> bool:
    names = split_names(value)
    return set(names) <= set(AUGMENTATIONS) and len(names) == len(set(names))


def _expected_augmentations(value: str) -> str:
    unknown = [name for name in split_names(value) if name not in AUGMENTATIONS]
    hint = did_you_mean(unknown[0], AUGMENTATIONS) if unknown else ""
    return f"empty, or each of {', '.join(AUGMENTATIONS)} at most once, separated by commas{hint}"


CHECKS = {
    "strategy": Check(bool, lambda _: "a strategy's name"),
    "path": Check(_is_path, lambda _: _PATH),
    "weights": Check(
        lambda value: not value or (_is_path(value) and value.endswith(".safetensors")),
        lambda _: f"empty, or a .safetensors file: {_PATH}",
    ),
    "resume": Check(lambda value: not value or _is_path(value), lambda _: f"empty, or the folder of a stopped run: {_PATH}"),
    "dataset": Check(_is_dataset, _expected_dataset),
    "model": Check(lambda value: value in MODELS or is_reference(value), _expected_model),
    "trackers": Check(_are_trackers, _expected_trackers),
    "evaluations": Check(_are_evaluations, _expected_evaluations),
    "size": Check(lambda value: not value or image_size(value) is not None, lambda _: 'empty, or HEIGHTxWIDTH such as "32x32"'),
    "augmentations": Check(_are_augmentations, _expected_augmentations),
    "reference": Check(is_reference, lambda _: '"module:name"'),
    "reference_or_empty": Check(lambda value: not value or is_reference(value), lambda _: 'empty, or "module:function"'),
}
"""Checks by name; :func:`fedgates.config.fields.key` takes the names."""
