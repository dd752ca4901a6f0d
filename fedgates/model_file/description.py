"""What is to be said of a finished model: layers, densities, bytes, and what it shrinks to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedgates.model_file import Contents
from fedgates.util.entropy import binary_entropy
from fedgates.util.text import columns, one_line

_MOST_FACTS, _MOST_LAYERS = 40, 1000
"""More of either than any model of ours has: so many are shown, and how many more there are. Scripts are told all."""


def facts_of(path: Path, contents: Contents) -> dict[str, Any]:
    """What a model's file says as plain values, for people and for scripts."""
    facts = contents.facts
    total, kept = sum(layer.size for layer, _ in contents.kept), sum(kept for _, kept in contents.kept)
    return {
        "file": str(path),
        "bytes": contents.file_bytes,
        "dense_float32_bytes": 4 * total,
        "mask_entropy_bytes": round(total * binary_entropy(kept / total) / 8),
        "model": facts.model,
        "weights": f"frozen, {facts.weight_scale}, from seed {facts.seed}" if facts.weight_scale else "trained",
        "digest": facts.digest,
        "input_shape": list(facts.input_shape),
        "normalisation": list(facts.normalisation),
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


def table(found: Mapping[str, Any]) -> str:
    """The same as text."""
    facts, layers = found["training"], found["layers"]
    training = [f"{one_line(key)} {_value(key, facts[key])}" for key in list(facts)[:_MOST_FACTS]]
    kept = f"{found['parameters']:,} parameters of which {found['kept']:,} are kept"
    lines = [
        f"{found['file']}: {found['bytes']:,} bytes; dense float32 weights would be {found['dense_float32_bytes']:,}",
        f"{one_line(found['model'])}, {kept}; weights {found['weights']}",
        f"images {_times(found['input_shape'])} (C x H x W), {_pixels(*found['normalisation'])}; {_outputs(found['classes'])}",
        f"training: {', '.join(training + _more(len(facts) - _MOST_FACTS))}",
        "",
    ]
    rows = [
        (one_line(layer["name"]), _times(layer["shape"]), f"{layer['parameters']:,}", f"density {layer['density']:.3f}")
        for layer in layers[:_MOST_LAYERS]
    ]
    lines += columns(rows, left=1) + _more(len(layers) - _MOST_LAYERS)
    whole, small = found["whole"], found["slim"]
    if small is not None and whole is not None:
        left = f"{small['parameters']:,} of {whole['parameters']:,} parameters"
        work = f"{small['multiply_adds']:,} of {whole['multiply_adds']:,} multiply-adds an image"
        lines += ["", f"without units that no path uses: {left}, {work}"]
    return "\n".join(lines)


def _more(left_out: int) -> list[str]:
    return [f"and {left_out:,} more"] if left_out > 0 else []


def _pixels(mean: float, std: float) -> str:
    return f"pixels from 0 to 1 normalised with mean {mean:g} and deviation {std:g}"


def _outputs(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes" if classes else "one number each"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _value(key: str, value: object) -> str:
    if isinstance(value, float):
        return f"{100 * value:.1f} %" if "accuracy" in key else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else one_line(value)
