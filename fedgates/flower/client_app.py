"""The Flower ClientApp of every method.

What stays the same between messages (data, network, method) is kept in the process; a cache only ever makes things
faster, because a real device starts a fresh process for each message.
"""

import os
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from functools import lru_cache

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from numpy.typing import NDArray
from torch import Tensor

from fedgates import data
from fedgates.config import LIMITS, RunConfig, field_name, parse
from fedgates.errors import ConfigError, NetworkError, WireError
from fedgates.federation.membership import introduction, name_of
from fedgates.flower.records import (
    KNOWN,
    MEMORY,
    STATE,
    evaluation_content,
    expect_size,
    from_record,
    read_shape,
    to_record,
    update_content,
)
from fedgates.flower.startup import wait_for_check
from fedgates.methods.randomized_response import flipped
from fedgates.methods.registry import AnyStrategy, Strategies, build, configure
from fedgates.methods.training import Task, seeded_rng
from fedgates.rng import flip_lots, generator
from fedgates.types import Update, Value
from fedgates.wire import VersionedState
from fedgates.wire.header import RELAY, peek

_OWN_DATA = "data-path"
"""The key of a node config that says where a device's own data lies."""
_HELD_OUT = 5
"""With `fraction-evaluate`, every fifth of a client's images is for evaluation; a device with a test part uses that."""

_Key = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, Value], ...], tuple[int, int, int], int]
"""What a method on a client is a function of: the methods known, the run config, and the shape of the problem."""


def make_client_app(strategies: Strategies) -> ClientApp:
    """A ClientApp that serves the methods of `strategies`, and "module:Class" of the user's own."""
    wait_for_check()
    app = ClientApp()

    @app.query()
    def introduce(message: Message, context: Context) -> Message:
        """Say who this is, and whether its data can be used."""
        problem = ""
        try:
            strategy = _strategy(*_key(strategies, message, context))
            _own_data(strategy.config, context, message)
        except (ConfigError, NetworkError) as error:
            problem = str(error)
        return Message(introduction(_partition_id(context), problem), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        """Unpack the state, train on this client's own images, pack the update."""
        started = time.monotonic()
        worker = _Worker(strategies, message, context)
        with worker.seeded_rng("train"):
            update = worker.strategy.local_update(worker.known.state, worker.task())
        sent = worker.with_flips(update)
        payload = worker.strategy.channel.pack_update(sent, worker.known, worker.client)
        worker.remember(update)
        return Message(update_content(payload, sent, time.monotonic() - started), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        """Evaluate the state on this client's held-out images."""
        worker = _Worker(strategies, message, context)
        x, y = worker.held_out()
        with worker.seeded_rng("evaluation"):
            found = worker.strategy.evaluate(worker.known.state, x, y, worker.known.server_round - 1)
        return Message(evaluation_content(found, len(y)), reply_to=message)

    return app


class _Worker:
    """One message's method, state and data."""

    def __init__(self, strategies: Strategies, message: Message, context: Context) -> None:
        self._message, self._context = message, context
        key = _key(strategies, message, context)
        self.strategy = _strategy(*key)
        self.config = self.strategy.config
        self.client = client_name(context)
        payload = from_record(message.content.array_records[STATE])
        expect_size(len(payload), self.config.max_payload_mb)
        self.known, snapshot = _known(key, payload, _kept(context))
        last = self.config.num_server_rounds
        if self.known.server_round > last + 1:
            raise WireError(f"the state that opens round {self.known.server_round}, beyond num-server-rounds = {last}")
        if self.strategy.channel.relays:
            context.state[KNOWN] = to_record(snapshot)

    def task(self) -> Task:
        train, test = _own_data(self.config, self._context, self._message)
        device = self.strategy.network.device
        held_out = data.to_tensors(test, device) if self.config.fraction_evaluate and len(test) else None
        x, y = data.to_tensors(train, device)
        memory = _memory(self._context) if self.strategy.remembers else {}
        return Task(x, y, self.known.server_round, self.client, memory, held_out)

    def held_out(self) -> tuple[Tensor, Tensor]:
        train, test = _own_data(self.config, self._context, self._message)
        if not len(test):
            raise ValueError(f"none of {len(train)} images is held out for evaluation: it takes {_HELD_OUT} to hold out one")
        return data.to_tensors(test, self.strategy.network.device)

    def remember(self, update: Update) -> None:
        """Keep what the method wants to have next time, in Flower's own client state."""
        if self.strategy.remembers and update.memory is not None:
            self._context.state[MEMORY] = ArrayRecord({name: Array(array) for name, array in update.memory.items()})

    def with_flips(self, update: Update) -> Update:
        """The update after randomised response, if the run asks for it.

        On a device with data of its own the lots are the operating system's, which nobody can draw again. A client whose data
        the server dealt out has nothing to hide from it; its lots follow from the seed, so that simulations repeat.
        """
        probability, size = self.config.flip_probability, self.known.state.size
        if not probability:
            return update
        if _OWN_DATA in self._context.node_config:
            lots = np.frombuffer(os.urandom(4 * size), dtype=np.uint32)
        else:
            lots = flip_lots(size, self.config.seed, server_round=self.known.server_round, client=self.client)
        return flipped(update, lots, probability)

    def seeded_rng(self, purpose: str) -> AbstractContextManager[None]:
        key = generator(self.config.seed, purpose, server_round=self.known.server_round, client=self.client)
        return seeded_rng(key, self.config.client_threads)


def _kept(context: Context) -> bytes | None:
    """The snapshot that a client keeps; None where there is none, or something else in its place."""
    with suppress(KeyError, WireError):
        return from_record(context.state.array_records[KNOWN])
    return None


def _memory(context: Context) -> dict[str, NDArray[np.float32]]:
    """What a client keeps for its method; empty where there is nothing, or something else in its place."""
    with suppress(KeyError, ValueError, TypeError):
        return {name: array.numpy() for name, array in context.state.array_records[MEMORY].items()}
    return {}


def _key(strategies: Strategies, message: Message, context: Context) -> _Key:
    """What this client's method is a function of; a device may have lower limits of its own."""
    raw = {**context.run_config, **_own_limits(context)}
    return tuple(sorted(strategies.items())), tuple(sorted(raw.items())), *read_shape(message.content)


def _own_limits(context: Context) -> Mapping[str, Value]:
    """The limits that the node config has, where they are lower than the run's."""
    limits: dict[str, Value] = {}
    for name, value in context.node_config.items():
        if name.startswith("max-") and name not in LIMITS:
            raise ConfigError(name, value, f"one of {', '.join(LIMITS)} in a node config")
    for name in LIMITS:
        own = context.node_config.get(name)
        if own is None:
            continue
        field = field_name(name)
        lower = getattr(parse(RunConfig, {name: own}), field)
        limits[name] = min(lower, context.run_config.get(name, getattr(RunConfig, field)))
    return limits


def client_name(context: Context) -> int:
    """The name a client goes by: its `partition-id`, or its node id."""
    return name_of(_partition_id(context), context.node_id)


def _partition_id(context: Context) -> int | None:
    value = context.node_config.get("partition-id")
    return value if type(value) is int else None


@lru_cache(maxsize=2)
def _strategy(
    strategies: tuple[tuple[str, str], ...],
    raw: tuple[tuple[str, Value], ...],
    input_shape: tuple[int, int, int],
    num_classes: int,
) -> AnyStrategy:
    method, config = configure(dict(raw), dict(strategies))
    return build(method, config, input_shape, num_classes)


@lru_cache(maxsize=1)
def _known(key: _Key, payload: bytes, kept: bytes | None) -> tuple[VersionedState, bytes]:
    """The state that a payload brings to a client that keeps a snapshot of an earlier one, and the snapshot to keep."""
    strategy = _strategy(*key)
    channel, base = strategy.channel, None
    if not (channel.relays and peek(payload).kind == RELAY):
        return channel.unpack_state(payload), payload
    with suppress(WireError):  # what was kept is damaged, or of another version: as if nothing were
        base = channel.unpack_state(kept) if kept else None
    known = channel.apply_relay(payload, base, strategy.aggregate)
    return known, channel.pack_state(known.state, known.server_round)


def _own_data(config: RunConfig, context: Context, message: Message) -> tuple[data.Examples, data.Examples]:
    """A client's images: for training, and held out."""
    path = context.node_config.get(_OWN_DATA)
    if path is not None:
        input_shape, num_classes = read_shape(message.content)
        own = _device_data(str(path), input_shape, num_classes)
        mine = np.arange(len(own.train))[: config.samples_per_client or None]
        return _divided(own.train, mine, config) if not len(own.test) else (own.train.take(mine), own.test)
    partition_id, clients = _partition_id(context), context.node_config.get("num-partitions")
    if partition_id is None or not isinstance(clients, int):
        raise ConfigError(_OWN_DATA, path, "a node config with data-path, or with partition-id and num-partitions")
    if not 0 <= partition_id < clients:
        raise ConfigError("partition-id", partition_id, f"a number from 0 to {clients - 1}, below num-partitions")
    dataset = data.load_once(config)
    return _divided(dataset.train, data.shares(dataset, config, clients)[partition_id], config)


def _divided(train: data.Examples, mine: NDArray[np.int64], config: RunConfig) -> tuple[data.Examples, data.Examples]:
    """A client's own images for training and, if clients evaluate, every fifth of them held out."""
    if not config.fraction_evaluate:
        return train.take(mine), train.take(mine[:0])
    held = np.arange(len(mine)) % _HELD_OUT == _HELD_OUT - 1
    return train.take(mine[~held]), train.take(mine[held])


_device_data = lru_cache(maxsize=1)(data.own)
