"""Files that are no models, damaged, or made to do harm: each is refused in one line, without much time or memory."""

import os
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from effort import cpu_seconds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_files import facts, images, masked, payload_at, resealed, statistics, told_by, with_facts, with_payload

import fedgates
from fedgates import model_file
from fedgates.errors import ModelFileError
from fedgates.wire import range_coder


@pytest.fixture(params=["constriction", "whole numbers"])
def decoder(request, monkeypatch):
    """Either way of reading range codes."""
    if request.param == "whole numbers":
        monkeypatch.setattr(range_coder, "constriction", None)


def refused(path, **more):
    """Why a file is refused; it must be a line."""
    with pytest.raises(ModelFileError) as caught:
        fedgates.load(path, **more)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert line.isprintable()
    return line.removeprefix(f"{path}: ")


# --- what is none


def test_what_is_not_there_or_cannot_be_read(tmp_path):
    assert refused(tmp_path / "absent") == "No such file or directory"
    assert refused(tmp_path) == "Is a directory"
    assert refused(tmp_path / ("x" * 300)) == "File name too long"
    assert "home directory" in refused("~nobody-of-this-name/m")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a model file of fedgates (it begins with b'', expected b'FGMD')"),
        (b"PK\3\4" + bytes(100), r"not a model file of fedgates (it begins with b'PK\x03\x04', expected b'FGMD')"),
        (b"\x80\x04" + bytes(100), r"not a model file of fedgates (it begins with b'\x80\x04\x00\x00', expected b'FGMD')"),
        (b"FGMD", "cut short"),
        (b"FGMD\4\0\0\0\0", "cut short"),
        (b"FGMD\4\0\0\0\0\0", "damaged, or cut short: its checksum does not match"),
        (b"FGMD\4\0" + bytes(16), "damaged, or cut short: its checksum does not match"),
        (b"FGMD\0\0" + bytes(16), "model file version 0, expected 4"),
        (b"FGMD\6\0" + bytes(16), "model file version 6, expected 4: load it with a newer fedgates"),
    ],
)
def test_what_is_no_whole_file_of_this_version(tmp_path, data, message):
    (tmp_path / "m").write_bytes(data)
    assert refused(tmp_path / "m") == message


def test_every_cut_and_every_flipped_byte_is_found_out(file, tmp_path):
    data = file.read_bytes()
    damaged = tmp_path / "damaged"
    for length in [*range(40), *range(40, len(data), 97)]:
        damaged.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            model_file.read_contents(damaged)
        with pytest.raises(ModelFileError):
            model_file.load(damaged)
    for at in range(0, len(data), 97):
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ModelFileError):
            model_file.read_contents(damaged)
        with pytest.raises(ModelFileError):
            model_file.load(damaged)


def test_no_more_is_read_than_a_model_can_have(file):
    with file.open("ab") as longer:
        longer.truncate(1 << 36)  # 64 GB that take no room
    tracemalloc.start()
    try:
        assert (
            refused(file, max_gates=85_002)
            == "more than 3,457,184 bytes, the most for 85,002 parameters (max_gates, or --max-gates)"
        )
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_what_never_ends_is_not_read():
    if not os.path.exists("/dev/zero"):  # noqa: PTH110  # it is no file
        pytest.skip("no /dev/zero here")
    assert refused("/dev/zero").startswith("not a model file of fedgates")


# --- sections


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (6, 2**32 - 1, r"facts of 4,294,967,295 bytes, expected at most 1,048,576"),
        (6, 1 << 20, r"facts of 1,048,576 bytes, in a file of"),
        ("statistics", 2**32 - 1, r"statistics of 4,294,967,295 bytes, expected at most"),
        ("statistics", 9500, r"statistics of 9,500 bytes, in a file of"),
        ("statistics", 1, "(1 bytes of statistics, expected 0|magic)"),
    ],
)
def test_absurd_lengths(file, place, value, message):
    data = bytearray(file.read_bytes())
    at = payload_at(bytes(data)) - 4 if place == "statistics" else place
    data[at : at + 4] = struct.pack("<I", value)
    file.write_bytes(resealed(bytes(data)))
    with pytest.raises(ModelFileError, match=message):
        fedgates.load(file)


def test_a_file_that_ends_behind_its_facts(file):
    data = file.read_bytes()
    file.write_bytes(resealed(data[: payload_at(data) - 4] + bytes(4)))
    assert refused(file) == "it ends before its statistics"


def test_a_file_without_a_payload(file):
    data = file.read_bytes()
    file.write_bytes(resealed(data[: payload_at(data)] + bytes(4)))
    assert refused(file) == "0 bytes, expected a header of 36"


# --- facts

NONE = "its facts are not valid"


def problem(outputs=10, **changes):
    """Facts with a problem whose only input has such changes."""
    spec = {"name": "x", "shape": [1, 8, 8], "dtype": "uint8", "mean": [0.5], "std": [0.5]} | changes
    return {"problem": {"inputs": [spec], "task": "classes", "outputs": outputs, "positions": []}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet99"}, "its network is 'resnet99', expected one of mlp, cnn, conv4, conv6, conv10, leaf-cnn"),
        ({"model": "\x1b[2J\nforged"}, "its network is '\\x1b[2J\\nforged', expected one of"),
        ({"model": "x" * 100_000}, "its network is 'xxxxxxxxx"),
        ({"model": "os:system"}, "its network is built by os:system, which is not imported automatically"),
        ({"model": 3}, NONE),
        ({"model": "conv4"}, "conv4 with its shapes has 458,698 parameters, expected 85,002 as in the file"),
        ({"model": "conv10", **problem(shape=[3, 64, 64])}, "parameters, expected 85,002"),
        ({"model": "vgg11"}, "model = 'vgg11': expected"),
        (problem(shape=[]), NONE),
        (problem(shape=[1, 8, -8]), NONE),
        (problem(shape=[1, 8, 8.0]), NONE),
        (problem(shape=[1, 60000, 60000]), NONE),
        (problem(shape=[1, 4096, 4096]), "mlp with its shapes has 4,295,035,914 parameters, expected 85,002"),
        ({**problem(2), "class_names": list("ab")}, "parameters, expected 85,002"),
        ({"class_names": list("ab")}, NONE),
        ({"class_names": [1, 2]}, NONE),
        ({"class_names": []}, NONE),
        ({"seed": 4}, "another network than the file's mlp: digest "),
        ({"seed": -1}, NONE),
        ({"seed": "1"}, NONE),
        ({"seed": 2**63}, NONE),
        ({"weight_scale": "released"}, "another network than the file's mlp: digest "),
        ({"weight_scale": "authors-code"}, NONE),  # its name in a file is "released"
        ({"weight_scale": "huge"}, NONE),
        ({"weight_scale": ""}, "another network than the file's mlp: digest "),
        ({"digest": "0" * 16}, "expected 0000000000000000"),
        ({"digest": "\n" * 99_999}, "another network than the file's mlp: digest "),
        (problem(mean=[0.5, 0.5]), NONE),
        (problem(std=[0.0]), NONE),
        (problem(std=[-0.5]), NONE),
        (problem(std=[float("inf")]), NONE),
        (problem(mean=["0.5"]), NONE),
        (problem(mean=None), NONE),
        (problem(dtype="float64"), NONE),
        (problem(name="not a name"), NONE),
        (problem(another=1), NONE),
        ({"problem": None}, NONE),
        ({"problem": {"inputs": [], "task": "classes", "outputs": 10, "positions": []}}, NONE),
        ({"problem": {**problem()["problem"], "task": "guess"}}, NONE),
        ({"problem": {**problem()["problem"], "positions": [3]}}, NONE),
        ({"problem": {**problem()["problem"], "outputs": 2**40}}, NONE),
        ({"training": []}, NONE),
        ({"training": {"x": float("nan")}}, NONE),
        ({"training": {"x": float("inf")}}, NONE),
        ({"training": {"x": [1]}}, NONE),
        ({"another": 1}, NONE),
        ({"layers": []}, "another network than the file's mlp: its layers differ"),
        ({"layers": [["1.weight", "Linear", [85_002]]]}, "another network than the file's mlp: its layers differ"),
        ({"layers": [["1.weight", "Linear"]]}, NONE),
        ({"layers": [["1.weight", 3, [2]]]}, NONE),
        ({"layers": [["1.weight", "Linear", [2, -1]]]}, NONE),
        ({"layers": [["1.weight", "Linear", [2, True]]]}, NONE),
        ({"layers": [["1.weight", "Linear", [1 << 20] * 99]]}, NONE),
        ({"layers": [["1.weight", "Linear", [1] * 17]]}, NONE),
        ({"layers": 1}, NONE),
        ({"whole": {"parameters": 1}}, NONE),
        ({"whole": {"parameters": 1, "multiply_adds": -1}}, NONE),
        ({"slim": {"parameters": 1, "multiply_adds": "1"}}, NONE),
    ],
)
def test_facts_that_do_not_fit(file, changes, message):
    data = file.read_bytes()
    file.write_bytes(with_facts(data, told_by(data) | changes))
    assert message in refused(file)
    assert cpu_seconds(lambda: refused(file)) < 2


@pytest.mark.parametrize(
    "told",
    [b"", b"[" * 100_000, b"not json", b"[]", b"{}", b"null", b"\xff", b" " * 2_000_000, b'{"seed": ' + b"9" * 9999 + b"}"],
)
def test_facts_that_are_none(file, told):
    file.write_bytes(with_facts(file.read_bytes(), told))
    assert refused(file) == NONE


def test_facts_that_unpack_to_very_much_are_not_unpacked(file):
    file.write_bytes(with_facts(file.read_bytes(), b" " * (1 << 27)))
    tracemalloc.start()
    try:
        assert refused(file) == NONE
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def test_facts_are_no_longer_than_they_may_be(file):
    data = file.read_bytes()
    (length,) = struct.unpack_from("<I", data, 6)
    longer = data[10 : 10 + length] + bytes((1 << 20) + 1 - length)
    file.write_bytes(resealed(data[:6] + struct.pack("<I", len(longer)) + longer + data[10 + length :]))
    assert refused(file) == "facts of 1,048,577 bytes, expected at most 1,048,576"


def test_facts_that_are_not_compressed(file):
    data = bytearray(file.read_bytes())
    data[10:12] = b"\0\0"
    file.write_bytes(resealed(bytes(data)))
    assert refused(file) == NONE


# --- weights


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: b"FGTT" + p[4:], "magic b'FGTT', expected b'FGTS'"),
        (lambda p: p[:4] + b"\3" + p[5:], "format version 3, expected 2"),
        (lambda p: p[:5] + b"\2" + p[6:], "a payload of votes, entropy, expected mask, entropy"),
        (lambda p: p[:6] + b"\3" + p[7:], "a payload of mask, side-info, expected mask, entropy"),
        (lambda p: p[:8] + b"\xff" * 4 + p[12:], "a network of 4,294,967,295 parameters, expected at most"),
        (lambda p: p[:8] + b"\1\0\0\0" + p[12:], "mlp with its shapes has 85,002 parameters, expected 1 as in the file"),
        (lambda p: p[:12] + b"\1" + p[13:], "round 1, expected 0"),
        (lambda p: p[:16] + bytes(8) + p[24:], "network digest 0000000000000000, expected "),
        (lambda p: p[:24] + b"\1" + p[25:], "ones, its header says"),
        (lambda p: p[:28] + b"\0\0\0\0" + p[32:], "the decoded mask does not match its CRC"),
        (lambda p: p[:-4], "the range code is"),
        (lambda p: p[:-1], "expected whole words of 4"),
        (lambda p: p + bytes(4), "the range code is not the one"),
        (lambda p: p[:36], "a body of 0 bytes, expected 6 to"),
        (lambda p: p[:42], "the range code is"),
        (lambda p: p[:36] + b"\xff" + p[37:], "a frequency's byte is 255, expected at most 208"),
        (lambda p: p[:100] + bytes([p[100] ^ 1]) + p[101:], "the (range code|mask|frequencies)"),
        (lambda p: p + bytes(1 << 20), "a body of"),
    ],
)
def test_payloads_that_are_not_sound_though_both_checksums_fit(file, change, message):
    file.write_bytes(with_payload(file.read_bytes(), change))
    with pytest.raises(ModelFileError, match=message):
        fedgates.load(file)
    refused(file)


@pytest.mark.usefixtures("decoder")
@given(st.integers(36, 3000), st.binary(min_size=1, max_size=8))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_stretch_of_a_mask_is_refused(file, at, stretch):
    data = file.read_bytes()
    changed = with_payload(data, lambda p: p[:at] + stretch + p[at + len(stretch) :])
    other = file.with_name("other")
    other.write_bytes(changed)
    if changed != data:
        refused(other)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(3, np.nan, np.float32), "a value is not finite"),
        (np.full(3, -np.inf, np.float32), "a value is not finite"),
        (np.zeros(3, np.float32), "one of the nonzero weights is zero"),
        (np.ones(3, np.float32), "the decoded state does not match its CRC"),
    ],
)
def test_weights_that_are_not_sound(file_of_values, values, message):
    data = file_of_values.read_bytes()
    file_of_values.write_bytes(with_payload(data, lambda p: p[: -4 * len(values)] + values.astype("<f4").tobytes()))
    assert refused(file_of_values) == message


# --- statistics


def normed(folder):
    network, gates, weights = masked("resnet8", (3, 32, 32))
    measured = statistics(network, weights, images(64, (3, 32, 32)))
    model_file.save(folder / "m", network, facts("resnet8", (3, 32, 32)), weights, gates=gates, statistics=measured)
    return folder / "m"


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [(0, np.nan, "its statistics are not finite"), (-4, np.inf, "its statistics are not finite"), (-4, -1, "a variance of")],
)
def test_statistics_that_cannot_be(tmp_path, at, value, message):
    path = normed(tmp_path)
    data = bytearray(path.read_bytes())
    end = payload_at(bytes(data))
    length = struct.unpack_from("<I", data, 10 + struct.unpack_from("<I", data, 6)[0])[0]
    place = end + at if at < 0 else end - length
    data[place : place + 4] = struct.pack("<f", value)
    path.write_bytes(resealed(bytes(data)))
    assert message in refused(path)


@pytest.mark.parametrize("model", ["mlp", "resnet8"])
def test_statistics_of_another_number(file, tmp_path, model):
    path = file if model == "mlp" else normed(tmp_path)
    data = path.read_bytes()
    at = payload_at(data)
    start = 10 + struct.unpack_from("<I", data, 6)[0]
    path.write_bytes(resealed(data[:start] + struct.pack("<I", 8) + bytes(8) + data[at:]))
    assert "8 bytes of statistics, expected " in refused(path)


# --- sizes


@pytest.mark.usefixtures("decoder")
def test_the_size_of_a_network_is_bounded_before_it_is_built(file, monkeypatch):
    monkeypatch.setattr("fedgates.models.build", lambda *_, **__: pytest.fail("it was built"))
    assert (
        refused(file, max_gates=85_001) == "a network of 85,002 parameters, expected at most 85,001 (max_gates, or --max-gates)"
    )
    monkeypatch.undo()
    assert torch.equal(fedgates.load(file, max_gates=85_002)(images()), fedgates.load(file)(images()))


@pytest.mark.parametrize("change", [lambda packed: packed + bytes(40), lambda packed: packed[:-4]])
def test_facts_are_one_whole_stream(file, change):
    data = file.read_bytes()
    (length,) = struct.unpack_from("<I", data, 6)
    packed = change(data[10 : 10 + length])
    file.write_bytes(resealed(data[:6] + struct.pack("<I", len(packed)) + packed + data[10 + length :]))
    assert refused(file) == NONE


def test_facts_that_no_reader_would_take_are_not_written(tmp_path):
    network, gates, weights = masked()
    with pytest.raises(ValueError, match=r"facts of [\d,]+ bytes, expected at most 1,048,576"):
        model_file.save(tmp_path / "m", network, facts(classes=("x" * 110_000,) * 10), weights, gates=gates)
    assert not (tmp_path / "m").exists()
