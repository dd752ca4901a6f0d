import json
import re

import pytest
from page_folders import CONFIG, CONFUSION, Page, full, line, page_of, predictions, without, write_folder, write_model

from fedgates.report import write_page

ALL = [
    "Accuracy",
    "Accuracy by class",
    "Evaluation on devices",
    "Traffic",
    "Density",
    "Gate probabilities",
    "Clients",
    "Failures",
    "Rounds",
    "Sample predictions",
    "Configuration",
    "Reproduce this run",
]


def labels(page):
    return [svg["aria-label"] for svg in page.all("svg") if "aria-label" in svg]


def test_a_page_with_everything(tmp_path):
    page = page_of(full(tmp_path))
    assert page.headings == ALL
    for words in (
        "fedpm on digits",
        "mlp with 1,000 parameters, 4 simulated clients, 3 rounds, and 1 attempt without a quorum",
        "53.0 % after round 3",
        "45.5 kB",  # 4 * 11,000 and 3 * 500
        "12.0 kB up, 33.5 kB down",
        "2.90 ×",  # noqa: RUF001  # 4,000 bytes for 11 replies and 22 states: 132,000 / 45,500
        "3 rounds, and 1 attempt without a quorum in 8.00 s",
        "1 attempt had no quorum and left the state unchanged.",
        "4 replies of 1 client, last in round 3, failed: no reply within 5 s",
        "1 reply of 1 client, last in round 2, attempt 1, rejected: stale",
        "up: mask, side-info 12 12.0 kB 1.00 kB 8.000",
        "to evaluate: relay, side-info",
        "Failures: 8 replies in 4 attempts",
        "Round 2, attempt 1, no quorum",
        "client 1 rejected: stale",
        "client 2 failed: no reply within 5 s",
        "client 1 did not evaluate: gone",
        "✗ dog (true: cat) 83 %",
        "✓ dog 83 %",
        "learning-rate 0.3 0.1",
        "cat 83.3 % 6",
        "dog 100.0 % 7",
        "cat 5 1 dog 0 7",
        "cat predicted as dog : 1 example, 16.7 % of the class",
        "thresholded mask 53.0 % one sampled mask 40.0 % mean network 45.0 %",
        "one round of dense float32 FedAvg: 40.0 kB",
        "mask, side-info 12.0 kB in total",
        "below .05: dropped 10.0 % .05 to .35 40.0 %",
        "2, attempt 1 - - 45.7 % 3.00 kB 8.00 kB 1 of 4 2.00 s",
    ):
        assert words in page.says, words


def test_charts_say_what_they_show(tmp_path):
    found = labels(page_of(full(tmp_path)))
    assert "Test accuracy, from 51.0 % to 53.0 %, by round" in found
    assert "Test accuracy, from 51.0 % to 53.0 %, by bytes moved, from 11.5 kB to 45.5 kB" in found
    assert "Bytes down per attempt: 33.5 kB in total" in found
    assert "Gates below .05 or above .95: 20.0 % after the first round, 20.0 % after the last" in found
    assert "Replies per attempt; in total 10 accepted, 1 rejected, 5 failed" in found


def test_a_failed_attempt_counts_its_bytes_but_not_its_metric(tmp_path):
    lines = [line(1), line(2, quorum=False, accuracy=0.99), line(2, attempt=2, accuracy=0.6)]
    page = page_of(write_folder(tmp_path, lines, CONFIG))
    assert "Test accuracy, from 51.0 % to 60.0 %, by bytes moved, from 11.0 kB to 33.0 kB" in labels(page)
    assert "99.0 %" not in page.text
    assert "2 of 3 rounds, and 1 attempt without a quorum" in page.says


def test_the_best_round_is_shown_if_it_is_not_the_last(tmp_path):
    lines = [line(1, accuracy=0.9), line(2, accuracy=0.8)]
    assert "80.0 % after round 2; best 90.0 % in round 1" in page_of(write_folder(tmp_path, lines, CONFIG)).says


def test_each_layer_of_the_model_with_its_density(tmp_path):
    write_folder(tmp_path, [line()], CONFIG)
    kept, size = write_model(tmp_path, density=0.1)
    page = page_of(tmp_path)
    assert "1 Linear" in page.says
    assert "of 65,792" in page.says
    assert f"All units {size:,} {kept:,} 84,480" in page.says
    assert "Without dead units" in page.says


def test_a_run_that_moves_more_than_dense_fedavg(tmp_path):
    less = page_of(write_folder(tmp_path, [line()], CONFIG)).says
    assert "Fewer bytes than dense FedAvg 2.55 ×" in less  # noqa: RUF001
    more = page_of(write_folder(tmp_path, [line(uplink_bytes=100_000, uplink_bpp=800 / 3)], CONFIG)).says
    assert "More bytes than dense FedAvg 3.86 ×" in more  # noqa: RUF001
    assert "Fewer bytes than" not in more


def test_columns_of_attempts_are_labelled_where_rounds_begin(tmp_path):
    lines = [line(r, attempt=a, quorum=a == 3) for r in range(1, 9) for a in (1, 2, 3)]
    page = write_page(write_folder(tmp_path, lines, CONFIG)).read_text()
    chart = page.partition('aria-label="Replies per attempt')[2].partition("</svg>")[0]
    assert re.findall(r"text-anchor: middle[^>]*>(\w+)<", chart) == [str(r) for r in range(1, 9)]


def test_columns_of_gates_are_labelled_with_their_rounds(tmp_path):
    page = write_page(full(tmp_path)).read_text()
    chart = page.partition('aria-label="Gates below')[2].partition("</svg>")[0]
    assert re.findall(r"text-anchor: middle[^>]*>(\w+)<", chart) == ["1", "2", "3"]


def test_a_single_codec_is_named(tmp_path):
    page = page_of(write_folder(tmp_path, [line()], CONFIG))
    assert "mask, side-info 3.00 kB in total" in page.says
    assert "votes 8.00 kB in total" in page.says


@pytest.mark.parametrize(("seconds", "unit"), [(3.0, "s"), (900.0, "min"), (30_000.0, "h")])
def test_long_rounds_are_in_minutes_and_hours(tmp_path, seconds, unit):
    page = write_page(write_folder(tmp_path, [line(i, seconds=seconds) for i in (1, 2)], CONFIG)).read_text()
    chart = page.partition('aria-label="Time per round')[2].partition("</svg>")[0]
    ticks = re.findall(r"text-anchor: end[^>]*>([^<]+)<", chart)[1:]
    assert ticks
    assert all(tick.endswith(f" {unit}") and "e+" not in tick for tick in ticks)


def test_a_run_that_diverged_is_drawn(tmp_path):
    lines = [without(line(i, accuracy=None, r2=-(10.0 ** (9 * i)), loss=10.0 ** (9 * i)), "accuracy_mean") for i in (1, 2, 3)]
    page = page_of(write_folder(tmp_path, lines, CONFIG))
    assert "Test r2 -1e+27 after round 3" in page.says
    assert len(page.says) < 5000


# --- what is not there is left out


@pytest.mark.parametrize(
    ("lines", "gone", "there"),
    [
        ([line(accuracy=None, client_accuracy=0.7)], [], ["Accuracy on devices' held-out examples 70.0 % after round 1"]),
        (
            [without(line(accuracy=None), "accuracy_mean", "accuracy_sample") | {"r2": 0.25}],
            ["Accuracy"],
            ["Test r2 0.250 after round 1"],
        ),
        ([line(accuracy=None, loss=None)], ["Accuracy"], ["Training loss of the clients 0.700"]),
        ([line(accuracy=None, loss=None, train_loss=None)], ["Accuracy"], []),
        ([without(line(density=1.0, model_density=1.0), "theta_histogram")], ["Density", "Gate probabilities"], []),
        ([without(line(), "theta_histogram")], ["Gate probabilities"], []),
        ([without(line(), "theta_histogram", "attempt", "quorum")], ["Gate probabilities"], ["Density by round"]),
        ([line(density=None, uplink={}, downlink={}, uplink_bytes=0, downlink_bytes=0)], ["Traffic"], []),
        ([line(failed={})], [], ["No reply was rejected and no client failed."]),
        (
            [line(quorum=False), line(quorum=False, attempt=2)],
            ["Accuracy", "Density", "Gate probabilities"],
            ["0 of 3 rounds"],
        ),
        (
            [],
            ["Accuracy", "Traffic", "Density", "Gate probabilities", "Clients", "Failures", "Rounds"],
            ["Ended early, before the first of 3 rounds."],
        ),
    ],
)
def test_sections_without_data_are_left_out(tmp_path, lines, gone, there):
    page = page_of(write_folder(tmp_path, lines, CONFIG))
    always = [title for title in ALL if title not in {"Accuracy by class", "Evaluation on devices", "Sample predictions"}]
    first = [title for title in page.headings if title in {"r2", "Loss"}]
    assert page.headings == first + [title for title in always if title not in gone]
    assert all(words in page.says for words in there)


def test_a_log_alone(tmp_path):
    page = page_of(write_folder(tmp_path / "some-run", [line(1), line(2)]))
    assert page.headings == ["Accuracy", "Traffic", "Density", "Gate probabilities", "Clients", "Failures", "Rounds"]
    assert "some-run" in page.says


def test_devices_without_classes_show_their_loss(tmp_path):
    found = {"0": {"examples": 5, "loss": 0.25}, "1": {"examples": 5, "loss": 0.75}}
    page = page_of(write_folder(tmp_path, [line(client_evaluations=found, client_loss=0.5)], CONFIG))
    assert "Loss on devices' held-out examples" in page.says
    assert "device examples loss client 1 5 0.750 client 0 5 0.250" in page.says


def test_the_software_of_a_run(tmp_path):
    software = {"fedgates": "1.2.0", "python": "3.11.9", "torch": "2.5.1+cpu", "commit": "0123abcd" * 5 + "-dirty"}
    page = page_of(write_folder(tmp_path, [line()], CONFIG | {"software": software}))
    rows = " ".join(f"{name} {version}" for name, version in software.items())
    assert f"Software of the run package version or commit {rows}" in page.says
    assert "All 6 keys" in page.says
    assert "Software" not in page_of(write_folder(tmp_path, [line()], CONFIG)).says


def test_real_devices(tmp_path):
    page = page_of(write_folder(tmp_path, [line()], CONFIG | {"simulated-clients": None}))
    assert "real devices" in page.says
    assert "num-supernodes" not in page.text


# --- accuracy by class


def confusion_of(count):
    """A matrix of `count` classes of 10 examples: class i is right in i % 10 + 1 of them, and else predicted as the next."""
    counts = [[0] * count for _ in range(count)]
    for i in range(count):
        counts[i][i] = i % 10 + 1
        counts[i][(i + 1) % count] += 9 - i % 10
    return {"round": 1, "classes": [f"class {i}" for i in range(count)], "counts": counts}


def test_few_classes_are_a_table_of_counts(tmp_path):
    page = page_of(write_folder(tmp_path, [line()], CONFIG, confusion=confusion_of(20)))
    assert "Confusion matrix: test examples of each class (rows) by predicted class (columns)" in page.says
    assert "class 3 40.0 % 10" in page.says
    assert "class 3 0 0 0 4 6 0" in page.says
    assert "class 0 predicted as class 1 : 9 examples, 90.0 % of the class" in page.says
    assert "and 8 rarer confusions" in page.says


def test_many_classes_are_a_picture_and_the_lowest_of_them(tmp_path):
    small = write_page(write_folder(tmp_path, [line()], CONFIG)).stat().st_size
    page = page_of(write_folder(tmp_path, [line()], CONFIG, confusion=confusion_of(200)))
    assert len(page.text) - small < 60_000
    assert "Confusion matrix of 200 classes" in labels(page)
    assert "The 10 classes with the lowest accuracy, of 200 class accuracy examples class 0 10.0 % 10 class 10" in page.says
    assert "All 200 classes" in page.says
    assert page.text.count("<image") == 1


def test_a_class_without_examples_has_no_accuracy(tmp_path):
    page = page_of(write_folder(tmp_path, [line()], CONFIG, confusion={**CONFUSION, "counts": [[5, 1], [0, 0]]}))
    assert "dog – 0" in page.says  # noqa: RUF001


# --- navigation and axes


def test_every_section_can_be_reached(tmp_path):
    page = page_of(full(tmp_path))
    ids = [section["id"] for section in page.all("section")]
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in ids]
    assert len(ids) == len(page.headings) == len(ALL)


def test_noise_is_not_magnified(tmp_path):
    lines = [without(line(i, accuracy=0.97 + i / 1000), "accuracy_mean", "accuracy_sample") for i in (1, 2, 3)]
    page = write_page(write_folder(tmp_path, lines, CONFIG)).read_text()
    chart = page.partition('aria-label="Test accuracy, from')[2].partition("</svg>")[0]
    assert re.findall(r"text-anchor: end[^>]*>([^<]+ %)<", chart) == ["90 %", "92 %", "94 %", "96 %", "98 %", "100 %"]


# --- long runs


def test_thirty_rounds_are_small(tmp_path):
    write_folder(tmp_path, [line(i) for i in range(1, 31)], CONFIG, predictions(*[(0, 1)] * 24), model=True)
    assert write_page(tmp_path).stat().st_size < 120_000


@pytest.mark.slow
def test_a_thousand_rounds_with_hundreds_of_reasons_each(tmp_path):
    failed = {str(client): f"gone {client}" for client in range(200)}
    page = page_of(write_folder(tmp_path, [line(i, failed=failed) for i in range(1, 1001)], CONFIG))
    assert len(page.text) < 400_000
    assert "and 188 more" in page.says
    assert "and 960 more attempts" in page.says
    assert "Bytes up per round, means of 20" in page.says
    assert "100 of 1000 attempts, evenly spaced" in page.says
    assert "Bytes up per round, means of 20: 3.00 MB in total" in labels(page)


def test_kinds_of_payloads_beyond_the_colours_are_added_up(tmp_path):
    many = {f"kind {i}": {"messages": 1, "bytes": 100 - i} for i in range(30)}
    page = page_of(write_folder(tmp_path, [line(uplink=many, uplink_bytes=sum(one["bytes"] for one in many.values()))], CONFIG))
    assert "kind 3 97 bytes in total others" in page.says
    assert "and 11 other kinds" in page.says


def test_many_devices_are_cut(tmp_path):
    found = {str(i): {"examples": 5, "accuracy": i / 100, "loss": 1.0} for i in range(100)}
    page = page_of(write_folder(tmp_path, [line(client_evaluations=found, client_accuracy=0.5)], CONFIG))
    assert "and 60 more" in page.says


# --- the file


def test_equal_folders_give_equal_pages_and_an_older_page_is_replaced(tmp_path):
    folder = full(tmp_path)
    first = write_page(folder).read_bytes()
    assert write_page(folder).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "confusion.json",
        "model.fedgates",
        "predictions.json",
        "report.html",
        "rounds.jsonl",
    ]


def test_nothing_is_fetched_and_nothing_runs(tmp_path):
    page = page_of(full(tmp_path))
    sources = [attributes[key] for _, attributes in page.elements for key in ("src", "href") if key in attributes]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not page.all("script")
    assert "url(" not in page.text
    assert "@import" not in page.text
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


HOSTILE = "<script>alert(1)</script>\"' onload='x' <img src=x onerror=alert(2)>&amp;\x00\u202e\ud800"
ELEMENTS = {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "header", "section", "footer", "div", "span", "p", "b"),
    *("h1", "h2", "h3", "dl", "dt", "dd", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption"),
    *("details", "summary", "pre", "code", "img", "svg", "g", "path", "text", "defs", "use", "nav", "a", "i"),
}


def test_hostile_text_stays_text(tmp_path):
    found = {HOSTILE: {"examples": 5, "accuracy": 0.5, "loss": 1.0}}
    sorts = {HOSTILE: {"messages": 3, "bytes": 3_000}}
    wrong = {"rejected": {HOSTILE: HOSTILE}, "failed": {"1": HOSTILE}, "evaluation_failed": {"2": HOSTILE}}
    lines = [line(i, uplink=sorts, downlink=sorts, client_evaluations=found, **wrong) | {HOSTILE: 1.0} for i in (1, 2)]
    config = CONFIG | {"strategy": HOSTILE, "dataset": HOSTILE, "model": HOSTILE, "data-dir": HOSTILE, HOSTILE: HOSTILE}
    config["software"] = {HOSTILE: HOSTILE}
    shown = predictions((0, 1), classes=(HOSTILE, HOSTILE))
    confusion = {**CONFUSION, "classes": [HOSTILE, "dog"]}
    page = page_of(write_folder(tmp_path / "run", lines, config, shown, confusion=confusion))
    assert page.text.count("&lt;script&gt;") > 20
    for tag, attributes in page.elements:
        assert tag in ELEMENTS
        assert not [key for key in attributes if key.startswith("on")]
        assert attributes.get("src", "data:").startswith("data:")
    assert len(page.all("img")) == 1
    assert not any(hidden in page.text for hidden in ("\x00", "\u202e"))


def test_samples_whose_images_are_none_are_left_out_and_named(tmp_path):
    for image in ("javascript:alert(1)", "aGVsbG8=", "PHN2Zz4=", 5, None):
        shown = {"classes": ["a"], "samples": [{"image": image, "label": 0, "predicted": 0}]}
        page = page_of(write_folder(tmp_path, [line()], CONFIG, shown))
        assert not page.all("img")
        assert "Left out, because it cannot be read: predictions.json" in page.says


def test_a_page_is_valid_html(tmp_path):
    text = write_page(full(tmp_path)).read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    page = Page(text)
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all("aria-label" in svg or svg.get("aria-hidden") == "true" for svg in page.all("svg"))
    assert json.dumps(page.headings)
