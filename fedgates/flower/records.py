"""Payloads in Flower's messages: one array of raw bytes each way, and a few plain numbers beside it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedgates.errors import WireError
from fedgates.types import MAX_EXAMPLES, Update
from fedgates.wire import describe

STYPE = "fedgates.2"
"""Flower's name for how an array is serialised; ours is the payload format and its version."""
STATE, SHAPE, UPDATE, METRICS = "state", "shape", "update", "metrics"
"""Names of the records in a message."""
KNOWN = "known"
"""Name of the record in a client's own state that keeps the last state it was sent, if the downlink is a relay."""
MEMORY = "memory"
"""Name of the one that keeps what the method's client rule wants to have next time."""
_PAYLOAD = "payload"
_MAX_METRICS, _MAX_METRIC = 32, 1e9
_MEGABYTE = 1_000_000


def to_record(payload: bytes) -> ArrayRecord:
    """A payload as an ArrayRecord with one array of raw bytes."""
    return ArrayRecord({_PAYLOAD: Array("uint8", (len(payload),), STYPE, payload)})


def from_record(record: ArrayRecord) -> bytes:
    """The inverse of :func:`to_record`.

    Raises
    ------
    WireError
        The record holds anything else.
    """
    if list(record) != [_PAYLOAD]:
        raise WireError(f"arrays {sorted(record)}, expected one named {_PAYLOAD!r}")
    if record[_PAYLOAD].stype != STYPE:
        raise WireError(f"an array serialised as {record[_PAYLOAD].stype!r}, expected {STYPE!r}")
    return record[_PAYLOAD].data


def expect_size(payload_bytes: int, most_mb: float) -> None:
    """Refuse what is too long before any of it is read.

    Raises
    ------
    WireError
        More bytes than so many megabytes.
    """
    if payload_bytes > most_mb * _MEGABYTE:
        raise WireError(f"a payload of {payload_bytes:,} bytes, expected at most max-payload-mb = {most_mb:g} megabytes")


def shape_record(input_shape: tuple[int, int, int], num_classes: int) -> ConfigRecord:
    """The shape of the problem, which a client's own data must fit."""
    return ConfigRecord({"input": list(input_shape), "classes": num_classes})


def read_shape(content: RecordDict) -> tuple[tuple[int, int, int], int]:
    """Input shape (C, H, W) and number of classes of a message that carries a :func:`shape_record`."""
    record = content.config_records[SHAPE]
    channels, height, width = cast("list[int]", record["input"])
    return (channels, height, width), cast("int", record["classes"])


def update_content(payload: bytes, update: Update, seconds: float) -> RecordDict:
    """What a client answers: its coded update, how many examples it has, how many seconds it took, and its metrics."""
    further = {"seconds": seconds, **{name: float(value) for name, value in update.metrics.items()}}
    metrics = MetricRecord({**further, "num-examples": update.num_examples})
    return RecordDict({UPDATE: to_record(payload), METRICS: metrics})


def reply_bytes(message: Message) -> int:
    """Bytes of payload in a reply, sound or not."""
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def reply_sort(message: Message) -> str:
    """What the payload of a reply says it is."""
    try:
        return describe(from_record(message.content.array_records[UPDATE]))
    except (WireError, KeyError):
        return "unreadable"


def read_update(message: Message, unpack: Callable[[bytes], Update]) -> Update:
    """A client's update, checked in full; `unpack` decodes its payload.

    Raises
    ------
    WireError
        Whatever is wrong with it.
    """
    content = message.content
    if list(content.array_records) != [UPDATE]:
        raise WireError(f"array records {sorted(content.array_records)}, expected one named {UPDATE!r}")
    if extra := set(content) - {UPDATE, METRICS}:
        raise WireError(f"further records {sorted(extra)}, expected none beside {UPDATE!r} and {METRICS!r}")
    update = unpack(from_record(content.array_records[UPDATE]))
    examples, metrics = _read_metrics(content)
    return replace(update, num_examples=examples, metrics=metrics)


def evaluation_content(found: Mapping[str, float], num_examples: int) -> RecordDict:
    """What a client answers that has evaluated a state."""
    kept = {name: found[name] for name in ("accuracy", "loss") if name in found}
    return RecordDict({METRICS: MetricRecord({"num-examples": num_examples, **kept})})


def read_evaluation(content: RecordDict, *, classes: bool = True) -> tuple[int, dict[str, float]]:
    """What a client's evaluation found: number of examples; ``loss`` of at least 0, and with `classes` ``accuracy`` in 0 to 1.

    Raises
    ------
    WireError
        Whatever is wrong with it.
    """
    examples, metrics = _read_metrics(content)
    accuracy, loss = metrics.get("accuracy", -1.0), metrics.get("loss", -1.0)
    if classes and not 0 <= accuracy <= 1:
        raise WireError(f"accuracy = {accuracy!r}, expected a number from 0 to 1")
    if loss < 0:
        raise WireError(f"loss = {loss!r}, expected a number of at least 0")
    return examples, {"accuracy": accuracy, "loss": loss} if classes else {"loss": loss}


def _read_metrics(content: RecordDict) -> tuple[int, dict[str, float]]:
    """The number of examples, and the other metrics: few, and numbers of a size that can be summed and written down."""
    metrics = dict(content.metric_records.get(METRICS, {}))
    examples = metrics.pop("num-examples", None)
    if not isinstance(examples, int) or not 1 <= examples <= MAX_EXAMPLES:
        raise WireError(f"num-examples = {examples!s:.40}, expected a whole number from 1 to {MAX_EXAMPLES}")
    if len(metrics) > _MAX_METRICS:
        raise WireError(f"{len(metrics)} metrics, expected at most {_MAX_METRICS}")
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not abs(value) <= _MAX_METRIC:
            raise WireError(f"metric {name:.40} = {value!s:.40}, expected a number from {-_MAX_METRIC:g} to {_MAX_METRIC:g}")
    return examples, {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
