"""What TensorBoard reads in the event files of a run, beside its ledger."""

import pytest
from tracked import run, tracking

from fedgates.trackers import replay

pytest.importorskip("tensorboard", reason="no tensorboard: uv sync --extra tensorboard")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder):
    events = EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    return events.Reload()


def test_scalars_histograms_and_config_are_the_ledgers(raw):
    folder = run(raw(trackers="tensorboard", num_server_rounds=3))
    lines, events = folder.round_log.read(), read(folder)
    for key in ("accuracy", "loss", "density", "uplink_bytes", "downlink_bpp", "clients_counted", "seconds"):
        assert [(e.step, e.value) for e in events.Scalars(key)] == [(n + 1, pytest.approx(lines[n][key])) for n in range(3)], (
            key
        )
    moved = sum(line["uplink_bytes"] + line["downlink_bytes"] for line in lines)
    assert events.Scalars("megabytes")[-1].value == pytest.approx(moved / 1e6)
    assert "round" not in events.Tags()["scalars"]
    histogram = events.Histograms("theta")[-1]
    counts = lines[-1]["theta_histogram"]
    assert histogram.step == 3
    assert histogram.histogram_value.num == sum(counts)
    assert dict(zip(histogram.histogram_value.bucket_limit, histogram.histogram_value.bucket, strict=True)) == pytest.approx(
        {(part + 1) / len(counts): count for part, count in enumerate(counts)}
    )
    (text,) = events.Tensors("config/text_summary")
    assert b"num-server-rounds = 3" in text.tensor_proto.string_val[0]


def test_a_round_can_be_read_as_soon_as_it_was_told(raw):
    folder = run(raw(num_server_rounds=1))
    (line,) = folder.round_log.read()
    with tracking("tensorboard", folder.path, {"seed": 1}) as log:
        log(line)
        assert [e.step for e in read(folder).Scalars("accuracy")] == [1]


def test_a_method_without_gates_has_no_histogram(raw):
    events = read(run(raw(strategy="fedavg", trackers="tensorboard", num_server_rounds=1)))
    assert events.Tags()["histograms"] == []
    assert "accuracy" in events.Tags()["scalars"]


@pytest.mark.slow
def test_a_resumed_run_tells_no_round_twice(raw):
    folder = run(raw(trackers="tensorboard", num_server_rounds=3))
    (folder.path / "checkpoint-00003.safetensors").unlink()  # as if it had been killed after round 3's line
    run(raw(trackers="tensorboard", num_server_rounds=4, resume=str(folder.path)))
    assert [e.step for e in read(folder).Scalars("accuracy")] == [1, 2, 3, 4]


def test_a_run_that_is_told_again_replaces_its_files(raw):
    folder = run(raw(trackers="tensorboard", num_server_rounds=2))
    replay("tensorboard", folder.path)
    assert len(list((folder.path / "tensorboard").iterdir())) == 1
    assert [e.step for e in read(folder).Scalars("accuracy")] == [1, 2]
