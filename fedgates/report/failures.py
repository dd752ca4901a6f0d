"""Failures of clients: each reason with its frequency, then every attempt with its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fedgates.report import numbers
from fedgates.report.markup import Html, el
from fedgates.report.parts import folded, more, note
from fedgates.report.traffic import named
from fedgates.runs.totals import FAILURES, Line, has_quorum
from fedgates.util.text import one_line

_MAX_ROUNDS, _MAX_REASONS = 40, 12
Failure = tuple[str, str, str]
"""A client, the kind of failure (rejected, failed, did not evaluate), and the reason."""


@dataclass
class _Reason:
    replies: int = 0
    clients: set[str] = field(default_factory=set)
    last: str = ""
    """Name of the last attempt with this reason."""


def failures(lines: Sequence[Line]) -> list[Html]:
    """Return the reasons and, folded, the failures of each attempt; one sentence if there are none."""
    attempts = [(line, _failures(line)) for line in lines]
    attempts = [(line, failed) for line, failed in attempts if failed]
    if not attempts:
        return [note("No reply was rejected and no client failed.")]
    count = numbers.count(sum(len(failed) for _, failed in attempts), "reply", "replies")
    every = folded(
        f"Failures: {count} in {numbers.count(len(attempts), 'attempt')}",
        *(_attempt(line, failed) for line, failed in attempts[:_MAX_ROUNDS]),
        more(len(attempts) - _MAX_ROUNDS, "and {} more attempts"),
    )
    return [_reasons(attempts), every]


def _failures(line: Line) -> list[Failure]:
    return [(client, word, why) for key, word in FAILURES for client, why in (line.get(key) or {}).items()]


def _reasons(attempts: Sequence[tuple[Line, list[Failure]]]) -> Html:
    """Return a list of the reasons, most frequent first."""
    reasons: dict[tuple[str, str], _Reason] = {}
    for line, failed in attempts:
        for client, word, why in failed:
            reason = reasons.setdefault((word, one_line(why)), _Reason())
            reason.replies += 1
            reason.clients.add(client)
            reason.last = named([line])
    order = sorted(reasons.items(), key=lambda item: -item[1].replies)
    items = [el("li", el("b", f"{_frequency(reason)}, {word}: "), why) for (word, why), reason in order[:_MAX_REASONS]]
    cut = more(len(order) - _MAX_REASONS, "and {} more reasons")
    return el("div", el("h3", "Reasons, most frequent first"), el("ul", *items, class_="reasons"), cut)


def _frequency(reason: _Reason) -> str:
    replies = numbers.count(reason.replies, "reply", "replies")
    return f"{replies} of {numbers.count(len(reason.clients), 'client')}, last in {reason.last}"


def _attempt(line: Line, failed: Sequence[Failure]) -> Html:
    """Return the failures of an attempt."""
    name = named([line])
    quorum = "" if has_quorum(line) else ", no quorum"
    items = [el("li", el("b", f"client {one_line(c, 40)} {word}: "), one_line(why)) for c, word, why in failed[:_MAX_REASONS]]
    return el(
        "div",
        el("h3", f"{name[0].upper()}{name[1:]}{quorum}"),
        el("ul", *items, class_="reasons"),
        more(len(failed) - _MAX_REASONS, "and {} more"),
    )
