"""Two hundred datasets in one service."""

import json
import os
import re
import resource
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from harness import Project, colour_of, write_png

COUNT = 200
# What one dataset keeps open at most: its array and two columns, the ledger with its log and index, for writing and for
# looking up.
DESCRIPTORS_EACH = 10

DATASET = """
[[dataset]]
name = "d{number}"
output = "data/d{number}.npy"
shape = [4, 4, 3]
dtype = "u1"
[dataset.watch]
folders = ["drop/d{number}"]
settle = "50ms"
[dataset.image]
"""


class Many(Project):
    def configure(self):
        self.config = self.folder / "ingest.toml"
        self.config.write_text("".join(DATASET.format(number=number) for number in range(COUNT)))
        for number in range(COUNT):
            (self.drop / f"d{number}").mkdir()

    def array(self, number):
        return np.load(self.folder / "data" / f"d{number}.npy", mmap_mode="r")

    def wait_for_all(self, rows, timeout):
        """Until each dataset has so many rows. Seconds."""
        begin, waiting = time.monotonic(), set(range(COUNT))
        while waiting:
            waiting = {number for number in waiting if not self.has(number, rows)}
            assert time.monotonic() < begin + timeout, f"{len(waiting)} datasets wait: {sorted(waiting)[:10]}\n{self.log()[-3000:]}"
            time.sleep(0.02)
        return time.monotonic() - begin

    def has(self, number, rows):
        try:
            return len(self.array(number)) >= rows
        except FileNotFoundError:
            return False


@pytest.fixture
def many_files():
    """Room for the open files of all datasets, as the unit has it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = COUNT * DESCRIPTORS_EACH + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"at most {hard} open files are allowed here, {wanted} are wanted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_two_hundred_datasets(tmp_path, many_files):
    project = Many(tmp_path)
    begin = time.monotonic()
    with project.service() as service:
        project.wait_for_all(0, timeout=60)
        opened_s = time.monotonic() - begin
        time.sleep(0.5)
        for number in range(COUNT):
            write_png(project.drop / f"d{number}" / "first.png", number)
        first_s = project.wait_for_all(1, timeout=20)
        # Each by itself, once more: a dataset does not wait for the others.
        latencies = []
        for number in range(0, COUNT, 10):
            begin = time.monotonic()
            write_png(project.drop / f"d{number}" / "second.png", number + 1)
            while len(project.array(number)) < 2:
                assert time.monotonic() < begin + 10, project.log()[-3000:]
                time.sleep(0.002)
            latencies.append(time.monotonic() - begin)
        assert [tuple(project.array(number)[0, 0, 0]) for number in range(COUNT)] == [colour_of(number) for number in range(COUNT)]
        told = project.json("status")["datasets"]
        assert {dataset["name"]: (dataset["rows"], dataset["running"]) for dataset in told} == {
            f"d{number}": (1 + (number % 10 == 0), True) for number in range(COUNT)}
        status = Path(f"/proc/{service.pid}/status").read_text()
        resident_mib = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
        descriptors = len(os.listdir(f"/proc/{service.pid}/fd"))
        begin = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == 0, project.log()[-3000:]
        stopped_s = time.monotonic() - begin
    print(f"\n{COUNT} datasets: made and open in {opened_s:.1f} s, a file for each of them taken in {first_s:.1f} s, by itself in "
          f"{sorted(latencies)[len(latencies) // 2] * 1000:.0f} ms (median; longest {max(latencies) * 1000:.0f} ms), "
          f"{resident_mib:.0f} MiB, {descriptors} descriptors, stopped in {stopped_s:.1f} s")
    assert descriptors < COUNT * DESCRIPTORS_EACH and resident_mib < 400
    assert max(latencies) < 2
    # And once more from what is there.
    begin = time.monotonic()
    with project.service():
        write_png(project.drop / f"d{COUNT - 1}" / "third.png", 7)
        while not project.has(COUNT - 1, 2):
            assert time.monotonic() < begin + 20, project.log()[-3000:]
            time.sleep(0.01)
        print(f"started again: a new file is a row after {time.monotonic() - begin:.1f} s")
    assert json.loads(project.command("verify", "--deep", "--json", check=0).stdout)["ok"]
