"""Losses and metrics of every task against independent calculations."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss, r2_score

from fedgates.errors import ConfigError
from fedgates.methods.evaluation import score
from fedgates.methods.training import loss_of
from fedgates.models import build
from fedgates.types import InputSpec, Problem

DRAW = torch.Generator().manual_seed(1)
LOGITS = torch.randn(12, 3, generator=DRAW)


def test_several_labels():
    y = (torch.rand(12, 3, generator=DRAW) < 0.4).byte()
    p = LOGITS.sigmoid()
    found = score(p, y)
    each = -(y * p.log() + (1 - y.float()) * (1 - p).log())
    assert loss_of(LOGITS, y).item() == pytest.approx(each.mean().item())
    assert found["loss"] == pytest.approx(each.mean().item())
    assert found["accuracy"] == pytest.approx(((p > 0.5) == y.bool()).float().mean().item())
    assert found["f1"] == pytest.approx(f1_score(y.numpy(), (p > 0.5).numpy(), average="micro"))


def test_several_labels_without_any_have_an_f1_of_zero():
    assert score(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.uint8))["f1"] == 0


def test_several_numbers():
    y = torch.randn(12, 3, generator=DRAW)
    found = score(LOGITS, y)
    assert loss_of(LOGITS, y).item() == pytest.approx(((LOGITS - y) ** 2).mean().item())
    assert found["r2"] == pytest.approx(r2_score(y.numpy(), LOGITS.numpy()), rel=1e-5)
    assert found["loss"] == pytest.approx(((LOGITS - y) ** 2).mean().item())


def test_positions_leave_the_ignored_out():
    logits = torch.randn(4, 3, 5, 2, generator=DRAW)
    y = torch.randint(0, 3, (4, 5, 2), generator=DRAW)
    y[0] = -100
    p = logits.softmax(1)
    found = score(p, y)
    kept = y != -100
    rows, labels = p.movedim(1, -1)[kept], y[kept]
    expected = log_loss(labels.numpy(), rows.double().numpy(), labels=[0, 1, 2])
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert loss_of(logits, y).item() == pytest.approx(expected, rel=1e-5)
    assert found["accuracy"] == pytest.approx((rows.argmax(1) == labels).float().mean().item())


def test_a_batch_in_which_all_is_ignored_has_no_loss():
    logits = torch.randn(2, 3, 5, generator=DRAW, requires_grad=True)
    loss = loss_of(logits, torch.full((2, 5), -100))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "y",
    [torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.int64)],
    ids=["labels", "numbers", "positions"],
)
def test_metrics_are_finite_whatever_the_predictions(y, bad):
    shape = (2, 3, 4) if y.dtype == torch.int64 else (2, 3)
    predictions = torch.full(shape, 0.3)
    predictions[0] = bad
    found = score(predictions, y)
    assert found["not_finite"] == 0.5
    assert all(np.isfinite(value) for value in found.values())


# --- built-in networks


@pytest.mark.parametrize(("outputs", "positions", "hinted"), [(2, (9,), True), (3, (9,), False), (2, (4, 4), False)])
def test_integer_labels_0_and_1_are_told_of_multi_label(outputs, positions, hinted):
    with pytest.raises(ConfigError) as error:
        build("mlp", Problem((InputSpec("x", (9,), "float32"),), "positions", outputs, positions))
    assert str(error.value).endswith('(labels 0 and 1: data.task = "multi-label")') == hinted


@pytest.mark.parametrize("name", ["mlp", "logistic", "linear"])
@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4, 5)])
def test_networks_for_any_shape(name, shape):
    task = "regression" if name == "linear" else "multi-label"
    problem = Problem((InputSpec("x", shape, "float32"),), task, 3)
    assert build(name, problem)(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "inputs", "task", "message"),
    [
        (
            "cnn",
            [InputSpec("x", (9, 3), "float32")],
            "classes",
            r"mlp, logistic or .*: this network is for images, but the inputs are float32",
        ),
        ("mlp", [InputSpec("x", (9,), "int64")], "classes", r"of your own: the inputs are int64 \[9\], such as tokens"),
        (
            "mlp",
            [InputSpec(n, (9,), "float32") for n in "ab"],
            "classes",
            r"of your own: the data have several inputs \(a, b\)",
        ),
        ("mlp", [InputSpec("x", (9,), "float32")], "positions", "of your own: the data set has a class for each position"),
    ],
)
def test_what_a_built_in_network_is_not_for_is_one_line(name, inputs, task, message):
    problem = Problem(tuple(inputs), task, 3, (9,) if task == "positions" else ())
    with pytest.raises(ConfigError, match=f"^model = '{name}': expected .*{message}"):
        build(name, problem)
