"""What clients measure: statistics of norms for the model file, and features for the start of a last layer."""

from typing import ClassVar

import norm_networks
import numpy as np
import pytest
import torch
from loopback_runs import LoopbackGrid, answer, client_of, run, run_on
from norm_networks import image_norms
from torch import nn

import fedgates
from client_app import app
from fedgates import data
from fedgates.data import normalise, to_tensors
from fedgates.data.digits import digits
from fedgates.methods.registry import configure
from fedgates.wire import CodingContext
from fedgates.wire.header import SUMS, peek
from fedgates.wire.sums import pack_sums

NETWORK = {"model": "norm_networks:image_norms", "local_epochs": 1}
pytestmark = pytest.mark.usefixtures("whole_runs")
METHODS = ["fedpm", "coupled-masks", "fedavg"]


def loaded(folder, network=image_norms):
    return fedgates.load(folder.path / "model.fedgates", network=network)


def pooled(config, clients):
    """All clients' training examples, one client after the other."""
    parsed = configure(config)[1]
    parts = data.shares(digits(), parsed, clients)
    return [to_tensors(digits().train.take(part), "cpu") for part in parts]


def inputs_of_norms(model, x):
    """The inputs of each norm where every norm before it uses the batch's statistics."""
    seen, handles = [], []
    network = model.network.eval()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    kept = [(m.running_mean, m.running_var) for m in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None
        norm.track_running_stats = False
        handles.append(norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])))
    with torch.no_grad():
        network(normalise(x))
    for norm, (mean, var), handle in zip(norms, kept, handles, strict=True):
        norm.running_mean, norm.running_var, norm.track_running_stats = mean, var, True
        handle.remove()
    return norms, seen


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("strategy", METHODS)
def test_a_models_norms_have_the_statistics_of_all_clients_examples(raw, strategy):
    config = raw(strategy=strategy)
    model = loaded(run(config, 3))
    found = [inputs_of_norms(model, x) for x, _ in pooled(config, 3)]
    norms = found[0][0]
    assert len(norms) == 3
    for i, norm in enumerate(norms):
        values = torch.cat([seen[i].transpose(0, 1).flatten(1).double() for _, seen in found], dim=1)
        assert torch.allclose(norm.running_mean.double(), values.mean(1), atol=1e-5)
        assert torch.allclose(norm.running_var.double(), values.var(1, correction=0), rtol=1e-4, atol=1e-6)


def test_a_finished_model_does_not_depend_on_the_batch(raw):
    model = loaded(run(raw(strategy="fedavg"), 3))
    images, _ = to_tensors(digits().test, "cpu")
    assert torch.allclose(model(images[:1]), model(images)[:1], atol=1e-5)
    assert torch.allclose(model(images)[7:8], model(images[7:8]), atol=1e-5)


def test_the_pass_needs_no_images_on_the_server(raw, tmp_path):
    images, test = digits().train, digits().test
    paths = []
    for i in range(2):
        part = images.take(np.arange(100) + 100 * i)
        paths.append(tmp_path / f"{i}.npz")
        np.savez(paths[-1], x_train=part.x, y_train=part.y, classes=np.array(digits().class_names))
    config = raw(strategy="coupled-masks", dataset="devices:8x8x1:10")
    folder = run_on(LoopbackGrid(app, config, node_configs=[{"data-path": str(path)} for path in paths]), config)
    model = loaded(folder)
    assert model.network[1].running_mean.abs().sum() > 0
    x, _ = to_tensors(test, "cpu")
    assert torch.allclose(model(x[:1]), model(x)[:1], atol=1e-5)


class Measured(LoopbackGrid):
    """Replaces what some clients measured."""

    kinds: ClassVar[list[str]] = []

    def deliver(self, message):
        reply = super().deliver(message)
        kind = message.metadata.message_type
        if kind.startswith("query."):
            self.kinds.append(kind)
            return self.tampered(message, reply)
        return reply

    def tampered(self, message, reply):
        return reply


def test_a_client_that_cannot_have_measured_that_is_left_out(raw, caplog):
    caplog.set_level("INFO")

    class Lying(Measured):
        def tampered(self, message, reply):
            if client_of(message) != 1:
                return reply
            payload = reply.content.array_records["update"]["payload"].data
            assert peek(payload).kind == SUMS
            return answer(message, payload[:-8])

    config = raw(strategy="fedavg")
    model = loaded(run(config, 3, Lying))
    assert "client 1 is left out of the measurement of norms: checksum does not match" in caplog.text
    assert "norms: measured by 2 of 3 clients" in caplog.text
    others = pooled(config, 3)
    found = [inputs_of_norms(model, others[i][0]) for i in (0, 2)]
    values = torch.cat([seen[0].transpose(0, 1).flatten(1).double() for _, seen in found], dim=1)
    assert torch.allclose(found[0][0][0].running_mean.double(), values.mean(1), atol=1e-5)


def test_a_client_cannot_outweigh_the_others(raw):
    """It claims to have summed over a thousand times as many values, of a mean that no other has."""

    class Boasting(Measured):
        def tampered(self, message, reply):
            if client_of(message) != 1:
                return reply
            sums = np.frombuffer(reply.content.array_records["update"]["payload"].data[36:], "<f8").copy()
            at = 0
            for channels in (6, 8, 10):
                sums[at] *= 1000
                sums[at + 1 : at + 1 + channels] = 5 * sums[at]
                sums[at + 1 + channels : at + 1 + 2 * channels] = 26 * sums[at]
                at += 1 + 2 * channels
            header = peek(reply.content.array_records["update"]["payload"].data)
            context = CodingContext(header.digest, (header.size,), header.server_round)
            return answer(message, pack_sums(sums, context, 1))

    config = raw(strategy="fedavg")
    boasted = loaded(run(config, 3, Boasting))
    mean = boasted.network[1].running_mean
    assert mean.max() < 5 * 10 / 12 + 0.5  # weighted as ten others, not as a thousand


def test_without_an_answer_a_model_uses_the_batch_and_the_log_has_a_line(raw, caplog):
    caplog.set_level("WARNING")

    class Silent(Measured):
        def tampered(self, message, reply):
            return None

    model = loaded(run(raw(strategy="fedavg", round_timeout=0.5), 2, Silent))
    assert "no client measured the batch norms" in caplog.text
    assert model.network[1].running_mean is None


@pytest.mark.slow
def test_a_network_without_norms_is_not_measured(raw):
    Measured.kinds.clear()
    run(raw(strategy="fedpm", model="tiny_network:build"), 2, Measured)
    assert Measured.kinds == []
    run(raw(strategy="fedpm", keep_best=True), 2, Measured)
    assert Measured.kinds == ["query.norms"] * 4  # of the last state and of the best


def test_norms_in_evaluation_mode_keep_their_statistics(raw):
    Measured.kinds.clear()
    folder = run(raw(strategy="coupled-masks", model="norm_networks:with_statistics"), 2, Measured)
    assert Measured.kinds == []
    model = loaded(folder, norm_networks.with_statistics)
    assert model.network[1].running_mean.tolist() == [0] * 6
    assert model.network[1].running_var.tolist() == [1] * 6
