"""What a run's folder tells, read once. What is missing is left out; what is damaged is left out and named."""

import base64
import binascii
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fedgates
from fedgates import artifact, totals
from fedgates.config import ConfigError, RunConfig, to_dict
from fedgates.ledger import FILE_NAME, Ledger
from fedgates.slim import Size, size, slim
from fedgates.text import one_line
from fedgates.totals import Line, Metric, Moved

CONFIG, MODEL, PREDICTIONS = "config.json", "model.fedgates", "predictions.json"
CLIENTS = "simulated-clients"
"""The key of ``config.json`` that is no key of the run config: how many clients a simulation had; null for real devices."""
_WHERE = frozenset({"output-dir", "resume", CLIENTS})
"""Keys that say where a run lies, not what it is, and the one that is no key of the run config."""
_NEEDED = frozenset(
    {
        *("round", "seconds", "uplink_bytes", "downlink_bytes"),
        *("clients_selected", "clients_counted", "clients_rejected", "clients_failed"),
    }
)
"""Keys without which a line is no round; what other keys say is left out where they are not there."""
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_SAMPLES, _MOST_IMAGE_BYTES = 36, 150_000
"""Samples on a page, and bytes of all their images, so that the page stays small whatever the images are."""


@dataclass(frozen=True)
class Layer:
    """One layer of the finished model that has weights."""

    name: str
    kind: str
    parameters: int
    kept: int
    """Those that are not zero."""


@dataclass(frozen=True)
class ModelFile:
    """What ``model.fedgates`` says."""

    file_bytes: int
    facts: artifact.Facts
    layers: tuple[Layer, ...]
    """Empty where the network cannot be built here: it is somebody's own."""
    dense: Size | None
    slim: Size | None
    """Without units that no path uses; None of a network that is no chain."""


@dataclass(frozen=True)
class Sample:
    """A test image and what the model makes of it."""

    image: str
    """A PNG file in base64, checked to be one."""
    label: str
    predicted: str
    probability: float | None
    right: bool


@dataclass(frozen=True)
class Story:
    """All that the page is made from."""

    name: str
    config: Mapping[str, Any]
    defaults: Mapping[str, Any]
    lines: Sequence[Line]
    """Every attempt of every round."""
    model: ModelFile | None
    samples: Sequence[Sample]
    problems: Sequence[str]
    """Files that could not be read."""

    @cached_property
    def rounds(self) -> list[Line]:
        """The attempts that counted, one a round."""
        return [line for line in self.lines if line.get("quorum", True)]

    @cached_property
    def size(self) -> int:
        """The network's parameters d; 0 where nothing says."""
        return totals.parameters(self.lines) or (self.model.dense.parameters if self.model and self.model.dense else 0)

    @cached_property
    def moved(self) -> Moved:
        """Bytes, and dense FedAvg's."""
        return totals.moved(self.lines, self.size)

    @cached_property
    def metric(self) -> Metric:
        """What the run is judged by."""
        return totals.metric(self.lines)

    @cached_property
    def changed(self) -> list[str]:
        """Keys that differ from their default, or have none that is known here; but for those that say where the run lies."""
        return [key for key in self.config if key not in _WHERE and self.config[key] != self.defaults.get(key)]


def gather(folder: Path, defaults: Mapping[str, Any] | None = None) -> Story:
    """Read a run's folder.

    Parameters
    ----------
    folder : Path
        As a run left it, whether it has ended or not.
    defaults : mapping, optional
        Default of each key of the configuration. By default the app's beside this package, and those that every method shares.

    Raises
    ------
    ConfigError
        It is no run's folder.
    """
    if not any((folder / name).is_file() for name in (CONFIG, FILE_NAME)):
        raise ConfigError("run", str(folder), f"a run's folder, with its {CONFIG} or {FILE_NAME}")
    problems: list[str] = []
    return Story(
        name=folder.resolve().name,
        config=_object(folder / CONFIG, problems),
        defaults=_app_defaults() if defaults is None else defaults,
        lines=_lines(folder, problems),
        model=_model(folder / MODEL, problems),
        samples=_samples(_object(folder / PREDICTIONS, problems), problems),
        problems=problems,
    )


def _app_defaults() -> dict[str, Any]:
    """``[tool.flwr.app.config]`` of the app that this package lies in, where it does, over those of every method."""
    shared: dict[str, Any] = to_dict(RunConfig())
    try:
        described = tomllib.loads((Path(fedgates.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
        return {**shared, **described["tool"]["flwr"]["app"]["config"]}
    except (OSError, ValueError, KeyError, TypeError):
        return shared


def _object(path: Path, problems: list[str]) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        problems.append(f"{path.name}: no JSON object")
        return {}
    return found


def _lines(folder: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        found = Ledger(folder).read()
    except (OSError, ValueError) as error:
        problems.append(one_line(error))
        return []
    lines = [line for line in found if isinstance(line, dict) and line.keys() >= _NEEDED]
    if len(lines) < len(found):
        problems.append(f"{FILE_NAME}: lines that are no rounds, {len(found) - len(lines)} of {len(found)}")
    return lines


def _model(path: Path, problems: list[str]) -> ModelFile | None:
    if not path.is_file():
        return None
    file_bytes = path.stat().st_size
    try:
        facts, _, _ = artifact.read(path)
    except artifact.ModelFileError as error:
        problems.append(one_line(error))
        return None
    try:
        network = artifact.load(path).network
    except artifact.ModelFileError:
        return ModelFile(file_bytes, facts, (), None, None)
    layers = []
    for name, module in network.named_modules():
        own = list(module.parameters(recurse=False))
        if own:
            kept = sum(int((parameter != 0).sum()) for parameter in own)
            layers.append(Layer(name or "network", type(module).__name__, sum(p.numel() for p in own), kept))
    smaller = slim(network)
    return ModelFile(
        file_bytes,
        facts,
        tuple(layers),
        dense=size(network, facts.input_shape),
        slim=None if smaller is None else size(smaller, facts.input_shape),
    )


def _samples(told: Mapping[str, Any], problems: list[str]) -> list[Sample]:
    """The samples, as many as there is room for; wrong ones first, because they are what one looks at."""
    if not told:
        return []
    try:
        found = [_sample(sample, told["classes"]) for sample in told["samples"][:_MOST_SAMPLES]]
    except (KeyError, TypeError, ValueError, OverflowError):
        problems.append(f"{PREDICTIONS}: not samples with image, label and predicted class")
        return []
    kept, room = [], _MOST_IMAGE_BYTES
    for sample in sorted(found, key=lambda sample: sample.right):
        room -= len(sample.image)
        if room >= 0:
            kept.append(sample)
    return kept


def _sample(told: Mapping[str, Any], classes: Sequence[str]) -> Sample:
    label, predicted = int(told["label"]), int(told["predicted"])
    try:
        image = base64.b64decode(told["image"], validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    if not image.startswith(_PNG):
        raise ValueError("no PNG")
    names = [one_line(classes[i], 60) if 0 <= i < len(classes) else str(i) for i in (label, predicted)]
    probability = told.get("probability")
    return Sample(
        image=base64.b64encode(image).decode(),
        label=names[0],
        predicted=names[1],
        probability=None if probability is None else float(probability),
        right=label == predicted,
    )
