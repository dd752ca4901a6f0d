"""Payloads in Flower's messages: one array of raw bytes each way, and a few plain numbers beside it."""

import math
from dataclasses import replace
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedgates.state import Update
from fedgates.wire import WireError, unpack_update

STYPE = "fedgates.1"
"""Flower's name for how an array is serialised; ours is the payload format and its version."""
STATE, SHAPE, UPDATE, METRICS = "state", "shape", "update", "metrics"
"""Names of the records in a message."""
_PAYLOAD = "payload"
_MAX_EXAMPLES = 2**31 - 1


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


def shape_record(input_shape: tuple[int, int, int], num_classes: int) -> ConfigRecord:
    """The shape of the problem, which a client's own data must fit."""
    return ConfigRecord({"input": list(input_shape), "classes": num_classes})


def read_shape(content: RecordDict) -> tuple[tuple[int, int, int], int]:
    """Input shape (C, H, W) and number of classes of a message that carries a :func:`shape_record`."""
    record = content.config_records[SHAPE]
    channels, height, width = cast("list[int]", record["input"])
    return (channels, height, width), cast("int", record["classes"])


def update_content(payload: bytes, update: Update) -> RecordDict:
    """What a client answers: its coded update, how many examples it has, and its metrics."""
    metrics = MetricRecord({"num-examples": update.num_examples, **update.metrics})
    return RecordDict({UPDATE: to_record(payload), METRICS: metrics})


def reply_bytes(message: Message) -> int:
    """Bytes of payload in a reply, sound or not."""
    return sum(len(array.data) for record in message.content.array_records.values() for array in record.values())


def read_update(message: Message, size: int, digest: bytes, server_round: int, *, values: bool) -> Update:
    """A client's update, checked in full.

    Raises
    ------
    WireError
        Whatever is wrong with it.
    """
    content = message.content
    if list(content.array_records) != [UPDATE]:
        raise WireError(f"array records {sorted(content.array_records)}, expected one named {UPDATE!r}")
    update = unpack_update(from_record(content.array_records[UPDATE]), size, digest, server_round, values=values)
    examples, metrics = read_metrics(content)
    return replace(update, num_examples=examples, metrics=metrics)


def read_metrics(content: RecordDict) -> tuple[int, dict[str, float]]:
    """The number of examples, and the other metrics: finite numbers only.

    Raises
    ------
    WireError
        No number of examples from 1 to 2**31 - 1, or a metric that is not a finite number.
    """
    metrics = dict(content.metric_records.get(METRICS, {}))
    examples = metrics.pop("num-examples", None)
    if not isinstance(examples, int) or not 1 <= examples <= _MAX_EXAMPLES:
        raise WireError(f"num-examples = {examples!r}, expected a whole number from 1 to {_MAX_EXAMPLES}")
    for name, value in metrics.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise WireError(f"metric {name} = {value!r}, expected a finite number")
    return examples, {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
