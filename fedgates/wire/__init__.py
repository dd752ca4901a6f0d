"""Bits to bytes and back: one flat, self-describing payload for every state and every update.

:class:`~fedgates.wire.codec.Codec` encodes and decodes what one run sends. FORMAT.md specifies the format; a decoder can be
written from it alone. ``updates``, ``states``, ``delta`` and ``relay`` build and read payloads; ``packed``, ``entropy``,
``side_info`` and ``sampled`` code masks, ``votes`` and ``values`` code states and values; ``sums`` codes the answers to a final
pass; ``broadcast`` picks what a client is sent, from the ``deltas`` and ``relays`` that a server keeps;
``context`` is what both ends know beforehand; ``range_coder`` and ``bits`` are the primitives; ``worker`` is a process that
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
