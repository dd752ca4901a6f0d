"""Runs that start from given weights: those of a file, or of the network's function."""

import numpy as np
import pytest
import torch
from loopback_runs import LoopbackGrid, last_checkpoint, run, run_on
from norm_networks import plain
from safetensors.numpy import load_file
from safetensors.torch import save_file, save_model
from torch import nn
from torch.nn import functional as F

import fedgates
from client_app import app
from fedgates.data import normalise, to_tensors
from fedgates.data.digits import digits
from fedgates.errors import ConfigError, ModelFileError, NetworkError
from fedgates.federation.setup import prepare
from fedgates.models.pretrained import load_weights
from fedgates.nn.roles import matching

NETWORK = {"model": "norm_networks:plain", "local_epochs": 1}
METHODS = {"fedpm": {}, "fedmask": {}, "coupled-masks": {}, "one-bit-gates": {"density.target": 0.9}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file with the weights of a network that was trained on half of the digits' classes."""
    torch.manual_seed(0)
    network, (x, y) = plain((1, 8, 8), 10), to_tensors(digits().train, "cpu")
    x, y = x[y < 5], y[y < 5]
    adam = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        adam.zero_grad()
        F.cross_entropy(network(normalise(x)), y).backward()
        adam.step()
    path = tmp_path_factory.mktemp("weights") / "half.safetensors"
    save_file(network.state_dict(), path)
    return path


def given(path, strategy="fedpm", **changes):
    keys = {"gates.frozen": "given", "gates.sent": "last", "fresh": "last", "weights": str(path)}
    return {"strategy": strategy, **METHODS.get(strategy, {}), **keys, **changes}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("strategy", METHODS)
@pytest.mark.usefixtures("whole_runs")
def test_the_model_has_the_files_weights_under_a_mask(raw, weights, strategy):
    folder = run(raw(**given(weights, strategy), num_server_rounds=2), 3)
    model = fedgates.load(folder.path / "model.fedgates", network=plain, weights=weights)
    stored = load_file(weights)
    for name in ("1.weight", "1.bias"):
        found = model.network.get_parameter(name).numpy()
        assert ((found == stored[name]) | (found == 0)).all()
    kept = np.mean([np.mean(model.network.get_parameter("1.weight").numpy() != 0)])
    assert kept > 0.8
    images, labels = to_tensors(digits().test, "cpu")
    last = folder.round_log.read()[-1]
    assert (model(images).argmax(1) == labels).double().mean().item() == pytest.approx(last["accuracy"], abs=1e-9)


def test_gates_start_at_the_initial_theta(raw, weights):
    setup = prepare(raw(**given(weights, **{"gates.initial-theta": 0.9}, fresh="1.bias, last")), None, lambda: 3)
    theta = setup.method.theta(setup.method.initial_state())
    bias = next(each for each in setup.method.network.slices if each.name == "1.bias")
    assert theta[bias.part].eq(0.5).all()
    assert len(theta) == setup.method.network.size
    rest = torch.ones(len(theta), dtype=torch.bool)
    rest[bias.part] = False
    assert torch.allclose(theta[rest], torch.tensor(0.9))
    stored = torch.from_numpy(load_file(weights)["1.weight"]).flatten()
    assert torch.equal(setup.method.gates.frozen[:1536], stored)
    assert setup.method.gates.frozen[bias.part].abs().unique().numel() == 1


def test_coupled_masks_hold_the_initial_theta_in_their_votes(raw, weights):
    folder = run(raw(**given(weights, "coupled-masks"), num_server_rounds=1), 3)
    votes = load_file(last_checkpoint(folder))["votes"]
    assert np.median(votes) == 19  # of T = 20, the least with which .95 is a share of votes
    assert votes.max() <= 20


def test_fresh_values_are_not_those_of_the_file(raw, weights):
    own = prepare(raw(**given(weights, "fedavg") | {"gates.frozen": "random", "gates.sent": ""}), None, lambda: 3).method
    stored = load_file(weights)
    assert own.initial[:1536].tobytes() == stored["1.weight"].tobytes()
    assert own.initial[-10:].tobytes() != stored["3.bias"].tobytes()


def test_a_dense_method_starts_from_the_file(raw, weights):
    accuracy = {}
    for name, changes in {"file": {"weights": str(weights)}, "function": {}}.items():
        folder = run(raw(strategy="fedavg", num_server_rounds=1, samples_per_client=20, learning_rate=0.01, **changes), 3)
        accuracy[name] = folder.round_log.read()[-1]["accuracy"]
    assert accuracy["file"] > accuracy["function"] + 0.2


@pytest.mark.usefixtures("whole_runs")
def test_a_model_that_has_all_of_its_weights_needs_no_file(raw, weights):
    folder = run(raw(strategy="fedavg", weights=str(weights), num_server_rounds=1), 2)
    model = fedgates.load(folder.path / "model.fedgates", network=plain)
    assert model.facts.weights == ""
    assert np.array_equal(model.network[1].weight.numpy().ravel(), load_file(last_checkpoint(folder))["weights"][:1536])


def test_sparsyfed_starts_from_the_file_too(raw, weights):
    own = prepare(raw(strategy="sparsyfed", weights=str(weights), **{"density.target": 0.5}), None, lambda: 3).method
    stored = torch.from_numpy(load_file(weights)["1.weight"]).flatten()
    assert torch.allclose(own.weights(own.initial_state())[:1536], stored, atol=1e-6)


# --- class means


def test_a_last_layer_starts_at_the_class_means(raw, weights, caplog):
    caplog.set_level("INFO")
    config = raw(
        **given(weights, **{"gates.sent-start": "class-means", "gates.sent-learning-rate": 1e-12}), samples_per_client=0
    )
    folder = run(config | {"num-server-rounds": 1}, 3)
    tail = load_file(last_checkpoint(folder))["tail"]
    network = plain((1, 8, 8), 10)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in load_file(weights).items()})
    x, y = to_tensors(digits().train, "cpu")
    with torch.no_grad():
        features = network[:-1](normalise(x)).double()
    means = torch.stack([features[y == c].mean(0) for c in range(10)])
    weight, bias = torch.from_numpy(tail[:240].reshape(10, 24)), torch.from_numpy(tail[240:])
    nearest = torch.cdist(features, means).argmin(1)
    assert torch.equal((features.float() @ weight.T + bias).argmax(1), nearest)
    within = (features - means[y]).square().mean()
    assert torch.allclose(weight.double(), means / within, rtol=1e-3, atol=1e-4)
    assert "features: measured by 3 of 3 clients" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gates.sent": "1.bias"}, "gates.sent-start = 'class-means': expected initial: the last layer, '3' (Linear), is not"),
        ({"gates.frozen": "random"}, "gates.sent-start = 'class-means': expected initial, or gates.frozen = given: a random"),
    ],
)
def test_what_cannot_start_at_class_means_is_a_line(raw, weights, changes, message):
    with pytest.raises(ConfigError) as error:
        prepare(raw(**given(weights, **{"gates.sent-start": "class-means"}) | changes), None, lambda: 3)
    assert str(error.value).startswith(message)


class Backwards(nn.Module):
    """Its first layer is defined last."""

    def __init__(self, classes):
        super().__init__()
        self.head, self.body = nn.Linear(32, classes), nn.Linear(64, 32)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)).relu())


class EachPixel(nn.Module):
    """Its last layer is applied to each pixel, and the mean of these is the output."""

    def __init__(self, classes):
        super().__init__()
        self.body, self.head = nn.Linear(1, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.body(x.flatten(1)[..., None]).relu()).mean(1)


def backwards(shape, outputs):
    return Backwards(outputs)


def each_pixel(shape, outputs):
    return EachPixel(outputs)


def without_bias(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, outputs, bias=False))


def tied_last(shape, outputs):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, outputs), nn.ReLU(), nn.Linear(outputs, 64), nn.Linear(64, outputs))
    network[4].weight = network[1].weight
    return network


def test_a_shared_last_layer_cannot_start_at_class_means(raw):
    keys = {"gates.frozen": "given", "gates.sent": "last", "gates.sent-start": "class-means"}
    with pytest.raises(ConfigError) as error:
        prepare(raw(model="test_pretrained_runs:tied_last", strategy="fedpm", **keys), None, lambda: 3)
    expected = "gates.sent-start = 'class-means': expected initial: the last layer shares '4.weight' with an earlier layer"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("network", "what"),
    [
        ("backwards", "'body', does not compute the network's output from one vector per example"),
        ("each_pixel", "'head', does not compute the network's output from one vector per example"),
        ("without_bias", "'3', has no bias"),
    ],
)
def test_a_layer_that_is_not_the_one_of_the_classes_cannot_start_at_class_means(raw, network, what):
    keys = {"gates.frozen": "given", "gates.sent": "last", "gates.sent-start": "class-means"}
    with pytest.raises(ConfigError) as error:
        prepare(raw(model=f"test_pretrained_runs:{network}", strategy="fedpm", **keys), None, lambda: 3)
    message = "gates.sent-start = 'class-means': expected initial: the last layer, "
    assert str(error.value) == message + what


# --- files


def tied(shape, outputs):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, outputs))
    network[3].weight = network[1].weight
    return network


def test_a_file_has_a_shared_parameter_once(tmp_path):
    trained, network = tied(None, 10), tied(None, 10)
    save_model(trained, str(tmp_path / "tied.safetensors"))
    load_weights(network, tmp_path / "tied.safetensors")
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in trained.state_dict().items())
    fresh = tied(None, 10)
    before = fresh[3].weight.clone()
    load_weights(fresh, tmp_path / "tied.safetensors", matching("fresh", "3.weight", fresh))
    assert torch.equal(fresh[1].weight, before)


@pytest.mark.usefixtures("whole_runs")
def test_a_simulation_returns_its_model_over_given_weights(weights, tmp_path):
    settings = given(weights, model="norm_networks:plain", **{"num-server-rounds": 1, "output-dir": str(tmp_path)})
    result = fedgates.simulate(settings, 2, progress=False)
    images, labels = to_tensors(digits().test, "cpu")
    accuracy = (result.model(images).argmax(1) == labels).double().mean().item()
    assert accuracy == pytest.approx(result.history["accuracy"].iloc[-1], abs=1e-9)


def test_files_that_do_not_fit_are_a_line(raw, weights, tmp_path):
    def refused(tensors, **changes):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        save_file(tensors, path)
        with pytest.raises((ConfigError, NetworkError)) as error:
            prepare(raw(**given(path) | changes), None, lambda: 3)
        return str(error.value).replace(str(path), "PATH")

    whole = {name: torch.from_numpy(array) for name, array in load_file(weights).items()}
    without = {name: tensor for name, tensor in whole.items() if name != "1.bias"}
    assert refused(without).startswith("weights = 'PATH': expected a file with the network's 1.bias; it has ")
    assert "'1.weight' of shape [24, 64], not [24, 63]" in refused(whole | {"1.weight": torch.zeros(24, 63)})
    assert "finite numbers, but '1.bias' has others" in refused(whole | {"1.bias": torch.full((24,), torch.nan)})
    zeros = refused(whole | {"1.weight": torch.zeros(24, 64)})
    assert zeros.startswith(
        "parameter '1.weight' has only zeros, so gates on it have no effect (gates.frozen = given); add it to"
    )
    setup = prepare(raw(**given(tmp_path / "0.safetensors") | {"fresh": "1.bias, last"}), None, lambda: 3)
    assert setup.method.network.size == 24 * 65


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("/absent.safetensors", "weights = '/absent.safetensors': expected a safetensors file that can be read"),
        ("half.safetensors", "weights = 'half.safetensors': expected empty, or a .safetensors file: an absolute path"),
        ("/weights.pt", "weights = '/weights.pt': expected empty, or a .safetensors file"),
    ],
)
def test_paths_that_cannot_be_are_a_line(raw, value, message):
    with pytest.raises(ConfigError) as error:
        prepare(raw(strategy="fedavg", weights=value), None, lambda: 3)
    assert str(error.value).startswith(message)


@pytest.mark.slow
@pytest.mark.usefixtures("whole_runs")
def test_a_model_file_names_its_weights_and_refuses_others(raw, weights, tmp_path):
    folder = run(raw(**given(weights), num_server_rounds=1), 2)
    file = folder.path / "model.fedgates"
    with pytest.raises(ModelFileError, match=r"its network needs the initial weights in half.safetensors, .* or as --weights$"):
        fedgates.load(file, network=plain)
    other = tmp_path / "other.safetensors"
    save_file({k: torch.from_numpy(v) * 1.001 for k, v in load_file(weights).items()}, other)
    with pytest.raises(ModelFileError, match=r"another network than the file's .*: digest \w{16}, expected \w{16}"):
        fedgates.load(file, network=plain, weights=other)
    assert file.stat().st_size < weights.stat().st_size / 2


# --- devices


def devices(tmp_path, raw, weights, own):
    part = digits().train.take(np.arange(60))
    path = tmp_path / "own.npz"
    np.savez(path, x_train=part.x, y_train=part.y, classes=np.array(digits().class_names))
    config = raw(**given(weights), dataset="devices:8x8x1:10", num_server_rounds=1)
    nodes = [{"data-path": str(path), **each} for each in own]
    return run_on(LoopbackGrid(app, config, node_configs=nodes), config)


def test_a_device_has_a_copy_of_its_own(raw, weights, tmp_path, caplog):
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(weights.read_bytes())
    save_file({k: torch.from_numpy(v) * 1.001 for k, v in load_file(weights).items()}, other)
    own = [{"weights-path": str(copy)}, {"weights-path": str(copy)}, {}, {"weights-path": str(other)}]
    folder = devices(tmp_path, raw, weights, own)
    (line,) = folder.round_log.read()
    assert line["clients_counted"] == 2
    assert "weights-path = None: expected a node config with the path of this device's copy of half.safetensors" in caplog.text
    assert any("network digest" in reason for reason in [*line["failed"].values(), *line["rejected"].values()])
