"""The Flower ClientApp for all methods.

Data, network and method are cached between messages. The caches affect speed alone: a real device starts a new process for each
message.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import PurePath

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from fedgates.config import LIMITS, RunConfig, current_name, merged, parse, to_dict
from fedgates.errors import ClassesError, ConfigError, NetworkError, WireError
from fedgates.federation.client import Client, ClientStore
from fedgates.federation.client_data import ClientData, device_data, partition_data
from fedgates.federation.membership import client_name
from fedgates.federation.messages import Reply, Request
from fedgates.federation.payloads import decode_state
from fedgates.federation.together import train_together
from fedgates.flower.records import (
    from_record,
    introduction_content,
    read_problem,
    read_request,
    reply_content,
    to_record,
)
from fedgates.flower.startup import wait_for_check
from fedgates.methods.registry import AnyMethod, Methods, build, configure
from fedgates.types import Problem, Value
from fedgates.util.text import one_line
from fedgates.wire import VersionedState

_OWN_DATA = "data-path"
"""Node config key for the path of a device's own data."""
_OWN_WEIGHTS = "weights-path"
"""Node config key for the path of a device's copy of the run's `weights`."""
SNAPSHOT, MEMORY, HEAD = "known", "memory", "personal"
"""Names of the records in Flower's client state."""

_Key = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Value], ...], Problem]
"""Everything that a client's method depends on: additional methods by name, the run config, and the problem."""


class GroupingClientApp(ClientApp):
    """ClientApp that can train several clients of one process in one pass."""

    def __init__(self, own: tuple[tuple[str, str], ...]) -> None:
        super().__init__()
        self._own = own

    def train_together(self, messages: Sequence[tuple[Message, Context]]) -> dict[str, Message | Exception]:
        """Answer messages to train; return the reply to each, or the exception that its client raised, by message ID.

        All contexts must have the same run config. Clients without usable data are left out.
        """
        asked = dict[int, tuple[Client, Request, Message, Context]]()
        for message, context in messages:
            with suppress(ConfigError, NetworkError, WireError):
                client = _client(self._own, message, context)
                asked[context.node_id] = client, read_request(message, client.name), message, context
        answers = dict[str, Message | Exception]()
        for request, outcome in train_together((client, request) for client, request, *_ in asked.values()):
            client, _, message, context = asked[request.node]
            answer = outcome if isinstance(outcome, Exception) else _message(outcome, client, message, context)
            answers[message.metadata.message_id] = answer
        return answers


def make_client_app(methods: Methods | None = None) -> ClientApp:
    """Return a ClientApp that supports all registered methods, those in `methods`, and any "module:Class".

    Parameters
    ----------
    methods : mapping, optional
        Additional methods: mapping from name to "module:Class".
    """
    wait_for_check()
    own = tuple(sorted((methods or {}).items()))
    app = GroupingClientApp(own)

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        """Reply with this client's name and class names, or with the reason why its data cannot be used."""
        problem, class_names = "", tuple[str, ...]()
        try:
            key = _key(own, message, context)
            class_names = _client_data(_method(*key).config, context, key[2]).class_names
        except (ConfigError, NetworkError) as error:
            problem = str(error)
            class_names = error.class_names if isinstance(error, ClassesError) else ()
        return Message(introduction_content(_partition_id(context), problem, class_names), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Train on this client's examples and reply with the update."""
        return _reply(own, message, context)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        """Evaluate the state on this client's held-out examples and reply with the metrics."""
        return _reply(own, message, context)

    @app.query("norms")
    def measure_norms(message: Message, context: Context) -> Message:
        """Reply with the sums needed for the running statistics of batch norms."""
        return _reply(own, message, context)

    @app.query("features")
    def measure_features(message: Message, context: Context) -> Message:
        """Reply with the sums of features needed to initialise the last layer."""
        return _reply(own, message, context)

    return app


def _reply(own: tuple[tuple[str, str], ...], message: Message, context: Context) -> Message:
    started = time.monotonic()
    client = _client(own, message, context)
    return _message(client.reply(read_request(message, client.name), started), client, message, context)


def _client(own: tuple[tuple[str, str], ...], message: Message, context: Context) -> Client:
    key = _key(own, message, context)
    method = _method(*key)
    return Client(
        method,
        client_name(_partition_id(context), context.node_id),
        _client_data(method.config, context, key[2]),
        _read_store(context),
        decode=partial(_decode, key),
        private=_OWN_DATA in context.node_config,
    )


def _message(reply: Reply, client: Client, message: Message, context: Context) -> Message:
    """Write the client's store to Flower's client state, and return the reply as a message."""
    _write_store(context, client.store)
    return Message(reply_content(reply), reply_to=message)


def _read_store(context: Context) -> ClientStore:
    """Read the client's store from Flower's client state; missing or invalid records are ignored."""
    store, records = ClientStore(), context.state.array_records
    with suppress(KeyError, WireError):
        store.snapshot = from_record(records[SNAPSHOT])
    with suppress(KeyError, ValueError, TypeError):
        store.memory = {name: array.numpy() for name, array in records[MEMORY].items()}
    with suppress(KeyError, ValueError, TypeError):
        store.head = records[HEAD][HEAD].numpy()
    return store


def _write_store(context: Context, store: ClientStore) -> None:
    if store.snapshot is not None:
        context.state[SNAPSHOT] = to_record(store.snapshot)
    if store.memory:
        context.state[MEMORY] = ArrayRecord({name: _array(values) for name, values in store.memory.items()})
    if store.head is not None:
        context.state[HEAD] = ArrayRecord({HEAD: _array(store.head)})


def _array(values: NDArray[np.float32]) -> Array:
    return Array(values)


def _key(own: tuple[tuple[str, str], ...], message: Message, context: Context) -> _Key:
    """Return everything that this client's method depends on, with the device's own limits and weights."""
    raw = merged(context.run_config, _own_limits(context), _own_weights(context))
    return own, tuple(sorted(raw.items())), read_problem(message.content)


def _own_weights(context: Context) -> Mapping[str, Value]:
    """Return the path of a device's copy of the run's `weights`, because the server's path is not valid on the device.

    Raises
    ------
    ConfigError
        The run has weights, but the node config has no `weights-path`.
    """
    wanted = context.run_config.get("weights")
    if not wanted or _OWN_DATA not in context.node_config:
        return {}
    own = context.node_config.get(_OWN_WEIGHTS)
    if own is None:
        name = PurePath(str(wanted)).name
        raise ConfigError(_OWN_WEIGHTS, own, f"a node config with the path of this device's copy of {one_line(name, 80)}")
    return {"weights": str(own)}


def _own_limits(context: Context) -> Mapping[str, Value]:
    """Return the limits in the node config that are lower than the run's."""
    run = {key: value for key, value in context.run_config.items() if current_name(key) in LIMITS}
    limits = to_dict(parse(RunConfig, run))
    lower = dict[str, Value]()
    for key, value in context.node_config.items():
        name = current_name(key)
        if key.startswith(("limits.", "max-")) and name not in LIMITS:
            raise ConfigError(key, value, f"one of {', '.join(LIMITS)} in a node config")
        if name in LIMITS:
            own = to_dict(parse(RunConfig, {key: value}))[name]
            lower[name] = min(own, lower.get(name, limits[name]))
    return lower


def _partition_id(context: Context) -> int | None:
    value = context.node_config.get("partition-id")
    return value if type(value) is int else None


@lru_cache(maxsize=2)
def _method(own: tuple[tuple[str, str], ...], raw: tuple[tuple[str, Value], ...], problem: Problem) -> AnyMethod:
    method, config = configure(dict(raw), dict(own))
    return build(method, config, problem)


@lru_cache(maxsize=4)  # clients know a few different states, so a round has a few payloads
def _decode(key: _Key, payload: bytes, kept: bytes | None) -> tuple[VersionedState, bytes]:
    return decode_state(_method(*key), payload, kept)


def _client_data(config: RunConfig, context: Context, problem: Problem) -> ClientData:
    """Return this client's examples: a device's own data, or a share of the data set."""
    path = context.node_config.get(_OWN_DATA)
    if path is not None:
        return device_data(str(path), problem, config)
    partition_id, partitions = _partition_id(context), context.node_config.get("num-partitions")
    if partition_id is None or not isinstance(partitions, int):
        raise ConfigError(_OWN_DATA, path, "a node config with data-path, or with partition-id and num-partitions")
    return partition_data(config, partition_id, partitions)
