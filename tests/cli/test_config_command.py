"""`fedgates config`: keys listed and explained, and files checked."""

import json
import tomllib
from pathlib import Path

import pytest
from command_line import command, refused

from fedgates.config.keys import all_keys
from fedgates.methods.registry import config_classes

ROOT = Path(__file__).resolve().parents[2]
METHODS = "coupled-masks, fedpm, fedmask, one-bit-gates, entropy-gates, sparsyfed, lips, topk, signsgd, fediht, fedavg"


def printed(capsys, *arguments):
    code, out, err = command(capsys, "config", *arguments)
    assert (code, err) == (0, "")
    return out


def test_config_lists_every_key_by_table(capsys):
    out = printed(capsys)
    assert out.startswith("Keys without a table\n")
    assert "\n[fedpm]  FedPM, and the methods that are based on it.\n" in out
    assert "\n  fedpm.eps = 0.001  (a number from 1e-06 to 0.499)\n" in out
    assert "\n  learning-rate = 0.0  (a number of at least 0; 0 is the method's own default)\n" in out


def test_config_lists_what_applies_to_a_method_with_its_defaults(capsys):
    out = printed(capsys, "--strategy", "sparsyfed")
    assert '\n  strategy = "sparsyfed"  ' in out
    assert "\n  learning-rate = 0.5  " in out
    assert "\n  sparsyfed.powerprop = 1.25  " in out
    assert "fedpm.eps" not in out


@pytest.mark.parametrize("name", ["fedpm.eps", "eps"])
def test_config_explains_a_key_by_either_name(capsys, name):
    lines = printed(capsys, name).splitlines()
    assert lines[0] == "fedpm.eps"
    assert "  old name:  eps" in lines
    assert "  used by:   fedpm, fedmask, one-bit-gates" in lines


def test_config_explains_a_table(capsys):
    lines = printed(capsys, "lips").splitlines()
    assert lines[0] == "[lips]  LIPS."
    assert [line.split()[0] for line in lines if line[2:3].strip()] == ["[lips]", "lips.every", "lips.density"]


def test_config_prints_a_method_s_own_learning_rates(capsys):
    methods = next(line for line in printed(capsys, "learning-rate").splitlines() if line.startswith("  methods:"))
    assert methods.startswith("  methods:   fedpm 0.1, fedmask 0.1, ")  # not of coupled-masks, which does not use the key
    assert "  default:   0.3\n" in printed(capsys, "learning-rate", "--strategy", "fedavg")


def test_config_prints_json_and_a_schema(capsys):
    found = json.loads(printed(capsys, "fedpm.eps", "--json"))
    assert [(key["key"], key["default"], key["old_name"]) for key in found] == [("fedpm.eps", 0.001, "eps")]
    every = json.loads(printed(capsys, "--json"))
    assert [key["key"] for key in every] == list(all_keys(config_classes().values()))
    assert "fediht" in json.loads(printed(capsys, "--schema"))["properties"]
    assert "fediht" not in json.loads(printed(capsys, "--schema", "--strategy", "fedpm"))["properties"]


def test_config_prints_a_block_and_a_page(capsys):
    block = tomllib.loads(printed(capsys, "--toml"))["tool"]["flwr"]["app"]["config"]
    assert block["fedpm"]["eps"] == 0.001
    assert printed(capsys, "--markdown").startswith("# Configuration\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["epss"], "KEY = 'epss': expected a key or a table of the configuration; did you mean fedpm.eps?"),
        (
            ["lips.every", "--strategy", "fedpm"],
            "KEY = 'lips.every': expected a key that strategy fedpm uses; this one is used by lips",
        ),
        (["lipz"], "KEY = 'lipz': expected a key or a table of the configuration"),
        (
            ["--strategy", "fedpn"],
            f"--strategy = 'fedpn': expected one of {METHODS} or \"module:Class\"; did you mean fedpm?",
        ),
        (["--json", "--toml"], "--toml and --json: expected one of them"),
        (["eps", "--schema"], "KEY and --schema: expected one of them"),
        (["--strategy", "json:loads"], "--strategy = 'json:loads': expected a method with a Config derived from"),
    ],
)
def test_config_refuses_what_it_does_not_know(capsys, arguments, line):
    assert refused(capsys, "config", *arguments).startswith(line)


# --- files


def written(folder, text, name="run.toml"):
    file = folder / name
    file.write_text(text)
    return file


def test_config_checks_our_own_app(capsys):
    out = printed(capsys, "--check", ROOT / "pyproject.toml")
    assert out == f"{ROOT / 'pyproject.toml'}: valid for strategy coupled-masks; every key is at its default\n"


@pytest.mark.parametrize("section", ["", "[tool.flwr.app]\n[tool.flwr.app.config]\n"])
def test_config_checks_a_file_and_prints_what_differs_from_the_defaults(capsys, tmp_path, section):
    table = "[tool.flwr.app.config.sgd]" if section else "[sgd]"
    file = written(tmp_path, f'{section}strategy = "fedavg"\ndata-dir = "/a b"\n{table}\nmomentum = 0.9\n')
    expected = f'{file}: valid for strategy fedavg; changed: data-dir="/a b" sgd.momentum=0.9\n'
    assert printed(capsys, "--check", file) == expected


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('strategy = "fedpm"\n[fedpm]\neps = 7', "fedpm.eps = 7: expected a number from 1e-06 to 0.499"),
        ('strategy = "fedpm"\neps = 7', "eps = 7: expected a number from 1e-06 to 0.499"),
        ("sead = 7", "sead = 7: expected a known key; did you mean seed?"),
        ('strategy = "fedpn"', f"strategy = 'fedpn': expected one of {METHODS} or \"module:Class\"; did you mean fedpm?"),
        ("strategy = 3", f'strategy = 3: expected one of {METHODS} or "module:Class"'),
        ("momentum = 0.9", "momentum = 0.9: expected 0.0: strategy coupled-masks does not use it"),
        (
            'strategy = "sparsyfed"',
            "density.target = 0.0: expected a share above 0: strategy sparsyfed needs one, such as density.target=0.1",
        ),
        ("seed = [1]", "seed = [1]: expected a whole number from 0 to 9,223,372,036,854,775,807"),
        ("[tool.flwr.app]\nconfig = 3", "config = 3: expected a known key"),
    ],
)
def test_config_names_the_file_and_the_key_that_is_wrong(capsys, tmp_path, text, line):
    file = written(tmp_path, text)
    assert refused(capsys, "config", "--check", file) == f"{file}: {line}"


def test_config_checks_a_file_for_another_method(capsys, tmp_path):
    file = written(tmp_path, "[sgd]\nmomentum = 0.9")
    assert printed(capsys, "--check", file, "--strategy", "lips").startswith(f"{file}: valid for strategy lips; changed: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "a file that can be read (No such file or directory)"),
        (b"a = ", "a file in TOML (Invalid value (at end of document))"),
        (b"a = '\xff'", "a file in UTF-8"),
    ],
)
def test_config_refuses_a_file_that_it_cannot_read(capsys, tmp_path, content, reason):
    file = tmp_path / "run.toml"
    if content is not None:
        file.write_bytes(content)
    assert refused(capsys, "config", "--check", file) == f"--check = {str(file)!r}: expected {reason}"


OWN = '''
from fedgates.config.fields import key
from fedgates.config.run_config import MaskConfig
from fedgates.config.tables import Table

class FadingTable(Table):
    """Votes that fade."""
    fade: int = key(2, "Votes of earlier rounds are divided by this each round.", ge=1, le=1000)

class FadingConfig(MaskConfig):
    fading: FadingTable = FadingTable()

class Fading:
    Config = FadingConfig
'''


def test_config_knows_a_method_beside_the_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    written(tmp_path, OWN, "own_method_for_config.py")
    text = 'strategy = "own_method_for_config:Fading"\n[fading]\nfade = 0'
    file = written(tmp_path, text)
    assert refused(capsys, "config", "--check", file) == f"{file}: fading.fade = 0: expected a whole number from 1 to 1,000"
    file.write_text(text.replace("fade = 0", "fade = 4"))
    assert "changed: fading.fade=4" in printed(capsys, "--check", file)
    out = printed(capsys, "fading", "--strategy", "own_method_for_config:Fading")
    assert out.startswith("[fading]  Votes that fade.\n  fading.fade = 2  (a whole number from 1 to 1,000)\n")


def test_config_s_help_has_an_example_for_every_option(capsys):
    out = " ".join(printed(capsys, "--help").replace("│", " ").split())
    assert out.endswith("Example: fedgates config --strategy sparsyfed")
    for example in (
        "--strategy lips",
        "--check run.toml",
        "--schema > schema.json",
        "--toml >>",
        "--markdown >",
        "fedpm.eps --json",
    ):
        assert f"fedgates config {example}" in out
