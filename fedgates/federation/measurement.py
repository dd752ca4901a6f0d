"""Measurements: one exchange with all available clients, which reply with sums over their examples.

There are two kinds. "norms" sums the inputs of the batch norms with the final state, for the running statistics of the finished
model. "features" sums the last layer's inputs by class before the first round, to initialise the layer (`gates.sent-start`).
"""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgates.errors import WireError
from fedgates.federation.messages import Measurement, Request
from fedgates.federation.rounds import Transport, available
from fedgates.federation.server import Server
from fedgates.methods.measurements import MEASURES
from fedgates.types import State
from fedgates.util.robust import middle

log = logging.getLogger("fedgates")
_PATIENCE = 600.0
"""Largest time to wait for replies, seconds, because the run cannot end before."""


def measured(
    server: Server[Any], transport: Transport, kind: Measurement, state: State, server_round: int
) -> NDArray[np.float64]:
    """Ask all available clients for sums with a given state, and return the total over the clients.

    The sums of a client with more values than `server.max-examples` times the clients' median are scaled down to that number.
    Clients with unusable sums are left out with a warning.

    Parameters
    ----------
    server, transport
        The run's server and transport.
    kind : str
        "norms" or "features".
    state
        The state to run the network with.
    server_round : int
        Number of the round that starts with `state`.

    Returns
    -------
    numpy.ndarray
        Float64 ``[m]``; zeros if no client answered.
    """
    config, network, measure = server.config, server.method.network, MEASURES[kind]
    payload = server.codec.pack_state(state, server_round)
    clients = available(server, transport)
    requests = [Request(node, client, kind, payload, server.problem) for client, node in clients.items()]
    names = {node: client for client, node in clients.items()}
    found: dict[int, NDArray[np.float64]] = {}
    received = 0
    timeout = min(config.server.round_timeout, _PATIENCE)
    for reply in transport.exchange(requests, timeout, config.limits.max_payload_mb):
        if reply.node not in names:
            continue
        received += reply.size
        try:
            if reply.failure or reply.malformed:
                raise WireError(reply.failure or reply.malformed)  # noqa: TRY301
            sums = server.codec.unpack_sums(reply.payload, server_round, measure.number, measure.size(network))
            if problem := measure.problem(network, sums):
                raise WireError(problem)  # noqa: TRY301
        except WireError as error:
            log.warning("client %d is left out of the measurement of %s: %s", names[reply.node], kind, error)
            continue
        found[names[reply.node]] = sums
    text = "%s: measured by %d of %d clients, %s bytes down and %s up"
    log.info(text, kind, len(found), len(requests), f"{len(requests) * len(payload):,}", f"{received:,}")
    if not found:
        return np.zeros(measure.size(network))
    ordered = [found[client] for client in sorted(found)]
    counts = np.stack([measure.counts(network, sums) for sums in ordered])
    usual = np.array([middle(column) for column in counts.T.tolist()])
    most = np.maximum(config.server.max_examples * usual, 1)
    total: NDArray[np.float64] = (np.stack(ordered) * np.minimum(1, most / np.maximum(counts, 1))).sum(0)
    return total
