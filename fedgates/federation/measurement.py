"""A measurement: one exchange with all available clients, each of which answers with sums over its examples.

There are two: of the inputs of batch norms under the final state, from which a finished model gets fixed statistics; and before
the first round of the features of each class, from which a last layer gets its start (`gates.sent-start`).
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
"""Seconds to wait for clients, at most: a run does not end before they answer."""


def measured(
    server: Server[Any], transport: Transport, kind: Measurement, state: State, server_round: int
) -> NDArray[np.float64]:
    """Ask all available clients for sums under a state, and return the sum over the clients.

    Sums over more values than `server.max-examples` times the clients' median count as if they were over so many. A client
    whose sums cannot be used is left out and logged.

    Parameters
    ----------
    server, transport
        Of the run.
    kind : str
        "norms" or "features".
    state
        The state under which the network is run.
    server_round : int
        The round that the state opens.

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
