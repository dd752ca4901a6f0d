"""``model.fedgates``: what is written is what is read, and small."""

import dataclasses
import math

import pytest
import torch
from model_files import SHAPE, facts, images, logits, masked, payload_at, statistics, told_by

import fedgates
from fedgates import model_file, models
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem
from fedgates.wire.header import ENTROPY, PACKED, peek


@pytest.mark.parametrize(("model", "shape"), [("mlp", SHAPE), ("conv4", (1, 28, 28)), ("cnn", (3, 32, 32))])
@pytest.mark.parametrize("density", [0.5, 0.03])
def test_a_mask_comes_back_and_costs_its_entropy(tmp_path, model, shape, density):
    network, gates, weights = masked(model, shape, density)
    path = tmp_path / "model.fedgates"
    size = model_file.save(path, network, facts(model, shape), weights, gates=gates)
    assert size == path.stat().st_size
    p = float((weights != 0).double().mean())
    entropy = -network.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8
    assert size <= entropy + 2000
    found = fedgates.load(path)
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    x = images(8, shape)
    torch.testing.assert_close(found(x), logits(network, weights, x), rtol=0, atol=0)
    kept = torch.cat([p.flatten() for p in found.network.parameters()])
    assert ((kept == weights) | (kept == 0)).all()
    if density == 0.5:  # hardly a unit is dead
        assert (kept == weights).double().mean() > 0.99


def test_kept_values_come_back_and_cost_themselves(tmp_path):
    network, gates, weights = masked(density=0.1)
    path, values = tmp_path / "model.fedgates", weights * 1.5
    size = model_file.save(path, network, facts(), values, gates=gates)
    assert size <= 4 * int((values != 0).sum()) + network.size / 8 + 2000
    assert fedgates.load(path).facts.weight_scale == ""
    torch.testing.assert_close(fedgates.load(path)(images()), logits(network, values, images()), rtol=0, atol=0)


@pytest.mark.parametrize(("density", "codec"), [(0.5, PACKED), (0.3, ENTROPY)])
def test_a_mask_is_coded_as_is_smaller(tmp_path, density, codec):
    network, gates, weights = masked("cnn", (3, 32, 32), density)
    model_file.save(tmp_path / "m", network, facts("cnn", (3, 32, 32)), weights, gates=gates)
    data = (tmp_path / "m").read_bytes()
    assert peek(data[payload_at(data) : -4]).codec == codec


def test_a_model_holds_its_weights_once(file):
    parameters = list(fedgates.load(file).parameters())
    assert all(parameter.grad is None for parameter in parameters)
    assert [p.untyped_storage().nbytes() for p in parameters] == [4 * p.numel() for p in parameters]


def test_dense_weights_come_back(tmp_path):
    network = Network(models.build("mlp", Problem.of_images(SHAPE, 10), seed=5))
    weights = network.weights.clone()
    model_file.save(tmp_path / "m", network, facts(), weights)
    torch.testing.assert_close(fedgates.load(tmp_path / "m")(images()), logits(network, weights, images()), rtol=0, atol=0)


def test_bytes_and_shares_are_the_same_image(file):
    model = fedgates.load(file)
    torch.testing.assert_close(model(images()), model(images() / 255))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_any_floats_will_do_but_no_other_integers(file, dtype):
    model = fedgates.load(file)
    torch.testing.assert_close(model((images() / 255).to(dtype)), model(images()), rtol=0.01, atol=0.01)
    with pytest.raises(TypeError, match=r"images are torch.int64, expected torch.uint8 from 0 to 255, or floats from 0 to 1"):
        model(images().long())


def test_facts_come_back(file):
    found = fedgates.load(file).facts
    assert found.training == {"strategy": "fedpm"}
    told = {key: getattr(found, key) for key in ("digest", "layers", "whole", "slim")}
    expected = dataclasses.replace(facts(), weight_scale="kaiming", **told)
    assert found == expected
    assert len(bytes.fromhex(found.digest)) == 8


def test_a_renamed_weight_scale_keeps_its_name_in_the_file(tmp_path):
    network = Network(models.build("mlp", Problem.of_images(SHAPE, 10), seed=3))
    gates = Gates(network, 3, "authors-code")
    model_file.save(tmp_path / "m", network, facts(), gates.frozen.clone(), gates=gates)
    assert told_by((tmp_path / "m").read_bytes())["weight_scale"] == "released"
    assert fedgates.load(tmp_path / "m").facts.weight_scale == "authors-code"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet8", "vgg11"])
def test_a_batch_norm_has_the_statistics_of_the_images_it_was_tried_on(tmp_path, model):
    shape = (3, 32, 32)
    network, gates, weights = masked(model, shape)
    x = images(64, shape)
    model_file.save(
        tmp_path / "m", network, facts(model, shape), weights, gates=gates, statistics=statistics(network, weights, x)
    )
    found = fedgates.load(tmp_path / "m")
    with torch.no_grad():
        torch.testing.assert_close(found(x), logits(network, weights, x), rtol=1e-3, atol=1e-4)
        alone = torch.cat([found(x[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(alone, found(x)[:4], rtol=1e-3, atol=1e-4)  # whatever else is in the batch


def test_without_images_a_batch_norm_goes_on_using_the_batch(tmp_path):
    shape = (3, 32, 32)
    network, gates, weights = masked("resnet8", shape)
    model_file.save(tmp_path / "m", network, facts("resnet8", shape), weights, gates=gates)
    x = images(8, shape)
    torch.testing.assert_close(fedgates.load(tmp_path / "m")(x), logits(network, weights, x))


def test_a_regression_has_one_output(tmp_path):
    network = Network(models.build("linear", Problem.of_images((1, 1, 20), 0)))
    model_file.save(tmp_path / "m", network, facts("linear", (1, 1, 20), ()), network.weights.clone())
    assert fedgates.load(tmp_path / "m")(images(4, (1, 1, 20))).shape == (4, 1)


def test_weights_of_units_that_no_path_uses_are_left_out(tmp_path):
    network, gates, weights = masked(density=0.01)
    size = model_file.save(tmp_path / "m", network, facts(), weights, gates=gates)
    found = fedgates.load(tmp_path / "m")
    left = sum(int((p != 0).sum()) for p in found.network.parameters())
    assert 0 < left < int((weights != 0).sum()) / 2
    p = left / network.size
    assert size < -network.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8 + 500
    torch.testing.assert_close(found(images()), logits(network, weights, images()))


# --- what no reader would take is not written


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_weights_that_are_not_finite_are_no_model(tmp_path, value):
    network = Network(models.build("mlp", Problem.of_images(SHAPE, 10)))
    weights = network.weights.clone()
    weights[5] = value
    with pytest.raises(ValueError, match="the weights are not finite"):
        model_file.save(tmp_path / "m", network, facts(), weights)
    assert not list(tmp_path.iterdir())


def test_statistics_that_are_not_finite_are_none():
    network = Network(models.build("resnet8", Problem.of_images((3, 32, 32), 10)))
    weights = torch.full_like(network.weights, 1e38)
    with pytest.raises(ValueError, match="the statistics of a batch norm are not finite"):
        statistics(network, weights, images(8, (3, 32, 32)))


def test_a_run_that_diverged_can_be_told_of(tmp_path):
    network, gates, weights = masked()
    told = facts(loss=math.nan, r2=-math.inf, accuracy=0.1)
    model_file.save(tmp_path / "m", network, told, weights, gates=gates)
    assert fedgates.load(tmp_path / "m").facts.training == {"strategy": "fedpm", "loss": None, "r2": None, "accuracy": 0.1}
