"""The contents of ``model.fedgates`` that the page shows."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedgates.errors import ModelFileError
from fedgates.model_file import Contents, read_contents
from fedgates.util.text import one_line


class Layer(NamedTuple):
    """A layer of the model that has weights: its parameters, and those that are not zero."""

    name: str
    kind: str
    parameters: int
    kept: int


@dataclass(frozen=True)
class ModelFile:
    """The contents of ``model.fedgates``."""

    contents: Contents

    @property
    def round(self) -> int | None:
        """The round after which it was written; None if unknown."""
        value = self.contents.facts.training.get("rounds")
        return value if type(value) is int else None

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


def read_model(path: Path, problems: list[str]) -> ModelFile | None:
    """Return the contents, or None if the file is missing or damaged; the damage is added to `problems`."""
    if not path.is_file():
        return None
    try:
        return ModelFile(read_contents(path))
    except ModelFileError as error:
        problems.append(one_line(error))
        return None
