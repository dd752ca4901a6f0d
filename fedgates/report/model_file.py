"""What the page says of ``model.fedgates``."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedgates.errors import ModelFileError
from fedgates.model_file import Contents, read_contents
from fedgates.util.text import one_line


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

    contents: Contents

    @property
    def file_bytes(self) -> int:
        """All of it."""
        return self.contents.file_bytes

    @property
    def round(self) -> int | None:
        """After which round it was written; None where it does not say."""
        found = self.contents.facts.training.get("rounds")
        return found if type(found) is int else None

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(layer.size for layer, _ in self.contents.kept)

    @property
    def layers(self) -> list[Layer]:
        """Those with weights, each with all that is its own."""
        kinds: dict[str, str] = {}
        sizes, kept = Counter[str](), Counter[str]()
        for parameter, count in self.contents.kept:
            name = parameter.name.rpartition(".")[0] or "network"
            kinds[name] = parameter.kind
            sizes[name] += parameter.size
            kept[name] += count
        return [Layer(name, kind, sizes[name], kept[name]) for name, kind in kinds.items()]


def read_model(path: Path, problems: list[str]) -> ModelFile | None:
    """The file, or None where there is none; what is wrong with it is added to `problems`."""
    if not path.is_file():
        return None
    try:
        return ModelFile(read_contents(path))
    except ModelFileError as error:
        problems.append(one_line(error))
        return None
