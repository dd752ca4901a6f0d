"""Conversion of requests, replies and introductions to and from Flower's records."""

import json
from collections.abc import Mapping, Sequence

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from fedgates.errors import WireError
from fedgates.federation.messages import MAX_CLASS_NAMES, Kind, Reply, Request, comparable
from fedgates.federation.payloads import expect_size
from fedgates.types import MAX_EXAMPLES, MAX_METRIC, Problem
from fedgates.wire.header import HEADER_SIZE

STYPE = "fedgates.2"
"""Serialisation type of Flower arrays: the format of payloads and its version."""
STATE, PROBLEM, UPDATE, METRICS, INTRODUCTION = "state", "problem", "update", "metrics", "introduction"
"""Names of the records in a message."""
_PAYLOAD = "payload"
_MAX_METRICS, _LONGEST_NAME = 32, 64
_TYPES: Mapping[Kind, str] = {
    "train": MessageType.TRAIN,
    "evaluate": MessageType.EVALUATE,
    "norms": f"{MessageType.QUERY}.norms",
    "features": f"{MessageType.QUERY}.features",
}


def to_record(payload: bytes) -> ArrayRecord:
    """Return a payload as an ArrayRecord with one array of raw bytes."""
    return ArrayRecord({_PAYLOAD: Array("uint8", (len(payload),), STYPE, payload)})


def from_record(record: ArrayRecord) -> bytes:
    """Return the payload in a record; the inverse of :func:`to_record`.

    Raises
    ------
    WireError
        The record does not have the form of :func:`to_record`.
    """
    if list(record) != [_PAYLOAD]:
        raise WireError(f"arrays {sorted(record)}, expected one named {_PAYLOAD!r}")
    if record[_PAYLOAD].stype != STYPE:
        raise WireError(f"an array serialised as {record[_PAYLOAD].stype!r}, expected {STYPE!r}")
    return record[_PAYLOAD].data


# --- the server's side


def request_message(request: Request, timeout: float) -> Message:
    """Return a request as a message that expires after `timeout` seconds."""
    content = RecordDict({STATE: to_record(request.payload), PROBLEM: problem_record(request.problem)})
    return Message(content, request.node, _TYPES[request.kind], ttl=timeout)


def introduction_message(node: int, problem: Problem, timeout: float) -> Message:
    """Return a message that asks a node to introduce itself, and expires after `timeout` seconds."""
    return Message(RecordDict({PROBLEM: problem_record(problem)}), node, MessageType.QUERY, ttl=timeout)


def read_reply(message: Message, kind: Kind, max_megabytes: float) -> Reply:
    """Convert a message without an error to a reply to a request of the given kind, without decoding its payload.

    If the message is malformed or its payload is larger than `max_megabytes`, the reply's ``malformed`` has the reason.
    """
    node, content = message.metadata.src_node_id, message.content
    size = sum(len(array.data) for record in content.array_records.values() for array in record.values())
    try:
        expect_size(size, max_megabytes)
        payload = b"" if kind == "evaluate" else _read_payload(content)
    except WireError as error:
        return Reply(node, _unchecked_header(content), size=size, malformed=str(error))
    try:
        examples, metrics = _read_metrics(content)
    except WireError as error:
        return Reply(node, payload, size=size, malformed=str(error))
    return Reply(node, payload, examples, metrics, size)


def empty(message: Message) -> None:
    """Clear the content of a message, to free its memory at once.

    Flower's records are in reference cycles, so the payloads of all clients might otherwise stay in memory until the garbage
    collector runs.
    """
    if message.has_content():
        for record in message.content.values():
            record.clear()
        message.content.clear()


def read_introduction(message: Message) -> tuple[object, object, tuple[str, ...]]:
    """Return the name of a node, the reason why it cannot take part, and its class names.

    Name and reason are not validated. Class names are empty if they are not a list of strings or are too long.
    """
    record = message.content.config_records.get(INTRODUCTION, ConfigRecord())
    names = record.get("classes", [])
    given = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    class_names = given if sum(map(len, given)) <= MAX_CLASS_NAMES and len(given) <= MAX_CLASS_NAMES else ()
    return record.get("name"), record.get("problem", ""), class_names


# --- the client's side


def problem_record(problem: Problem) -> ConfigRecord:
    """Return a problem as a record."""
    return ConfigRecord({PROBLEM: json.dumps(problem.to_dict(), separators=(",", ":"))})


def read_problem(content: RecordDict) -> Problem:
    """Return the problem in the content of a message; the inverse of :func:`problem_record`.

    Raises
    ------
    WireError
        The record is missing, damaged, or of another version of fedgates.
    """
    try:
        return Problem.from_dict(json.loads(str(content.config_records[PROBLEM][PROBLEM])))
    except (KeyError, ValueError, RecursionError):
        raise WireError("a problem that this version cannot read; server and devices need the same fedgates") from None


def read_request(message: Message, client: int) -> Request:
    """Convert a message to a request to the client with the name `client`.

    Raises
    ------
    WireError
        The message's state or problem is malformed.
    """
    kinds = {name: kind for kind, name in _TYPES.items()}
    payload = from_record(message.content.array_records[STATE])
    return Request(
        message.metadata.dst_node_id,
        client,
        kinds[message.metadata.message_type],
        payload,
        read_problem(message.content),
    )


def reply_content(reply: Reply) -> RecordDict:
    """Return the records of a client's reply."""
    records = RecordDict({METRICS: metrics_record(reply.metrics, reply.num_examples)})
    if reply.payload:
        records = RecordDict({UPDATE: to_record(reply.payload), **records})
    return records


def metrics_record(metrics: Mapping[str, float], num_examples: int) -> MetricRecord:
    """Return metrics and the number of examples as a record."""
    return MetricRecord({**metrics, "num-examples": num_examples})


def introduction_content(partition_id: int | None, problem: str = "", class_names: Sequence[str] = ()) -> RecordDict:
    """Return a client's introduction, with its name, class names, and the reason why it cannot take part, each if any."""
    record = ConfigRecord({"name": -1 if partition_id is None else partition_id, "problem": problem})
    if class_names:
        record["classes"] = list(comparable(class_names))
    return RecordDict({INTRODUCTION: record})


def _read_payload(content: RecordDict) -> bytes:
    """Return the payload of a reply."""
    if list(content.array_records) != [UPDATE]:
        raise WireError(f"array records {sorted(content.array_records)}, expected one named {UPDATE!r}")
    if extra := set(content) - {UPDATE, METRICS}:
        raise WireError(f"further records {sorted(extra)}, expected none beside {UPDATE!r} and {METRICS!r}")
    return from_record(content.array_records[UPDATE])


def _unchecked_header(content: RecordDict) -> bytes:
    """Return only the header of a malformed reply's payload, which names its kind in the record; empty if there is none."""
    try:
        return from_record(content.array_records[UPDATE])[:HEADER_SIZE]
    except (WireError, KeyError):
        return b""


def _read_metrics(content: RecordDict) -> tuple[int, dict[str, float]]:
    """Return the number of examples and the metrics of a reply, after checking their number, names and range."""
    metrics = dict(content.metric_records.get(METRICS, {}))
    examples = metrics.pop("num-examples", None)
    if not isinstance(examples, int) or not 1 <= examples <= MAX_EXAMPLES:
        raise WireError(f"num-examples = {examples!s:.40}, expected a whole number from 1 to {MAX_EXAMPLES}")
    if len(metrics) > _MAX_METRICS:
        raise WireError(f"{len(metrics)} metrics, expected at most {_MAX_METRICS}")
    for name, value in metrics.items():
        if len(name) > _LONGEST_NAME:
            raise WireError(f"a metric with a name of {len(name):,} characters, expected at most {_LONGEST_NAME}")
        if not isinstance(value, int | float) or not abs(value) <= MAX_METRIC:
            raise WireError(f"metric {name:.40} = {value!s:.40}, expected a number from {-MAX_METRIC:g} to {MAX_METRIC:g}")
    return examples, {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
