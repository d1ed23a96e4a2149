"""Copies of logs that are followed, beside the log that they are a copy of: what has been taken is not taken again."""

import os
import shutil

import pytest

PLAIN = "[dataset.csv]\nheader = false\nfollow = true"
ALL = 'include = ["**/*"]\nrescan = "1s"\n'


@pytest.fixture
def appending(project):
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL)


@pytest.fixture
def skipping(project):
    return project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + 'duplicates = "skip"')


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


def rows(project):
    return project.rows()[:, 0].tolist()


def lines(first, count):
    return b"".join(b"%d\n" % n for n in range(first, first + count))


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


def test_new_logs_without_a_record_do_not_wait_for_each_other(appending):
    for name in ["a.log", "b.log"]:
        (appending.drop / name).write_bytes(b"1")
    appending.once()
    append(appending.drop / "b.log", b"\n")
    appending.once()
    assert rows(appending) == [1]


def test_a_new_log_that_is_copied_and_cut_around_the_first_look(appending):
    """The bug: log and copy were both taken at that look, for two new logs."""
    staged = appending.folder / "a.log", appending.folder / "a.log.1"
    for path in staged:
        path.write_bytes(lines(0, 3))
    with appending.service():
        for path in staged:
            os.rename(path, appending.drop / path.name)
        appending.wait_for_rows(3)
        os.truncate(appending.drop / "a.log", 0)
        append(appending.drop / "a.log", lines(3, 1))
        appending.wait_for_rows(4)
        append(appending.drop / "a.log", lines(4, 1))
        appending.wait_for_rows(5)
    appending.once()
    assert rows(appending) == [*range(5)]
