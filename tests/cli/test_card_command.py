"""`fedgates card`: the model card, read by the Hub's own library, and the files beside it."""

import json
import re
import shutil

import pytest
import torch
from command_line import command, refused
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import fedgates
from fedgates.runs.round_log import RoundLog


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run, to be changed."""
    return shutil.copytree(trained, tmp_path / "run")


def changed(run, **settings):
    """Change the run's config; names have underscores for dashes."""
    values = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(values | {key.replace("_", "-"): value for key, value in settings.items()}))


@pytest.mark.slow
def test_the_hub_reads_the_card(capsys, run):
    assert command(capsys, "card", run) == (0, f"written: {run / 'card'}\n", "")
    assert sorted(path.name for path in (run / "card").iterdir()) == ["README.md", "model.fedgates", "model.safetensors"]
    data = ModelCard.load(run / "card" / "README.md").data
    config, last = json.loads((run / "config.json").read_text()), RoundLog(run).read()[-1]
    assert (data.library_name, data.pipeline_tag, data.metrics) == ("fedgates", "image-classification", ["accuracy"])
    assert {"federated-learning", config["strategy"]} <= set(data.tags)
    assert data.model_name == f"{config['strategy']}-mlp-digits"
    assert {(each.metric_type, each.metric_value) for each in data.eval_results} == {
        ("accuracy", last["accuracy"]),
        ("loss", last["loss"]),
    }
    assert {(each.task_type, each.dataset_name) for each in data.eval_results} == {("image-classification", "digits")}


def test_the_files_are_the_model_and_the_code_of_the_card_loads_them(capsys, run, monkeypatch):
    command(capsys, "card", run)
    assert (run / "card" / "model.fedgates").read_bytes() == (run / "model.fedgates").read_bytes()
    (code,) = re.findall(r"```python\n(.*?)```", (run / "card" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(run / "card")
    names = {}
    exec(code, names)
    expected = fedgates.load(run / "model.fedgates").network.state_dict()
    for found in (load_file("model.safetensors"), names["model"].network.state_dict()):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_what_the_card_says(capsys, run):
    changed(run, local_epochs=7)
    command(capsys, "card", run)
    text, lines = (run / "card" / "README.md").read_text(), RoundLog(run).read()
    up, down = (sum(line[f"{way}_bytes"] for line in lines) for way in ("uplink", "downlink"))
    assert f"| all messages | {up:,} | {down:,} | {up + down:,} |" in text
    assert f"| Test accuracy | {lines[-1]['accuracy']:.4g} |" in text
    assert "with 85,002 parameters, of which " in text
    assert ": 8 rounds of the method coupled-masks on 10 simulated clients." in text
    assert "| local-epochs | 7 |" in text
    assert "coupled-masks.max-step" not in text  # has its default
    assert f"| torch | {json.loads((run / 'config.json').read_text())['software']['torch']} |" in text


def test_the_best_model_has_a_card_of_its_own(capsys, run):
    shutil.copy(run / "model.fedgates", run / "model-best.fedgates")
    assert command(capsys, "card", run / "model-best.fedgates", "--out", run / "best")[0] == 0
    assert (run / "best" / "model.fedgates").is_file()


def test_a_card_names_no_folders_and_no_secrets(capsys, run):
    changed(
        run,
        dataset="npz:/home/alice/scans.npz",
        data_dir="/home/alice",
        trackers="wandb=secret/project",
        output_dir="/home/alice/runs",
        weights=r"C:\alice\first.safetensors",
    )
    command(capsys, "card", run)
    text = (run / "card" / "README.md").read_text()
    assert "alice" not in text
    assert "secret" not in text
    assert ModelCard(text).data.eval_results[0].dataset_name == "npz:scans.npz"
    assert "| weights | first.safetensors |" in text


def test_no_value_is_read_as_yaml_or_markdown(capsys, run):
    bad = "a: [b]\n---\n# c | <script> `d` *e* [f](g) & ${h}"
    changed(run, strategy=bad, dataset=bad, own=bad)
    command(capsys, "card", run)
    text = (run / "card" / "README.md").read_text()
    card = ModelCard(text)
    assert bad in card.data.tags
    assert card.data.eval_results[0].dataset_name == bad
    assert len(re.findall(r"^# ", card.text, re.MULTILINE)) == 1
    escaped = r"a: \[b\] --- \# c | \<script\> \`d\` \*e\* \[f\]\(g\) \& \$\{h\}"
    assert f"rounds of the method {escaped} on" in card.text
    (row,) = [line for line in card.text.splitlines() if line.startswith("| own | ")]
    assert row == f"| own | {escaped.replace('|', chr(92) + '|')} |"


def test_where_no_card_is_written(capsys, run, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (run, tmp_path / "file"):
        line = f"--out = {str(place)!r}: expected a new or empty folder"
        assert refused(capsys, "card", run, "--out", place) == line
    command(capsys, "card", run)
    assert refused(capsys, "card", run).startswith("--out = ")
    (run / "model.fedgates").unlink()
    assert "expected a run with a model.fedgates; run has 8 of 8 rounds" in refused(capsys, "card", run)
    assert "expected the folder of a run" in refused(capsys, "card", tmp_path / "absent")
