"""Copies of logs that are followed, beside the log that they are a copy of: what has been taken is not taken again."""

import os
import shutil

import pytest

from harness import append
from plain_logs import ALL, PLAIN, lines, rows


@pytest.fixture
def skipping(project):
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + '\nrescan = "1s"\nduplicates = "skip"')


def test_a_copy_that_is_older_than_what_was_taken_since_is_left_out(skipping):
    """The bug: the copy waits for a second, and a log that grew meanwhile was not taken for its original any more."""
    log, copy = skipping.drop / "a.log", skipping.drop / "b.log"
    log.write_bytes(lines(0, 20))
    skipping.once()
    # As `cp` finds a log that is being written to: its last line is not whole.
    copy.write_bytes(lines(0, 20)[:-1])
    append(log, lines(20, 5))
    skipping.once()
    skipping.once()
    assert rows(skipping) == [*range(25)]
    reason, = skipping.ledger("SELECT reason FROM sources WHERE path LIKE '%b.log'")
    assert reason[0].startswith("a copy of ")
    # What it has beyond is its own.
    append(copy, b"\n50\n")
    skipping.once()
    assert rows(skipping) == [*range(25), 19, 50]


def test_a_copy_of_a_renamed_log_is_left_out(skipping):
    """The bug: a log that was renamed with nothing behind its last record kept its old name in the ledger. A copy of it was
    then taken for the log itself, and the log for a new one."""
    log, old = skipping.drop / "a.log", skipping.drop / "a.log.1"
    log.write_bytes(lines(0, 3))
    skipping.once()
    os.rename(log, old)
    log.write_bytes(lines(3, 1))
    skipping.once()
    for number in range(2):
        shutil.copy(old, skipping.drop / f"copy{number}.log")
        skipping.once()
        skipping.once()
    assert rows(skipping) == [*range(4)]
    append(old, lines(4, 1))
    skipping.once()
    assert rows(skipping) == [*range(5)]
    entries = skipping.ledger("SELECT count(*) FROM sources")
    skipping.once()
    assert skipping.ledger("SELECT count(*) FROM sources") == entries, "a new name is noted once"


def test_a_log_that_begins_as_the_one_before_it_is_no_copy(skipping):
    """A sensor at rest: the new log is in the place of the one that was renamed."""
    log = skipping.drop / "a.log"
    log.write_bytes(b"7\n7\n")
    skipping.once()
    os.rename(log, skipping.drop / "a.log.1")
    log.write_bytes(b"7\n")
    skipping.once()
    append(log, b"7\n8\n")
    skipping.once()
    assert rows(skipping) == [7, 7, 7, 7, 8]


def test_a_log_and_its_copy_that_are_both_new_are_taken_once(skipping):
    """The bug: copies were held against the ledger only, which had neither."""
    log = skipping.drop / "a.log"
    log.write_bytes(lines(0, 3))
    for number in range(3):
        shutil.copy(log, skipping.drop / f"a.log.{number}")
    skipping.once()
    assert rows(skipping) == [0, 1, 2]
    assert skipping.ledger("SELECT path FROM sources WHERE rows > 0") == [("drop/a.log",)]


def test_new_logs_without_a_record_do_not_wait_for_each_other(plain):
    for name in ["a.log", "b.log"]:
        (plain.drop / name).write_bytes(b"1")
    plain.once()
    append(plain.drop / "b.log", b"\n")
    plain.once()
    assert rows(plain) == [1]


def test_a_new_log_that_is_copied_and_cut_around_the_first_look(plain):
    """The bug: log and copy were both taken at that look, for two new logs."""
    staged = plain.folder / "a.log", plain.folder / "a.log.1"
    for path in staged:
        path.write_bytes(lines(0, 3))
    with plain.service():
        for path in staged:
            os.rename(path, plain.drop / path.name)
        plain.wait_for_rows(3)
        os.truncate(plain.drop / "a.log", 0)
        append(plain.drop / "a.log", lines(3, 1))
        plain.wait_for_rows(4)
        append(plain.drop / "a.log", lines(4, 1))
        plain.wait_for_rows(5)
    plain.once()
    assert rows(plain) == [*range(5)]
