"""Bits to bytes and back: one flat, self-describing payload for every state and every update.

The format is specified in FORMAT.md, from which a decoder can be written. ``updates``, ``states`` and ``relay`` put payloads
together and take them apart; ``packed``, ``entropy``, ``side_info`` and ``sampled`` are the coders of masks, ``votes`` and
``values`` those of what a server broadcasts; ``shared`` is what both ends know beforehand, and ``range_coder`` and ``bits`` are
underneath.
"""

from fedgates.errors import WireError
from fedgates.wire.context import CodingContext
from fedgates.wire.header import describe
from fedgates.wire.relay import AcceptedUpdate, VersionedState, apply_relay, pack_relay
from fedgates.wire.states import check, pack_state, unpack_state
from fedgates.wire.updates import pack_update, sort_of, unpack_update

__all__ = [
    "AcceptedUpdate",
    "CodingContext",
    "VersionedState",
    "WireError",
    "apply_relay",
    "check",
    "describe",
    "pack_relay",
    "pack_state",
    "pack_update",
    "sort_of",
    "unpack_state",
    "unpack_update",
]
