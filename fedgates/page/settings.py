"""How the run was set up, and the command that does it again."""

import json
import shlex

from fedgates.page import numbers
from fedgates.page.markup import Html, el, join
from fedgates.page.parts import folded, note, section, table
from fedgates.page.story import CLIENTS, Story


def settings(story: Story) -> Html | None:
    """Every key, those that were changed first; None without a configuration."""
    if not story.config:
        return None
    head = ("key", "value", "default")
    changed = [
        (key, _shown(story.config[key]), _shown(story.defaults[key]) if key in story.defaults else "") for key in story.changed
    ]
    every = [
        (key, _shown(value), _shown(story.defaults[key]) if key in story.defaults else "")
        for key, value in story.config.items()
    ]
    return section(
        "Configuration",
        table(head, changed, words=3, name="Changed from its default") if changed else note("Every key has its default."),
        folded(f"All {len(every)} keys", table(head, every, words=3, name="Every key of config.json")),
    )


def again(story: Story) -> Html | None:
    """The command; None without a configuration."""
    if not story.config:
        return None
    clients = story.config.get(CLIENTS)
    where = (
        "In a clone of the repository, with as many simulated clients."
        if clients is not None
        else "The run was on real devices: start it on their federation, with the same data on each."
    )
    return section("Run it again", note(where), el("pre", el("code", command(story)), tabindex=0))


def command(story: Story) -> str:
    """The shell's line that starts such a run: keys that have their default are left out."""
    parts = ["uv run flwr run . --stream"]
    clients = story.config.get(CLIENTS)
    if clients is not None:
        parts.append(f"--federation-config {shlex.quote(f'num-supernodes={clients} client-resources-num-cpus=1')}")
    asked = " ".join(f"{key}={_toml(story.config[key])}" for key in story.changed)
    if asked:
        parts.append(f"--run-config {shlex.quote(asked)}")
    return " \\\n  ".join(parts)


def _toml(value: object) -> str:
    """A value as flwr reads it: texts in quotes that are not in them."""
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _shown(value: object) -> Html | str:
    return el("code", numbers.plain(value)) if value != "" else join(["(empty)"])
