"""A process that decodes updates: ``python -m fedgates.wire.worker``.

It reads messages from its standard input and answers on its standard output, until the input ends. A message is an object of
JSON and blocks of bytes: the number of blocks with the JSON, u32; the length of each, u64; the blocks. The first message, and
each that has no ``client``, is a round: what both ends know of it, with the levels of its state. Any other is an update; the
answer has its arrays, or an ``error``.
"""

import json
import os
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from fedgates.errors import WireError
from fedgates.types import Update
from fedgates.wire.context import CodingContext, Levels
from fedgates.wire.updates import UpdateReader

Message = tuple[dict[str, Any], Sequence[bytes | bytearray | memoryview]]
_COUNT, _LENGTH = struct.Struct("<I"), struct.Struct("<Q")


def send(stream: BinaryIO, message: Message) -> None:
    """Write a message."""
    blocks = [json.dumps(message[0]).encode(), *message[1]]
    views = [memoryview(block).cast("B") for block in blocks]
    stream.write(_COUNT.pack(len(views)) + b"".join(_LENGTH.pack(len(view)) for view in views))
    stream.writelines(views)
    stream.flush()


def receive(stream: BinaryIO) -> Message:
    """Read a message.

    Raises
    ------
    EOFError
        The stream ends before the message does.
    """
    (count,) = _COUNT.unpack(_exactly(stream, _COUNT.size))
    lengths = [_LENGTH.unpack(_exactly(stream, _LENGTH.size))[0] for _ in range(count)]
    head, *blocks = [_exactly(stream, length) for length in lengths]
    return json.loads(head), blocks


def round_message(reader: UpdateReader) -> Message:
    """Return what a process needs to decode as `reader` does."""
    context, levels = reader.context, reader.context.levels
    known = {
        "digest": context.digest.hex(),
        "layers": context.layers,
        "server_round": context.server_round,
        "seed": context.seed,
        "tail": context.tail,
    }
    head = {"uplink": reader.uplink, "kind": reader.kind, "value_type": reader.value_type, "context": known}
    return head, [levels.of_gate.data, levels.sizes.data]


def read_round(message: Message) -> UpdateReader:
    """Return the reader of a :func:`round_message`."""
    head, (of_gate, sizes) = message
    levels = Levels(np.frombuffer(of_gate, np.uint16), np.frombuffer(sizes, np.int64))
    known = head.pop("context")
    known |= {"digest": bytes.fromhex(known["digest"]), "layers": tuple(known["layers"])}
    return UpdateReader(CodingContext(**known, levels_of_round=lambda: levels), **head)


def update_message(found: Update | WireError) -> Message:
    """Return a decoded update, or why it cannot be decoded, as an answer."""
    if isinstance(found, WireError):
        return {"error": str(found)}, []
    arrays = {"mask": found.mask, "values": found.values, "tail": found.tail}
    there = {name: array.data for name, array in arrays.items() if array is not None}
    return {"arrays": list(there)}, list(there.values())


def read_update(message: Message) -> Update | WireError:
    """Return what an :func:`update_message` has."""
    head, blocks = message
    if "error" in head:
        return WireError(head["error"])
    there = dict(zip(head["arrays"], blocks, strict=True))
    mask = np.frombuffer(there["mask"], np.uint8) if "mask" in there else None
    values, tail = (np.frombuffer(there[name], np.float32) if name in there else None for name in ("values", "tail"))
    return Update(mask, values, tail)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer messages until there are no more."""
    reader = None
    with suppress(EOFError, BrokenPipeError):
        while True:
            head, blocks = receive(requests)
            if "client" not in head:
                reader = read_round((head, blocks))
            elif reader is not None:
                send(answers, update_message(reader.try_read(bytes(blocks[0]), head["client"])))


def _exactly(stream: BinaryIO, length: int) -> bytearray:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return bytearray(data)  # arrays over it can be written to, as those that this process decodes


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints is no answer
        serve(sys.stdin.buffer, answers)
