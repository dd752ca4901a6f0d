"""Bits to bytes and back: one flat, self-describing payload for every state and every update.

``payload`` has the layout (header, body, checks), ``bits`` the packing of integers in the bits they need.
"""

from fedgates.wire.payload import WireError, pack_state, pack_update, unpack_state, unpack_update

__all__ = ["WireError", "pack_state", "pack_update", "unpack_state", "unpack_update"]
