"""Worker process that decodes updates: ``python -m fedgates.wire.worker``.

It reads messages from standard input and writes replies to standard output until the input ends. A message is a JSON object and
blocks of bytes, in the form: number of blocks including the JSON, u32; length of each block, u64; the blocks. A message without
``client``, such as the first, describes a round: its coding context and the levels of its state. Any other message is an
update; the reply has its arrays, or an ``error``.
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
    """Write a message to a stream."""
    blocks = [json.dumps(message[0]).encode(), *message[1]]
    views = [memoryview(block).cast("B") for block in blocks]
    stream.write(_COUNT.pack(len(views)) + b"".join(_LENGTH.pack(len(view)) for view in views))
    stream.writelines(views)
    stream.flush()


def receive(stream: BinaryIO) -> Message:
    """Read a message from a stream.

    Raises
    ------
    EOFError
        The stream ends within the message, or before it.
    """
    (count,) = _COUNT.unpack(_exactly(stream, _COUNT.size))
    lengths = [_LENGTH.unpack(_exactly(stream, _LENGTH.size))[0] for _ in range(count)]
    head, *blocks = [_exactly(stream, length) for length in lengths]
    return json.loads(head), blocks


def round_message(reader: UpdateReader) -> Message:
    """Return the message from which a worker creates a reader equal to `reader`."""
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
    """Create the reader that a :func:`round_message` describes."""
    head, (of_gate, sizes) = message
    levels = Levels(np.frombuffer(of_gate, np.uint16), np.frombuffer(sizes, np.int64))
    known = head.pop("context")
    known |= {"digest": bytes.fromhex(known["digest"]), "layers": tuple(known["layers"])}
    return UpdateReader(CodingContext(**known, levels_of_round=lambda: levels), **head)


def update_message(found: Update | WireError) -> Message:
    """Return the reply with a decoded update, or with the error that decoding raised."""
    if isinstance(found, WireError):
        return {"error": str(found)}, []
    arrays = {"mask": found.mask, "values": found.values, "tail": found.tail}
    present = {name: array.data for name, array in arrays.items() if array is not None}
    return {"arrays": list(present)}, list(present.values())


def read_update(message: Message) -> Update | WireError:
    """Return the update or the error in an :func:`update_message`."""
    head, blocks = message
    if "error" in head:
        return WireError(head["error"])
    present = dict(zip(head["arrays"], blocks, strict=True))
    mask = np.frombuffer(present["mask"], np.uint8) if "mask" in present else None
    values, tail = (np.frombuffer(present[name], np.float32) if name in present else None for name in ("values", "tail"))
    return Update(mask, values, tail)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Reply to messages until the input ends."""
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
    return bytearray(data)  # so that arrays over it are writable


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # libraries that print must not corrupt the replies
        serve(sys.stdin.buffer, answers)
