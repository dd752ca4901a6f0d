import pytest
import torch

from fedgates.config import MODELS
from fedgates.errors import ConfigError
from fedgates.methods.evaluation import predict
from fedgates.models import build
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.types import Problem


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"linear"}))
def test_every_name_maps_images_to_logits_and_its_parameters_are_its_whole_state(name):
    shape = (3, 32, 32)
    model = build(name, Problem.of_images(shape, 7))
    assert model.training
    assert model(torch.zeros(2, *shape)).shape == (2, 7)
    assert list(model.buffers()) == []
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()
    assert all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", sorted(set(MODELS) - {"linear"}))
def test_every_network_can_be_gated_and_predicts(name):
    network = Network(build(name, Problem.of_images((1, 32, 32), 3)))
    gates = Gates(network, seed=1)
    gates.load(torch.ones(network.size))
    found = predict(network, torch.randint(0, 256, (2, 1, 32, 32), generator=torch.Generator().manual_seed(1)).to(torch.uint8))
    assert found.sum(1).tolist() == pytest.approx([1, 1])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8", "resnet18", "logistic"])
def test_networks_for_the_digits(name):
    assert build(name, Problem.of_images((1, 8, 8), 10))(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"linear", "conv10"}))
def test_networks_for_28_by_28(name):
    assert build(name, Problem.of_images((1, 28, 28), 10))(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_weights_are_a_function_of_the_seed():
    def weights(seed):
        return build("mlp", Problem.of_images((1, 8, 8), 10), seed=seed).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_the_global_generator_is_left_alone_and_not_read():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = build("mlp", Problem.of_images((1, 8, 8), 10))[1].weight
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(build("mlp", Problem.of_images((1, 8, 8), 10))[1].weight, first)


@pytest.mark.parametrize(
    ("name", "num_classes", "expected"),
    [
        ("linear", 10, "another, such as logistic: the data set has classes, and linear is for regression"),
        ("linear", 2, "another, such as logistic"),
        ("logistic", 0, "another, such as linear: the data set is a regression"),
    ],
)
def test_a_network_for_another_task(name, num_classes, expected):
    with pytest.raises(ConfigError, match=f"^model = '{name}': expected {expected}"):
        build(name, Problem.of_images((1, 8, 8), num_classes))


@pytest.mark.parametrize(
    ("name", "shape", "size"),
    [
        ("conv10", (1, 8, 8), "32x32"),
        ("conv10", (3, 32, 31), "32x32"),
        ("vgg11", (1, 8, 8), "16x16"),
        ("vgg11", (3, 15, 16), "16x16"),
        ("resnet18", (1, 7, 8), "8x8"),
        ("conv6", (1, 7, 8), "8x8"),
        ("resnet8", (1, 1, 1000), "4x4"),
        ("conv4", (1, 3, 3), "4x4"),
        ("cnn", (1, 3, 8), "4x4"),
        ("leaf-cnn", (1, 8, 3), "4x4"),
    ],
)
def test_image_too_small_for_the_pooling(name, shape, size):
    with pytest.raises(ConfigError, match=f"^model = '{name}': expected images of at least {size}") as error:
        build(name, Problem.of_images(shape, 10))
    assert f"{shape[1]}x{shape[2]}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("conv10", 32),
        ("vgg11", 16),
        ("conv6", 8),
        ("resnet18", 8),
        ("conv4", 4),
        ("cnn", 4),
        ("leaf-cnn", 4),
        ("resnet8", 4),
        ("mlp", 1),
        ("logistic", 1),
    ],
)
def test_smallest_image_works(name, side):
    assert build(name, Problem.of_images((1, side, side), 3))(torch.zeros(2, 1, side, side)).shape == (2, 3)
