"""Logs that were renamed while nobody looked, or before anything was taken of them, with `follow = true`."""

import os
import signal
import time

import pytest

from harness import append, wait_for, with_inode
from plain_logs import PLAIN, lines, rows

# Renamed logs have names that are no sources'.
LOGS = 'include = ["*.log"]\nrescan = "1s"'
HEADER = "[dataset.csv]\nheader = true\nfollow = true"


@pytest.fixture
def logs(project):
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=LOGS)


def test_what_was_written_before_a_rename_between_two_runs_is_taken(logs):
    log = logs.drop / "a.log"
    log.write_bytes(lines(0, 3))
    logs.once()
    append(log, lines(3, 2))
    log.rename(logs.drop / "a.log.done")
    (logs.drop / "b.log").write_bytes(lines(5, 2))
    logs.once()
    assert rows(logs) == [*range(7)]
    append(logs.drop / "a.log.done", lines(7, 1))
    logs.once()
    assert rows(logs) == [*range(8)]


def test_logs_that_moved_on_between_two_runs_are_all_taken(logs):
    log, first, second = (logs.drop / name for name in ["a.log", "a.log.1", "a.log.2"])
    with logs.service(stop=signal.SIGKILL):
        log.write_bytes(lines(0, 2))
        logs.wait_for_rows(2)
        log.rename(first)
        log.write_bytes(lines(2, 2))
        logs.wait_for_rows(4)
    append(first, lines(4, 1))
    append(log, lines(5, 1))
    first.rename(second)
    log.rename(first)
    log.write_bytes(lines(6, 2))
    logs.once()
    assert rows(logs) == [*range(8)]


def test_a_rename_without_an_event_is_noticed_by_the_next_scan(project):
    logs = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=LOGS + '\nmode = "poll"')
    log = logs.drop / "a.log"
    log.write_bytes(lines(0, 2))
    with logs.service():
        logs.wait_for_rows(2)
        append(log, lines(2, 1))
        log.rename(logs.drop / "a.log.done")
        logs.wait_for_rows(3)
        append(logs.drop / "a.log.done", lines(3, 1))
        logs.wait_for_rows(4)
        (logs.drop / "a.log.done").unlink()
        wait_for(lambda: "the log is gone" in logs.log(), project=logs)
    assert rows(logs) == [*range(4)]


@pytest.mark.parametrize("begun", [b"v\n", b"v\n0"])
def test_a_log_of_which_nothing_was_taken_is_taken_under_its_new_name(project, begun):
    logs = project(shape=[1], dtype="<i4", decoder=HEADER + '\ncolumns = ["v"]', watch=LOGS)
    log = logs.drop / "a.log"
    with logs.service(), open(log, "wb", buffering=0) as writer:
        writer.write(begun)
        wait_for(lambda: logs.ledger("SELECT 1") == [(1,)])
        time.sleep(1.5)
        log.rename(logs.drop / "a.log.1")
        writer.write((b"v\n" + lines(0, 3))[len(begun):])
        logs.wait_for_rows(3)
        log.write_bytes(b"v\n" + lines(3, 2))
        logs.wait_for_rows(5)
    assert rows(logs) == [*range(5)]


def test_rows_that_wait_because_another_log_begins_with_them_are_taken_after_a_rename(logs):
    (logs.drop / "a.log").write_bytes(lines(0, 2))
    log = logs.drop / "b.log"
    with logs.service(), open(log, "wb", buffering=0) as writer:
        logs.wait_for_rows(2)
        writer.write(lines(0, 2))
        time.sleep(1.5)
        log.rename(logs.drop / "b.log.1")
        writer.write(lines(7, 1))
        writer.close()
        log.write_bytes(lines(9, 1))
        logs.wait_for_rows(6)
    assert rows(logs) == [0, 1, 0, 1, 7, 9]


def test_a_log_that_was_renamed_before_it_was_looked_at_is_taken(project):
    logs = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=LOGS)
    logs.config.write_text(logs.config.read_text().replace('"50ms"', '"1s"'))
    log = logs.drop / "a.log"
    with logs.service():
        wait_for(lambda: "opened" in logs.log(), project=logs)
        time.sleep(0.5)
        for number in range(4):
            log.write_bytes(lines(number, 1))
            time.sleep(0.1)
            log.rename(logs.drop / f"a.log.{number}")
        logs.wait_for_rows(4)
    assert rows(logs) == [*range(4)]


def test_a_file_that_got_the_inode_of_a_log_is_none(project):
    logs = project(shape=[1], dtype="<i4", decoder=HEADER + '\ncolumns = ["v"]', watch=LOGS)
    log = logs.drop / "a.log"
    log.write_bytes(b"v\n")
    with logs.service():
        wait_for(lambda: "opened" in logs.log(), project=logs)
        time.sleep(1.5)
        inode = log.stat().st_ino
        log.unlink()
        with_inode(logs.drop / "notes.txt", inode, lambda made: made.write_bytes(b"v\n7\n8\n"))
        (logs.drop / "b.log").write_bytes(b"v\n1\n")
        logs.wait_for_rows(1)
        time.sleep(1.5)
    assert rows(logs) == [1]
    assert "nothing of its 2 bytes was taken" in logs.log()


def rotated_twice(logs, log, first, second):
    """Two logs are taken, the first is removed and the second one renamed. The inode of the first, which is free."""
    old = log.with_name("a.log.1")
    log.write_bytes(first)
    logs.wait_for_rows(first.count(b"\n"))
    inode = log.stat().st_ino
    log.rename(old)
    log.write_bytes(second)
    logs.wait_for_rows((first + second).count(b"\n"))
    old.unlink()
    log.rename(old)
    return inode


def test_a_log_with_the_inode_of_one_that_began_alike_is_taken_while_it_is_open(logs):
    """The bug: it was taken for the older log, cut: it waited until it was closed, and lost its first record."""
    log = logs.drop / "a.log"
    with logs.service():
        inode = rotated_twice(logs, log, b"0\n" + lines(100, 5), lines(200, 3))
        with_inode(log, inode, lambda made: made.write_bytes(b""))
        with open(log, "ab", buffering=0) as writer:
            writer.write(b"0\n")
            logs.wait_for_rows(10, timeout=10)
            writer.write(lines(300, 2))
            logs.wait_for_rows(12, timeout=10)
    assert rows(logs) == [0, *range(100, 105), 200, 201, 202, 0, 300, 301]
    assert logs.ledger("SELECT count(DISTINCT log), max(reason) FROM sources") == [(3, None)]


def test_a_log_with_the_inode_of_another_is_known_after_a_restart(logs):
    log = logs.drop / "a.log"
    log.write_bytes(b"0\n" + lines(100, 5))
    logs.once()
    inode = log.stat().st_ino
    log.unlink()
    with_inode(log, inode, lambda made: made.write_bytes(b"0\n1\n"))
    logs.once()
    assert rows(logs) == [0, *range(100, 105), 0, 1]
    assert logs.ledger("SELECT count(DISTINCT log), max(reason) FROM sources") == [(2, None)]


def test_a_log_with_the_inode_of_another_is_taken_though_it_is_renamed_before_that(logs):
    """The bug: it was held against what was taken of the other one, and counted as gone with that."""
    log = logs.drop / "a.log"
    with logs.service():
        inode = rotated_twice(logs, log, lines(0, 5), lines(5, 5))
        with_inode(log, inode, lambda made: made.write_bytes(b"1"))
        time.sleep(1.5)
        append(log, b"0\n11\n12\n")
        log.rename(logs.drop / "a.log.2")
        log.write_bytes(b"13\n")
        logs.wait_for_rows(14, timeout=10)
    assert rows(logs) == [*range(14)]


def test_a_log_that_was_read_to_its_end_and_removed_is_no_warning(logs):
    log = logs.drop / "a.log"
    with logs.service():
        log.write_bytes(lines(0, 2))
        logs.wait_for_rows(2)
        time.sleep(1.5)
        log.unlink()
        wait_for(lambda: "the log is gone" in logs.log(), project=logs)
    told, = [line for line in logs.log().splitlines() if "the log is gone" in line]
    assert " INFO " in told and "all that was seen of it was taken" in told


@pytest.mark.parametrize("include", [LOGS, 'include = ["*.log*"]\nrescan = "1s"'])
def test_a_log_that_was_cut_is_taken_though_it_is_renamed_while_it_is_open(project, include):
    """The bug: as it was shorter than what had been taken of it, it was said to be gone."""
    logs = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=include)
    log = logs.drop / "a.log"
    with logs.service():
        log.write_bytes(lines(10000, 200))
        logs.wait_for_rows(200)
        with open(log, "ab", buffering=0) as writer:
            writer.truncate(600)
            wait_for(lambda: "what is new in it waits" in logs.log(), project=logs)
            writer.write(lines(20000, 50))
            time.sleep(0.3)
            log.rename(logs.drop / "a.log.1")
            log.write_bytes(lines(30000, 1))
            logs.wait_for_rows(201)
            time.sleep(1.2)
        logs.wait_for_rows(251)
    assert sorted(rows(logs)) == [*range(10000, 10200), *range(20000, 20050), 30000]
    assert "the log is gone" not in logs.log()


def test_a_log_of_an_earlier_run_is_told_to_be_gone_once(logs):
    """The bug: each start warned of it, as another log had its name. The LF of its last CRLF is more than what was taken."""
    log = logs.drop / "a.log"
    told = []
    for number in range(4):
        if number < 2:
            log.unlink(missing_ok=True)
            # So that it has another inode than the one that is gone.
            (logs.drop / f"spare{number}").touch()
            log.write_bytes(b"%d\r\n" % number)
        told.append(logs.once().stderr.count("the log is gone"))
    assert rows(logs) == [0, 1]
    assert told[2:] == [0, 0] and told[1] == 1, told
