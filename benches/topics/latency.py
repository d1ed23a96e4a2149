"""from a closed file to its row, on a service that has nothing else to do; and starting it.

The peer of a latency is the target: there is none that does the same.
"""

import os
import socket
import subprocess
import sys
import time

import numpy as np

from pairs import OURS, Line

RECORD_BYTES = 64
DROPS = 100
# Milliseconds: the median and the 99th percentile that are wanted.
LIMITS = {"settle 50 ms": ("50ms", 100, 250), "settle 0 ms": ("0ms", 15, 250)}


class Service:
    """The service, with a socket that it tells when it is ready, as it tells systemd."""

    def __init__(self, place, folder):
        ready = folder / "ready.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(str(ready))
            told.settimeout(60)
            self.process = subprocess.Popen([place.program, "--config", folder / "ingest.toml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                            env={**os.environ, "NOTIFY_SOCKET": str(ready)})
            while b"READY=1" not in told.recv(4096):
                pass
        ready.unlink()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


def records(place, name, settle):
    folder = place.dataset(name, f'shape = [{RECORD_BYTES}]\ndtype = "u1"\n[dataset.watch]\nfolders = ["in"]\nsettle = "{settle}"\n[dataset.records]\n')
    (folder / "out").mkdir()
    return folder


def count(path):
    """The published rows, by the header alone: NumPy's own way takes longer than what is measured."""
    with open(path, "rb") as file:
        return int(file.read(128).split(b"'shape': (")[1].split(b",")[0])


def latency(place, title):
    settle, median_ms, late_ms = LIMITS[title]
    folder = records(place, f"latency-{settle}", settle)
    service = Service(place, folder)
    output, found, dropped = folder / "out/rows.npy", [], 0

    def drops():
        nonlocal dropped
        took = []
        for _ in range(max(10, int(DROPS * place.scale))):
            name = f"in/{dropped}.bin"
            (folder / name).write_bytes(os.urandom(RECORD_BYTES))
            start = time.perf_counter()
            dropped += 1
            while count(output) < dropped:
                time.sleep(0.0002)
                assert time.perf_counter() - start < 30, f"{name} has not come"
            took.append(time.perf_counter() - start)
            # Not in step with any clock of the service.
            time.sleep(0.02 + int.from_bytes(os.urandom(1)) / 5000)
        found.extend(took)
        return float(np.median(took))

    def check():
        median, late = np.quantile(found, [0.5, 0.99]) * 1000
        print(f"\n{title}: {len(found)} files, median {median:.1f} ms (at most {median_ms}), 99th percentile {late:.1f} ms (at most {late_ms}), longest {max(found) * 1000:.1f} ms")
        assert len(np.load(output, mmap_mode="r")) == dropped

    limit = f"the limit of {median_ms} ms"
    return Line(f"a file to its row, {title}", {OURS: drops, limit: lambda: median_ms / 1000}, 1, "files", {limit: 1}, apart=(limit,), check=check, clean=service.stop)


def start_up(place, title):
    folder = records(place, "start", "50ms")

    def service():
        start = time.perf_counter()
        running = Service(place, folder)
        took = time.perf_counter() - start
        running.stop()
        return took

    def python():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        return time.perf_counter() - start

    return Line(title, {OURS: service, "python3 -c 'import numpy'": python}, 1, "starts", apart=("python3 -c 'import numpy'",))


LINES = {**dict.fromkeys(LIMITS, latency), "until the service is ready": start_up}
