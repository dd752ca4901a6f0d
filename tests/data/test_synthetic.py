import hashlib
import itertools
from statistics import NormalDist

import numpy as np
import pytest
import torch
from configs import config_of, with_settings

from fedgates import rng
from fedgates.config import RunConfig, to_dict
from fedgates.data import load, normalise, partition
from fedgates.data.synthetic import TEST, true_weights
from fedgates.errors import ConfigError

LINEAR = config_of(
    RunConfig,
    dataset="synthetic-linear",
    synthetic_features=30,
    synthetic_support=4,
    synthetic_examples=2000,
    synthetic_noise=0.5,
)
LOGISTIC = with_settings(LINEAR, dataset="synthetic-logistic")


def seen(examples):
    """What a network sees, [n, features]."""
    return normalise(torch.from_numpy(examples.x)).numpy().astype(np.float64).reshape(len(examples), -1)


def test_shapes():
    data = load(with_settings(LINEAR, synthetic_examples=7))
    assert data.train.x.shape == (7, 1, 30, 1)
    assert data.problem.shape == (1, 1, 30)
    assert (data.num_classes, data.class_names, len(data.test)) == (0, (), 2000)
    assert data.train.y.dtype == np.float32
    assert load(LOGISTIC).num_classes == 2
    assert load(LOGISTIC).class_names == ("0", "1")
    assert load(LOGISTIC).train.y.dtype == np.int64


def test_the_defaults_are_many_more_features_than_examples():
    data = load(config_of(RunConfig, dataset="synthetic-linear"))
    assert (data.train.x.shape, int(data.support.sum())) == ((200, 1, 1000, 1), 20)


def test_features_are_normal_clipped_at_three_and_quantised():
    pixels = load(with_settings(LINEAR, synthetic_features=200)).train.x.ravel()
    edges = (np.arange(255) + 0.5) / 255 * 6 - 3
    shares = np.diff([0, *map(NormalDist().cdf, edges), 1])
    found = np.bincount(pixels, minlength=256) / len(pixels)
    assert np.abs((found - shares) / np.sqrt(shares / len(pixels))).max() < 4.5  # 256 standard normals
    assert found[0] == pytest.approx(NormalDist().cdf(-3), rel=0.1)


def test_features_are_independent():
    x = seen(load(LINEAR).train)
    assert np.abs(np.corrcoef(x, rowvar=False) - np.eye(30)).max() < 4.5 / np.sqrt(2000)
    assert not np.array_equal(x[:5], seen(load(LINEAR).test)[:5])


def test_true_weights():
    weights, data = true_weights(LINEAR), load(LINEAR)
    used = np.abs(weights[data.support])
    assert np.array_equal(weights != 0, data.support)
    assert len(used) == 4
    assert used.max() <= 2 * used.min()
    wide = true_weights(with_settings(LINEAR, synthetic_features=1000, synthetic_support=400))
    assert 160 < (wide > 0).sum() < 240
    assert (wide != 0).sum() == 400


def test_without_noise_targets_are_the_signal_and_it_has_unit_variance():
    data = load(with_settings(LINEAR, synthetic_noise=0.0))
    assert np.allclose(data.train.y, seen(data.train) @ true_weights(LINEAR), atol=1e-6)
    both = np.concatenate([data.train.y, data.test.y])
    assert both.var() == pytest.approx(1, abs=4 * np.sqrt(2 / 4000))
    labels = load(with_settings(LOGISTIC, synthetic_noise=0.0)).test
    assert np.array_equal(labels.y, seen(labels) @ true_weights(LOGISTIC) > 0)


def test_noise_is_gaussian_of_that_standard_deviation_and_apart_from_the_features():
    data = load(LINEAR)
    for part in (data.train, data.test):
        noise = part.y - seen(part) @ true_weights(LINEAR)
        assert noise.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * 2000))
        assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(2000)
        assert (np.abs(noise) < 0.5).mean() == pytest.approx(0.6827, abs=4 * np.sqrt(0.68 * 0.32 / 2000))
    assert not np.array_equal(data.train.y[:5], data.test.y[:5])


def test_least_squares_on_plenty_of_data_finds_the_truth():
    data = load(LINEAR)
    x = seen(data.train)
    found = np.linalg.lstsq(x, data.train.y.astype(np.float64), rcond=None)[0]
    errors = 0.5 * np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    assert np.abs((found - true_weights(LINEAR)) / errors).max() < 4
    assert sorted(np.argsort(-np.abs(found))[:4]) == np.flatnonzero(data.support).tolist()
    residual = data.test.y - seen(data.test) @ true_weights(LINEAR)
    assert 1 - residual.var() / data.test.y.var() == pytest.approx(1 / (1 + 0.5**2), abs=0.03)


def test_logistic_regression_on_plenty_of_data_finds_the_truth():
    data = load(LOGISTIC)
    x, y, w = seen(data.train), data.train.y, np.zeros(30)
    for _ in range(20):  # Newton
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (p * (1 - p))[:, None]).T @ x
        w += np.linalg.solve(hessian, x.T @ (y - p))
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert np.abs((w - true_weights(LOGISTIC) / 0.5) / errors).max() < 4
    assert sorted(np.argsort(-np.abs(w))[:4]) == np.flatnonzero(data.support).tolist()
    assert np.array_equal(np.sign(w[data.support]), np.sign(true_weights(LOGISTIC)[data.support]))
    assert data.test.y.mean() == pytest.approx(0.5, abs=0.05)


def test_labels_are_as_probable_as_the_logit_says():
    part = load(with_settings(LOGISTIC, synthetic_noise=1.0)).test
    signal = seen(part) @ true_weights(LOGISTIC)
    for low, high in ((-9, -1), (-1, 0), (0, 1), (1, 9)):
        at = (low <= signal) & (signal < high)
        assert part.y[at].mean() == pytest.approx((1 / (1 + np.exp(-signal[at]))).mean(), abs=4 * 0.5 / np.sqrt(at.sum()))


def digest(data):
    parts = (data.train.x, data.train.y, data.test.x, data.test.y)
    return [hashlib.sha256(part.astype(part.dtype.newbyteorder("<")).tobytes()).hexdigest()[:8] for part in parts]


def test_everything_is_a_function_of_the_seed():
    first = load(LINEAR)
    assert digest(load(LINEAR)) == digest(first)
    other = load(with_settings(LINEAR, seed=2))
    assert not set(digest(other)) & set(digest(first))
    assert not np.array_equal(other.support, first.support)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    assert digest(load(LINEAR)) == digest(first)


def test_more_noise_or_more_examples_leave_the_rest_as_it_was():
    first, noisier, longer = (
        load(LINEAR),
        load(with_settings(LINEAR, synthetic_noise=1)),
        load(with_settings(LINEAR, synthetic_examples=2001)),
    )
    assert np.array_equal(noisier.train.x, first.train.x)
    assert np.array_equal(noisier.support, first.support)
    assert not np.array_equal(noisier.train.y, first.train.y)
    assert np.array_equal(longer.train.x[:2000], first.train.x)
    assert np.array_equal(longer.train.y[:2000], first.train.y)


def test_the_draw_is_the_same_on_every_machine():
    small = config_of(
        RunConfig, dataset="synthetic-linear", synthetic_features=5, synthetic_support=2, synthetic_examples=3, seed=7
    )
    data = load(small)
    pixels = [[123, 132, 113, 122, 150], [130, 80, 86, 169, 139], [125, 64, 173, 189, 169]]
    assert data.train.x.reshape(3, 5).tolist() == pixels
    assert np.flatnonzero(data.support).tolist() == [2, 4]
    assert data.train.y.tolist() == pytest.approx([0.0139367, -0.3746743, 1.2926607], abs=1e-6)
    logistic = load(with_settings(small, dataset="synthetic-logistic", synthetic_examples=12))
    assert logistic.train.y.tolist() == [1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1]


def test_pixels_by_the_inverse_of_the_normal_distribution():
    words = rng.words(8, 7, "synthetic-train")
    halves = [half for word in words.tolist() for half in (word % 2**32, word >> 32)]
    z = [min(3, max(-3, NormalDist().inv_cdf((half + 0.5) / 2**32))) for half in halves]
    data = load(
        config_of(
            RunConfig, dataset="synthetic-linear", synthetic_features=16, synthetic_support=2, synthetic_examples=1, seed=7
        )
    )
    assert data.train.x.ravel().tolist() == [round((value + 3) / 6 * 255) for value in z]


@pytest.mark.parametrize(
    ("key", "change", "expected"),
    [
        ("synthetic.support", {"synthetic_support": 31}, "at most synthetic.features, which is 30"),
        (
            "synthetic.examples",
            {"synthetic_features": 100_000, "synthetic_examples": 5000},
            f"at most {2**29 // 100_000 - TEST} examples of 100000 features",
        ),
        ("synthetic.examples", {"synthetic_features": 1_000_000}, "fewer synthetic.features"),
    ],
)
def test_bad_keys(key, change, expected):
    config = with_settings(LINEAR, **change)
    with pytest.raises(ConfigError) as error:
        load(config)
    assert str(error.value) == f"{key} = {to_dict(config)[key]}: expected {expected}"


# --- who holds which


def shares(config, clients=10):
    train = load(config).train
    parts = partition(train.strata, clients, config)
    return train, parts


@pytest.mark.parametrize("dataset", ["synthetic-linear", "synthetic-logistic"])
@pytest.mark.parametrize(
    "scheme", [{"partition": "iid"}, {"partition": "dirichlet", "dirichlet_alpha": 0.3}, {"partition": "classes"}]
)
def test_ten_clients_share_two_hundred_examples(dataset, scheme):
    config = config_of(RunConfig, dataset=dataset, **scheme)
    train, parts = shares(config)
    assert len(train) == 200
    assert sorted(np.concatenate(parts)) == list(range(200))
    assert min(map(len, parts)) >= 1


def test_a_client_of_a_regression_with_one_class_holds_one_decile():
    train, parts = shares(config_of(RunConfig, dataset="synthetic-linear", partition="classes", classes_per_client=1))
    assert [len(part) for part in parts] == [20] * 10
    tops = sorted((train.y[part].min(), train.y[part].max()) for part in parts)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(tops))


def test_dirichlet_makes_the_clients_of_a_regression_differ():
    def between(scheme):
        train, parts = shares(
            config_of(RunConfig, dataset="synthetic-linear", synthetic_examples=2000, dirichlet_alpha=0.1, partition=scheme)
        )
        means = np.array([train.y[part].mean() for part in parts])
        return np.average((means - train.y.mean()) ** 2, weights=[len(part) for part in parts]) / train.y.var()

    assert between("iid") < 0.02
    assert between("dirichlet") > 0.1
