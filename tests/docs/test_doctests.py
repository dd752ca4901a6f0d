"""The examples in public docstrings."""

import doctest
import importlib

import pytest

MODULES = {
    "fedgates.errors": 1,
    "fedgates.types": 5,
    "fedgates.rng": 2,
    "fedgates.nn.dead_units": 1,
    "fedgates.nn.network": 1,
    "fedgates.nn.gates": 2,
    "fedgates.methods.density": 1,
    "fedgates.methods.masks": 2,
    "fedgates.methods.metrics": 1,
    "fedgates.methods.randomized_response": 1,
    "fedgates.methods.registry": 1,
    "fedgates.methods.weights": 2,
    "fedgates.strategies.coupled_masks": 1,
    "fedgates.strategies.fediht": 1,
    "fedgates.strategies.signsgd": 2,
    "fedgates.wire.codec": 1,
    "fedgates.flower.simulation": 1,
}
"""Modules with examples, and the smallest number of docstrings that have some."""
SLOW = {"fedgates.flower.simulation"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODULES])
def test_examples_print_what_they_show(name):
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    assert len(tests) >= MODULES[name]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    output = []
    for test in tests:
        runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)
