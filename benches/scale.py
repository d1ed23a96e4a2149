#!/usr/bin/env python3
"""Start-up, rescan, memory and commit cost with very many sources: benches/scale.py [FOLDER] [COUNT...]

For each count a folder of so many small files is made, and a dataset whose ledger has them all, as if it had taken them
(the rows are zeros; only the newest source is a real one). Then the real service is started on it. Counts are 10,000,
100,000 and 1,000,000 unless given; the largest needs some 6 GiB in FOLDER. Everything is removed afterwards.
"""

import io
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image
from blake3 import blake3

PROGRAM = Path(os.environ.get("NPY_INGEST", Path(__file__).resolve().parents[1] / "target" / "release" / "npy-ingest"))
NEW = 1000
PER_FOLDER = 1000


def png(number):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 251, number // 251 % 251, number // 63001 % 251)).save(buffer, "PNG")
    return buffer.getvalue()


def make(folder, count):
    """The files, the ledger and the arrays."""
    drop = folder / "drop"
    content = png(1)
    statuses = []
    for number in range(count):
        below = drop / str(number // PER_FOLDER)
        if number % PER_FOLDER == 0:
            below.mkdir(parents=True)
        path = below / f"{number}.png"
        with open(path, "wb") as file:
            file.write(content)
            status = os.fstat(file.fileno())
        statuses.append((f"drop/{number // PER_FOLDER}/{number}.png", status.st_size, status.st_mtime_ns, status.st_ino))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "ingest.toml"
    config.write_text(f"""
[service]
listen = {port}
[[dataset]]
name = "scale"
output = "data/scale.npy"
shape = [4, 4, 3]
dtype = "u1"
[dataset.watch]
folders = ["drop"]
rescan = "24h"
[dataset.image]
""")
    # The dataset is made by the program itself, of no files; the rest is put into its files.
    drop.rename(folder / "later")
    drop.mkdir()
    subprocess.run([PROGRAM, "--config", config, "--once"], check=True, stdout=subprocess.DEVNULL)
    drop.rmdir()
    (folder / "later").rename(drop)
    data = folder / "data"
    for path in data.glob("*.npy"):
        row_bytes = 48 if path.name == "scale.npy" else 8
        with open(path, "r+b") as file:
            file.truncate(128 + count * row_bytes)
            head = file.read(128)
            window = re.search(rb"\((\s*0),", head)
            file.seek(window.start(1))
            file.write(str(count).rjust(len(window[1])).encode())
    # The hash of such a file; nobody asks for it here. The checksums are those of rows of zeros.
    text = "0" * 64
    ledger = sqlite3.connect(data / "scale.ledger.db")
    (names,), = ledger.execute("SELECT columns FROM dataset").fetchall()
    checksum = blake3(bytes(48)).hexdigest()
    columns_checksum = blake3(blake3(bytes(8)).digest() * len(json.loads(names))).hexdigest()
    columns = [row[1] for row in ledger.execute("PRAGMA table_info(sources)")]
    assert columns[:8] == ["id", "path", "size", "mtime_ns", "inode", "hash", "status", "reason"], columns
    # All in one transaction; times of an hour ago, so that the rate is not theirs.
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 3600))
    ledger.executemany(
        "INSERT INTO sources (id, path, size, mtime_ns, inode, hash, status, first_row, rows, checksum, columns_checksum, "
        "committed_at) VALUES (?, ?, ?, ?, ?, ?, 'committed', ?, 1, ?, ?, ?)",
        ((number + 1, path, size, mtime, inode, text, number, checksum, columns_checksum, at)
         for number, (path, size, mtime, inode) in enumerate(statuses)))
    ledger.execute("UPDATE dataset SET rows = ?, next_source_id = ?, clean_rows = ?", (count, count + 1, count))
    ledger.commit()
    ledger.close()
    return config, port


def metrics(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


def rows(folder):
    return len(np.load(folder / "data" / "scale.npy", mmap_mode="r"))


def wait(condition, timeout=600):
    end = time.monotonic() + timeout
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError):
            pass
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.005)


def peak_mib(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def measure(folder, count):
    start = time.monotonic()
    config, port = make(folder, count)
    made = time.monotonic() - start
    label = '{dataset="scale"}'
    (folder / "drop" / "first.png").write_bytes(png(777))
    time.sleep(0.5)
    start = time.monotonic()
    service = subprocess.Popen([PROGRAM, "--config", config], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: metrics(port)["npy_ingest_up"] == 1)
        opened = time.monotonic() - start
        wait(lambda: rows(folder) == count + 1)
        published = time.monotonic() - start
        wait(lambda: metrics(port)[f"npy_ingest_sources_known_total{label}"] >= count)
        first_peak = peak_mib(service.pid)
        before = metrics(port)
        start = time.monotonic()
        service.send_signal(signal.SIGUSR1)
        wait(lambda: metrics(port)[f"npy_ingest_sources_known_total{label}"] >= 2 * count)
        rescan = time.monotonic() - start
        rescan_cpu = metrics(port)["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
        before = metrics(port)
        (folder / "new").mkdir()
        for number in range(NEW):
            (folder / "new" / f"n{number}.png").write_bytes(png(1000 + number))
        start = time.monotonic()
        (folder / "new").rename(folder / "drop" / "new")
        wait(lambda: rows(folder) == count + 1 + NEW)
        taken = time.monotonic() - start
        wait(lambda: metrics(port)[f"npy_ingest_sources_committed_total{label}"] == NEW + 1)
        after = metrics(port)
        ledger = '{dataset="scale",stage="ledger"}'
        commits = after[f"npy_ingest_commits_total{label}"] - before[f"npy_ingest_commits_total{label}"]
        spent = after[f"npy_ingest_stage_seconds_total{ledger}"] - before[f"npy_ingest_stage_seconds_total{ledger}"]
        peak = peak_mib(service.pid)
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait()
    size = (folder / "data" / "scale.ledger.db").stat().st_size / 2**20
    print(f"| {count:,} | {opened:.2f} | {published:.2f} | {rescan:.2f} | {rescan_cpu:.2f} | {first_peak:.0f} | {peak:.0f} | "
          f"{NEW / taken:.0f} | {spent / NEW * 1e6:.0f} | {size:.0f} |  made in {made:.0f} s, {commits:.0f} commits", flush=True)


def main():
    words = sys.argv[1:]
    base = words.pop(0) if words and not words[0].replace("_", "").isdigit() else None
    print("| sources | open, s | new file published, s | rescan, s | its CPU, s | peak after the first scan, MiB | at the end | "
          "new files a second | ledger us a source | ledger MiB |\n|---|---|---|---|---|---|---|---|---|---|")
    for count in [int(word) for word in words] or [10_000, 100_000, 1_000_000]:
        folder = Path(tempfile.mkdtemp(prefix="npy-ingest-scale-", dir=base))
        try:
            measure(folder, count)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


main()
