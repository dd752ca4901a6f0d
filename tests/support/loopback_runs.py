"""Runs on the loopback grid, what travels in them and what they leave."""

import zlib
from functools import cache
from typing import ClassVar

from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from safetensors.numpy import load_file
from tiny_network import TINY_SIZE

from client_app import app
from fedgates.flower import LoopbackGrid, run_on_grid
from fedgates.flower.records import METRICS, STATE, STYPE, UPDATE, from_record
from fedgates.methods.registry import build, configure
from fedgates.types import Problem, Update
from fedgates.wire import describe
from fedgates.wire.header import HEADER_SIZE, peek

TINY = {"model": "tiny_network:build"}
"""A network of :data:`D` parameters, for tests of the protocol."""
SMALL = {"model": "tiny_network:small"}
"""A network of 4,810 parameters, whose coded updates are smaller than a coded state."""
MLP = {"model": "mlp"}
"""The default network, for tests of learning and of sizes."""
FEDPM = {"strategy": "fedpm"}
"""For tests of what the default method has not: votes that are counted anew each round, sampled uploads, flipped bits."""
D, MLP_SIZE = TINY_SIZE, 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
FIRST_NODE = 1000


def run(raw, clients=4, grid=LoopbackGrid):
    """A whole run: its folder."""
    return run_on(grid(app, raw, clients), raw)


def run_on(grid, raw):
    return run_on_grid(grid, raw)


def last_checkpoint(folder):
    return max(folder.path.glob("checkpoint-*.safetensors"))


def votes_of(folder):
    return load_file(last_checkpoint(folder))["votes"]


OF_THE_DOWNLINK = ("downlink", "downlink_bytes", "downlink_bpp", "evaluation_downlink", "evaluation_downlink_bytes")
"""Keys of a line that differ where a server no longer knows what its clients know."""


def without(lines, *keys):
    """Lines of a ledger without keys; those that time alone decides are left out anyway."""
    return [{k: v for k, v in line.items() if "seconds" not in k and k not in keys} for line in lines]


def total(traffic):
    """Bytes of all sorts of payloads."""
    return sum(entry["bytes"] for entry in traffic.values())


@cache
def method(**changes):
    """The method of a small run, as server and clients build it; by default on the tiny network."""
    return build(
        *configure({key.replace("_", "-"): value for key, value in {**TINY, **changes}.items()}),
        Problem.of_images((1, 8, 8), 10),
    )


class Noting(LoopbackGrid):
    """Notes the payload of every state on its way to a client: ``states[round, client]``, evaluators in ``evaluated``.

    Of a round that was repeated it is the last; ``sent[round, client]`` has all of them.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.states, self.evaluated, self.sent = {}, {}, {}

    def deliver(self, message):
        if message.metadata.message_type in ("train", "evaluate"):
            payload = state_payload(message)
            notes = self.states if message.metadata.message_type == "train" else self.evaluated
            key = peek(payload).server_round, client_of(message)
            notes[key] = payload
            if notes is self.states:
                self.sent.setdefault(key, []).append(payload)
        return super().deliver(message)


class Faulty(Noting):
    """Replies that are replaced: ``faults[round, client]`` gets the question and the honest reply, and answers instead.

    ``faults[round, client, attempt]`` does so in one attempt alone.
    """

    faults: ClassVar[dict] = {}

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type != "train":
            return reply
        key = peek(state_payload(message)).server_round, client_of(message)
        fault = self.faults.get(key) or self.faults.get((*key, len(self.sent[key])))
        return fault(message, reply) if fault else reply


def with_faults(faults):
    return type("Faulty", (Faulty,), {"faults": faults})


def silent_replies(message, reply):
    """A fault: no reply at all."""


class Reversed(Noting):
    """Replies come in the opposite order: of those that are there, the last asked answers first.

    Give such a run a long `round-timeout`: its replies are fetched in as many looks as there are clients.
    """

    def pull_messages(self, message_ids):
        newest = next(reversed(self._replies), None)
        return super().pull_messages([message_id for message_id in message_ids if message_id == newest])


class Dying(LoopbackGrid):
    """The server dies when it is about to send the messages of its third round."""

    def push_messages(self, messages):
        messages = list(messages)
        self.rounds = getattr(self, "rounds", 0) + any(m.metadata.message_type == "train" for m in messages)
        if self.rounds == 3 and messages[0].metadata.message_type == "train":
            raise KeyboardInterrupt
        return super().push_messages(messages)


# --- messages


def client_of(message: Message) -> int:
    """The name of the client that is asked."""
    return message.metadata.dst_node_id - FIRST_NODE


def state_payload(message: Message) -> bytes:
    return from_record(message.content.array_records[STATE])


def payload_of(reply: Message) -> bytes:
    return from_record(reply.content.array_records[UPDATE])


def answer(message: Message, payload: bytes, *, metrics=None, stype=STYPE, name="payload", record=UPDATE) -> Message:
    """A reply with any payload in it."""
    arrays = ArrayRecord({name: Array("uint8", (len(payload),), stype, payload)})
    content = RecordDict({record: arrays, METRICS: MetricRecord({"num-examples": 30, "loss": 1.0} | (metrics or {}))})
    return Message(content, reply_to=message)


def decoded(message: Message, reply: Message, **changes) -> Update:
    """What a sound reply to a snapshot holds; `changes` are those of the run's config that coding depends on."""
    codec = method(**changes).codec
    return codec.unpack_update(payload_of(reply), codec.unpack_state(state_payload(message)), client_of(message))


def resealed(payload) -> bytes:
    """A payload whose checksum is right, whatever else was done to it."""
    data = bytearray(payload)
    checksum = zlib.crc32(bytes(data[HEADER_SIZE:]), zlib.crc32(bytes(data[: HEADER_SIZE - 4])))
    data[HEADER_SIZE - 4 : HEADER_SIZE] = checksum.to_bytes(4, "little")
    return bytes(data)


def sorts(payloads) -> dict:
    """What each of some payloads is."""
    return {key: describe(payload) for key, payload in payloads.items()}


class Hostile(LoopbackGrid):
    """In the second round clients answer by their faults: ``faults[name]`` of the question, the honest reply, and `seen`.

    A fault that gives bytes has sent what Flower is to read a reply from. ``seen[round, name]`` is every honest payload so far,
    ``honest`` those of the second round that were sent.
    """

    def __init__(self, *args, faults):
        super().__init__(*args)
        self.faults, self.seen, self.honest, self.unread = faults, {}, {}, {}

    def deliver(self, message):
        reply = super().deliver(message)
        if message.metadata.message_type != "train":
            return reply
        at, name = peek(state_payload(message)).server_round, client_of(message)
        self.seen[at, name] = payload_of(reply)
        if at != 2:
            return reply
        if name not in self.faults:
            self.honest[name] = message, reply
            return reply
        made = self.faults[name](message, reply, self.seen)
        if not isinstance(made, bytes):
            return made
        self.unread[message.metadata.message_id] = made
        return None

    def pull_messages(self, message_ids):
        message_ids = list(message_ids)
        unread = [self.unread.pop(message_id) for message_id in message_ids if message_id in self.unread]
        read = [message_from_proto(ProtoMessage.FromString(data)) for data in unread]
        return [*read, *super().pull_messages(message_ids)]
