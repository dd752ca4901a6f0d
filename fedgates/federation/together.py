"""Batched training of several clients in one process (:mod:`fedgates.methods.together`)."""

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
    """A client with a request to train, and the decoded state."""

    client: Client
    request: Request
    state: VersionedState
    seconds: float
    """Time spent on the request so far, seconds."""


Outcome = tuple[Request, Reply | Exception]
"""A request, and its reply or the exception that the client raised."""


def train_together(requests: Iterable[tuple[Client, Request]]) -> Iterator[Outcome]:
    """Answer requests to train, with up to `client.train-together` clients in one pass; yield the outcomes.

    Clients in a group have equal states and equally many mini-batches. Clients that cannot train together are trained one after
    the other. The failure of a client does not affect the others.

    Parameters
    ----------
    requests : iterable of tuple
        Pairs of a client and its request to train.
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
    except Exception as error:  # noqa: BLE001  # must not affect other clients
        return error
    return _Trainee(client, request, state, time.monotonic() - started)


def _groups(trainees: Sequence[_Trainee]) -> Iterator[list[_Trainee]]:
    """Yield groups of at most `client.train-together` clients with equal methods, states and numbers of mini-batches."""
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
    """Train a group in one pass and return the outcomes; empty if the group cannot train together."""
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
        except Exception:  # noqa: BLE001  # training one by one shows which client failed
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
