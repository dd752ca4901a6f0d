"""The commands of deploy/README.md, with other values for the variables that the page itself sets."""

import re
from dataclasses import dataclass

from engines import ROOT

PAGE = ROOT / "deploy" / "README.md"
_BLOCK = re.compile(r"^```bash\n# (server|device)(?:, ([^\n]*))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"^([A-Z_]+)=('[^']*'|\S+).*\n", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block: the machine it is for, how it is run there, its assignments and its commands."""

    machine: str
    how: str
    assignments: tuple[tuple[str, str], ...]
    commands: str


def _block(machine, how, text):
    return Block(machine, how, tuple(_ASSIGNMENT.findall(text)), _ASSIGNMENT.sub("", text).strip())


class Page:
    """The page's blocks; records which were run."""

    def __init__(self):
        text = PAGE.read_text(encoding="utf-8")
        self.blocks = [_block(*found) for found in _BLOCK.findall(text)]
        assert len(self.blocks) == text.count("```bash"), "a block whose first line does not name its machine"
        self._run = set()

    def script(self, command, **values):
        """Return the one block with this command, after the page's assignments for its machine, some replaced by `values`."""
        (block,) = (block for block in self.blocks if command in block.commands)
        self._run.add(block)
        ours = dict(a for other in self.blocks if other.machine == block.machine for a in other.assignments)
        assert values.keys() <= ours.keys(), f"the page sets no {values.keys() - ours.keys()}"
        settings = [f"{name}={values.get(name, text)}" for name, text in ours.items()]
        return "\n".join(["set -euo pipefail", *settings, block.commands])

    def value(self, name):
        """Return the value that the page gives a variable."""
        return next(text for block in self.blocks for key, text in block.assignments if key == name).strip("'")

    def installs(self, machine):
        """Return the commands that install what a machine needs."""
        (block,) = (block for block in self.blocks if (block.machine, block.how) == (machine, "install"))
        return block.commands

    @property
    def rest(self):
        """Blocks with commands that were not run, except those for systemd and those that install."""
        others = [block for block in self.blocks if block.commands and block.how not in ("systemd", "install")]
        return [block for block in others if block not in self._run]
