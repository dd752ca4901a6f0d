"""Description of a model file: layers, densities, bytes, and the size without dead units."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedgates.model_file.contents import Contents
from fedgates.model_file.facts import Facts
from fedgates.util.entropy import binary_entropy
from fedgates.util.text import columns, one_line

_MOST_FACTS, _MOST_LAYERS = 40, 1000
"""Largest numbers of facts and layers in the text, more than any built-in model has; JSON output has all of them."""


def describe(path: Path, contents: Contents) -> dict[str, Any]:
    """Return the contents of a model file as a dictionary of plain values, for :func:`table` and JSON."""
    facts = contents.facts
    total, kept = sum(layer.size for layer, _ in contents.kept), sum(kept for _, kept in contents.kept)
    return {
        "file": str(path),
        "bytes": contents.file_bytes,
        "dense_float32_bytes": 4 * total,
        "mask_entropy_bytes": round(total * binary_entropy(kept / total) / 8),
        "model": facts.model,
        "weights": _weights(facts),
        "sent_as_values": sum(layer.size for layer in facts.tail),
        "fixed": sum(layer.size for layer in facts.fixed),
        "digest": facts.digest,
        "problem": facts.problem.to_dict(),
        "classes": list(facts.class_names),
        "training": dict(facts.training),
        "parameters": total,
        "kept": kept,
        "layers": [
            {**asdict(layer), "shape": list(layer.shape), "parameters": layer.size, "kept": n, "density": n / layer.size}
            for layer, n in contents.kept
        ],
        "whole": asdict(facts.whole) if facts.whole else None,
        "slim": asdict(facts.slim) if facts.slim else None,
    }


def table(description: Mapping[str, Any]) -> str:
    """Format the result of :func:`describe` as text."""
    facts, layers = description["training"], description["layers"]
    training = [f"{one_line(key)} {_value(key, facts[key])}" for key in list(facts)[:_MOST_FACTS]]
    kept = f"{description['parameters']:,} parameters, {description['kept']:,} of them kept"
    dense = f"{description['dense_float32_bytes']:,} as dense float32 weights"
    problem, classes = description["problem"], description["classes"]
    lines = [
        f"{description['file']}: {description['bytes']:,} bytes; {dense}",
        f"{one_line(description['model'])}, {kept}; weights {description['weights']}",
        f"{'; '.join(map(_input, problem['inputs']))}; {_outputs(problem, classes)}",
        f"training: {', '.join(training + _more(len(facts) - _MOST_FACTS))}",
        "",
    ]
    rows = [
        (one_line(layer["name"]), _times(layer["shape"]), f"{layer['parameters']:,}", f"density {layer['density']:.3f}")
        for layer in layers[:_MOST_LAYERS]
    ]
    lines += columns(rows, left=1) + _more(len(layers) - _MOST_LAYERS)
    whole, small = description["whole"], description["slim"]
    if small is not None and whole is not None:
        parameters = f"{small['parameters']:,} of {whole['parameters']:,} parameters"
        operations = f"{small['multiply_adds']:,} of {whole['multiply_adds']:,} multiply-adds per image"
        lines += ["", f"without dead units: {parameters}, {operations}"]
    return "\n".join(lines)


def _weights(facts: Facts) -> str:
    """Return a description of how a model's weights were made."""
    if not facts.weight_scale:
        return "trained"
    source = facts.weights or "the network's function"
    random = f"{facts.weight_scale}, from seed {facts.seed}"
    if not facts.given:
        return f"frozen, {random}"
    return f"frozen, from {source}" + (f", others {random}" if len(facts.given) < len(facts.layers) else "")


def _more(left_out: int) -> list[str]:
    return [f"and {left_out:,} more"] if left_out > 0 else []


def _input(spec: Mapping[str, Any]) -> str:
    """Return a description of a network's input."""
    image = len(spec["shape"]) == 3 and spec["dtype"] != "int64"
    name = "images" if image else one_line(f"{spec['name']}: {spec['dtype']}", 60)
    text = f"{name} {_times(spec['shape'])}" + (" (C x H x W)" if image else "")
    what = "pixels from 0 to 1" if spec["dtype"] == "uint8" else "values"
    if not spec["mean"]:
        return text
    if len(spec["mean"]) > 1:
        return f"{text}, {what} normalised with mean and standard deviation of each feature"
    return f"{text}, {what} normalised with mean {spec['mean'][0]:g} and standard deviation {spec['std'][0]:g}"


def _outputs(problem: Mapping[str, Any], classes: Sequence[str]) -> str:
    match problem["task"]:
        case "regression":
            return "one number each" if problem["outputs"] == 1 else f"{problem['outputs']} numbers each"
        case "multi-label":
            return f"{len(classes)} labels"
        case "positions":
            return f"{len(classes)} classes for each of {_times(problem['positions'])} positions"
    return f"{len(classes)} classes"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _value(key: str, value: object) -> str:
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if "accuracy" in key else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else one_line(value)
