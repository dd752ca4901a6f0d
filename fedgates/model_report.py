"""What is to be said of a finished model: layers, densities, bytes, and what it shrinks to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedgates.artifact import Model
from fedgates.measures import entropy
from fedgates.slim import size, slim
from fedgates.text import one_line


def facts_of(path: Path, model: Model) -> dict[str, Any]:
    """A model's facts as plain values, for people and for scripts."""
    facts, shape = model.facts, model.facts.input_shape
    layers: list[dict[str, Any]] = [
        {"name": name, "shape": list(p.shape), "parameters": p.numel(), "kept": int((p != 0).sum())}
        for name, p in model.network.named_parameters()
    ]
    total, kept = sum(layer["parameters"] for layer in layers), sum(layer["kept"] for layer in layers)
    small = slim(model.network)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "dense_float32_bytes": 4 * total,
        "mask_entropy_bytes": round(total * entropy(kept / total) / 8),
        "model": facts.model,
        "weights": f"frozen, {facts.weight_scale}, from seed {facts.seed}" if facts.weight_scale else "trained",
        "digest": facts.digest,
        "input_shape": list(shape),
        "classes": list(facts.class_names),
        "training": dict(facts.training),
        "parameters": total,
        "kept": kept,
        "layers": [{**layer, "density": layer["kept"] / layer["parameters"]} for layer in layers],
        "whole": asdict(size(model.network, shape)),
        "slim": asdict(size(small, shape)) if small is not None else None,
    }


def table(found: Mapping[str, Any]) -> str:
    """The same as text."""
    training = ", ".join(f"{one_line(key)} {_value(key, value)}" for key, value in found["training"].items())
    lines = [
        f"{found['file']}: {found['bytes']:,} bytes; dense float32 weights would be {found['dense_float32_bytes']:,}",
        f"{found['model']}, {found['parameters']:,} parameters of which {found['kept']:,} are kept; weights {found['weights']}",
        f"images {_times(found['input_shape'])} (C x H x W), {len(found['classes'])} classes",
        f"training: {training}",
        "",
    ]
    names = [str(layer["name"]) for layer in found["layers"]]
    wide = max(len(name) for name in names)
    for layer in found["layers"]:
        size_of = f"{_times(layer['shape']):>16}  {layer['parameters']:>10,}"
        lines.append(f"{layer['name']:<{wide}}  {size_of}  density {layer['density']:.3f}")
    whole, small = found["whole"], found["slim"]
    if small is not None:
        left = f"{small['parameters']:,} of {whole['parameters']:,} parameters"
        work = f"{small['multiply_adds']:,} of {whole['multiply_adds']:,} multiply-adds an image"
        lines += ["", f"without units that no path uses: {left}, {work}"]
    return "\n".join(lines)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _value(key: str, value: object) -> str:
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if "accuracy" in key else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else one_line(value)
