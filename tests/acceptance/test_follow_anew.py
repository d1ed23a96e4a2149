"""Logs that are written anew and look as if they were only cut, and cuts that a restart has to know of, with `follow = true`."""

import os
import signal
import sqlite3
import time

import numpy as np
import pytest

from harness import append, wait_for
from plain_logs import ALL, PLAIN, lines, rows

HEADER = "[dataset.csv]\nheader = true\nfollow = true"
PAIR = [["x", "<f4"], ["y", "<f4"]]
VALUES = "[dataset.records]\nfollow = true"


def reasons(project):
    return [reason for reason, in project.ledger("SELECT reason FROM sources ORDER BY id") if reason]


def at_rest(seed, count):
    """Records of a sensor that says the same at first."""
    made = np.zeros((count, 2), "<f4")
    made[40:] = np.random.default_rng(seed).normal(size=(count - 40, 2))
    return made


def found(project):
    return project.rows().view("<f4").reshape(-1, 2)


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("begun", [b"time_seconds,temperature,pressure,v\n", b"# set-up 1\n" * 20 + b"v\n"])
def test_a_log_that_is_written_anew_and_shorter_than_what_the_old_one_began_with(project, is_running, begun):
    """The bug: nothing was taken of it before it was longer than what had been before the first record of the old one, and all
    of it was lost with the next rotation."""
    places = "" if b"#" in begun else "\ncolumns = [0]"
    project = project(shape=[1], dtype="<i4", decoder=HEADER + '\ncomment = "#"' + places, watch=ALL + '\nrescan = "1s"')
    log = project.drop / "a.log"
    fill = b"" if b"#" in begun else b",0,0,0"
    log.write_bytes(begun + b"".join(b"%d%s\n" % (number, fill) for number in range(20)))
    anew = b"v\n" + lines(100, 5)
    assert len(anew) < len(begun)
    if is_running:
        with project.service():
            project.wait_for_rows(20)
            log.write_bytes(anew)
            project.wait_for_rows(25, timeout=10)
    else:
        project.once()
        log.write_bytes(anew)
        project.once()
    assert rows(project) == [*range(20), *range(100, 105)]
    assert "written anew" in reasons(project)[-1]


def test_a_header_that_is_left_alone_by_a_cut_is_no_new_log(project):
    project = project(shape=[1], dtype="<i4", decoder=HEADER, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"v\n" + lines(0, 5))
    project.once()
    os.truncate(log, 2)
    for _ in range(2):
        project.once()
        assert project.ledger("SELECT count(*) FROM sources") == [(1,)]
    append(log, lines(5, 5))
    project.once()
    assert rows(project) == [*range(10)]


@pytest.mark.parametrize("parts", [1, 10])
def test_a_log_that_is_written_anew_and_begins_alike_is_a_new_one(project, parts):
    """The bug: only its first 256 bytes were looked at, and the rows up to where it ended when it was seen were in no array."""
    project = project(shape=None, dtype=PAIR, decoder=VALUES, watch=ALL)
    log, old, new = project.drop / "a.log", at_rest(1, 1000), at_rest(2, 900)
    for part in np.split(old, parts):
        append(log, part.tobytes())
        project.once()
    log.write_bytes(new.tobytes())
    project.once()
    assert np.array_equal(found(project), np.concatenate([old, new]))
    assert "written anew when 8000 bytes of it had been taken" in reasons(project)[-1]


def test_the_parts_of_a_log_tell_that_it_was_written_anew_behind_its_first_mebibyte(project):
    project = project(shape=None, dtype=PAIR, decoder=VALUES, watch=ALL)
    log, old = project.drop / "a.log", at_rest(1, 400_000)
    for part in np.split(old, 2):
        append(log, part.tobytes())
        project.once()
    new = old[:300_000].copy()
    new[150_000:] += 1
    log.write_bytes(new.tobytes())
    project.once()
    assert np.array_equal(found(project), np.concatenate([old, new]))


def test_a_log_with_marks_goes_on_where_it_was_cut(project):
    """What is held against a log that was cut is known after every part, and after a cut."""
    project = project(shape=None, dtype=[["n", "<u4"]], decoder=VALUES, watch=ALL)
    log, data = project.drop / "a.log", np.arange(100_000, dtype="<u4")
    expected = []
    for begin, end, cut in [(0, 50, None), (50, 90_000, 60_000), (60_000, 61_000, 2_000), (2_000, 99_000, 70_000)]:
        with open(log, "r+b" if log.exists() else "wb") as file:
            file.seek(4 * begin)
            file.write(data[begin:end].tobytes() if cut != 2_000 else (data[begin:end] + 7).tobytes())
        project.once()
        expected += (data[begin:end] + (7 if cut == 2_000 else 0)).tolist()
        if cut is not None:
            os.truncate(log, 4 * cut)
            project.once()
    assert project.rows()["n"].tolist() == expected
    assert all(reason.startswith("the file was cut to") for reason in reasons(project)) and len(reasons(project)) == 3
    assert project.json("verify", "--deep")["ok"]


@pytest.mark.parametrize("kind", ["skipped", "comment", "names"])
def test_a_log_that_is_written_anew_with_another_header_is_a_new_one(project, kind):
    """The bug: what is before the first record was not looked at."""
    if kind == "skipped":
        project = project(shape=None, dtype=[["a", "<i8"], ["b", "<i8"]], decoder=VALUES + "\nskip = 8", watch=ALL)
        old, new = b"run 0001" + bytes(64), b"run 0002" + bytes(32)
        expected = [(0, 0)] * 6
    else:
        project = project(shape=None, dtype=[["a", "<i8"], ["b", "<i8"]], decoder=HEADER + '\ncomment = "#"', watch=ALL)
        begun = {"comment": (b"# run 1\na,b\n", b"# run 2\na,b\n"), "names": (b"a,b\n", b"b,a\n")}[kind]
        old, new = begun[0] + b"1,0\n2,0\n3,0\n4,0\n", begun[1] + b"1,0\n2,0\n"
        expected = [(1, 0), (2, 0), (3, 0), (4, 0)] + ([(1, 0), (2, 0)] if kind == "comment" else [(0, 1), (0, 2)])
    log = project.drop / "a.log"
    log.write_bytes(old)
    project.once()
    log.write_bytes(new)
    project.once()
    assert project.rows().tolist() == expected
    assert "written anew" in reasons(project)[-1]


def test_a_ledger_of_an_earlier_version_is_read_and_goes_on(project):
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(lines(0, 20))
    project.once()
    ledger = sqlite3.connect(project.output.with_suffix(".ledger.db"))
    for column in ["log_marks", "log_cut"]:
        ledger.execute(f"ALTER TABLE sources DROP COLUMN {column}")
    ledger.commit()
    ledger.close()
    assert "a.log" in project.command("sources", check=0).stdout
    assert project.json("verify", "--deep")["ok"]
    assert project.json("status")["datasets"][0]["rows"] == 20
    append(log, lines(20, 200))
    project.once()
    (marks, cut), = project.ledger("SELECT log_marks, log_cut FROM sources ORDER BY id DESC LIMIT 1")
    assert len(marks) == 16 and cut is None
    os.truncate(log, 590)
    project.once()
    append(log, lines(1000, 2))
    project.once()
    assert rows(project) == [*range(220), 1000, 1001]


@pytest.mark.parametrize("by", ["reload", "restart", "kill"])
def test_the_place_of_a_cut_is_known_after_a_restart(plain, by):
    """The bug: what was written while the log waited for its close was lost, as if the cut had been behind it."""
    log = plain.drop / "a.log"
    cut = lambda: plain.ledger("SELECT log_cut FROM sources ORDER BY id DESC LIMIT 1") == [(600,)]
    log.write_bytes(lines(10000, 200))
    with open(log, "ab", buffering=0) as writer:
        with plain.service(stop=signal.SIGKILL if by == "kill" else signal.SIGTERM) as service:
            plain.wait_for_rows(200)
            writer.truncate(600)
            wait_for(cut, project=plain)
            writer.write(lines(20000, 50))
            time.sleep(0.3)
            if by == "reload":
                service.send_signal(signal.SIGHUP)
                wait_for(lambda: plain.log().count("running") == 2, project=plain)
                time.sleep(0.5)
                writer.close()
                plain.wait_for_rows(250)
        if by != "reload":
            with plain.service():
                time.sleep(0.5)
                writer.close()
                plain.wait_for_rows(250)
    assert rows(plain) == [*range(10000, 10200), *range(20000, 20050)]
    assert reasons(plain)[-1].startswith("the file was cut to 600 bytes")
    append(log, lines(30000, 3))
    plain.once()
    assert plain.count() == 253
    assert plain.ledger("SELECT DISTINCT log_cut FROM sources WHERE id > 1") == [(None,)]
