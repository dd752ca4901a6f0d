import numpy as np
import pytest
from configs import config_of, with_settings
from fedgates.strategies.fedpm import FedPMConfig

from fedgates.config import RunConfig, devices_problem, parse
from fedgates.data import load, load_once
from fedgates.data.sources import source
from fedgates.errors import ConfigError
from fedgates.types import Problem


@pytest.mark.parametrize(
    ("dataset", "read"),
    [
        ("mnist", {"dataset": "cifar10", "data_dir": "/elsewhere"}),
        ("npz:/a.npz", {"dataset": "npz:/b.npz"}),
        (
            "synthetic-linear",
            {
                "dataset": "synthetic-logistic",
                "seed": 2,
                "synthetic_features": 7,
                "synthetic_support": 3,
                "synthetic_examples": 5,
                "synthetic_noise": 0.5,
            },
        ),
    ],
)
def test_source_keeps_what_the_data_depends_on(dataset, read):
    base = config_of(FedPMConfig, dataset=dataset)
    for key, value in read.items():
        assert source(with_settings(base, **{key: value})) != source(base)
    passed_over = {"learning_rate": 0.5, "partition": "classes", "eps": 0.1} | ({} if "seed" in read else {"seed": 2})
    for key, value in passed_over.items():
        assert source(with_settings(base, **{key: value})) == source(base) == source(config_of(RunConfig, dataset=dataset))
        assert hash(source(with_settings(base, **{key: value}))) == hash(source(base))


def test_the_source_loads_the_same_data():
    config = config_of(
        FedPMConfig, dataset="synthetic-linear", synthetic_features=30, synthetic_examples=5, seed=4, synthetic_noise=0.3
    )
    whole, part = load(config), load(source(config))
    assert np.array_equal(whole.train.x, part.train.x)
    assert np.array_equal(whole.test.y, part.test.y)


def test_a_data_set_is_loaded_once_whatever_else_the_config_says():
    first = load_once(RunConfig())
    assert load_once(config_of(RunConfig, seed=9, learning_rate=0.5)) is first
    assert load_once(config_of(RunConfig, dataset="synthetic-linear")) is not first
    assert load_once(config_of(RunConfig, dataset="synthetic-linear", seed=9)) is not load_once(
        config_of(RunConfig, dataset="synthetic-linear")
    )


# --- a data set that only devices have


@pytest.mark.parametrize(
    ("dataset", "shape"),
    [
        ("devices:8x8x1:10", ((1, 8, 8), 10)),
        ("devices:28x32x3:62", ((3, 28, 32), 62)),  # height, width, channels; the network takes channels first
        ("devices:1x1x1:2", ((1, 1, 1), 2)),
        ("devices:08x8x1:10", ((1, 8, 8), 10)),
        ("devices:99999x1x1:99999", ((1, 99_999, 1), 99_999)),
    ],
)
def test_the_shape_of_the_devices_data_is_in_its_name(dataset, shape):
    assert devices_problem(dataset) == Problem.of_images(*shape)
    found = load(parse(RunConfig, {"dataset": dataset}))
    assert (found.name, found.problem.shape, found.num_classes) == (dataset, *shape)
    assert (len(found.train), len(found.test), found.support) == (0, 0, None)
    assert found.class_names == tuple(str(i) for i in range(shape[1]))


@pytest.mark.parametrize("dataset", ["digits", "mnist", "npz:/a", "folder:/devices:8x8x1:10", ""])
def test_others_have_none_in_theirs(dataset):
    assert devices_problem(dataset) is None


@pytest.mark.parametrize(
    "dataset",
    [
        *("devices", "devices:", "devices:8x8x1", "devices:8x8x1:", "devices::10", "devices:8x8:10", "devices:8x8x1x1:10"),
        *("devices:8x8x1:10:3", "devices:8x8x1:10:", "devices:/abs/dir", "Devices:8x8x1:10", " devices:8x8x1:10"),
        *("devices:0x8x1:10", "devices:8x0x1:10", "devices:8x8x0:10", "devices:8x8x1:1", "devices:8x8x1:0"),
        *("devices:-8x8x1:10", "devices:+8x8x1:10", "devices:8.0x8x1:10", "devices:8 x8x1:10", "devices:8x8x1:1e1"),
        *("devices:8X8X1:10", "devices:8x8x1:10\n", "devices:xx:10", "devices:8_0x8x1:10"),
        *("devices:\u0668x8x1:10", "devices:8x8x1:\u0661\u0660", "devices:\u00b2x8x1:10", "devices:\uff18x8x1:10"),
        *("devices:100000x8x1:10", "devices:8x8x1:100000", "devices:000008x8x1:10", f"devices:{'9' * 5000}x8x1:10"),
    ],
)
def test_anything_else_is_refused_in_one_line(dataset):
    assert devices_problem(dataset) is None
    with pytest.raises(ConfigError) as error:
        parse(RunConfig, {"dataset": dataset})
    said = str(error.value)
    assert said.startswith(f"dataset = {dataset!r}: expected one of digits, ")
    assert said.endswith('"npz:/abs/file.npz", "folder:/abs/dir", "table:/abs/file.csv" or "devices:SHAPE:OUTPUT"')
    assert "\n" not in said


def test_its_source_is_its_name():
    config = config_of(RunConfig, dataset="devices:8x8x1:10")
    assert load_once(config) is load_once(with_settings(config, seed=9, learning_rate=0.5))
    assert load_once(config) is not load_once(with_settings(config, dataset="devices:8x8x1:11"))
