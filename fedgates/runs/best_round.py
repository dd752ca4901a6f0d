"""Results of a run by round: the best round, and early stopping.

The results depend on the lines of ``rounds.jsonl`` and on two keys of ``config.json`` alone, so resumed runs, reports and
comparisons agree on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedgates.runs.totals import Line, Metric, evaluation_metric, has_quorum


@dataclass(frozen=True)
class RoundResult:
    """The headline metric of an evaluated round."""

    round: int
    metric: Metric
    value: float

    def __str__(self) -> str:
        return f"{self.metric.word} {self.metric.format(self.value)}"

    def beats(self, other: "RoundResult") -> bool:
        """Return whether this result is better than `other`; equal results are not better."""
        return self.value < other.value if self.metric.smaller_is_better else self.value > other.value


def round_result(line: Line) -> RoundResult | None:
    """Return the result of a round; None without a quorum or an evaluation."""
    metric = evaluation_metric([line]) if has_quorum(line) else None
    return None if metric is None else RoundResult(line["round"], metric, float(line[metric.key]))


def round_results(lines: Iterable[Line]) -> list[RoundResult]:
    """Return the results of all rounds that have a result, in order."""
    return [found for line in lines if (found := round_result(line)) is not None]


def comparable(found: Iterable[RoundResult]) -> list[RoundResult]:
    """Return the results with the same metric as the last one; others cannot be compared with it."""
    found = list(found)
    return [one for one in found if one.metric == found[-1].metric]


def best_result(found: Sequence[RoundResult]) -> RoundResult | None:
    """Return the best result, the earliest among ties; None if there are no results."""
    top: RoundResult | None = None
    for one in comparable(found):
        if top is None or one.beats(top):
            top = one
    return top


def stop_reason(found: Sequence[RoundResult], accuracy: float, patience: int) -> str:
    """Return the reason why a run stops early after the last result, or an empty string if it continues.

    Parameters
    ----------
    found : sequence of RoundResult
        Results in the order of rounds.
    accuracy : float
        Value of `stop-accuracy`, a threshold for accuracy or r2; 0 turns it off.
    patience : int
        Value of `stop-patience`, the number of evaluations without improvement; 0 turns it off.
    """
    top = best_result(found)
    if top is None:
        return ""
    last = found[-1]
    if accuracy and not last.metric.smaller_is_better and last.value >= accuracy:
        return f"{last} reached stop-accuracy = {accuracy:g}"
    waited = sum(one.round > top.round for one in comparable(found))
    if patience and waited >= patience:
        return (
            f"{waited} evaluation{'s' * (waited != 1)} since {top} in round {top.round}, the best (stop-patience = {patience})"
        )
    return ""


def stopped(lines: Sequence[Line], config: Mapping[str, Any]) -> str:
    """Return the reason why a run stopped before `num-server-rounds`, or an empty string if it did not.

    Parameters
    ----------
    lines : sequence of mapping
        Lines of ``rounds.jsonl``.
    config : mapping
        Values of ``config.json``.
    """
    found = round_results(lines)
    done = max((line["round"] for line in lines if has_quorum(line)), default=0)
    if not found or found[-1].round != done or done >= config.get("num-server-rounds", 0):
        return ""
    return stop_reason(found, _number(config, "stop-accuracy"), int(_number(config, "stop-patience")))


def _number(config: Mapping[str, Any], key: str) -> float:
    """Return a number in ``config.json``; 0 if the key is missing, as in old runs, or the value is not a valid number."""
    value = config.get(key)
    return value if isinstance(value, int | float) and 0 <= value < 1e9 else 0
