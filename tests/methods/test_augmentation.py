"""Augmentation: what changes, by whose random numbers, and what cannot be augmented."""

import pytest
import torch
from configs import config_of
from torch import nn

from fedgates.config import RunConfig
from fedgates.errors import ConfigError
from fedgates.methods.augmentation import augmented, check_augmentation
from fedgates.methods.evaluation import predict
from fedgates.methods.registry import build, configure
from fedgates.methods.training import Task, seeded_rng, train_backward
from fedgates.nn.network import Network
from fedgates.rng import generator
from fedgates.types import InputSpec, Problem

ALL = "flip,crop,rotate,trivial,erase"


def images(n=16, channels=3, height=16, width=24):
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (n, channels, height, width), generator=draw, dtype=torch.uint8)


def problem(*specs, task="classes", positions=()):
    return Problem(tuple(specs), task, 3, positions)


PICTURES = InputSpec("x", (3, 8, 8), "uint8")


def config(augment):
    return config_of(RunConfig, **{"data.augment": augment})


@pytest.mark.parametrize("names", [*ALL.split(","), ALL])
def test_shape_and_dtype_stay_and_something_changes(names):
    x = images()
    found = augmented(x, names)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert not torch.equal(found, x)
    assert torch.equal(x, images())


def test_flips_are_mirror_images_of_about_half_each_by_its_own_draw():
    torch.manual_seed(1)
    x = images(200, 1, 4, 4)
    found = augmented(x, "flip")
    same, mirrored = (found == x).flatten(1).all(1), (found == x.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_crops_are_shifts_by_at_most_an_eighth():
    torch.manual_seed(1)
    x = images(50, 1, 16, 24)
    padded = nn.functional.pad(x, (3, 3, 2, 2))
    shifts = torch.stack([padded[..., i : i + 16, j : j + 24] for i in range(5) for j in range(7)])
    matches = (augmented(x, "crop") == shifts).flatten(2).all(2)
    assert matches.any(0).all()
    assert len(set(matches.float().argmax(0).tolist())) > 10


def test_random_numbers_are_torchs_own_so_that_a_seeded_client_repeats():
    def once(seed):
        with seeded_rng(generator(seed, "train"), 0):
            return augmented(images(), ALL)

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_only_images_among_several_inputs_change():
    x = {"picture": images(), "numbers": torch.randn(16, 4), "tokens": torch.ones(16, 3, 8, 8, dtype=torch.int64)}
    found = augmented(x, "flip,rotate")
    assert not torch.equal(found["picture"], x["picture"])
    assert found["numbers"] is x["numbers"]
    assert found["tokens"] is x["tokens"]
    assert augmented(x, "") is x


def test_float_images_can_be_augmented_but_for_trivial():
    x = images().float()
    assert augmented(x, "flip,crop,rotate,erase").dtype == torch.float32
    with pytest.raises(
        ConfigError, match="transforms other than trivial, which needs uint8 images of 1 or 3 channels, not float32"
    ):
        check_augmentation(config("flip,trivial"), problem(InputSpec("x", (3, 8, 8), "float32")))


class Seen(nn.Module):
    """Keeps what it was called with."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(3 * 16 * 24, 2), []

    def forward(self, x):
        self.calls.append(x.detach().clone())
        return self.layer(x.flatten(1))


def test_training_batches_are_augmented_and_evaluation_is_not():
    module = Seen()
    network, x = Network(module), images()
    pixels = (x.float() / 255 - 0.5) / 0.5
    train_backward(network, Task(x, torch.zeros(16, dtype=torch.int64), 1), torch.arange(16), config("flip"))
    predict(network, x)
    trained, evaluated = module.calls
    assert torch.allclose(evaluated, pixels)
    assert not torch.allclose(trained, pixels)
    mirrored = (trained - pixels.flip(3)).abs().flatten(1).amax(1) < 1e-6
    assert 0 < int(mirrored.sum()) < 16


@pytest.mark.parametrize(
    ("augment", "found", "expected"),
    [
        ("flip", problem(InputSpec("x", (6, 9), "float32")), "empty: only images can be augmented, not float32"),
        ("flip", problem(InputSpec("x", (3, 8, 8), "int64")), "only images can be augmented, not int64 (3, 8, 8)"),
        ("erase", problem(PICTURES, task="positions", positions=(8, 8)), "transforms would move positions"),
        ("trivial", problem(InputSpec("x", (4, 8, 8), "uint8")), "transforms other than trivial"),
    ],
)  # fmt: skip
def test_one_line_where_it_makes_no_sense(augment, found, expected):
    with pytest.raises(ConfigError) as error:
        check_augmentation(config(augment), found)
    assert str(error.value).startswith(f"data.augment = {augment!r}: expected ")
    assert expected in str(error.value)


@pytest.mark.parametrize("value", ["flip,flip", "flipp", "flip;crop", ","])
def test_other_values_are_refused(value):
    with pytest.raises(ConfigError, match="each of flip, crop, rotate, trivial, erase at most once"):
        config(value)


def test_a_method_is_not_built_where_nothing_can_be_augmented():
    with pytest.raises(ConfigError, match="only images"):
        build(*configure({"data.augment": "flip"}), problem(InputSpec("x", (6,), "float32")))
    assert check_augmentation(config(ALL), problem(PICTURES, InputSpec("n", (4,), "float32"))) is None
