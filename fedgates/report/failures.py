"""What went wrong and why: each reason with how often it was, then every attempt at a round with its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.parts import folded, more, note
from fedgates.report.traffic import named
from fedgates.runs.totals import WRONG, Line
from fedgates.util.text import one_line

_MOST_ROUNDS, _MOST_REASONS = 40, 12
Reply = tuple[str, str, str]
"""A client, what became of its reply, and why."""


@dataclass
class _Reason:
    replies: int = 0
    clients: set[str] = field(default_factory=set)
    last: str = ""
    """The last attempt in which it was one."""


def went_wrong(lines: Sequence[Line]) -> list[Html]:
    """The reasons, and all of them folded; a sentence where nothing went wrong."""
    found = [(line, _replies(line)) for line in lines]
    found = [(line, replies) for line, replies in found if replies]
    if not found:
        return [note("No reply was rejected and no client failed.")]
    count = numbers.count(sum(len(replies) for _, replies in found), "reply", "replies")
    every = folded(
        f"What went wrong: {count}, in {numbers.count(len(found), 'attempt')} at a round",
        *(_told(line, replies) for line, replies in found[:_MOST_ROUNDS]),
        more(len(found) - _MOST_ROUNDS, "and {} more attempts"),
    )
    return [_reasons(found), every]


def _replies(line: Line) -> list[Reply]:
    return [(client, word, why) for key, word in WRONG for client, why in (line.get(key) or {}).items()]


def _reasons(found: Sequence[tuple[Line, list[Reply]]]) -> Html:
    """The most frequent first."""
    reasons: dict[tuple[str, str], _Reason] = {}
    for line, replies in found:
        for client, word, why in replies:
            reason = reasons.setdefault((word, one_line(why)), _Reason())
            reason.replies += 1
            reason.clients.add(client)
            reason.last = named([line])
    order = sorted(reasons.items(), key=lambda item: -item[1].replies)
    items = [el("li", el("b", f"{_how_often(reason)}, {word}: "), why) for (word, why), reason in order[:_MOST_REASONS]]
    cut = more(len(order) - _MOST_REASONS, "and {} more reasons")
    return el("div", el("h3", "Reasons, the most frequent first"), el("ul", *items, class_="reasons"), cut)


def _how_often(reason: _Reason) -> str:
    replies = numbers.count(reason.replies, "reply", "replies")
    return f"{replies} of {numbers.count(len(reason.clients), 'client')}, the last in {reason.last}"


def _told(line: Line, replies: Sequence[Reply]) -> Html:
    """An attempt, who failed it, and why."""
    name = named([line])
    quorum = "" if line.get("quorum", True) else ", no quorum"
    items = [el("li", el("b", f"client {one_line(c, 40)} {word}: "), one_line(why)) for c, word, why in replies[:_MOST_REASONS]]
    return el(
        "div",
        el("h3", f"{name[0].upper()}{name[1:]}{quorum}"),
        el("ul", *items, class_="reasons"),
        more(len(replies) - _MOST_REASONS, "and {} more"),
    )
