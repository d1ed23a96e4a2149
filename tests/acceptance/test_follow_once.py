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


@contextlib.contextmanager
def waiting_log(logs, waiting, count):
    """`b.log`, open: it was cut, or is about to begin as `a.log`, of which so many lines were taken."""
    log, other = logs.drop / "a.log", logs.drop / "b.log"
    log.write_bytes(lines(100, count))
    if waiting == "cut":
        other.write_bytes(lines(1000, 300))
    logs.once()
    with open(other, "ab", buffering=0) as file:
        if waiting == "cut":
            file.truncate(700)
        yield other, file


@pytest.mark.parametrize("waiting", ["a copy", "cut"])
def test_it_ends_while_one_log_grows_and_another_waits(logs, waiting):
    """The bug: each look at the one that grew began the time anew for which the other was waited for."""
    with waiting_log(logs, waiting, 100) as (other, file), growing(logs.drop / "a.log"):
        if waiting == "cut":
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
    with waiting_log(logs, waiting, 2) as (other, file):
        if waiting == "a copy":
            file.write(lines(100, 1))
        for _ in range(2):
            assert f"{other} is still being written: left for the next run" in logs.once(timeout=40).stderr
