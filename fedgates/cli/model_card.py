"""A model card in the style of the Hugging Face Hub: README.md with YAML metadata, from a run and its model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from fedgates.compare.tables import markdown
from fedgates.config import CLIENTS, DATA_DIGEST
from fedgates.config.names import is_reference
from fedgates.model_file.contents import Contents
from fedgates.runs.config_file import read_config, read_defaults, read_software
from fedgates.runs.round_log import read_rounds
from fedgates.runs.totals import network_size, payload_kinds, total_bytes
from fedgates.util.text import one_line

MODEL, WEIGHTS, CARD = "model.fedgates", "model.safetensors", "README.md"
"""Names of the files in a card's folder."""
_HUB_DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
"""Mapping from data sets to their names on the Hub."""
_METRICS = {
    "accuracy": ("accuracy", "Test accuracy"),
    "client_accuracy": ("accuracy", "Accuracy on clients' held-out examples"),
    "r2": ("r_squared", "Test r2"),
    "loss": ("loss", "Test loss"),
}
"""Mapping from keys of a model's facts to the type of metric on the Hub and its name."""
_TASKS = {"classes": "classification", "multi-label": "classification", "regression": "regression"}
_ALWAYS = ("strategy", "model", "num-server-rounds", CLIENTS, "fraction-train", "local-epochs", "batch-size", "seed")
"""Settings that a card always shows."""
_NOT_SHOWN = frozenset({"output-dir", "resume", "trackers", "data-dir", DATA_DIGEST})
"""Settings that are specific to the machine or may contain secrets."""


def model_card(run: Path, contents: Contents) -> str:
    """Return the text of a model card.

    Parameters
    ----------
    run : Path
        Folder of the run.
    contents : Contents
        The model file.

    Raises
    ------
    ConfigError
        Key `run`: `run` is not the folder of a run.
    """
    config = read_config(run)
    metadata = yaml.safe_dump(_metadata(config, contents), sort_keys=False, allow_unicode=True)
    results = [(name, f"{value:.4g}") for _, name, value in _results(contents)]
    settings = [(_escaped(key), _escaped(_public(value))) for key, value in _settings(config, read_defaults(run)).items()]
    software = [(_escaped(key), _escaped(value)) for key, value in read_software(run).items()]
    sections = [
        f"---\n{metadata}---",
        f"# {_escaped(_name(config))}",
        _introduction(config, contents),
        *_table("Results", ("metric", "value"), results),
        *_table("Training", ("setting", "value"), settings),
        *_traffic(run),
        "## Use",
        *_use(contents),
        *_table("Software", ("package", "version"), software),
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(config: Mapping[str, Any], contents: Contents) -> dict[str, Any]:
    """Return the metadata of a card in the format of the Hub."""
    dataset, task, results = _public(config["dataset"]), _task(contents), _results(contents)
    on_hub = _HUB_DATASETS.get(dataset)
    tags = ["fedgates", "federated-learning", "flower", "pytorch"]
    if not is_reference(config["strategy"]):
        tags.append(config["strategy"])
    found: dict[str, Any] = {"library_name": "fedgates", "tags": tags}
    if task:
        found["pipeline_tag"] = task
    if on_hub:
        found["datasets"] = [on_hub]
    if results:
        result = {
            "task": {"type": task or "other"},
            "dataset": {"type": on_hub or dataset, "name": dataset},
            "metrics": [{"type": kind, "name": name, "value": value} for kind, name, value in results],
        }
        found["metrics"] = list(dict.fromkeys(kind for kind, _, _ in results if kind != "loss"))
        found["model-index"] = [{"name": _name(config), "results": [result]}]
    return found


def _introduction(config: Mapping[str, Any], contents: Contents) -> str:
    """Return a description of the model and its training."""
    facts, clients = contents.facts, config.get(CLIENTS)
    total, kept = sum(layer.size for layer, _ in contents.kept), sum(count for _, count in contents.kept)
    text = (
        f"A network {_escaped(facts.model)} with {total:,} parameters, of which {kept:,} are not zero, trained by federated"
        f" learning with fedgates: {_escaped(facts.training.get('rounds', '?'))} rounds of the method"
        f" {_escaped(config['strategy'])} on {'devices' if clients is None else f'{_escaped(clients)} simulated clients'}."
        f" Data: {_escaped(_public(config['dataset']))}."
        f" Inputs: {'; '.join(_escaped(spec.kind) for spec in facts.problem.inputs)}."
    )
    return f"{text} Classes: {', '.join(map(_escaped, facts.class_names))}." if facts.class_names else text


def _task(contents: Contents) -> str:
    """Return the Hub's name of the task; empty if the Hub has none."""
    problem = contents.facts.problem
    kind = _TASKS.get(problem.task)
    if kind is None or len(problem.inputs) != 1:
        return ""
    (spec,) = problem.inputs
    if spec.is_image:
        return "image-classification" if kind == "classification" else ""
    return f"tabular-{kind}" if len(spec.shape) == 1 and spec.dtype != "int64" else ""


def _results(contents: Contents) -> list[tuple[str, str, float]]:
    """Return type, name and value of each metric of the model."""
    training = contents.facts.training
    return [
        (kind, name, float(value))
        for key, (kind, name) in _METRICS.items()
        if isinstance(value := training.get(key), int | float)
    ]


def _settings(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings to show: the most important ones, and all that differ from their defaults."""
    return {
        key: value
        for key, value in config.items()
        if key not in _NOT_SHOWN and (key in _ALWAYS or key not in defaults or value != defaults[key])
    }


def _traffic(run: Path) -> list[str]:
    """Return the section on bytes; empty for a run without rounds."""
    lines = read_rounds(run).lines
    total = total_bytes(lines, network_size(lines))
    if not total.both:
        return []
    rows = [
        ("all messages", f"{total.up:,}", f"{total.down:,}", f"{total.both:,}"),
        ("dense float32 weights, same number of messages", f"{total.dense_up:,}", f"{total.dense_down:,}", f"{total.dense:,}"),
    ]
    kinds = [
        f"- {kind.direction.replace('_', ' ')}: {kind.messages:,} messages of {_escaped(kind.name)},"
        f" {kind.total / kind.messages:,.0f} bytes each"
        for kind in payload_kinds(lines)
    ]
    return ["## Traffic", "\n".join(markdown(("bytes of the whole run", "up", "down", "both"), rows)), "\n".join(kinds)]


def _use(contents: Contents) -> list[str]:
    """Return instructions and code for loading the model."""
    facts = contents.facts
    arguments = [f'"{MODEL}"']
    notes = []
    if is_reference(facts.model):
        arguments.append("network=your_function")
        notes.append(f"The network is built by the author's function {_escaped(facts.model)}.")
    if facts.weights:
        arguments.append('weights="initial_weights.safetensors"')
        notes.append(f"Its initial weights are in the file {_escaped(PurePath(facts.weights).name)}.")
    code = f"""```python
import fedgates
from safetensors.torch import load_file

model = fedgates.load({", ".join(arguments)})  # a torch.nn.Module for inputs that are not normalised
weights = load_file("{WEIGHTS}")  # the same weights, dense float32, by name
model.network.load_state_dict(weights)
```"""
    sizes = f"`{MODEL}` ({contents.file_bytes:,} bytes) has the whole model; `{WEIGHTS}` its dense weights for other programs."
    return [" ".join([sizes, *notes]), code]


def _name(config: Mapping[str, Any]) -> str:
    """Return the name of the model: its method, network and data."""
    words = (config["strategy"], config.get("model", ""), PurePath(_public(config["dataset"])).stem)
    return "-".join(re.sub(r"[^\w.]+", "-", str(word)).strip("-") for word in words if word)[:96]


def _public(value: object) -> str:
    """Return a value as text; of a path only the last part, because folders may contain names of people."""
    text = str(value).lower() if isinstance(value, bool) else "devices" if value is None else str(value)
    return re.sub(r"(?:\b[A-Za-z]:)?[^:]*[\\/]", "", text)  # the folders, and the drive before them


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a section with a table; empty without rows."""
    return [f"## {title}", "\n".join(markdown(names, rows))] if rows else []


def _escaped(value: object) -> str:
    """Escape a value for Markdown, on one line; :func:`~fedgates.compare.markdown` escapes vertical bars in cells."""
    return re.sub(r"([\\`*_{}\[\]()<>#~&$!])", r"\\\1", one_line(value))
