"""Encoding of states and updates as bytes: one self-describing payload for each.

:class:`~fedgates.wire.codec.Codec` encodes and decodes the payloads of a run. FORMAT.md specifies the format completely; a
decoder can be written from it alone. ``updates``, ``states``, ``delta`` and ``relay`` write and read payloads; ``packed``,
``entropy``, ``side_info`` and ``sampled`` code masks; ``votes`` and ``values`` code states and values; ``sums`` codes replies
to final passes. ``broadcast`` chooses the payload for each client, using the records in ``deltas`` and ``relays``. ``context``
is the knowledge that sender and receiver share; ``range_coder`` and ``bits`` are primitives; ``worker`` is a process that
decodes updates. The package needs NumPy, and constriction for encoding.
"""

from fedgates.errors import WireError
from fedgates.wire.broadcast import Broadcast
from fedgates.wire.codec import Codec, WireOptions
from fedgates.wire.context import CodingContext
from fedgates.wire.delta import Coupling, apply_delta, pack_delta
from fedgates.wire.header import describe
from fedgates.wire.relay import AcceptedUpdate, VersionedState, apply_relay, pack_relay
from fedgates.wire.states import pack_state, state_crc, unpack_state
from fedgates.wire.sums import pack_sums, unpack_sums
from fedgates.wire.updates import pack_update, payload_type, unpack_update

__all__ = [
    "AcceptedUpdate",
    "Broadcast",
    "Codec",
    "CodingContext",
    "Coupling",
    "VersionedState",
    "WireError",
    "WireOptions",
    "apply_delta",
    "apply_relay",
    "describe",
    "pack_delta",
    "pack_relay",
    "pack_state",
    "pack_sums",
    "pack_update",
    "payload_type",
    "state_crc",
    "unpack_state",
    "unpack_sums",
    "unpack_update",
]
