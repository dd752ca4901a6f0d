"""Clients of one process that train together (:mod:`fedgates.methods.together`)."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fedgates.federation.client import Client
from fedgates.federation.messages import Reply, Request
from fedgates.methods.together import Together, steps_an_epoch
from fedgates.wire import VersionedState


@dataclass
class _Trainee:
    """A client with a request to train, and what its reply is made of."""

    client: Client
    request: Request
    state: VersionedState
    seconds: float
    """Seconds since the client began to work on the request, but for those it waited for others."""
    reply: Reply | Exception | None = None


def train_together(requests: Sequence[tuple[Client, Request]]) -> list[Reply | Exception]:
    """Answer requests to train, `client.train-together` clients at a time.

    A group has the same state and as many mini-batches; clients that cannot train together do so one after the other.

    Parameters
    ----------
    requests : sequence of tuple
        Clients, each with a request to train.

    Returns
    -------
    list
        For each request the reply, or what the client raised: one that fails takes no other with it.
    """
    found: list[_Trainee | Exception] = [_opened(client, request) for client, request in requests]
    for group in _groups([each for each in found if isinstance(each, _Trainee)]):
        _train(group)
    return [each if isinstance(each, Exception) else each.reply or RuntimeError("no reply") for each in found]


def _opened(client: Client, request: Request) -> _Trainee | Exception:
    started = time.monotonic()
    try:
        state = client.open(request.payload)
    except Exception as error:  # noqa: BLE001  # a client's own failure, whatever it is
        return error
    return _Trainee(client, request, state, time.monotonic() - started)


def _groups(trainees: Sequence[_Trainee]) -> Iterator[list[_Trainee]]:
    """Yield groups of at most `client.train-together` clients with one method, equal states and numbers of mini-batches."""
    alike = dict[tuple[int, bytes, int], list[_Trainee]]()
    for each in trainees:
        client, state = each.client, each.client.store.snapshot or each.request.payload
        steps = steps_an_epoch(len(client.examples.train), client.config)
        alike.setdefault((id(client.method), state, steps), []).append(each)
    for members in alike.values():
        most = members[0].client.config.client.train_together
        for first in range(0, len(members), most):
            yield members[first : first + most]


def _train(group: Sequence[_Trainee]) -> None:
    """Train a group, and set the reply of each."""
    if not _trained_together(group):
        for each in group:
            try:
                each.reply = each.client.train(each.request, each.state, each.seconds)
            except Exception as error:  # noqa: BLE001
                each.reply = error


def _trained_together(group: Sequence[_Trainee]) -> bool:
    """Train a group together, and set the reply of each; return whether that is possible."""
    first, started = group[0], time.monotonic()
    method, state = first.client.method, first.state
    if len(group) == 1 or not isinstance(method, Together):
        return False
    tasks = [each.client.task(state.server_round) for each in group]
    with first.client.seeded("train", state.server_round):
        if not method.trains_together(tasks):
            return False
        updates = method.local_updates(state.state, tasks)
        share = (time.monotonic() - started) / len(group)
        for each, update in zip(group, updates, strict=True):
            began = time.monotonic()
            try:
                trained = update()
                each.reply = each.client.send(each.request, state, trained, each.seconds + share + time.monotonic() - began)
            except Exception as error:  # noqa: BLE001
                each.reply = error
    return True
