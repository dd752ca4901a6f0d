from pathlib import PurePath

import pytest

from fedgates.compare import read_study
from fedgates.compare.study import slug
from fedgates.errors import ConfigError

WHOLE = """
title = "Every method"
clients = 10
seeds = [3, 1]
targets = [0.9, 1]
metric = "accuracy_mean"
columns = ["model_density"]
curves = []
[config]
num-server-rounds = 30
partition = "iid"
[scenarios."IID, all clients"]
[scenarios."2 classes, 20 %"]
clients = 20
partition = "classes"
learning-rate = 0.2
[methods.fedpm]
[methods."fedpm, lambda 1"]
density-penalty = 1.0
learning-rate = 0.5
"""


@pytest.fixture
def study(tmp_path):
    def write(text):
        path = tmp_path / "of_mine.toml"
        path.write_text(text)
        return read_study(path)

    return write


def test_every_combination_is_a_job(study):
    jobs = study(WHOLE).jobs()
    assert [str(job) for job in jobs] == [
        "IID, all clients / fedpm / seed 3",
        "IID, all clients / fedpm / seed 1",
        "IID, all clients / fedpm, lambda 1 / seed 3",
        "IID, all clients / fedpm, lambda 1 / seed 1",
        "2 classes, 20 % / fedpm / seed 3",
        "2 classes, 20 % / fedpm / seed 1",
        "2 classes, 20 % / fedpm, lambda 1 / seed 3",
        "2 classes, 20 % / fedpm, lambda 1 / seed 1",
    ]
    assert [job.clients for job in jobs] == [10] * 4 + [20] * 4
    assert jobs[0].config == {"num-server-rounds": 30, "partition": "iid", "seed": 3}
    assert jobs[7].config == {
        "num-server-rounds": 30,
        "partition": "classes",
        "density-penalty": 1.0,
        "learning-rate": 0.5,  # the method's, not the scenario's
        "seed": 1,
    }
    assert jobs[7].folder == PurePath("2-classes-20", "fedpm-lambda-1", "seed1")
    assert len({job.folder for job in jobs}) == len({*jobs}) == 8


def test_tables_of_keys_are_dotted_keys(study):
    text = """
[config]
density.target = 0.1
[config.server]
quorum = 0.4
[scenarios.a]
data = { dirichlet-alpha = 0.3 }
[methods.b]
server.quorum = 0.3
"""
    (job,) = study(text).jobs()
    assert job.config == {"density.target": 0.1, "server.quorum": 0.3, "data.dirichlet-alpha": 0.3, "seed": 1}


def test_a_method_overrides_a_key_under_either_of_its_names(study):
    text = "[config]\nquorum = 0.4\nfedpm.eps = 0.01\n[methods.b]\nserver.quorum = 0.3\neps = 0.02"
    (job,) = study(text).jobs()
    assert job.config == {"server.quorum": 0.3, "eps": 0.02, "seed": 1}


def test_what_is_asked(study):
    question = study(WHOLE).question
    assert (question.title, question.metric, question.targets) == ("Every method", "accuracy_mean", (0.9, 1))
    assert (question.columns, question.curves) == (("model_density",), ())
    assert not question.smaller_is_better


def test_the_shortest_study(study):
    found = study("[methods.fedpm]")
    assert (found.question.title, found.question.metric, found.question.targets) == ("of_mine", "accuracy", ())
    assert (found.question.columns, found.question.curves) == (None, None)
    (job,) = found.jobs()
    assert (str(job), job.clients, job.config, job.folder) == (
        "fedpm / seed 1",
        10,
        {"seed": 1},
        PurePath("default/fedpm/seed1"),
    )


@pytest.mark.parametrize("metric", ["loss", "client_loss", "train_loss"])
def test_losses_are_better_when_smaller(study, metric):
    assert study(f"metric = '{metric}'\n[methods.a]").question.smaller_is_better


BAD = {
    "not TOML": ("seeds = [", "study = ", "a readable TOML file"),
    "unknown key": ("seed = [1]\n[methods.a]", "seed = [1]", "a key of a study file, one of title, clients"),
    "no methods": ("seeds = [1]", "methods = {}", "at least one table [methods.NAME]"),
    "empty methods": ("[methods]", "methods = {}", "at least one table [methods.NAME]"),
    "methods no table": ("methods = 3", "methods = 3", "tables [methods.NAME]"),
    "method no table": ("[methods]\na = 1", "methods.a = 1", "a table [methods.a] of run config keys"),
    "no seeds": ("seeds = []\n[methods.a]", "seeds = []", "at least one seed"),
    "same seed": ("seeds = [1, 2, 1]\n[methods.a]", "seeds = [1, 2, 1]", "without duplicates"),
    "seeds no list": ("seeds = 3\n[methods.a]", "seeds = 3", "a list of whole numbers"),
    "seed true": ("seeds = [true]\n[methods.a]", "seeds = [True]", "a list of whole numbers"),
    "seed 1.5": ("seeds = [1.5]\n[methods.a]", "seeds = [1.5]", "a list of whole numbers"),
    "target text": ("targets = ['.9']\n[methods.a]", "targets = ['.9']", "a list of numbers"),
    "target nan": ("targets = [nan]\n[methods.a]", "targets = [nan]", "a list of numbers"),
    "same target": ("targets = [1, 1.0]\n[methods.a]", "targets = [1, 1.0]", "without duplicates"),
    "columns": ("columns = [1]\n[methods.a]", "columns = [1]", "a list of keys of rounds.jsonl"),
    "curves": ("curves = 'a'\n[methods.a]", "curves = 'a'", "a list of keys of rounds.jsonl"),
    "title": ("title = 'a\\n'\n[methods.a]".replace("'", '"'), "title = 'a\\n'", "a text of one line"),
    "metric": ("metric = ''\n[methods.a]", "metric = ''", "a text of one line"),
    "clients": ("clients = 0\n[methods.a]", "clients = 0", "a whole number of at least 1"),
    "clients of a scenario": (
        "[scenarios.b]\nclients = 'x'\n[methods.a]",
        "scenarios.b.clients = 'x'",
        "a whole number of at least 1",
    ),
    "clients of a method": ("[methods.a]\nclients = 3", "methods.a.clients = 3", "set them for the study or for a scenario"),
    "clients in the config": (
        "[config]\nclients = 3\n[methods.a]",
        "config.clients = 3",
        "set them for the study or for a scenario",
    ),
    "seed of a method": ("[methods.a]\nseed = 3", "methods.a.seed = 3", "no seed here; set the key `seeds` of the study"),
    "output-dir": ("[config]\noutput-dir = 'x'\n[methods.a]", "config.output-dir = 'x'", "--runs"),
    "resume": (
        "[scenarios.b]\nresume = 'x'\n[methods.a]",
        "scenarios.b.resume = 'x'",
        "no resume here; a study starts its runs from the beginning",
    ),
    "table in a method": ("[methods.a.b]\nc = [1]", "methods.a.b.c = [1]", "true or false, a number or a text"),
    "same folder": (
        "[methods.'a b']\n[methods.'a%b']",
        "methods = 'a%b'",
        "a name whose folder, a-b, differs from that of 'a b'",
    ),
    "no folder": ("[methods.'%']", "methods = '%'", "a name with at least one letter or digit"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_study_files(study, name):
    text, found, expected = BAD[name]
    with pytest.raises(ConfigError) as error:
        study(text)
    message = str(error.value)
    assert message.startswith(found)
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "folder"),
    [("2 classes, 20 %", "2-classes-20"), ("λ=0.1", "λ=0.1"), ("../..", ""), ("-a--b-", "a-b"), ("a/b", "a-b"), (".a", "a")],
)
def test_folders_of_names(name, folder):
    assert slug(name) == folder
