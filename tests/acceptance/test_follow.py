"""Logs that are still being written: `follow = true`, through rotation, truncation and SIGKILL."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from harness import LONG, PROGRAM, append, with_inode

RECORD = np.dtype([("n", "<u8"), ("t", "<f8"), ("x", "<f4"), ("y", "<f4"), ("id", "<u2"), ("pad", "u1", (6,))])
DTYPE = [["n", "<u8"], ["t", "<f8"], ["x", "<f4"], ["y", "<f4"], ["id", "<u2"], ["pad", "u1", [6]]]
RECORDS = "[dataset.records]\nfollow = true"
CSV = '[dataset.csv]\nfollow = true\ncolumns = ["n", "x"]'
CSV_DTYPE = [["n", "<i8"], ["x", "<f8"]]


def records(first, count):
    made = np.zeros(count, RECORD)
    made["n"] = np.arange(first, first + count)
    made["t"] = made["n"] * 0.25
    made["id"] = made["n"] % 1000
    return made.tobytes()


def lines(first, count):
    return b"".join(b"%d,%r\n" % (n, n * 0.5) for n in range(first, first + count)) if count else b""


def numbers(project, name="n"):
    return np.asarray(project.rows()[name]).tolist()


def in_order(project, count):
    found = numbers(project)
    assert found == list(range(count)), (
        f"{len(found)} rows, expected {count}; first difference at "
        f"{next((place for place, n in enumerate(found) if n != place), len(found))}\n{project.log()[-3000:]}")


def test_complete_records_become_rows_while_the_log_is_open(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS + "\nskip = 5")
    with project.service():
        with open(project.drop / "a.bin", "wb", buffering=0) as log:
            log.write(b"head")
            time.sleep(0.2)
            log.write(b"!" + records(0, 3)[:-7])
            project.wait_for_rows(2)
            started = time.monotonic()
            log.write(records(2, 1)[-7:] + records(3, 5))
            project.wait_for_rows(8)
            # `settle` is 50 ms, and nobody closes the file.
            assert time.monotonic() - started < 5
            for first in range(8, 208, 10):
                log.write(records(first, 10))
                time.sleep(0.01)
            project.wait_for_rows(208)
    in_order(project, 208)
    assert project.column("index").tolist() == list(range(208))
    assert set(project.column("source").tolist()) == {1}
    # One entry for as long as nothing comes between its rows.
    assert project.ledger("SELECT id, path, rows, log, log_begin, log_end FROM sources") == [
        (1, "drop/a.bin", 208, 1, 5, 5 + 208 * RECORD.itemsize)]
    assert project.json("verify", "--deep")["ok"]


def test_status_knows_when_a_log_grew_and_not_how_fast(project):
    """The bug: all rows of a log, however old, counted as those of the last minute."""
    project = project(shape=None, dtype=CSV_DTYPE, decoder=CSV)
    (project.drop / "a.csv").write_bytes(b"n,x\n" + lines(0, 100))
    assert "a row of 16 bytes for each record that is complete" in project.command("check", check=0).stdout
    with project.service():
        project.wait_for_rows(100)
        (begun, _), = project.ledger("SELECT committed_at, rows FROM sources")
        append(project.drop / "a.csv", lines(100, 5))
        project.wait_for_rows(105)
    (grown, rows), = project.ledger("SELECT committed_at, rows FROM sources")
    assert rows == 105 and grown > begun
    status, = project.json("status")["datasets"]
    assert (status["last_commit"], status["rows_per_second"]) == (grown, None)
    assert "not known of a log" in project.command("status", check=0).stdout


def test_lines_become_rows_while_the_file_is_open(project):
    project = project(shape=None, dtype=CSV_DTYPE, decoder=CSV)
    with project.service():
        with open(project.drop / "a.csv", "wb", buffering=0) as log:
            log.write(b"time,x,n")
            time.sleep(0.2)
            log.write(b"\n1,0.0,0\n2,\"0.5\",1\n3,1.0")
            project.wait_for_rows(2)
            log.write(b",2\r")
            log.write(b"\n4,1.5,3\n\n# x\n")
            project.wait_for_rows(3)
            time.sleep(0.2)
        append(project.drop / "a.csv", b"5,2.0,4")
    # The bad line, then the one that is not complete.
    assert project.count() == 4
    assert project.rejected() == {"a.csv": "the line at byte 45: it has 1 field, expected 3"}
    with project.service():
        time.sleep(0.3)
    in_order(project, 4)
    project.once(check=3)
    assert np.array_equal(project.rows()["x"], np.arange(4) * 0.5)


def test_a_bad_line_is_left_out_and_told(project):
    project = project(shape=None, dtype=CSV_DTYPE, decoder='[dataset.csv]\nfollow = true\nheader = false\non_error = "skip"')
    path = project.drop / "a.csv"
    path.write_bytes(lines(0, 3) + b"x,y\n" + lines(3, 2))
    with project.service():
        project.wait_for_rows(5)
        append(path, b"7\n" + lines(5, 1))
        project.wait_for_rows(6)
    in_order(project, 6)
    (reason,), = project.ledger("SELECT reason FROM sources")
    assert reason == (
        'left out one line, the first was the line at byte 18: column 1 ("n"): found "x", expected an integer from -9223372036854775808 to 9223372036854775807; '
        'left out one line, the first was the line at byte 34: it has 1 field, expected 2')


def test_a_rejected_log_keeps_the_rows_before_the_bad_record(project):
    project = project(shape=None, dtype=[["n", "u1"]], decoder='[dataset.records]\nfollow = true\nlength = 2\n'
                      'fields = [{ name = "n", offset = 0, dtype = "<u2" }]')
    path = project.drop / "a.bin"
    path.write_bytes(np.arange(200, dtype="<u2").tobytes() + np.array([300, 1], "<u2").tobytes())
    project.once(check=3)
    assert project.count() == 200
    reason, = project.rejected().values()
    assert "the record at byte 400" in reason and "300" in reason
    assert "(from byte 400)" in project.command("sources", "--rejected", check=0).stdout
    append(path, np.array([2, 3], "<u2").tobytes())
    project.once(check=3)
    assert project.count() == 200
    # Mended, and tried again.
    with open(path, "r+b") as file:
        file.seek(400)
        file.write(np.array([200], "<u2").tobytes())
    project.command("retry", check=0)
    project.once()
    assert project.rows()["n"].tolist() == [*range(201), 1, 2, 3]
    assert project.json("verify", "--deep")["ok"]


def test_a_log_that_was_only_renamed_is_listed_as_such(project):
    """The bug: an empty reason, and a range of no bytes."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    log = project.drop / "a.log"
    log.write_bytes(records(0, 10))
    project.once()
    os.rename(log, project.drop / "a.log.1")
    log.write_bytes(records(10, 10))
    project.once()
    shown = project.command("sources", check=0).stdout
    assert f"a.log.1  no rows: source 1 goes on under this name  (from byte {len(records(0, 10))})\n" in shown


@pytest.mark.parametrize("include", ["", 'include = ["*.log"]'])
def test_a_log_that_is_renamed_is_read_to_its_end_before_the_next_one(project, include):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=include)
    log, old = project.drop / "a.log", project.drop / "a.log.1"
    log.write_bytes(records(0, 10))
    with project.service():
        project.wait_for_rows(10)
        file = open(log, "ab", buffering=0)
        file.write(records(10, 5))
        os.rename(log, old)
        log.write_bytes(records(16, 4))
        project.wait_for_rows(19)
        # Its writer was late.
        file.write(records(15, 1))
        project.wait_for_rows(20)
        # Once more, and nobody writes a new one yet.
        append(log, records(20, 3))
        os.rename(log, project.drop / "a.log.2")
        project.wait_for_rows(23)
    assert numbers(project) == [*range(15), *range(16, 20), 15, *range(20, 23)]
    # Each log is one source, and goes on counting.
    source, index = project.column("source").tolist(), project.column("index").tolist()
    assert source[:15] == [source[0]] * 15 and source[19] == source[0] and index[19] == 15
    assert set(source[15:19]) == set(source[20:]) and index[20:] == [4, 5, 6]
    project.once()
    assert project.count() == 23


@pytest.mark.parametrize("include", ["", 'include = ["*.log"]'])
def test_rotation_while_the_service_does_not_run(project, include):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=include)
    log = project.drop / "a.log"
    log.write_bytes(records(0, 10) + records(10, 1)[:9])
    project.once()
    assert project.count() == 10
    append(log, records(10, 1)[9:] + records(11, 2))
    os.rename(log, project.drop / "a.log.1")
    log.write_bytes(records(13, 2))
    project.once()
    in_order(project, 15)
    # Nothing was written to the new one yet.
    append(log, records(15, 2))
    os.rename(log, project.drop / "a.log.2")
    log.touch()
    project.once()
    in_order(project, 17)


@pytest.mark.parametrize("include", ["", 'include = ["*.log"]'])
@pytest.mark.parametrize("running", [True, False])
def test_copy_and_truncate(project, include, running):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=include)
    log = project.drop / "a.log"
    log.write_bytes(records(0, 300))

    def rotate():
        append(log, records(300, 50))
        shutil.copy(log, project.drop / "a.log.1")
        os.truncate(log, 0)
        append(log, records(350, 20))

    if running:
        with project.service():
            project.wait_for_rows(300)
            rotate()
            project.wait_for_rows(370)
    else:
        project.once()
        rotate()
        project.once()
    in_order(project, 370)
    project.once()
    in_order(project, 370)
    # The copy is known as the log that it was, and nothing can be missing.
    assert project.ledger("SELECT DISTINCT reason FROM sources") == [(None,)]
    assert project.ledger("SELECT log, sum(rows) FROM sources GROUP BY log ORDER BY min(first_row)")[0] == (1, 350)


@pytest.mark.parametrize("include", ["", 'include = ["*.log"]'])
@pytest.mark.parametrize("older", [300, 50])
def test_a_copy_with_the_inode_of_an_older_log(project, include, older):
    """The oldest log is removed, and the copy that is made before the newest one is cut gets its inode: it is the newest log
    nevertheless, and not a new one."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=include)
    log, old = project.drop / "a.log", project.drop / "a.log.1"
    log.write_bytes(records(0, older))
    project.once()
    os.rename(log, old)
    project.once()
    log.write_bytes(records(older, 100))
    project.once()
    append(log, records(older + 100, 10))
    inode = old.stat().st_ino
    old.unlink()
    with_inode(old, inode, partial(shutil.copy, log))
    os.truncate(log, 0)
    append(log, records(older + 110, 20))
    project.once()
    in_order(project, older + 130)
    project.once()
    in_order(project, older + 130)


def test_a_stranger_with_the_name_and_the_inode_of_a_renamed_log_is_no_source(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch='include = ["*.log"]')
    log, old = project.drop / "a.log", project.drop / "a.log.1"
    log.write_bytes(records(0, 30))
    project.once()
    os.rename(log, old)
    log.write_bytes(records(30, 5))
    project.once()
    in_order(project, 35)
    (project.folder / "stranger").write_bytes(records(500, 10))
    inode = old.stat().st_ino
    old.unlink()
    with_inode(old, inode, partial(shutil.copy, project.folder / "stranger"))
    project.once()
    in_order(project, 35)


def test_a_log_with_the_inode_and_the_length_of_an_older_one(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    old = project.drop / "a.log"
    old.write_bytes(records(0, 10))
    project.once()
    inode = old.stat().st_ino
    (project.folder / "b.log").write_bytes(records(10, 10))
    old.unlink()
    with_inode(project.drop / "b.log", inode, partial(shutil.copy, project.folder / "b.log"))
    project.once()
    in_order(project, 20)
    # One that was only touched has nothing new, and is not looked at for ever.
    os.utime(project.drop / "b.log")
    project.once()
    entries = project.ledger("SELECT count(*), sum(rows) FROM sources")
    project.once()
    assert project.ledger("SELECT count(*), sum(rows) FROM sources") == entries
    in_order(project, 20)


@pytest.mark.parametrize("include", ["", 'include = ["*.log"]'])
def test_copies_of_logs_that_hold_nothing_new_are_known_for_ever(project, include):
    """As many as are kept, also more than the logs that a new file is held against."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=include)
    log, rotations = project.drop / "a.log", 70
    for number in range(rotations):
        append(log, records(10 * number, 10))
        project.once()
        shutil.copy(log, project.drop / "copy.tmp")
        os.rename(project.drop / "copy.tmp", project.drop / f"a.log.{number}")
        os.truncate(log, 0)
        if number == 0:
            project.once()
    append(log, records(10 * rotations, 10))
    project.once()
    in_order(project, 10 * rotations + 10)
    # All copies are there, so nothing can be missing.
    assert project.ledger("SELECT DISTINCT reason FROM sources") == [(None,)]
    assert project.json("verify", "--deep")["ok"]


def test_a_log_that_is_cut_short_goes_on_from_there(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    log = project.drop / "a.log"
    log.write_bytes(records(0, 100))
    project.once()
    os.truncate(log, 60 * RECORD.itemsize)
    project.once()
    assert project.count() == 100
    append(log, records(1000, 5))
    project.once()
    assert numbers(project) == [*range(100), *range(1000, 1005)]
    reason, = [reason for reason, in project.ledger("SELECT reason FROM sources") if reason]
    assert reason.startswith("the file was cut to 1920 bytes when 3200 of it had been taken")


def test_a_log_that_is_written_anew_and_longer_between_two_looks_is_a_new_one(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    log = project.drop / "a.log"
    log.write_bytes(records(0, 10))
    project.once()
    inode = log.stat().st_ino
    with open(log, "r+b") as file:
        file.truncate(0)
        file.write(records(10, 30))
    assert log.stat().st_ino == inode
    project.once()
    in_order(project, 40)
    assert "written anew when 320 bytes of it had been taken as source 1" in project.ledger("SELECT reason FROM sources WHERE id = 2")[0][0]


def test_a_newer_version_that_replaces_the_log_goes_on(project):
    """As rsync brings it: another file, with all that was there and more."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    log = project.drop / "a.log"
    with project.service():
        for end in [10, 25, 700, 701]:
            (project.folder / "next").write_bytes(records(0, end))
            os.rename(project.folder / "next", log)
            project.wait_for_rows(end)
    in_order(project, 701)


def test_an_inode_that_is_used_again(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    first = project.drop / "a.log"
    first.write_bytes(records(0, 10))
    project.once()
    inode = first.stat().st_ino
    for attempt in range(50):
        first.unlink()
        first = project.drop / f"b{attempt}.log"
        first.write_bytes(records(10, 30))
        if first.stat().st_ino == inode:
            break
    else:
        pytest.skip("the filesystem does not use inodes again")
    project.once()
    in_order(project, 40)


@pytest.mark.parametrize("duplicates", ["append", "skip"])
def test_a_copy_of_a_log_goes_by_duplicates(project, duplicates):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch=f'duplicates = "{duplicates}"')
    (project.drop / "a.log").write_bytes(records(0, 10))
    project.once()
    shutil.copy(project.drop / "a.log", project.drop / "b.log")
    project.once()
    project.once()
    assert numbers(project) == [*range(10)] * (2 if duplicates == "append" else 1)
    append(project.drop / "b.log", records(10, 2))
    project.once()
    assert numbers(project)[-2:] == [10, 11]


def test_a_pipe_in_the_place_of_a_log_is_not_waited_for(project):
    """A new log is held against those that are known; what has their names now may be anything."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS)
    (project.drop / "a.log").write_bytes(records(0, 10))
    project.once()
    (project.drop / "b.log").write_bytes(records(10, 10))
    (project.drop / "a.log").unlink()
    os.mkfifo(project.drop / "a.log")
    project.once(timeout=20)
    in_order(project, 20)


def test_a_missing_folder_is_told_of_once(project):
    """And not at every scan of the others."""
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch='rescan = "1s"')
    project.config.write_text(project.config.read_text().replace('folders = ["drop"]', 'folders = ["drop", "later"]'))
    with project.service():
        for number in range(3):
            append(project.drop / f"{number}.log", records(10 * number, 10))
            project.wait_for_rows(10 * number + 10)
            time.sleep(1.1)
        said = [line for line in project.log().splitlines() if "later" in line]
        assert len(said) == 1 and "cannot be read" in said[0], said
        (project.folder / "later").mkdir()
        append(project.folder / "later" / "a.log", records(30, 10))
        project.wait_for_rows(40, timeout=10)
    in_order(project, 40)


def test_what_cannot_be_is_refused(project):
    project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch='after = "delete"',
                      columns='split = { train = 0.9, val = 0.1, by = "content" }')
    said = project.once(check=2).stderr
    assert 'found "delete", but a log that is followed stays' in said and 'by = "content"' in said


WRITER = """
import os, random, shutil, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_follow import records, lines
folder, kind, _, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
chance = random.Random(seed)
make = {"records": records, "csv": lines}[kind]
head = {"records": b"", "csv": b"n,x\\n"}[kind]
log, number, rotations = folder / "a.log", 0, 0
file = open(log, "ab", buffering=0)
file.write(head)
rotate_at = time.monotonic() + chance.uniform(0.5, 2)
while not (folder.parent / "stop").exists():
    data = make(number, chance.randint(1, 40))
    number += len(data) // 32 if kind == "records" else data.count(b"\\n")
    cut = chance.randint(0, len(data))
    file.write(data[:cut])
    time.sleep(chance.uniform(0, 0.02))
    file.write(data[cut:])
    time.sleep(chance.choice([0, 0.001, 0.01, 0.05]))
    if time.monotonic() > rotate_at:
        rotations += 1
        if chance.random() < 0.5:
            for old in range(rotations, 0, -1):
                if (folder / f"a.log.{old}").exists():
                    os.rename(folder / f"a.log.{old}", folder / f"a.log.{old + 1}")
            os.rename(log, folder / "a.log.1")
            file.close()
            file = open(log, "ab", buffering=0)
        else:
            for old in range(rotations, 0, -1):
                if (folder / f"a.log.{old}").exists():
                    os.rename(folder / f"a.log.{old}", folder / f"a.log.{old + 1}")
            shutil.copy(log, folder / "copy.tmp")
            os.rename(folder / "copy.tmp", folder / "a.log.1")
            os.truncate(log, 0)
        file.write(head)
        rotate_at = time.monotonic() + chance.uniform(0.5, 2)
file.close()
(folder.parent / "written").write_text(f"{number} {rotations}")
"""


@pytest.mark.parametrize("kind", ["records", "csv"])
def test_killed_and_rotated_every_record_is_there_once_and_in_order(project, kind):
    if kind == "records":
        project = project(shape=None, dtype=DTYPE, decoder=RECORDS, watch='rescan = "1s"')
    else:
        project = project(shape=None, dtype=CSV_DTYPE, decoder=CSV, watch='rescan = "1s"\ninclude = ["*.log", "*.log.*"]')
    kills = int(os.environ.get("NPY_INGEST_KILLS", 50 if LONG else 25))
    seed = int(os.environ.get("NPY_INGEST_KILL_SEED", 1))
    chance = random.Random(seed)
    (project.folder / "writer.py").write_text(WRITER)
    writer = subprocess.Popen([sys.executable, project.folder / "writer.py", project.drop, kind, Path(__file__).parent, str(seed)])
    try:
        for _ in range(kills):
            with project.service(stop=signal.SIGKILL) as process:
                time.sleep(chance.uniform(0.05, 1.0))
                assert process.poll() is None, project.log()[-3000:]
        (project.folder / "stop").touch()
        assert writer.wait(timeout=30) == 0
    finally:
        writer.kill()
        writer.wait()
    written, rotations = map(int, (project.folder / "written").read_text().split())
    # It may be ended before it listens for signals.
    with project.service(check=None):
        project.wait_for_rows(written)
    in_order(project, written)
    project.once()
    in_order(project, written)
    assert project.json("verify", "--deep")["ok"]
    entries, = project.ledger("SELECT count(*) FROM sources")[0]
    print(f"{kind}: {written} records in order after {kills} kills and {rotations} rotations; {entries} entries")
    assert rotations > 3
