"""The service seen from outside: the status page, /metrics, /healthz, and that they are safe to leave open."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from browser import Browser
from harness import ROOT, TESTDATA, free_port, make_photographs, make_pngs, mounted, wait_for, write_png


@pytest.fixture
def page(project):
    """Makes a project whose service listens, and what asks it."""

    def make(**settings):
        port = free_port()
        one = project(service=f'[service]\nlisten = "127.0.0.1:{port}"', **settings)
        one.port = port
        one.url = f"http://127.0.0.1:{port}"
        one.get = lambda path, **headers: get(one.url + path, headers)
        one.wait_for_page = lambda: wait_for(lambda: one.get("/healthz")[0] == 200)
        return one

    return make


def get(url, headers={}):
    """Status, headers and text."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
    except OSError as error:
        return 0, {}, str(error).encode()


def metrics(text):
    """(name, labels as a frozenset) -> value, by Prometheus' own parser; and name -> kind."""
    from prometheus_client.parser import text_string_to_metric_families

    values, kinds = {}, {}
    for family in text_string_to_metric_families(text.decode()):
        kinds[family.name] = family.type
        for sample in family.samples:
            values[sample.name, frozenset(sample.labels.items())] = sample.value
    return values, kinds


def documented_metrics():
    """The names in the table of docs/operating.md."""
    table = (ROOT / "docs" / "operating.md").read_text().split("| metric |")[1].split("\n\n")[0]
    return set(re.findall(r"`((?:npy_ingest|process)_\w+)`", table))


def drop_hostile(drop):
    """Bad files with names that try to be markup, lines, escapes and no text at all."""
    names = [b"<script>alert(1)<", b"<img src=x onerror=alert(2)>.png", b"new\nline.png", b"esc\x1b[31m.png",
             b"latin-\xe9.png", "\u202egnp.exe.png".encode(), b"quote'\"&amp;.png"]
    names[0] = os.path.join(names[0], b"script>.png")
    for name in names:
        path = os.path.join(os.fsencode(drop), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"no image")
    return len(names)


def test_the_figures_are_right_and_agree_everywhere(page):
    project = page(shape=(8, 8, 3))
    names = make_pngs(project.drop / "a", 300)
    with project.service():
        project.wait_for_rows(300)
        bad = drop_hostile(project.drop)
        (project.drop / "cut.png").write_bytes((project.drop / "a" / names[0]).read_bytes()[:-20])
        wait_for(lambda: len(project.ledger("SELECT 1 FROM sources WHERE status = 'rejected'")) == bad + 1)
        wait_for(lambda: json.loads(project.get("/status.json")[2])["datasets"][0]["backlog"] == 0)
        time.sleep(0.6)

        status = project.json("status")["datasets"][0]
        assert status == {**json.loads(project.get("/status.json")[2])["datasets"][0],
                          "rows_per_second": status["rows_per_second"]}
        assert (status["rows"], status["published_rows"], status["sources"], status["rejected"]) == (300, 300, 300, bad + 1)
        assert status["running"] is True and 0 < status["latency_median_seconds"] < 30
        assert 0 < status["rows_per_second"] <= 300 / 60

        code, headers, text = project.get("/metrics")
        values, kinds = metrics(text)
        own = lambda name, **labels: values[f"npy_ingest_{name}", frozenset({"dataset": "frames", **labels}.items())]
        assert own("rows") == own("rows_committed_total") == own("sources_committed_total") == 300
        assert own("row_bytes_committed_total") == 300 * 8 * 8 * 3
        size = sum((project.drop / "a" / name).stat().st_size for name in names)
        assert own("source_bytes_committed_total") == size
        rejected = {reason: own("sources_rejected_total", reason=reason) for reason in
                    ["content", "cut_short", "limit", "unfit", "unreadable", "decoder"]}
        assert rejected == {"content": bad, "cut_short": 1, "limit": 0, "unfit": 0, "unreadable": 0, "decoder": 0}
        for stage in ["read", "decode", "wait", "write", "sync", "ledger", "publish"]:
            assert own("stage_seconds_total", stage=stage) > 0, stage
        assert own("drop_to_published_seconds_count") == own("drop_to_published_seconds_bucket", le="+Inf") == 300
        assert own("sources_waiting", state="ready") == own("oldest_waiting_seconds") == own("waiting_bytes") == 0
        assert own("commits_total") > 0 and own("rescans_total") > 0
        assert (own("dataset_paused"), own("dataset_stopped"), own("event_overflows_total")) == (0, 0, 0)
        assert set(re.findall(r"^# TYPE (\S+)", text.decode(), re.MULTILINE)) == documented_metrics()
        for name, kind in kinds.items():
            assert name.startswith(("npy_ingest_", "process_")) and kind != "unknown", name
        assert project.get("/healthz")[2] == b"ok\n"

        # No name of a file is markup, a line or an escape on the page.
        code, headers, html = project.get("/")
        assert code == 200 and "script-src 'self'" in headers["Content-Security-Policy"]
        assert b"&lt;script&gt;" in html and html.count(b"<script") == 1 and b"<img src=x" not in html
        assert b"\x1b" not in html and "\u202e".encode() not in html and b"new\\nline.png" in html
        code, _, html = project.get("/dataset/frames")
        assert code == 200 and b"cut short" in html
    assert "\x1b[31m.png" not in project.log()


def test_pictures_of_rows_are_those_of_the_array(page):
    project = page(shape=(40, 60, 3), image='fit = "exact"')
    for number in range(3):
        write_png(project.drop / f"{number}.png", number, size=(60, 40))
    with project.service():
        project.wait_for_rows(3)
        project.wait_for_page()
        rows = np.array(project.rows())
        for row in range(3):
            code, headers, png = project.get(f"/rows/frames/{row}.png")
            assert code == 200 and headers["Content-Type"] == "image/png"
            (project.folder / "row.png").write_bytes(png)
            drawn = np.asarray(Image.open(project.folder / "row.png"))
            assert drawn.shape == (120, 180, 3) and (drawn[::3, ::3] == rows[row]).all()
        for path in ["/rows/frames/3.png", "/rows/frames/-1.png", "/rows/frames/x.png", "/rows/none/0.png",
                     "/rows/frames/0.svg", "/rows/frames/0", "/rows/../0.png", "/dataset/none", "/etc/passwd", "//", "/%2e%2e"]:
            assert project.get(path)[0] == 404, path


def test_a_rejected_source_that_was_moved_is_shown_where_it_is(page):
    """The bug: the page named the place that it had left."""
    project = page(watch='rejected = "move"\nrejected_to = "failed"')
    (project.drop / "<a>").mkdir()
    shutil.copy(TESTDATA / "bad" / "text.jpg", project.drop / "<a>" / "x.jpg")
    moved = project.folder / "failed" / "<a>" / "x.jpg"
    with project.service():
        project.wait_for_page()
        wait_for(moved.exists)
        wait_for(lambda: b"drop/&lt;a&gt;/x.jpg, moved to failed/&lt;a&gt;/x.jpg</span>" in project.get("/dataset/frames")[2])


def test_strangers_and_slow_clients_do_no_harm(page):
    project = page()
    make_pngs(project.drop, 3)
    with project.service():
        project.wait_for_rows(3)
        project.wait_for_page()
        assert project.get("/", Host="evil.example")[0] == 421
        for host in ["localhost", "localhost:1", f"127.0.0.1:{project.port}", "[::1]:80"]:
            assert project.get("/", Host=host)[0] == 200, host
        request = urllib.request.Request(project.url + "/", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 405
        assert project.get("/", **{"X-Long": "x" * 100_000})[0] in (0, 431)
        # Three hundred clients that begin a request and never end it, and some that never read.
        slow = []
        for number in range(300):
            client = socket.create_connection(("127.0.0.1", project.port), timeout=10)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + (b"\r\n" if number % 3 == 0 else b""))
            slow.append(client)
        start = time.monotonic()
        assert project.get("/healthz")[:1] == (200,)
        assert time.monotonic() - start < 3
        make_pngs(project.drop, 3, first=3)
        project.wait_for_rows(6, timeout=10)
        descriptors = len(os.listdir(f"/proc/{pid_of(project)}/fd"))
        assert descriptors < 120, "a limit on connections"
        for client in slow:
            client.close()


def pid_of(project):
    """The service, by the lock on its array."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(project.config).encode() in open(f"/proc/{pid}/cmdline", "rb").read():
                return pid
        except OSError:
            pass


def test_a_dataset_that_cannot_go_on_is_seen(page):
    project = page(shape=(64, 64, 3))
    data = project.folder / "data"
    with mounted(data, "size=2m") as remount:
        make_pngs(project.drop, 300)
        with project.service():
            wait_for(lambda: b"npy_ingest_dataset_paused{dataset=\"frames\"} 1" in project.get("/metrics")[2], 40)
            # The writer tells at once that it pauses; what waits is looked at again within a second.
            wait_for(lambda: (project.json("status")["datasets"][0]["oldest_waiting_seconds"] or 0) > 0)
            status = project.json("status")["datasets"][0]
            assert "full" in status["paused"] and status["backlog"] > 0
            assert b"paused: frames" in project.get("/healthz")[2]
            assert b"class=\"state paused\"" in project.get("/")[2]
            remount("size=64m")
            project.wait_for_rows(300, timeout=90)
            wait_for(lambda: project.json("status")["datasets"][0]["paused"] is None)
            assert project.get("/healthz") [2] == b"ok\n"


def test_an_address_that_is_taken_is_said(page):
    project = page()
    with socket.socket() as other:
        other.bind(("127.0.0.1", project.port))
        other.listen()
        done = project.command(timeout=20)
        assert done.returncode == 1 and str(project.port) in done.stderr and "listen" in done.stderr


def test_in_chromium_the_figures_agree_while_rows_arrive(page):
    """And a look at it, in both schemes and two widths: NPY_INGEST_SHOTS names a folder for the pictures."""
    project = page(shape=(96, 96, 3), columns='label = "folder"')
    make_photographs(project.drop / "walk", 40, seed=3)
    stop = threading.Event()

    def feed():
        number = 0
        originals = project.folder / "originals"
        names = make_photographs(originals, 60, seed=9)
        while not stop.is_set():
            shutil.copy(originals / names[number % 60], project.folder / "x.jpg")
            (project.folder / "x.jpg").rename(project.drop / f"n{number}.jpg")
            number += 1
            time.sleep(0.03)

    with project.service(), Browser() as browser:
        project.wait_for_rows(40)
        drop_hostile(project.drop)
        project.wait_for_page()
        browser.open(project.url + "/")
        feeder = threading.Thread(target=feed)
        feeder.start()
        seen = []
        try:
            for _ in range(4):
                time.sleep(2.1)
                figures = browser.evaluate("({...document.querySelector('#frames').dataset, at: performance.now()})")
                after = project.json("status")["datasets"][0]
                # The page is at most two and a half seconds old, and never ahead.
                assert (seen[-1] if seen else 40) <= int(figures["rows"]) <= after["rows"]
                seen.append(int(figures["rows"]))
        finally:
            stop.set()
            feeder.join()
        print(f"rows on the page, every two seconds: {seen}")
        assert seen[-1] > seen[0] >= 40, "the page renews itself"
        wait_for(lambda: project.json("status")["datasets"][0]["backlog"] == 0)
        time.sleep(3)
        status = project.json("status")["datasets"][0]
        shown = browser.evaluate("({...document.querySelector('#frames').dataset})")
        assert {name: int(shown[name]) for name in ["rows", "sources", "rejected", "backlog"]} == {
            name: status[name] for name in ["rows", "sources", "rejected", "backlog"]}
        # What looks like markup is text, and nothing ran.
        assert browser.evaluate("document.querySelectorAll('script').length") == 1
        text = browser.evaluate("document.querySelector('.rejected').innerText")
        assert "<script>alert(1)</script>" in text and "<img src=x onerror=alert(2)>" in text and "new\\nline.png" in text
        assert browser.evaluate("[...document.images].length > 4 && [...document.images].every(i => i.naturalWidth > 50)")
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        shots = os.environ.get("NPY_INGEST_SHOTS", project.folder)
        for width, scheme in [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]:
            browser.look(f"{shots}/page-{width}-{scheme}.png", width, 900, scheme)
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert browser.complaints() == []
        assert all(url.startswith((project.url, "data:,", "about:")) for url in browser.requested()), "nothing from elsewhere"


def test_a_refused_reload_leaves_the_page_where_it_was(page):
    """The bug: the old config went on, and its page was at the address of the refused one."""
    project = page()
    with project.service() as service:
        project.wait_for_page()
        other = free_port()
        text = project.config.read_text()
        make_pngs(project.drop, 1)
        project.wait_for_rows(1)
        # A dataset that is there has another shape.
        project.config.write_text(text.replace(str(project.port), str(other)).replace("[32, 32, 3]", "[16, 16, 3]"))
        service.send_signal(signal.SIGHUP)
        wait_for(lambda: "the old one goes on" in project.log())
        project.wait_for_page()
        assert get(f"http://127.0.0.1:{other}/healthz")[0] == 0
