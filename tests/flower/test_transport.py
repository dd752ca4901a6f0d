"""What is said of an error reply."""

from types import SimpleNamespace

import pytest
from flwr.app import Error
from flwr.clientapp.client_app import ClientAppException

from fedgates.flower.transport import error_reason


def said(why):
    return error_reason(SimpleNamespace(error=Error(2, why)))  # a message takes a running engine to be made


@pytest.mark.parametrize(
    ("before", "behind"), [("", ""), ("<class 'ray.exceptions.RayTaskError'>:<'" + "  File x, line 3\n" * 400, "'>")]
)
def test_what_a_client_raised_is_said_and_not_the_tracebacks_around_it(before, behind):
    assert said(before + str(ClientAppException("data-path is\nmissing")) + behind) == "error 2: data-path is missing"


def test_what_is_not_of_flowers_wording_is_said_as_it_is():
    assert said("out of memory") == "error 2: out of memory"
    assert said("") == "error 2: no reason given"
