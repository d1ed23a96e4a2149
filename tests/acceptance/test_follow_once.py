"""`--once` with logs that are followed, while others write to them."""

import contextlib
import threading
import time

import pytest

from harness import append
from plain_logs import ALL, PLAIN, lines, rows


@pytest.fixture
def logs(project):
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL)


@contextlib.contextmanager
def growing(log):
    """A program that writes a line to its log fifty times a second."""
    is_over = threading.Event()

    def write():
        with open(log, "ab", buffering=0) as file:
            while not is_over.wait(0.02):
                file.write(b"7\n")

    writer = threading.Thread(target=write)
    writer.start()
    yield
    is_over.set()
    writer.join()


@pytest.mark.parametrize("waiting", ["a copy", "cut"])
def test_it_ends_while_one_log_grows_and_another_waits(logs, waiting):
    """The bug: each look at the one that grew began the time anew for which the other was waited for."""
    log, other = logs.drop / "a.log", logs.drop / "b.log"
    log.write_bytes(lines(100, 100))
    if waiting == "cut":
        other.write_bytes(lines(1000, 300))
    logs.once()
    with growing(log), open(other, "ab", buffering=0) as file:
        if waiting == "cut":
            file.truncate(700)
            # The next run knows where.
            logs.once(timeout=40)
            file.write(lines(5000, 2))
        else:
            file.write(lines(100, 2))
        started = time.monotonic()
        told = logs.once(timeout=40).stderr
        assert time.monotonic() - started < 15
    assert f"{other} is still being written: left for the next run" in told
    time.sleep(1.1)
    logs.once()
    logs.once()
    kept = [*range(100, 102)] if waiting == "a copy" else [*range(5000, 5002)]
    assert [row for row in rows(logs) if row in kept][-2:] == kept


@pytest.mark.parametrize("waiting", ["a copy", "cut"])
def test_it_tells_of_a_log_that_waits(logs, waiting):
    """The bug: it ended without a word."""
    log, other = logs.drop / "a.log", logs.drop / "b.log"
    log.write_bytes(lines(100, 2))
    if waiting == "cut":
        other.write_bytes(lines(1000, 300))
    logs.once()
    with open(other, "ab", buffering=0) as file:
        if waiting == "cut":
            file.truncate(700)
        else:
            file.write(lines(100, 1))
        for _ in range(2):
            assert f"{other} is still being written: left for the next run" in logs.once(timeout=40).stderr
