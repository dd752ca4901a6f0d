"""Description of a model: limited in text, complete in JSON."""

from pathlib import Path

from fedgates.model_file import Contents, Facts
from fedgates.model_file.description import describe, table
from fedgates.model_file.facts import Layer
from fedgates.nn.size import NetworkSize
from fedgates.types import Problem


def contents(layers=2, training=1):
    values = {f"fact{i}": i for i in range(training)}
    sizes = {"whole": NetworkSize(200, 300), "slim": NetworkSize(20, 30)}
    facts = Facts("mlp", Problem.of_images((1, 8, 8), 2), ("a", "b"), 3, "kaiming", "00" * 8, values, **sizes)
    return Contents(1234, facts, tuple((Layer(f"{i}.weight", "Linear", (10, 10)), 25) for i in range(layers)))


def test_it_says_what_is_in_the_file():
    assert table(describe(Path("m"), contents())).splitlines() == [
        "m: 1,234 bytes; 800 as dense float32 weights",
        "mlp, 200 parameters, 50 of them kept; weights frozen, kaiming, from seed 3",
        "images 1x8x8 (C x H x W), pixels from 0 to 1 normalised with mean 0.5 and standard deviation 0.5; 2 classes",
        "training: fact0 0",
        "",
        "0.weight  10x10  100  density 0.250",
        "1.weight  10x10  100  density 0.250",
        "",
        "without dead units: 20 of 200 parameters, 30 of 300 multiply-adds per image",
    ]


def test_of_very_many_facts_and_layers_people_are_told_how_many_more():
    found = describe(Path("m"), contents(layers=1002, training=20_000))
    lines = table(found).splitlines()
    assert lines[3].endswith("fact39 39, and 19,960 more")
    assert lines[-4:-2] == ["999.weight  10x10  100  density 0.250", "and 2 more"]
    assert (len(found["training"]), len(found["layers"])) == (20_000, 1002)
