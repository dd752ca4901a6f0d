"""Codec of a run: encodes and decodes the states and updates of a method; equal on server and clients."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedgates.types import State, Update, UpdateKind
from fedgates.wire import delta, flips
from fedgates.wire.context import CodingContext
from fedgates.wire.counted_rounds import MOST_CLIENTS, CountedRound
from fedgates.wire.delta import Coupling
from fedgates.wire.flips import Flips
from fedgates.wire.relay import AcceptedUpdate, Aggregate, VersionedState, apply_relay, pack_relay
from fedgates.wire.states import pack_state, unpack_state
from fedgates.wire.sums import pack_sums, unpack_sums
from fedgates.wire.updates import UpdateReader, expect_tail_of_kind, pack_update, payload_type

DECODE_BYTES_A_GATE = 40
"""Upper bound of the memory for decoding, in bytes per gate of each vector, in addition to the payload. Measured: 18 bytes for
an update, 25 for a relay, and 39 for a delta in which every gate changes. A value of a tail counts as a gate: 5 bytes were
measured for an update, 8 for a state, 26 for a relay with a rule that averages in float64. Readers know the number of gates and
values, which no payload states. Tables, whose size does not depend on the network, are not included."""


@dataclass(frozen=True)
class WireOptions:
    """Options for the coding of states and updates, equal on the server and the clients of a run."""

    uplink: str = "side-info"
    """Codec of masks: "packed", "entropy", "side-info" or "sampled"."""
    downlink: str = "votes"
    """Codec of states of votes: "votes", "float32", "delta" (the smaller of votes and a delta) or "relay" (the smallest of
    votes, a delta and a relay of updates)."""
    value_type: str = "float32"
    """Type of the values, or of the tail, in an update: "float32" or "float16"."""
    sampled_extra_bits: float = 5.0
    """Bits per block that the uplink "sampled" spends beyond the KL divergence, from 0 to 7.5."""
    seed: int = 0
    """Seed of the random numbers that server and clients regenerate."""


class Codec:
    """Codec of a run's states and updates.

    Parameters
    ----------
    options : WireOptions
        Options for the coding of states and updates.
    layers : tuple of int
        Number of parameters of each layer, in order.
    rows : tuple of int, optional
        Number of rows of each layer: outputs of a matrix, filters of a convolution, 1 for a vector. By default, all are 1.
    digest : bytes
        Eight bytes that identify the network; server and clients compare them.
    update_kind : str
        Kind of the method's updates: "mask", "values", "mask and values" or "mask and tail".
    vectors : int
        Number of concatenated vectors in a state's array, each as long as the network.
    scalars : int
        Number of float64 scalars that a state has in addition to its array.
    tail : int
        Number of values t that states and updates have in addition to votes and masks: above 0 for the kind "mask and tail",
        otherwise 0.
    coupling : Coupling, optional
        Prior knowledge of a client about votes, for a method with a state of votes; without it there are no deltas.
    most_updates : int
        Largest number of updates between the two states of a delta for :meth:`apply_delta` to accept it.

    Attributes
    ----------
    tail : int
        The parameter `tail`.
    relays : bool
        Whether states may be sent as relays.
    coupling : Coupling or None
        The parameter `coupling` if states may be sent as deltas, otherwise None.

    Raises
    ------
    ValueError
        `update_kind` is "mask and values" and the uplink is "sampled", which draws a new mask; or `tail` does not fit
        `update_kind`.

    Examples
    --------
    >>> from fedgates.types import Votes, pack
    >>> codec = Codec(WireOptions(uplink="entropy"), layers=(1000,), digest=b"8 bytes.", update_kind="mask")
    >>> state = codec.unpack_state(codec.pack_state(Votes(np.zeros(1000, np.uint32), trials=0), server_round=1))
    >>> mask = pack(np.arange(1000) % 100 == 0)  # ten ones
    >>> payload = codec.pack_update(Update(mask), state, client=3)
    >>> len(payload)  # a header of 36 bytes; ten ones among a thousand gates have 10.1 bytes of entropy
    49
    >>> bool((codec.unpack_update(payload, state, client=3).mask == mask).all())
    True
    """

    def __init__(
        self,
        options: WireOptions,
        layers: tuple[int, ...],
        digest: bytes,
        update_kind: UpdateKind,
        *,
        vectors: int = 1,
        scalars: int = 0,
        rows: tuple[int, ...] = (),
        tail: int = 0,
        coupling: Coupling | None = None,
        most_updates: int = MOST_CLIENTS,
    ) -> None:
        expect_tail_of_kind(update_kind, tail)
        self._options, self._update_kind, self.tail = options, update_kind, tail
        rows = rows or (1,) * len(layers)
        self._network = CodingContext(
            digest, layers * vectors, seed=options.seed, scalars=scalars, tail=tail, rows=rows * vectors
        )
        self._last: CodingContext | None = None
        """Context of the last state for which an update was coded."""
        self._update_type = payload_type(update_kind, options.uplink, options.value_type)
        self.relays = options.downlink == "relay"
        self._most_updates = most_updates
        self.coupling = coupling if options.downlink in {"delta", "relay"} else None

    @property
    def coded_gates(self) -> int:
        """Number of gates of an update that are range-decoded; 0 if masks are packed, or updates have no mask."""
        return 0 if self._update_kind == "values" or self._options.uplink == "packed" else self._network.size

    @property
    def keeps_states(self) -> bool:
        """Whether clients keep the state that they know."""
        return self.relays or self.coupling is not None

    def pack_state(self, state: State, server_round: int) -> bytes:
        """Encode the state that opens round `server_round` as a snapshot."""
        return pack_state(state, self._context(server_round), self._options.downlink)

    def unpack_state(self, payload: bytes) -> VersionedState:
        """Decode a snapshot; the inverse of :meth:`pack_state`.

        Raises
        ------
        WireError
            The payload is not a complete, valid snapshot of this run's network.
        """
        return VersionedState(*unpack_state(payload, self._network, self._options.downlink))

    def pack_relay(self, base: tuple[int, int], rounds: list[list[AcceptedUpdate] | None], target: VersionedState) -> bytes:
        """Encode the updates that lead from a base state to the newer state `target`.

        Parameters
        ----------
        base : tuple of int
            Round that the base state opened, and its :func:`~fedgates.wire.states.state_crc`.
        rounds : list
            Accepted updates of each round from the base on, sorted by client name; None for a round that changed nothing.
        target : VersionedState
            State after the updates.
        """
        return pack_relay(*base, rounds, target.state, self._context(target.server_round), self._update_type)

    def apply_relay(self, payload: bytes, base: VersionedState | None, aggregate: Aggregate) -> VersionedState:
        """Compute the newer state from a client's state `base` and the relayed updates, with the method's server rule.

        Raises
        ------
        WireError
            The relay is for another base, or is not a complete, valid relay of this run's network.
        """
        return VersionedState(*apply_relay(payload, base, self._network, self._update_type, aggregate))

    def count_flips(self, mask: NDArray[np.uint8], opened_by: VersionedState, client: int) -> Flips:
        """Count the flips of a client's packed mask (:func:`fedgates.wire.flips.count_flips`)."""
        return flips.count_flips(mask, self.context_of(opened_by, client), self._coupled().probability)

    def pack_delta(
        self, base: VersionedState, rounds: list[CountedRound] | None, target: VersionedState, counted: Flips
    ) -> bytes | None:
        """Encode the change from `base` to `target` (:func:`fedgates.wire.delta.pack_delta`); None if it cannot be coded."""
        context = self._context(target.server_round)
        return delta.pack_delta(base, rounds, target.state, context, counted, self._coupled())

    def apply_delta(self, payload: bytes, base: VersionedState | None) -> VersionedState:
        """Compute the newer state from a client's state `base` and a delta.

        Raises
        ------
        WireError
            The delta is for another base, or is not a complete, valid delta of this run's network.
        """
        return VersionedState(*delta.apply_delta(payload, base, self._network, self._coupled().expect, self._most_updates))

    def pack_update(self, update: Update, opened_by: VersionedState, client: int) -> bytes:
        """Encode a client's update.

        Parameters
        ----------
        update : Update
            The update to encode.
        opened_by : VersionedState
            State that opened the round, as the client decoded it.
        client : int
            Name of the client.

        Raises
        ------
        ValueError
            The update does not fit the network, or the codec does not support it.
        """
        return pack_update(
            update,
            self.context_of(opened_by, client),
            self._options.uplink,
            value_type=self._options.value_type,
            extra_bits=self._options.sampled_extra_bits,
        )

    def unpack_update(self, payload: bytes, opened_by: VersionedState, client: int) -> Update:
        """Decode a client's update; the inverse of :meth:`pack_update`.

        Raises
        ------
        WireError
            The payload is not a complete, valid update by this client for this state.
        """
        return self.reader(opened_by).read(payload, client)

    def reader(self, opened_by: VersionedState) -> UpdateReader:
        """Return a reader of all updates for a state."""
        return UpdateReader(
            self._context_of_round(opened_by), self._options.uplink, self._update_kind, self._options.value_type
        )

    def pack_sums(self, sums: NDArray[np.float64], server_round: int, which: int) -> bytes:
        """Encode a client's reply to a final pass, whose round is `server_round` (:mod:`fedgates.wire.sums`)."""
        return pack_sums(sums, self._context(server_round), which)

    def unpack_sums(self, payload: bytes, server_round: int, which: int, count: int) -> NDArray[np.float64]:
        """Decode a client's `count` sums; the inverse of :meth:`pack_sums`.

        Raises
        ------
        WireError
            The payload is not `count` finite sums of the kind `which` for this network and round.
        """
        return unpack_sums(payload, self._context(server_round), which, count)

    def context_of(self, opened_by: VersionedState, client: int) -> CodingContext:
        """Return the coding context of a client's update for a state; levels of the state are computed once for all clients."""
        return self._context_of_round(opened_by).of_client(client)

    def _context_of_round(self, opened_by: VersionedState) -> CodingContext:
        last = self._last
        if last is None or last.state is not opened_by.state or last.server_round != opened_by.server_round:
            last = self._last = self._context(opened_by.server_round, opened_by.state)
        return last

    def _coupled(self) -> Coupling:
        if self.coupling is None:
            raise ValueError("deltas need a state of votes, and downlink delta or relay")
        return self.coupling

    def _context(self, server_round: int, state: State | None = None, client: int = 0) -> CodingContext:
        return replace(self._network, server_round=server_round, state=state, client=client)
