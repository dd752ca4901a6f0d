"""The page in a browser: it makes no request, logs no message, and fits the screen of a phone."""

import html
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request

import pytest
from page_folders import full, line

from fedgates.report import write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)")
DARK, LIGHT = 0, 1
ITSELF = "not an origin"
"""Initiator of the requests that a browser makes for itself, such as for dictionaries."""

MEASURE = """<!DOCTYPE html><meta charset="utf-8">
{frames}
<pre id="found"></pre>
<script>
onload = () => {{
  document.getElementById("found").textContent = JSON.stringify([...document.querySelectorAll("iframe")].map((frame) => {{
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
    page.querySelectorAll("details").forEach((folded) => folded.open = true);
    return {{
      wide: page.documentElement.scrollWidth - frame.clientWidth,
      background: style.backgroundColor, ink: style.color,
      cut: [...page.querySelectorAll(".tiles div, .card")].filter((box) => box.scrollWidth > box.clientWidth + 1).length,
      scrolled: [...page.querySelectorAll(".wide")].filter((box) => box.scrollWidth > box.clientWidth + 1)
        .map((box) => box.getAttribute("aria-label")),
      images: [...page.images].filter((image) => image.naturalWidth > 0).length,
    }};
  }}));
}};
</script>
"""


def flags(folder):
    """Return the options of every start of the browser."""
    own = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-background-networking"]
    own += ["--no-sandbox"] if os.geteuid() == 0 else []
    return [*own, f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]


def chromium(folder, page, *options):
    """Open a page and return the browser's standard output and error."""
    command = [CHROMIUM, *flags(folder), "--enable-logging=stderr", "--virtual-time-budget=4000", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = full(tmp_path_factory.mktemp("run"))
    hostile = {
        "rejected": {"1": "<script>document.title = 'run'</script>" + "x" * 200},
        "failed": {"2": "<img src=x onerror=alert(1)>"},
    }
    return write_page(full(folder, [line(i, **hostile) for i in range(1, 31)]))


@pytest.mark.parametrize("under_way", [False, True])
def test_it_opens_without_a_request_or_a_console_message(page, tmp_path, under_way):
    dom, output, urls = opened(tmp_path, write_page(page.parent, under_way=under_way))
    assert "<h1>fedpm on digits</h1>" in dom
    assert "<title>fedpm on digits" in dom
    assert ("Running:" in dom) == under_way
    assert "CONSOLE" not in output
    assert not urls


@pytest.mark.slow
def test_an_open_page_of_a_run_under_way_becomes_that_of_its_end(page, tmp_path):
    config = (page.parent / "config.json").read_text()
    (page.parent / "config.json").write_text(config.replace('"num-server-rounds": 3', '"num-server-rounds": 30'))
    shown = write_page(page.parent, under_way=True)
    command = [CHROMIUM, *flags(tmp_path), "--remote-debugging-port=0", shown.as_uri()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        try:
            port = next(filter(None, (re.search(r"ws://127\.0\.0\.1:(\d+)/", output) for output in browser.stderr))).group(1)
            wait_for_title(port, "fedpm on digits, round 30 of 30")
            write_page(page.parent)
            wait_for_title(port, "fedpm on digits – fedgates")  # noqa: RUF001
        finally:
            browser.terminate()
    (page.parent / "config.json").write_text(config)


def wait_for_title(port, title):
    """Wait until the title of the browser's only page begins with `title`."""
    end = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            titles = [tab["title"] for tab in json.load(answer) if tab["type"] == "page"]
        if any(found.startswith(title) for found in titles):
            return
        assert time.monotonic() < end, titles
        time.sleep(0.1)


def test_a_request_would_be_seen(tmp_path):
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://asks.example/x.png"><script>console.error("oh")</script>')
    _, output, urls = opened(tmp_path, page)
    assert "CONSOLE" in output
    assert urls == {"http://asks.example/x.png"}


def opened(folder, page):
    """Open a page and return its elements, the messages of the browser, and the URLs that the page requested."""
    log = folder / "net.json"
    dom, output = chromium(folder, page, "--dump-dom", f"--log-net-log={log}")
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return dom, output, {one["url"] for one in asked if "url" in one and one.get("initiator", ITSELF) != ITSELF}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_it_fits_a_phone_and_follows_the_colour_scheme(page, tmp_path, scheme):
    text = html.escape(page.read_text(encoding="utf-8"))
    frames = "".join(
        f'<iframe width="{width}" height="800" style="border: 0" srcdoc="{text}"></iframe>' for width in (360, 390, 1280)
    )
    harness = tmp_path / "harness.html"
    harness.write_text(MEASURE.format(frames=frames), encoding="utf-8")
    dom, output = chromium(tmp_path, harness, "--dump-dom", f"--blink-settings=preferredColorScheme={scheme}")
    found = json.loads(html.unescape(dom.partition('<pre id="found">')[2].partition("</pre>")[0]))
    colours = {LIGHT: ("rgb(251, 250, 248)", "rgb(31, 35, 40)"), DARK: ("rgb(22, 24, 27)", "rgb(230, 228, 223)")}
    assert [(one["wide"], one["cut"], one["images"]) for one in found] == [(0, 0, 2)] * 3
    assert found[-1]["scrolled"] == []
    assert all(one["scrolled"] in ([], ["Every attempt at a round"]) for one in found)  # it has eight columns
    assert {(one["background"], one["ink"]) for one in found} == {colours[scheme]}
    assert "CONSOLE" not in output
