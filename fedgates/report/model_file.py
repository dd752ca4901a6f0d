"""The contents of ``model.fedgates`` that the page shows."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedgates.errors import ModelFileError
from fedgates.model_file import Contents, read_contents
from fedgates.util.text import one_line


@dataclass(frozen=True)
class Layer:
    """A layer of the model that has weights."""

    name: str
    kind: str
    parameters: int
    kept: int
    """Number of parameters that are not zero."""


@dataclass(frozen=True)
class ModelFile:
    """The contents of ``model.fedgates``."""

    contents: Contents

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.contents.file_bytes

    @property
    def round(self) -> int | None:
        """The round after which it was written; None if unknown."""
        value = self.contents.facts.training.get("rounds")
        return value if type(value) is int else None

    @property
    def parameters(self) -> int:
        """Number of parameters of the network."""
        return sum(layer.size for layer, _ in self.contents.kept)

    @property
    def layers(self) -> list[Layer]:
        """The layers with weights."""
        kinds: dict[str, str] = {}
        sizes, kept = Counter[str](), Counter[str]()
        for parameter, count in self.contents.kept:
            name = parameter.name.rpartition(".")[0] or "network"
            kinds[name] = parameter.kind
            sizes[name] += parameter.size
            kept[name] += count
        return [Layer(name, kind, sizes[name], kept[name]) for name, kind in kinds.items()]

    @property
    def sizes(self) -> list[tuple[str, str, str, str]]:
        """Parameters, those that are not zero, and multiply-adds, with and without dead units; empty if unknown."""
        facts = self.contents.facts
        kept = f"{sum(layer.kept for layer in self.layers):,}"  # the weights of dead units are not in the file
        versions = (("All units", facts.whole), ("Without dead units", facts.slim))
        return [(name, f"{work.parameters:,}", kept, f"{work.multiply_adds:,}") for name, work in versions if work is not None]


def read_model(path: Path, problems: list[str]) -> ModelFile | None:
    """Return the contents, or None if the file is missing or damaged; the damage is added to `problems`."""
    if not path.is_file():
        return None
    try:
        return ModelFile(read_contents(path))
    except ModelFileError as error:
        problems.append(one_line(error))
        return None
