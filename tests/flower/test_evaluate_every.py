"""`evaluate-every`: which rounds are evaluated, that the rest of a run is the same, and what shows lines without evaluation."""

import json
import logging
import re

import pytest
from loopback_runs import OF_THE_DOWNLINK, SMALL, Noting, last_checkpoint, run, run_on, without
from scripted_runs import by_script, killed

import fedgates
from client_app import app
from fedgates.compare import Question, group_runs, read_run, write_comparison
from fedgates.compare.numbers import Reached, curve, measure
from fedgates.federation import Problem, Server
from fedgates.flower import FlowerStrategy, LoopbackGrid
from fedgates.methods.registry import build, configure
from fedgates.report.curves import draw_curves
from fedgates.report.terminal import view
from fedgates.runs.listing import read_entry
from fedgates.runs.summary import summary_table
from fedgates.runs.table import runs_table
from fedgates.trackers import numbers

NETWORK = SMALL
OF_EVALUATIONS = ("accuracy", "loss", "accuracy_sample", "accuracy_mean", "model_density")


def evaluated(folder, key="accuracy"):
    return [line["round"] for line in folder.round_log.read() if line.get(key) is not None]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(("rounds", "every", "expected"), [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 5, [2]), (3, 1, [1, 2, 3])])
def test_every_nth_round_and_the_last_are_evaluated(raw, rounds, every, expected):
    folder = run(raw(num_server_rounds=rounds, evaluate_every=every))
    assert evaluated(folder) == evaluated(folder, "loss") == evaluated(folder, "model_density") == expected
    assert all("accuracy" in line and "loss" in line for line in folder.round_log.read())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedpm", "fedavg"])
def test_a_run_is_the_same_but_for_its_evaluations(raw, strategy):
    every, some = (run(raw(strategy=strategy, num_server_rounds=5, evaluate_every=n)) for n in (1, 2))
    assert last_checkpoint(some).read_bytes() == last_checkpoint(every).read_bytes()
    pairs = list(zip(without(every.round_log.read()), without(some.round_log.read()), strict=True))
    assert [one == other for one, other in pairs] == [False, True, False, True, True]
    for one, other in pairs:
        assert {k: v for k, v in one.items() if k not in OF_EVALUATIONS} == {
            k: v for k, v in other.items() if k not in OF_EVALUATIONS
        }


def test_clients_evaluate_in_the_same_rounds(raw):
    config = raw(num_server_rounds=5, evaluate_every=2, fraction_evaluate=0.5, samples_per_client=50)
    grid = Noting(app, config, 4)
    folder = run_on(grid, config)
    assert evaluated(folder) == evaluated(folder, "client_accuracy") == [2, 4, 5]
    assert sorted({at for at, _ in grid.evaluated}) == [3, 5, 6]  # the state of a round opens the next
    assert [line.get("clients_evaluating", 0) for line in folder.round_log.read()] == [0, 2, 0, 2, 2]


@pytest.mark.parametrize("last", [4, 5])
def test_a_strategy_of_ones_own_evaluates_in_the_same_rounds(raw, last):
    config = raw(num_server_rounds=8, evaluate_every=3, fraction_evaluate=1.0, samples_per_client=50)
    server = Server(build(*configure(config), Problem.of_images((1, 8, 8), 10)), Problem.of_images((1, 8, 8), 10))
    result = FlowerStrategy(server).start(LoopbackGrid(app, config, 3), num_rounds=last)
    assert sorted(result.evaluate_metrics_clientapp) == [3, last]


def test_a_resumed_run_evaluates_in_the_same_rounds(raw):
    config = raw(num_server_rounds=7, evaluate_every=3)
    whole, folder = run(config), killed(config, 5)
    resumed = run({**config, "resume": str(folder)})
    lines = [without(each.round_log.read(), *OF_THE_DOWNLINK) for each in (resumed, whole)]
    assert lines[0] == lines[1]


def test_a_stop_waits_for_an_evaluation(raw, monkeypatch):
    monkeypatch.setattr(Server, "evaluate", by_script)  # .2 .5 .4 .5 .3 .6
    assert evaluated(run(raw(num_server_rounds=6, evaluate_every=2, stop_patience=1))) == [2, 4]
    folder = run(raw(num_server_rounds=6, evaluate_every=4, stop_accuracy=0.4))
    assert len(folder.round_log.read()) == 4


# --- what shows a run


@pytest.fixture(scope="module")
def sparse(shared_raw, writing_everything):
    """A run of five rounds of which 2, 4 and 5 have accuracies .5, .5 and .3."""
    with pytest.MonkeyPatch.context() as patch, writing_everything():
        patch.setattr(Server, "evaluate", by_script)
        return run(shared_raw(num_server_rounds=5, evaluate_every=2, model="mlp"))


@pytest.fixture(scope="module")
def ended_early(shared_raw):
    """One that was killed in the fourth round, so that its last line has no evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "evaluate", by_script)
        return killed(shared_raw(num_server_rounds=5, evaluate_every=2), 4)


def test_the_progress_line_has_the_training_loss_instead(raw, caplog):
    caplog.set_level(logging.INFO, "fedgates")
    run(raw(num_server_rounds=2, evaluate_every=2))
    first, second = (line for line in caplog.text.splitlines() if "  density " in line)
    assert "round 1/2  training loss " in first
    assert "round 2/2  accuracy " in second


def test_a_list_of_runs_has_the_last_evaluation(ended_early):
    entry = read_entry(ended_early)
    assert (entry.rounds, entry.metric, entry.reached) == (3, "accuracy", 0.5)
    assert "50.0 %" in runs_table([entry])


def test_the_summary_has_the_last_evaluation(ended_early):
    lines = [json.loads(line) for line in (ended_early / "rounds.jsonl").read_text().splitlines()]
    assert [line["accuracy"] for line in lines] == [None, 0.5, None]
    assert "50.0 %" in summary_table(lines, "fedpm", 4810)


@pytest.mark.slow
def test_the_page_and_the_curves_are_of_the_evaluated_rounds(sparse):
    page = (sparse.path / "report.html").read_text()
    assert "Test accuracy, from 50.0 % to 30.0 %, by round" in page
    chart = page.partition('aria-label="Test accuracy, from')[2].partition("</svg>")[0]
    assert chart.count("<use ") == 3  # a dot for each evaluation
    shares = re.findall(r"<td>(\d)</td>\s*<td>([^<]+)<", page.partition("<summary>Every attempt at a round")[2])[:5]
    assert shares == [("1", "-"), ("2", "50.0 %"), ("3", "-"), ("4", "50.0 %"), ("5", "30.0 %")]
    assert "; best 50.0 % in round 2" in page
    assert "left out" not in page.lower()
    assert (sparse.path / "curves.png").is_file()


def test_curves_of_a_run_without_any_evaluation_yet_show_the_training_loss(raw):
    folder = killed(raw(num_server_rounds=5, evaluate_every=4), 3)
    assert draw_curves(folder, 4810).is_file()


def test_the_view_of_a_running_run(sparse):
    rows = view(sparse.round_log.read(), 5, "a run", "the end", 120, 20).splitlines()[1:-1]
    assert rows[0].split()[:2] == ["round", "accuracy"]
    assert [row.split()[1] for row in rows[1:]] == ["-", "50.0", "-", "50.0", "30.0"]


def test_trackers_get_no_null(sparse):
    found = [numbers(line) for line in sparse.round_log.read()]
    assert ["accuracy" in one for one in found] == [False, True, False, True, True]
    assert all("train_loss" in one for one in found)


def test_a_comparison_is_of_the_evaluated_rounds(sparse, tmp_path):
    found = read_run(sparse.path)
    measured = measure(found, Question("t", targets=(0.5, 0.9)), ("model_density",))
    bytes_of = [line["uplink_bytes"] + line["downlink_bytes"] for line in found.lines]
    assert measured.metric == 0.3
    assert measured.reached == {0.5: Reached(2, sum(bytes_of[:2])), 0.9: None}
    (group,) = group_runs([found])
    drawn = curve(group, "accuracy")
    assert (drawn.rounds, drawn.mean) == ([2, 4, 5], [0.5, 0.5, 0.3])
    assert drawn.bytes == [sum(bytes_of[:n]) for n in (2, 4, 5)]
    assert "| coupled-masks | 30.0 |" in write_comparison(tmp_path / "out", Question("t"), [group], "c")


def test_the_history_of_a_simulation(raw):
    result = fedgates.simulate(raw(num_server_rounds=3, evaluate_every=2), 2, progress=True)
    assert result.history["accuracy"].isna().tolist() == [True, False, False]
