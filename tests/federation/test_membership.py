"""The bookkeeping of nodes and clients; introductions over a grid are in tests/flower/test_introductions.py."""

import pytest

from fedgates.federation import Membership, membership, sample_clients
from fedgates.federation.membership import client_name


def members(*nodes):
    """A membership with these nodes connected, none of which has introduced itself."""
    found = Membership()
    found.update(nodes)
    return found


@pytest.mark.parametrize(
    ("given", "name"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 77), (-1, 77), (None, 77), ("3", 77), (3.0, 77), (True, 77)]
)
def test_a_client_is_named_by_its_partition_or_else_by_its_node(given, name):
    assert client_name(given, 77) == name


def test_only_connected_nodes_that_are_neither_known_nor_pending_are_asked():
    found = members(10, 11, 12, 13)
    found.introduce(10, 3)
    found.introduce(11, 4, "no data")
    assert found.to_ask({12}) == [13]
    assert found.clients == {3: 10}
    found.update({12, 13})
    assert found.to_ask(()) == [12, 13]
    assert found.clients == {}


def test_the_pause_before_a_node_is_asked_again_doubles(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(membership.time, "monotonic", lambda: now[0])
    found = members(10)
    for pause in (1.0, 2.0, 4.0, 8.0):
        found.fail(10, "out of memory")
        assert found.to_ask(()) == []
        now[0] += pause - 0.01
        assert found.to_ask(()) == []
        now[0] += 0.02
        assert found.to_ask(()) == [10]
    found.introduce(10, 3)
    assert found.clients == {3: 10}
    found.fail(10, "out of memory")  # the pause starts again
    now[0] += 1.01
    assert found.problem == "out of memory"


def test_a_membership_is_settled_once_nothing_can_come_of_waiting():
    found = members(10, 11, 12)
    found.introduce(10, 3)
    found.introduce(11, 4, "no data")
    for _ in range(3):
        assert not found.settled
        found.fail(12, "out of memory")
    assert found.settled


def test_a_name_belongs_to_the_first_node_that_claims_it_for_the_whole_run():
    found = members(10, 11)
    found.introduce(10, 3)
    found.introduce(11, 3)
    refused = "client 3 is node 10, the first with that number in this run"
    assert (found.clients, found.problem) == ({3: 10}, refused)
    found.update({12})
    found.introduce(12, 3)
    assert (found.clients, found.problem) == ({}, refused)
    found.update({10, 12})
    found.introduce(10, 3)
    assert found.clients == {3: 10}


def test_a_node_keeps_its_first_name_so_that_it_cannot_take_those_of_others():
    found = members(10, 11)
    found.introduce(10, 3)
    for claimed in (4, 5, 3):
        found.update({11})
        found.update({10, 11})
        found.introduce(10, claimed)
    assert found.clients == {3: 10}
    found.introduce(11, 4)
    assert found.clients == {3: 10, 4: 11}


def test_a_name_is_claimed_by_a_device_whose_data_cannot_be_used():
    found = members(10, 11)
    found.introduce(10, 3, "no data")
    found.introduce(11, 3)
    assert found.clients == {}
    assert found.owners == {3: 10}


def test_names_of_an_earlier_part_of_the_run_are_kept():
    found = members(10, 11)
    found.restore({3: 11})
    found.introduce(10, 3)
    found.introduce(11, 3)
    assert (found.clients, found.problem) == ({3: 11}, "client 3 is node 11, the first with that number in this run")


def test_the_choice_of_clients_is_a_function_of_key_and_names():
    def chosen(names=range(10), fraction=0.3, seed=1, purpose="choose", server_round=1):
        return sample_clients(names, fraction, seed, purpose, server_round)

    assert chosen() == chosen(reversed(range(10)))
    assert len(chosen()) == 3
    different = {tuple(c) for c in (chosen(), chosen(seed=2), chosen(purpose="other"), chosen(server_round=2))}
    assert len(different) == 4
    assert chosen(fraction=0.001) != []
    assert chosen([]) == []


# --- names of classes

ABC, BCD = ("a", "b", "c"), ("b", "c", "d")


def named(*class_names, run=()):
    """A membership of nodes 10, 11, ... with the names 0, 1, ..., whose data give these names to their classes."""
    found = members(*range(10, 10 + len(class_names)))
    found.class_names = run
    for i, each in enumerate(class_names):
        found.introduce(10 + i, i, "", each)
    found.compare_classes()
    return found


def test_a_client_with_other_classes_than_most_is_left_out_with_the_reason(caplog):
    found = named(BCD, ABC, ABC, ())
    assert found.clients == {1: 11, 2: 12, 3: 13}
    reason = "class 0 is b, not a: its classes are b, c, d, and those of most clients are a, b, c"
    assert caplog.messages == [f"client 0 is left out: {reason}"]
    assert found.problem == reason
    assert found.to_ask(()) == []


@pytest.mark.parametrize("odd", [("a", "c", "b"), ("a", "b"), ("a", "b", "c", "d")])
def test_another_order_and_another_number_are_other_classes(odd):
    assert named(ABC, odd, ABC).clients == {0: 10, 2: 12}


def test_of_equally_many_the_first_are_kept():
    assert named(ABC, BCD).clients == {0: 10}
    assert named(BCD, ABC).clients == {0: 10}


def test_those_of_the_run_count_whatever_most_have():
    found = named(BCD, BCD, ABC, run=ABC)
    assert found.clients == {2: 12}
    assert found.problem.endswith("those of this run are a, b, c")


NUMBERS, FROM_ONE = ("0", "1", "2"), ("1", "2", "3")


@pytest.mark.parametrize("run", [(), NUMBERS])
def test_numbers_from_0_stand_for_names_but_not_for_other_integers(run):
    assert sorted(named(NUMBERS, NUMBERS, FROM_ONE, run=run).clients) == [0, 1]
    assert sorted(named(NUMBERS, NUMBERS, ABC, BCD, ABC, run=run).clients) == [0, 1, 2, 4]
    assert sorted(named(NUMBERS, FROM_ONE, run=FROM_ONE).clients) == [1]


def test_who_came_first_does_not_decide_until_clients_train(caplog):
    caplog.set_level("INFO", logger="fedgates")
    found = named(BCD, ABC)
    found.update(range(10, 14))
    found.introduce(12, 2, "", ABC)
    found.compare_classes()
    assert found.clients == {1: 11, 2: 12}
    assert caplog.messages[-1] == "client 1 takes part after all: its classes are those of most clients now"
    found.keep_classes()
    assert found.class_names == ABC
    for node in (13, 14, 15):
        found.update(range(10, node + 1))
        found.introduce(node, node - 10, "", BCD)
        found.compare_classes()
    assert found.clients == {1: 11, 2: 12}


def test_a_client_that_comes_back_is_compared_again():
    found = named(ABC, ABC, BCD)
    found.update({10, 11})
    found.update({10, 11, 12})
    assert found.to_ask(()) == [12]
    found.introduce(12, 2, "", ABC)
    found.compare_classes()
    assert found.clients == {0: 10, 1: 11, 2: 12}


def test_names_of_classes_reach_no_log_raw_or_whole():
    found = named(ABC, ABC, ("\x1b[2J" * 1000, *"x" * 1000))
    assert found.problem.isprintable()
    assert len(found.problem) < 300
