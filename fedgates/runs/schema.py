"""Schema of a line of ``rounds.jsonl``, which has one JSON object for each attempt at a round.

:func:`problem` checks a line against :data:`KEYS`. The reference page is generated from it as well::

    python -m fedgates.runs.schema > docs/reference/rounds.md
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedgates.util.text import one_line

_MAX_SHOWN = 40
"""Largest number of characters of a wrong value in an error."""
_MAX_BINS = 1000


@dataclass(frozen=True)
class Kind:
    """The type and range of a value."""

    expected: str
    """Description in words, for errors and the reference page."""
    accepts: Callable[[Any], bool]


@dataclass(frozen=True)
class Key:
    """One key of a line.

    Attributes
    ----------
    name : str
        The key; ``<parameter>`` in it stands for the name of a parameter of the network.
    kind : Kind
        Type and range of the value.
    description : str
        Description in one sentence.
    unit : str
        Unit of the value; empty if it has none.
    required : bool
        Whether every line has the key.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    required: bool = False


def _integer(low: int, high: int) -> Kind:
    return Kind(f"a whole number from {low} to {high:,}", lambda value: type(value) is int and low <= value <= high)


def _number(low: float, high: float, expected: str, *, null: bool = True) -> Kind:
    def accepts(value: object) -> bool:
        return (null and value is None) or (type(value) in {int, float} and low <= value <= high)  # type: ignore[operator]

    return Kind(f"{expected}, or null" if null else expected, accepts)


def _object_of(accepts: Callable[[Any], bool], expected: str) -> Kind:
    return Kind(expected, lambda value: isinstance(value, dict) and all(map(accepts, value.values())))


_TEXT = Kind("text", lambda value: isinstance(value, str))
_COUNT, _POSITIVE, _BYTES = _integer(0, 10**9), _integer(1, 10**9), _integer(0, 10**18)
_SHARE = _number(0, 1 + 1e-9, "a number from 0 to 1")
_RATE = _number(0, 1e9, "a number from 0 to 1,000,000,000")
_SECONDS = _number(0, 1e9, "a number from 0 to 1,000,000,000", null=False)
_FINITE = _number(-1e100, 1e100, "a number")
"""Large enough for the losses of a run that diverges; sums of larger numbers might overflow."""
_FLAG = Kind("true or false", lambda value: isinstance(value, bool))


def _is_traffic(value: Any) -> bool:  # noqa: ANN401  # any JSON
    complete = isinstance(value, dict) and {"messages", "bytes"} <= value.keys()
    return complete and _POSITIVE.accepts(value["messages"]) and _BYTES.accepts(value["bytes"])


def _is_evaluation(value: Any) -> bool:  # noqa: ANN401
    complete = isinstance(value, dict) and {"examples", "loss"} <= value.keys() and None not in value.values()
    return (
        complete
        and _COUNT.accepts(value["examples"])
        and all(map(_FINITE.accepts, value.values()))
        and _SHARE.accepts(value.get("accuracy"))
        and _SHARE.accepts(value.get("own_class_accuracy"))
        and _SHARE.accepts(value.get("f1"))
    )


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MAX_BINS and all(map(_COUNT.accepts, value))


_TRAFFIC = _object_of(_is_traffic, "an object with `messages` and `bytes` for each kind of payload")
_REASONS = _object_of(lambda reason: isinstance(reason, str), "an object with a reason for each client")
_EVALUATIONS = _object_of(_is_evaluation, "an object with `examples`, `loss` and, for classes, accuracies for each client")
_COUNTS = Kind(f"a list of at most {_MAX_BINS:,} counts", _are_counts)

_BPP = "bits per parameter"
_LOSS = "nats (classes) or squared error"
_OTHERS = (
    ("sample", "one sampled mask"),
    ("mean", "the mean network, each weight times its keep-probability"),
    ("ensemble", "the mean prediction of several sampled masks"),
)

KEYS: tuple[Key, ...] = (
    Key("round", _POSITIVE, "Number of the round, from 1.", required=True),
    Key("seconds", _SECONDS, "Wall-clock time of the attempt, evaluation included.", "seconds", required=True),
    Key(
        "accuracy",
        _SHARE,
        "Accuracy of the thresholded mask, or of the weights, on the whole test set; null in rounds that are not evaluated,"
        " and if a layer is personal.",
        required=True,
    ),
    Key("loss", _FINITE, "Loss of the same model on the whole test set; null likewise.", _LOSS, required=True),
    Key("density", _SHARE, "Mean density of the masks of accepted updates; 1 for updates without a mask.", required=True),
    Key("uplink_bytes", _BYTES, "Payloads of all replies of clients that train, accepted or rejected.", "bytes", required=True),
    Key("downlink_bytes", _BYTES, "Payloads to all clients that train.", "bytes", required=True),
    Key("uplink_bpp", _RATE, "Mean size of a reply, headers included.", _BPP, required=True),
    Key("downlink_bpp", _RATE, "Mean size of a payload to a client that trains, headers included.", _BPP, required=True),
    Key(
        "entropy_bpp",
        _RATE,
        "Mean rate of an accepted update as the literature counts it: H2 of the density, plus 32 for each value sent.",
        _BPP,
        required=True,
    ),
    Key("clients_selected", _COUNT, "Number of clients selected to train.", "clients", required=True),
    Key("clients_counted", _COUNT, "Number of clients whose update was accepted.", "clients", required=True),
    Key("clients_rejected", _COUNT, "Number of clients whose update was rejected.", "clients", required=True),
    Key("clients_failed", _COUNT, "Number of clients that sent no update.", "clients", required=True),
    Key("quorum", _FLAG, "Whether enough updates were accepted; if not, the state is unchanged and the round is repeated."),
    Key("attempt", _POSITIVE, "Number of the attempt at the round, from 1; above 1 after an attempt without a quorum."),
    Key("uplink", _TRAFFIC, "Replies of clients that train, by kind, codec and type of values."),
    Key("downlink", _TRAFFIC, "Payloads to clients that train, by kind, codec and type of values."),
    Key("train_loss", _FINITE, "Mean training loss of accepted updates, weighted by their numbers of examples.", _LOSS),
    Key("rejected", _REASONS, "Why each rejected update was rejected."),
    Key("failed", _REASONS, "Why each failed client sent no update."),
    Key("withdrawn", _TEXT, "Why the new state was not kept: the round counts as one without a quorum."),
    Key("train_accuracy", _SHARE, "Mean accuracy of clients' trained models on their held-out examples, weighted by examples."),
    Key("theta_histogram", _COUNTS, "Number of gates whose keep-probability is in each of 20 equal bins of 0 to 1.", "gates"),
    Key("client_seconds", _RATE, "Mean time from message to reply, as reported by accepted clients.", "seconds"),
    Key("client_seconds_longest", _RATE, "Longest time from message to reply, as reported by an accepted client.", "seconds"),
    Key("clients_evaluating", _COUNT, "Number of clients selected to evaluate the new state.", "clients"),
    Key("evaluation_downlink_bytes", _BYTES, "Payloads to all clients that evaluate, not part of `downlink_bytes`.", "bytes"),
    Key("evaluation_downlink", _TRAFFIC, "Payloads to clients that evaluate, by kind, codec and type of values."),
    Key("evaluation_failed", _REASONS, "Why an evaluation is missing or was rejected."),
    Key("client_evaluations", _EVALUATIONS, "Evaluation of the new state by each client on its held-out examples."),
    Key("client_accuracy", _SHARE, "Mean of the accuracies in `client_evaluations`, weighted by numbers of examples."),
    Key("client_accuracy_macro", _SHARE, "Mean of the accuracies in `client_evaluations`, each client counted equally."),
    Key(
        "client_own_class_accuracy",
        _SHARE,
        "Mean of `own_class_accuracy` in `client_evaluations`, of predictions limited to the classes of the client's training"
        " examples, weighted by numbers of examples.",
    ),
    Key("client_own_class_accuracy_macro", _SHARE, "The same mean, each client counted equally."),
    Key("client_loss", _FINITE, "Mean of the losses in `client_evaluations`, weighted by numbers of examples.", _LOSS),
    Key("client_loss_macro", _FINITE, "Mean of the losses in `client_evaluations`, each client counted equally.", _LOSS),
    Key("client_f1", _SHARE, "Mean of `f1` in `client_evaluations`, weighted by numbers of examples."),
    Key("client_f1_macro", _SHARE, "The same mean, each client counted equally."),
    Key("f1", _SHARE, "Micro-averaged F1 on the whole test set, for multi-label classification."),
    Key("r2", _FINITE, "Coefficient of determination on the whole test set, for regression."),
    *(Key(f"accuracy_{name}", _SHARE, f"Test accuracy of {model}.") for name, model in _OTHERS),
    *(Key(f"r2_{name}", _FINITE, f"Test r2 of {model}.") for name, model in _OTHERS),
    *(Key(f"loss_{name}", _FINITE, f"Test loss of {model}, if a method measures it.", _LOSS) for name, model in _OTHERS),
    Key("model_density", _SHARE, "Share of the evaluated model's weights that are not zero."),
    Key("expected_density", _SHARE, "Mean keep-probability of the gates (one-bit-gates, entropy-gates)."),
    Key("mask_consensus", _SHARE, "Intersection over union of clients' masks, both summed over all pairs of clients."),
    Key("multiplier", _FINITE, "The Lagrange multiplier of the next round (one-bit-gates, entropy-gates)."),
    Key(
        "regrown_share_of_ones",
        _SHARE,
        "Share of ones in clients' masks at positions where the broadcast weights were zero (fediht, sparsyfed).",
    ),
    Key(
        "regrown_share_of_gates",
        _SHARE,
        "Share of all mask bits that are 1 at positions where the broadcast weights were zero (sparsyfed).",
    ),
    Key("support_precision", _SHARE, "Share of the model's nonzero weights that are in the true support (synthetic data)."),
    Key("support_recall", _SHARE, "Share of the true support that the model's nonzero weights cover (synthetic data)."),
    Key("support_f1", _SHARE, "Harmonic mean of `support_precision` and `support_recall` (synthetic data)."),
    Key("inertia_<parameter>", _FINITE, "L2 norm of a matrix's or kernel's change in the round (methods that train weights)."),
    Key("rms_inertia_<parameter>", _FINITE, "The same, divided by the square root of the number of its elements."),
)
"""Every key that a line of a built-in method may have, in the order of the reference page."""

_BY_NAME = {key.name: key for key in KEYS}
_PATTERNS = [(re.compile(re.escape(key.name).replace("<parameter>", ".+")), key) for key in KEYS if "<" in key.name]


def key_of(name: str) -> Key | None:
    """Return the schema's entry for a key of a line, or None if it is not in the schema."""
    return _BY_NAME.get(name) or next((key for pattern, key in _PATTERNS if pattern.fullmatch(name)), None)


def problem(line: object) -> str | None:
    """Return a description of the error in a line, or None if it is valid; keys outside the schema may have any value."""
    if not isinstance(line, dict):
        return "not a JSON object"
    for key in KEYS:
        if key.name not in line:
            if key.required:
                return f"{key.name} is missing"
        elif not key.kind.accepts(line[key.name]):
            return _mismatch(key.name, line[key.name], key)
    for name in line:
        pattern = None if name in _BY_NAME else key_of(name)
        if pattern is not None and not pattern.kind.accepts(line[name]):
            return _mismatch(one_line(name, _MAX_SHOWN), line[name], pattern)
    return None


def _mismatch(name: str, value: object, key: Key) -> str:
    return f"{name} = {format_json(value)}: expected {key.kind.expected}"


def format_json(value: object) -> str:
    """Return a short description of a JSON value, on one line."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return one_line(json.dumps(value), _MAX_SHOWN)


def markdown() -> str:
    """Return the reference page of ``rounds.jsonl``."""
    rows = [
        f"| `{key.name}` | {key.kind.expected} | {key.unit} | {'yes' if key.required else ''} | {key.description} |"
        for key in KEYS
    ]
    return "\n".join([_INTRODUCTION, "| key | value | unit | required | description |", "|---|---|---|---|---|", *rows, ""])


_INTRODUCTION = """<!-- made by: python -m fedgates.runs.schema > docs/reference/rounds.md -->
# rounds.jsonl

Each run writes `rounds.jsonl` in its folder: one JSON object per line, one line for each attempt at a round. A round that
misses its quorum has several lines; `attempt` numbers them, and only the last has `quorum` true.

Bytes are whole payloads including headers, summed over the clients of the round, without Flower's framing. Bits per parameter
(bpp) are per client: 8 * bytes / (messages * parameters of the network). A number that could not be measured is `null`.
Required keys are in every line; the others are present if they apply. Your own methods and metrics may add keys; the means over
clients of a metric (`metric`, docs/guides/own_loss.md) are `client_<name>` and `client_<name>_macro`. Readers ignore unknown
keys.
"""


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201
