"""``model.fedgates``: what is written is what is read, small, and nothing else is taken for it."""

import dataclasses
import json
import math
import struct
import subprocess
import sys
import zlib

import pytest
import torch
from torch import nn

import fedgates
from fedgates import artifact, models
from fedgates.artifact import Facts, ModelFileError
from fedgates.gates import Gates
from fedgates.network import Network

SHAPE = (1, 8, 8)
CLASSES = tuple("abcdefghij")


def facts(model="mlp", shape=SHAPE, classes=CLASSES, seed=3, **training):
    return Facts(model, shape, classes, seed, "", "", {"strategy": "fedpm", **training})


def images(count=32, shape=SHAPE):
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def masked(model="mlp", shape=SHAPE, density=0.3, seed=3, classes=10):
    """A network, its gates, and frozen weights under a random mask."""
    network = Network(models.build(model, shape, classes, seed=seed))
    gates = Gates(network, seed)
    mask = torch.rand(network.size, generator=torch.Generator().manual_seed(2)) < density
    return network, gates, gates.frozen * mask


@pytest.fixture
def file(tmp_path):
    network, gates, weights = masked()
    path = tmp_path / "model.fedgates"
    artifact.save(path, network, facts(), weights, gates=gates)
    return path


def logits(network, weights, x):
    network.weights.copy_(weights)
    with torch.no_grad():
        return network((x / 255 - 0.5) / 0.5)


@pytest.mark.parametrize(("model", "shape"), [("mlp", SHAPE), ("conv4", (1, 28, 28)), ("cnn", (3, 32, 32))])
@pytest.mark.parametrize("density", [0.5, 0.03])
def test_a_mask_comes_back_and_costs_its_entropy(tmp_path, model, shape, density):
    network, gates, weights = masked(model, shape, density)
    path = tmp_path / "model.fedgates"
    size = artifact.save(path, network, facts(model, shape), weights, gates=gates)
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
    size = artifact.save(path, network, facts(), values, gates=gates)
    assert size <= 4 * int((values != 0).sum()) + network.size / 8 + 2000
    assert fedgates.load(path).facts.weight_scale == ""
    torch.testing.assert_close(fedgates.load(path)(images()), logits(network, values, images()), rtol=0, atol=0)


def test_dense_weights_come_back(tmp_path):
    network = Network(models.build("mlp", SHAPE, 10, seed=5))
    weights = network.weights.clone()
    artifact.save(tmp_path / "m", network, facts(), weights)
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
    expected = dataclasses.replace(facts(), weight_scale="kaiming", digest=found.digest)
    assert found == expected
    assert len(bytes.fromhex(found.digest)) == 8


@pytest.mark.parametrize("model", ["resnet8", "vgg11"])
def test_a_batch_norm_has_the_statistics_of_the_images_it_was_tried_on(tmp_path, model):
    shape = (3, 32, 32)
    network, gates, weights = masked(model, shape)
    x = images(64, shape)
    artifact.save(tmp_path / "m", network, facts(model, shape), weights, gates=gates, images=x)
    found = fedgates.load(tmp_path / "m")
    with torch.no_grad():
        torch.testing.assert_close(found(x), logits(network, weights, x), rtol=1e-3, atol=1e-4)
        alone = torch.cat([found(x[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(alone, found(x)[:4], rtol=1e-3, atol=1e-4)  # whatever else is in the batch


def test_somebodys_own_batch_norm_has_them_too(tmp_path):
    def normed(input_shape, num_outputs):
        norm = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, num_outputs))

    network = Network(normed(SHAPE, 10))
    artifact.save(tmp_path / "m", network, facts("a:b"), network.weights.clone(), images=images(64))
    found = fedgates.load(tmp_path / "m", network=normed)
    torch.testing.assert_close(found(images())[:1], found(images()[:1]))


def test_without_images_a_batch_norm_goes_on_using_the_batch(tmp_path):
    shape = (3, 32, 32)
    network, gates, weights = masked("resnet8", shape)
    artifact.save(tmp_path / "m", network, facts("resnet8", shape), weights, gates=gates)
    x = images(8, shape)
    torch.testing.assert_close(fedgates.load(tmp_path / "m")(x), logits(network, weights, x))


def test_a_regression_has_one_output(tmp_path):
    network = Network(models.build("linear", (1, 1, 20), 0))
    artifact.save(tmp_path / "m", network, facts("linear", (1, 1, 20), ()), network.weights.clone())
    assert fedgates.load(tmp_path / "m")(images(4, (1, 1, 20))).shape == (4, 1)


def test_weights_of_units_that_no_path_uses_are_left_out(tmp_path):
    network, gates, weights = masked(density=0.01)
    size = artifact.save(tmp_path / "m", network, facts(), weights, gates=gates)
    found = fedgates.load(tmp_path / "m")
    left = sum(int((p != 0).sum()) for p in found.network.parameters())
    assert 0 < left < int((weights != 0).sum()) / 2
    p = left / network.size
    assert size < -network.size * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8 + 500
    torch.testing.assert_close(found(images()), logits(network, weights, images()))


# --- somebody's own network


def own(input_shape, num_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_outputs))


def own_file(folder, classes=CLASSES):
    network = Network(own(SHAPE, len(classes)))
    artifact.save(folder / "m", network, facts("test_artifact:own", classes=classes), network.weights.clone())
    return folder / "m", network


def test_an_own_network_is_built_by_the_function_that_is_given(tmp_path):
    path, network = own_file(tmp_path)
    x = images()
    expected = logits(network, network.weights.clone(), x)
    torch.testing.assert_close(fedgates.load(path, network=own)(x), expected, rtol=0, atol=0)


def test_what_a_file_names_is_not_imported(tmp_path):
    path, _ = own_file(tmp_path)
    with pytest.raises(ModelFileError, match=r"network 'test_artifact:own' is somebody's own: load\(\.\.\., network=\) takes"):
        fedgates.load(path)


def test_another_function_than_the_files_is_found_out(tmp_path):
    path, _ = own_file(tmp_path)
    with pytest.raises(ModelFileError, match="gates, expected"):
        fedgates.load(path, network=lambda s, n: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, n)))


# --- other files


def test_what_is_no_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent: No such file or directory$"):
        fedgates.load(tmp_path / "absent")


@pytest.mark.parametrize("data", [b"", b"FGMD", b"PK\3\4" + bytes(100), b"\x80\x04" + bytes(100)])
def test_a_foreign_file_is_named(tmp_path, data):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ModelFileError, match="m: no model file of fedgates"):
        fedgates.load(tmp_path / "m")


def test_every_cut_and_every_flipped_byte_is_found_out(file, tmp_path):
    data = file.read_bytes()
    damaged = tmp_path / "damaged"
    for length in range(0, len(data), 97):
        damaged.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            artifact.read(damaged)
    for at in range(0, len(data), 97):
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ModelFileError):
            artifact.read(damaged)


def resealed(data):
    return data[:-4] + struct.pack("<I", zlib.crc32(data[:-4]))


def with_facts(data, told):
    (length,) = struct.unpack_from("<I", data, 6)
    packed = zlib.compress(told if isinstance(told, bytes) else json.dumps(told).encode())
    return resealed(data[:6] + struct.pack("<I", len(packed)) + packed + data[10 + length :])


def told_by(data):
    (length,) = struct.unpack_from("<I", data, 6)
    return json.loads(zlib.decompress(data[10 : 10 + length]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet99"}, "somebody's own"),
        ({"model": "os:system"}, "somebody's own"),
        ({"model": 3}, "not those of a model"),
        ({"model": "conv4"}, "85002 gates, expected 458698"),
        ({"model": "conv10", "input_shape": [3, 64, 64]}, r"gates, expected"),
        ({"input_shape": [1, 8]}, "not those of a model"),
        ({"input_shape": [1, 8, -8]}, "not those of a model"),
        ({"input_shape": [1, 60000, 60000]}, "not those of a model"),
        ({"input_shape": [1, 3000, 3000]}, r"parameters, expected at most max_gates = 50,000,000"),
        ({"class_names": list("ab")}, "gates, expected"),
        ({"class_names": [1, 2]}, "not those of a model"),
        ({"seed": 4}, "digest"),
        ({"seed": -1}, "not those of a model"),
        ({"seed": "1"}, "not those of a model"),
        ({"weight_scale": "released"}, "digest"),
        ({"weight_scale": "huge"}, "not those of a model"),
        ({"weight_scale": ""}, "expected"),
        ({"training": []}, "not those of a model"),
        ({"training": {"x": float("nan")}}, "not those of a model"),
        ({"another": 1}, "not those of a model"),
    ],
)
def test_facts_that_do_not_fit(file, changes, message):
    data = file.read_bytes()
    file.write_bytes(with_facts(data, told_by(data) | changes))
    with pytest.raises(ModelFileError, match=message):
        fedgates.load(file)


@pytest.mark.parametrize("told", [b"", b"[" * 100_000, b"not json", b"[]", b"{}", b"\xff", b" " * 2_000_000])
def test_facts_that_are_none(file, told):
    file.write_bytes(with_facts(file.read_bytes(), told))
    with pytest.raises(ModelFileError, match="its facts are not those of a model"):
        fedgates.load(file)


@pytest.mark.parametrize("place", [4, 6])
def test_another_version_and_absurd_lengths(file, place):
    data = bytearray(file.read_bytes())
    data[place : place + 2] = b"\xff\xff"
    file.write_bytes(resealed(bytes(data)))
    with pytest.raises(ModelFileError, match=r"version 65535, expected 1|facts of|statistics of"):
        fedgates.load(file)


def test_statistics_for_a_network_without_norms_are_refused(file):
    data = file.read_bytes()
    (length,) = struct.unpack_from("<I", data, 6)
    at = 10 + length
    file.write_bytes(resealed(data[:at] + struct.pack("<I", 8) + bytes(8) + data[at + 4 :]))
    with pytest.raises(ModelFileError, match="8 bytes of statistics, expected 0"):
        fedgates.load(file)


# --- where Flower is not


def test_it_loads_where_flower_and_ray_are_not_installed(file):
    code = f"""
import sys

ABSENT = "flwr ray flwr_datasets torchvision matplotlib typer rich safetensors".split()

class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import torch, fedgates
model = fedgates.load({str(file)!r})
print(model(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.Size([1, 10])", done.stderr
