"""What is told of a model: much of it is told shortly to people, and whole to scripts."""

from pathlib import Path

from fedgates.model_file import Contents, Facts
from fedgates.model_file.description import facts_of, table
from fedgates.model_file.facts import Layer
from fedgates.nn.size import NetworkSize


def contents(layers=2, training=1):
    values = {f"fact{i}": i for i in range(training)}
    sizes = {"whole": NetworkSize(200, 300), "slim": NetworkSize(20, 30)}
    facts = Facts("mlp", (1, 8, 8), ("a", "b"), 3, "kaiming", "00" * 8, values, **sizes)
    return Contents(1234, facts, tuple((Layer(f"{i}.weight", "Linear", (10, 10)), 25) for i in range(layers)))


def test_it_says_what_is_in_the_file():
    assert table(facts_of(Path("m"), contents())).splitlines() == [
        "m: 1,234 bytes; dense float32 weights would be 800",
        "mlp, 200 parameters of which 50 are kept; weights frozen, kaiming, from seed 3",
        "images 1x8x8 (C x H x W), pixels from 0 to 1 normalised with mean 0.5 and deviation 0.5; 2 classes",
        "training: fact0 0",
        "",
        "0.weight  10x10  100  density 0.250",
        "1.weight  10x10  100  density 0.250",
        "",
        "without units that no path uses: 20 of 200 parameters, 30 of 300 multiply-adds an image",
    ]


def test_of_very_many_facts_and_layers_people_are_told_how_many_more():
    found = facts_of(Path("m"), contents(layers=1002, training=20_000))
    lines = table(found).splitlines()
    assert lines[3].endswith("fact39 39, and 19,960 more")
    assert lines[-4:-2] == ["999.weight  10x10  100  density 0.250", "and 2 more"]
    assert (len(found["training"]), len(found["layers"])) == (20_000, 1002)
