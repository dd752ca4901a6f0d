"""The wire of one run: a method's states and updates as bytes, coded as its config asks, the same on both ends."""

from dataclasses import replace

from fedgates.config import RunConfig
from fedgates.nn.network import Network
from fedgates.types import State, Update, UpdateKind
from fedgates.wire.context import CodingContext
from fedgates.wire.relay import AcceptedUpdate, Aggregate, VersionedState, apply_relay, pack_relay
from fedgates.wire.states import pack_state, unpack_state
from fedgates.wire.updates import pack_update, sort_of, unpack_update

DECODE_BYTES_A_GATE = 32
"""The most memory that decoding takes beside the payload, for each gate of each vector: 17 were measured for an update, 25 for
a relay. Tables, which do not grow with the network, come on top of it."""


class Codec:
    """What the coders of a run need beside the thing to be coded.

    Parameters
    ----------
    config : RunConfig
        `uplink`, `downlink`, `sampled-extra-bits`, `value-type` and `seed`.
    network : Network
        For the sizes of its layers.
    digest : bytes
        Eight bytes that name the network both ends hold.
    sends : str
        What the method's updates are.
    vectors : int
        How many vectors of the network's size a state's array is made of, one after another.
    scalars : int
        How many numbers a state has beside it.
    """

    def __init__(
        self, config: RunConfig, network: Network, digest: bytes, sends: UpdateKind, *, vectors: int = 1, scalars: int = 0
    ) -> None:
        self._config, self._sends = config, sends
        layers = tuple(slot.size for slot in network.slices) * vectors
        self._network = CodingContext(digest, layers, seed=config.seed, scalars=scalars)
        self._sort = sort_of(sends, config.uplink, config.wire.value_type)
        self.relays = config.downlink == "relay"
        """Whether clients are to keep the states they know."""

    def pack_state(self, state: State, server_round: int) -> bytes:
        """A snapshot of the state that opens a round."""
        return pack_state(state, self._shared(server_round), self._config.downlink)

    def unpack_state(self, payload: bytes) -> VersionedState:
        """The inverse of :meth:`pack_state`.

        Raises
        ------
        WireError
            Anything else than a whole, sound snapshot of this run's network.
        """
        return VersionedState(*unpack_state(payload, self._network, self._config.downlink))

    def pack_relay(self, base: tuple[int, int], rounds: list[list[AcceptedUpdate] | None], known: VersionedState) -> bytes:
        """The updates that lead from the state with this (round, check) to a newer one."""
        return pack_relay(*base, rounds, known.state, self._shared(known.server_round), self._sort)

    def apply_relay(self, payload: bytes, base: VersionedState | None, aggregate: Aggregate) -> VersionedState:
        """The newer state, rebuilt from the `base` that a client knows by the method's own server rule.

        Raises
        ------
        WireError
            Another base, or anything else than a whole, sound relay of this run's network.
        """
        return VersionedState(*apply_relay(payload, base, self._network, self._sort, aggregate))

    def pack_update(self, update: Update, known: VersionedState, client: int) -> bytes:
        """A client's answer to a state."""
        return pack_update(
            update,
            self._shared(known.server_round, known.state, client),
            self._config.uplink,
            value_type=self._config.wire.value_type,
            extra_bits=self._config.wire.sampled_extra_bits,
        )

    def unpack_update(self, payload: bytes, known: VersionedState, client: int) -> Update:
        """The inverse of :meth:`pack_update`.

        Raises
        ------
        WireError
            Anything else than a whole, sound update, by that client, of that state.
        """
        shared = self._shared(known.server_round, known.state, client)
        return unpack_update(payload, shared, self._config.uplink, self._sends, value_type=self._config.wire.value_type)

    def _shared(self, server_round: int, state: State | None = None, client: int = 0) -> CodingContext:
        return replace(self._network, server_round=server_round, state=state, client=client)
