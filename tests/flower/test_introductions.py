"""Introductions over a grid whose answers the test supplies: slow, mute, failing, doubled and returning nodes."""

import time
from copy import deepcopy

from flwr.app import Error, Message
from flwr.supercore.task_identity import TaskIdentity

from fedgates.federation import Membership, Problem
from fedgates.flower.records import introduction_content as introduction
from fedgates.flower.transport import GridTransport


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
