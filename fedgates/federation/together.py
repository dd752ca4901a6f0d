"""Clients of one process that train together (:mod:`fedgates.methods.together`)."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from fedgates.federation.client import Client
from fedgates.federation.messages import Reply, Request
from fedgates.methods.together import Together, steps_an_epoch
from fedgates.types import Update
from fedgates.wire import VersionedState


@dataclass(frozen=True)
class _Trainee:
    """A client with a request to train, and the state that it brings."""

    client: Client
    request: Request
    state: VersionedState
    seconds: float
    """Seconds that the client has worked on the request."""


Outcome = tuple[Request, Reply | Exception]
"""A request, and the reply to it or what the client raised."""


def train_together(requests: Iterable[tuple[Client, Request]]) -> Iterator[Outcome]:
    """Answer requests to train, `client.train-together` clients at a time; yield the outcomes, a group after the other.

    The clients of a group have the same state and as many mini-batches. Clients that cannot train together do so one after the
    other. One that fails takes no other with it.

    Parameters
    ----------
    requests : iterable of tuple
        Clients, each with a request to train.
    """
    opened = []
    for client, request in requests:
        found = _opened(client, request)
        if isinstance(found, Exception):
            yield request, found
        else:
            opened.append(found)
    for group in _groups(opened):
        yield from _trained_together(group) or map(_trained_alone, group)


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
        client, kept = each.client, each.client.method.codec.keeps_states
        state = client.store.snapshot if kept and client.store.snapshot else each.request.payload
        steps = steps_an_epoch(len(client.examples.train), client.config)
        alike.setdefault((id(client.method), state, steps), []).append(each)
    for members in alike.values():
        most = members[0].client.config.client.train_together
        for first in range(0, len(members), most):
            yield members[first : first + most]


def _trained_alone(trainee: _Trainee) -> Outcome:
    try:
        return trainee.request, trainee.client.train(trainee.request, trainee.state, trainee.seconds)
    except Exception as error:  # noqa: BLE001
        return trainee.request, error


def _trained_together(group: Sequence[_Trainee]) -> list[Outcome]:
    """Return the outcomes of a group that trains together; empty if it cannot."""
    first, started = group[0], time.monotonic()
    method, state = first.client.method, first.state
    if len(group) == 1 or not isinstance(method, Together):
        return []
    tasks = [each.client.task(state.server_round) for each in group]
    with first.client.seeded("train", state.server_round):
        if not method.trains_together(tasks):
            return []
        try:
            updates = method.local_updates(state.state, tasks)
        except Exception:  # noqa: BLE001  # alone, those fail that are to blame
            return []
        share = (time.monotonic() - started) / len(group)
        return [_sent(each, update, each.seconds + share) for each, update in zip(group, updates, strict=True)]


def _sent(trainee: _Trainee, update: Callable[[], Update], seconds: float) -> Outcome:
    started = time.monotonic()
    try:
        trained = update()
        seconds += time.monotonic() - started
        return trainee.request, trainee.client.send(trainee.request, trainee.state, trained, seconds)
    except Exception as error:  # noqa: BLE001
        return trainee.request, error
