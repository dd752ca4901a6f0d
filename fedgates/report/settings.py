"""How the run was set up, and the commands that do it again."""

import shlex
from collections.abc import Sequence

from fedgates.config import CLIENTS
from fedgates.config.app import as_pair
from fedgates.report import numbers
from fedgates.report.markup import Html, el, join
from fedgates.report.parts import folded, more, note, section, table
from fedgates.report.run_data import RunData
from fedgates.util.text import one_line

_MOST_ROWS, _MOST_CODE = 200, 4000
"""Keys in a table, and characters of a command."""


def settings(story: RunData) -> Html | None:
    """Every key, those that were changed first; None without a configuration."""
    if not story.config:
        return None
    changed = _table(story, story.changed, "Changed from its default")
    return section(
        "Configuration",
        changed if story.changed else note("Every key has its default."),
        folded(f"All {len(story.config):,} keys", _table(story, list(story.config), "Every key of config.json")),
    )


def _table(story: RunData, keys: Sequence[str], name: str) -> Html:
    """Keys, their values and their defaults."""
    rows = [
        (one_line(key, 60), _shown(story.config[key]), _shown(story.defaults[key]) if key in story.defaults else "")
        for key in keys[:_MOST_ROWS]
    ]
    left_out = more(len(keys) - _MOST_ROWS, "and {} more, in config.json")
    return el("div", table(("key", "value", "default"), rows, words=3, name=name), left_out)


def again(story: RunData) -> Html | None:
    """The commands: to go on with a run that ended early, and to do it again; None without a configuration."""
    if not story.config:
        return None
    clients = story.config.get(CLIENTS)
    where = (
        "In a clone of the repository, with as many simulated clients."
        if clients is not None
        else "The run was on real devices: start it on their federation, with the same data on each."
    )
    version = story.model and story.model.contents.facts.training.get("fedgates")
    made = f" It was done with fedgates {one_line(version, 20)}." if version else ""
    go_on = [note("To go on with it:"), _code(command(story, resume=True)), note("To do it again from the start:")]
    return section("Run it again", note(where, made), *(go_on if story.ended_early else []), _code(command(story)))


def _code(text: str) -> Html:
    if len(text) > _MOST_CODE:
        return note("The command is too long for a page; all that goes into it stands in config.json.")
    return el("pre", el("code", text), tabindex=0)


def command(story: RunData, *, resume: bool = False) -> str:
    """The shell's line that starts such a run, or goes on with this one: keys that have their default are left out."""
    parts = ["uv run flwr run . --stream"]
    clients = story.config.get(CLIENTS)
    if clients is not None:
        parts.append(f"--federation-config {shlex.quote(f'num-supernodes={clients} client-resources-num-cpus=1')}")
    asked = [as_pair(key, story.config[key]) for key in story.changed]
    if resume:
        asked.append(as_pair("resume", str(story.folder)))
    if asked:
        parts.append(f"--run-config {shlex.quote(' '.join(asked))}")
    return " \\\n  ".join(parts)


def _shown(value: object) -> Html | str:
    return el("code", numbers.plain(value)) if value != "" else join(["(empty)"])
