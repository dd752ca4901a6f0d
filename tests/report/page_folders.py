"""Folders of runs for tests, and parsed pages."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import torch
from PIL import Image
from round_lines import line as plain_line

from fedgates import model_file, models
from fedgates.nn.gates import Gates
from fedgates.nn.network import Network
from fedgates.report import write_page
from fedgates.types import Problem

VOID = {"meta", "link", "img"}


def line(server_round=1, **changes):
    """Return a line of rounds.jsonl: three of four clients replied, and the network has 1000 parameters."""
    own = {
        "accuracy": min(0.5 + server_round / 100, 0.99),
        "uplink_bytes": 3_000,
        "downlink_bytes": 8_000,
        "uplink_bpp": 8.0,
        "downlink_bpp": 16.0,
        "attempt": 1,
        "uplink": {"mask, side-info": {"messages": 3, "bytes": 3_000}},
        "downlink": {"votes": {"messages": 4, "bytes": 8_000}},
        "failed": {"2": "no reply within 5 s"},
        "theta_histogram": [100] * 5 + [0] * 10 + [100] * 5,
        "client_seconds": 0.2,
        "client_seconds_longest": 0.4,
        "accuracy_sample": 0.4,
        "accuracy_mean": 0.45,
        "model_density": 0.44,
    }
    return plain_line(server_round, **{**own, **changes})


def without(one, *keys):
    return {key: value for key, value in one.items() if key not in keys}


CONFIG = {"strategy": "fedpm", "dataset": "digits", "model": "mlp", "num-server-rounds": 3, "seed": 1, "simulated-clients": 4}


CONFUSION = {"round": 3, "classes": ["cat", "dog"], "counts": [[5, 1], [0, 7]]}


def write_folder(path, lines=None, config=None, samples=None, model=False, confusion=None):
    """Write the given files of a run and return their folder."""
    path.mkdir(exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    if lines is not None:
        (path / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    if samples is not None:
        (path / "predictions.json").write_text(json.dumps(samples))
    if confusion is not None:
        (path / "confusion.json").write_text(json.dumps(confusion))
    if model:
        write_model(path)
    return path


def write_model(path, name="mlp", classes=10, density=0.5, called=None):
    """Write a model file and return its numbers of nonzero weights and of weights. `called` is its name of the network."""
    problem = Problem.of_images((1, 8, 8), classes)
    network = Network(models.build(name, problem, seed=3))
    gates = Gates(network, 3, "kaiming")
    kept = torch.rand(network.size, generator=torch.Generator().manual_seed(1)) < density
    training = {"strategy": "fedpm", "rounds": 3, "fedgates": "0.1.0"}
    facts = model_file.Facts(called or name, problem, tuple(map(str, range(classes))), 3, "", "", training)
    model_file.save(path / "model.fedgates", network, facts, gates.frozen * kept, gates=gates)
    found = model_file.load(path / "model.fedgates", network=lambda *_: models.build(name, problem))
    return sum(int((parameter != 0).sum()) for parameter in found.parameters()), network.size


def png(side=8):
    file = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def predictions(*pairs, classes=("cat", "dog")):
    return {
        "classes": list(classes),
        "samples": [{"image": png(), "label": label, "predicted": found, "probability": 0.83} for label, found in pairs],
    }


def full(path, lines=None):
    """Write a folder with all files, a repeated attempt, evaluations on devices, and a client that did not evaluate."""
    evaluations = {"0": {"examples": 20, "accuracy": 0.9, "loss": 0.2}, "3": {"examples": 10, "accuracy": 0.6, "loss": 0.9}}
    evaluating = {
        "clients_evaluating": 2,
        "evaluation_downlink_bytes": 500,
        "evaluation_downlink": {"relay, side-info": {"messages": 2, "bytes": 500}},
        "evaluation_failed": {"1": "gone"},
        "client_evaluations": evaluations,
        "client_accuracy": 0.8,
    }
    lines = lines or [
        line(1, **evaluating),
        line(2, quorum=False, rejected={"1": "stale"}, clients_rejected=1, clients_counted=1, clients_failed=2),
        line(2, attempt=2, **evaluating),
        line(3, **evaluating),
    ]
    return write_folder(path, lines, CONFIG | {"learning-rate": 0.3}, predictions((0, 1), (1, 1)), True, CONFUSION)


class Page(HTMLParser):
    """A parsed page: its elements with their attributes, and its visible words. Every element must be closed."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self.open, self.words, self.headings = text, [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    @property
    def says(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]


def page_of(folder, **how):
    return Page(write_page(folder, **how).read_text(encoding="utf-8"))
