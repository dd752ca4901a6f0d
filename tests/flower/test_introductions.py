"""Introductions over a grid whose answers the test supplies: slow, mute, failing, doubled and returning nodes."""

import threading
import time
from collections import Counter
from copy import deepcopy

import pytest
from flwr.app import Error, Message
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from fedgates.federation import Membership, Problem
from fedgates.flower import startup
from fedgates.flower.records import introduction_content as introduction
from fedgates.flower.transport import GridTransport


@pytest.fixture(autouse=True)
def _all_registered(monkeypatch):
    signal = threading.Event()
    signal.set()
    monkeypatch.setattr(startup, "_registered", signal)


class Grid:
    """Nodes, and the answer of each to the next request: a record, an Error, or None for later."""

    def __init__(self, **answers):
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.answers = {int(node[1:]): answer for node, answer in answers.items()}
        self.nodes = set(self.answers)
        self.questions = {}

    def get_node_ids(self):
        return self.nodes

    def push_messages(self, messages):
        ids = []
        for message in messages:
            ids.append(f"q{len(self.questions)}")
            message.metadata.__dict__["_message_id"] = ids[-1]
            self.questions[ids[-1]] = message
        return ids

    def pull_messages(self, message_ids):
        questions = [self.questions[i] for i in message_ids]
        return [
            Message(deepcopy(answer), reply_to=question)
            for question in questions
            if (answer := self.answers.get(question.metadata.dst_node_id)) is not None
        ]


class Federation:
    """The clients of a grid, as the server sees them."""

    def __init__(self, grid):
        self.membership, self.transport = Membership(), GridTransport(grid)

    def clients(self):
        """Return the available clients, name to node, after an introduction."""
        self.transport.introduce(self.membership, Problem.of_images((1, 8, 8), 10), timeout=0.05)
        return self.membership.clients

    @property
    def problem(self):
        return self.membership.problem


def test_clients_go_by_their_names_and_nodes_without_one_by_their_ids():
    grid = Grid(n10=introduction(3), n11=introduction(None))
    assert Federation(grid).clients() == {3: 10, 11: 11}


def test_a_slow_node_takes_part_once_it_has_answered_and_is_asked_once():
    grid = Grid(n10=None, n11=introduction(4, "no data"))
    federation = Federation(grid)
    assert federation.clients() == {}
    assert federation.problem == ""  # one may still answer
    grid.answers[10] = introduction(3)
    assert federation.clients() == {3: 10}
    assert len(grid.questions) == 2
    assert federation.problem == "no data"


def test_a_node_that_failed_to_answer_is_asked_again_but_not_at_once(monkeypatch):
    monkeypatch.setattr("fedgates.federation.membership._PAUSE", 0.2)
    grid = Grid(n10=Error(2, "OSError: disk full"))
    federation = Federation(grid)
    assert federation.clients() == {}
    grid.answers[10] = introduction(3)
    assert federation.clients() == {}
    assert len(grid.questions) == 1
    time.sleep(0.2)
    assert federation.clients() == {3: 10}


def test_a_number_belongs_to_the_node_that_claimed_it_first_also_while_that_is_away():
    grid = Grid(n10=introduction(3))
    federation = Federation(grid)
    federation.clients()
    grid.answers[11] = introduction(3)
    grid.nodes = {10, 11}
    assert federation.clients() == {3: 10}
    first = "client 3 is node 10, the first with that number in this run"
    assert federation.problem == first
    grid.nodes = {11}
    assert federation.clients() == {}
    assert federation.problem == first
    grid.nodes = {10, 11}
    assert federation.clients() == {3: 10}


def test_a_node_that_has_left_is_nobody_and_may_come_back():
    grid = Grid(n10=None, n12=introduction(4))
    federation = Federation(grid)
    federation.clients()
    grid.nodes = {12}
    grid.answers[10] = introduction(3)
    assert federation.clients() == {4: 12}
    grid.nodes = {10, 12}
    assert federation.clients() == {3: 10, 4: 12}
    assert federation.problem == ""


def test_of_two_nodes_with_one_name_the_lower_id_has_it_whoever_answers_first():
    for first, second in ((10, 11), (11, 10)):
        grid = Grid(**{f"n{first}": introduction(3), f"n{second}": introduction(3)})
        assert Federation(grid).clients() == {3: 10}


def test_a_long_reason_with_line_ends_is_one_short_line():
    grid = Grid(n10=introduction(3, "x\n\x1b[31m" * 10_000))
    federation = Federation(grid)
    federation.clients()
    assert len(federation.problem) <= 300
    assert federation.problem.isprintable()


# --- Flower's simulation


class InMemoryGrid(Grid):
    """Named like Flower's: nodes registered in the order given, each of which answers after `late` looks at its question."""

    def __init__(self, late=0, **answers):
        super().__init__(**answers)
        self.late, self.looks, self.open, self.most_open = late, Counter(), set(), 0
        self.nodes = [int(node[1:]) for node in answers]

    def get_nodes(self):
        return [NodeInfo(node_id=node, registered_at=f"{i:04d}") for i, node in sorted(enumerate(self.nodes), key=_node)]

    def push_messages(self, messages):
        ids = super().push_messages(messages)
        self.open.update(ids)
        self.most_open = max(self.most_open, len(self.open))
        return ids

    def pull_messages(self, message_ids):
        self.looks.update(message_ids)
        found = super().pull_messages([i for i in message_ids if self.looks[i] > self.late])
        self.open -= {reply.metadata.reply_to_message_id for reply in found}
        return found

    @property
    def asked(self):
        return [message.metadata.dst_node_id for message in self.questions.values()]


def _node(pair):
    return pair[1]


def registered(count, names, **options):
    """A simulation whose node i is registered as the i-th and has the i-th of the names; node numbers are in no order."""
    return InMemoryGrid(**{f"n{7 * i % 211 + 1}": introduction(names[i]) for i in range(count)}, **options)


def test_a_simulation_waits_for_every_node_however_late_it_answers():
    grid = registered(20, names=[*range(18), 19, 18], late=5)  # .15 s, three times the timeout
    clients = Federation(grid).clients()
    assert clients == {name: grid.nodes[i] for i, name in enumerate([*range(18), 19, 18])}


def test_names_of_a_simulation_follow_the_registration_and_eight_nodes_are_asked():
    grid = registered(200, names=range(200))
    assert Federation(grid).clients() == dict(enumerate(grid.nodes))
    assert grid.asked == [grid.nodes[i] for i in (0, 28, 57, 85, 114, 142, 171, 199)]


def test_all_nodes_are_asked_once_and_few_at_a_time_if_the_order_is_another(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    names = [*range(1, 200), 0]
    grid = registered(200, names=names)
    assert Federation(grid).clients() == {name: grid.nodes[i] for i, name in enumerate(names)}
    assert sorted(grid.asked) == sorted(grid.nodes)
    assert grid.most_open == 16


def test_all_nodes_are_asked_if_one_of_the_eight_cannot_take_part():
    grid = registered(20, names=range(20))
    grid.answers[grid.nodes[0]] = introduction(0, "no data")
    grid.answers[grid.nodes[1]] = Error(2, "OSError: disk full")
    federation = Federation(grid)
    assert federation.clients() == dict(enumerate(grid.nodes[2:], 2))
    assert federation.problem == "no data"
    assert len(grid.asked) == 20


# --- the wait for registrations


def test_the_server_waits_until_flower_loads_the_client_app(monkeypatch):
    loaded = threading.Event()
    monkeypatch.setattr(startup, "_registered", loaded)
    threading.Timer(0.3, loaded.set).start()
    startup.wait_for_nodes(lambda: 1)
    assert loaded.is_set()


def test_without_that_sign_it_waits_until_no_more_nodes_appear(monkeypatch):
    monkeypatch.setattr(startup, "_registered", threading.Event())
    monkeypatch.setattr(startup, "_SETTLED", 0.3)
    counts = iter([0, 0, 0, 5, 9, 9, 12, *[20] * 5])
    found = [0]

    def count():
        found.append(next(counts))
        return found[-1]

    startup.wait_for_nodes(count)
    assert found[-3:] == [20, 20, 20]
