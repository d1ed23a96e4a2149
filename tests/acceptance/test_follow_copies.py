"""Copies of logs that are followed, beside the log that they are a copy of: what has been taken is not taken again."""

import bz2
import gzip
import lzma
import os
import shutil
import time
from functools import partial

import pytest
from blake3 import blake3

from harness import append, with_inode
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


@pytest.mark.parametrize("has_inode_of_another", [False, True])
def test_a_copy_is_known_where_another_log_came_between_its_parts(plain, has_inode_of_another):
    """The bug: such a part had the hash of the one before it as well, so that the copy was another log, and all of it came twice."""
    log, other, oldest, copy = plain.drop / "a.log", plain.drop / "b.log", plain.drop / "a.log.4", plain.folder / "copy"
    oldest.write_bytes(lines(0, 2))
    with plain.service():
        plain.wait_for_rows(2)
        for path, first, count in [(log, 2, 5), (other, 7, 1), (log, 8, 5), (log, 13, 2)]:
            append(path, lines(first, count))
            plain.wait_for_rows(first + count)
        if has_inode_of_another:
            # What a filesystem does that gives a removed file's inode to the next one: it is written to, and has a new name.
            os.rename(oldest, copy)
        shutil.copyfile(log, copy)
        os.rename(copy, plain.drop / "a.log.1")
        os.truncate(log, 0)
        append(log, lines(15, 1))
        plain.wait_for_rows(16)
    plain.once()
    assert rows(plain) == [*range(16)]


def test_each_part_has_the_hash_of_its_bytes(plain):
    log, other = plain.drop / "a.log", plain.drop / "b.log"
    with plain.service():
        for number, path in enumerate([log, log, other, log, log, other, log]):
            append(path, lines(number * 3, 3))
            plain.wait_for_rows(number * 3 + 3)
    parts = plain.ledger("SELECT path, log_begin, log_end, hash FROM sources ORDER BY id")
    assert len(parts) >= 4
    for path, begin, end, digest in parts:
        assert blake3((plain.folder / path).read_bytes()[begin:end]).hexdigest() == digest, parts


def test_a_copy_of_a_copy_that_was_left_out(project):
    """The bug: what was left out had the hash of nothing, so that its own copy was not known."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + '\nrescan = "1s"\nduplicates = "skip"')
    one, two, three = (project.drop / name for name in ["a.log", "b.log", "c.log"])
    one.write_bytes(lines(0, 20))
    project.once()
    shutil.copy(one, two)
    time.sleep(1.2)
    project.once()
    append(two, lines(50, 1))
    project.once()
    shutil.copy(two, project.folder / "copy")
    os.rename(project.folder / "copy", three)
    os.truncate(two, 0)
    time.sleep(1.2)
    project.once()
    assert rows(project) == [*range(20), 50]


@pytest.mark.parametrize("more", [5, 60])
def test_a_copy_of_a_log_that_was_cut_once(plain, more):
    """The bug: the parts of what was cut off were looked for in the copy, too: it was read again and again, or all of it came twice."""
    log = plain.drop / "a.log"
    with plain.service():
        log.write_bytes(lines(100, 50))
        plain.wait_for_rows(50)
        os.truncate(log, 8)
        # A cut that is not seen before the next line cannot be told from one to its place.
        time.sleep(1.5)
        append(log, lines(1000, more))
        plain.wait_for_rows(50 + more)
        shutil.copyfile(log, plain.folder / "copy")
        os.rename(plain.folder / "copy", plain.drop / "a.log.1")
        os.truncate(log, 0)
        append(log, lines(2000, 1))
        plain.wait_for_rows(51 + more)
    plain.once()
    assert rows(plain) == [*range(100, 150), *range(1000, 1000 + more), 2000]


@pytest.mark.parametrize("more", [5, 90])
def test_a_new_log_that_is_cut_before_it_is_read_comes_behind_its_copy(project, more):
    """Also where it is longer by then than it was when it was found."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL, service="[service]\nworkers = 1")
    slow = '[[dataset]]\nname = "slow"\noutput = "data/slow.npy"\nshape = [1]\ndtype = "u1"\n[dataset.watch]\nfolders = ["slow"]\n' \
           '[dataset.command]\nargv = ["sh", "-c", "touch begun; sleep 1.5; printf x"]\noutput = "raw"\n'
    project.config.write_text(project.config.read_text() + slow)
    (project.folder / "slow").mkdir()
    log = project.drop / "a.log"
    with project.service():
        (project.folder / "slow" / "a").write_text("x")
        while not (project.folder / "begun").exists():
            time.sleep(0.02)
        log.write_bytes(lines(100, 50))
        time.sleep(0.5)
        shutil.copyfile(log, project.folder / "copy")
        os.rename(project.folder / "copy", project.drop / "a.log.1")
        os.truncate(log, 0)
        append(log, lines(150, more))
        project.wait_for_rows(50 + more)
    project.once()
    assert rows(project) == [*range(100, 150 + more)]


def test_a_copy_is_left_out_however_soon_it_is_written_to(skipping):
    """The bug: the copy waits for a second, and one that was written to meanwhile was not taken for a copy any more: the rows
    of the log were there twice."""
    log, copy = skipping.drop / "a.log", skipping.drop / "b.log"
    log.write_bytes(lines(0, 10))
    with skipping.service():
        skipping.wait_for_rows(10)
        shutil.copy2(log, copy)
        time.sleep(0.6)
        append(log, lines(10, 2))
        append(copy, lines(20, 2))
        skipping.wait_for_rows(14)
        append(copy, lines(22, 1))
        skipping.wait_for_rows(15)
        time.sleep(1.5)
        assert sorted(rows(skipping)) == [*range(12), *range(20, 23)]
    skipping.once()
    assert skipping.count() == 15
    reasons = skipping.ledger("SELECT DISTINCT reason FROM sources WHERE path LIKE '%b.log' AND reason IS NOT NULL")
    assert reasons == [(f"its first 20 bytes are left out: a copy of {log}, which is source 1",)]


def test_a_log_that_begins_as_another_one_while_it_is_open_is_no_copy(skipping):
    """Both programs write the same first line, and this one has its log open: nobody has copied it."""
    log, other = skipping.drop / "a.log", skipping.drop / "b.log"
    log.write_bytes(lines(0, 10))
    with skipping.service():
        skipping.wait_for_rows(10)
        with open(other, "wb", buffering=0) as file:
            file.write(lines(0, 1))
            time.sleep(0.6)
            file.write(lines(20, 1))
            skipping.wait_for_rows(12)
    assert rows(skipping) == [*range(10), 0, 20]


COMPRESSED = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    # As the commands write them, where they are not at hand.
    "zst": lambda data: b"\x28\xb5\x2f\xfd" + data,
    "lz4": lambda data: b"\x04\x22\x4d\x18" + data,
}


@pytest.mark.parametrize("decoder", [PLAIN, "[dataset.records]\nfollow = true"])
@pytest.mark.parametrize("ending", COMPRESSED)
def test_what_a_rotation_compressed_is_left_out_and_told(project, decoder, ending):
    """The bug: with the pattern that is recommended for rotated logs, compressed ones gave rows of their bytes."""
    project = project(shape=[1], dtype="<i4", decoder=decoder, watch='include = ["a.log", "a.log.*"]\nrescan = "1s"')
    log, packed, older = (project.drop / name for name in ["a.log", f"a.log.1.{ending}", f"a.log.2.{ending}"])
    data = lines(1000, 40)
    log.write_bytes(data)
    project.once()
    count = project.count()
    packed.write_bytes(COMPRESSED[ending](data))
    os.truncate(log, 0)
    project.once()
    (reason, status), = project.ledger("SELECT reason, status FROM sources WHERE path LIKE ?", f"%.{ending}")
    assert reason.startswith("left out, as it is compressed (") and status == "committed"
    os.rename(packed, older)
    project.once()
    project.once()
    # Whatever is written behind it is no record.
    append(older, data)
    project.once()
    assert project.count() == count
    assert project.rejected() == {}
    entries = project.ledger("SELECT count(*) FROM sources")
    project.once()
    assert project.ledger("SELECT count(*) FROM sources") == entries


def test_a_log_that_is_put_back_says_why_it_gives_no_rows(plain):
    """The bug: neither the ledger nor the log of the service had a word on it."""
    log = plain.drop / "a.log"
    log.write_bytes(lines(0, 10))
    plain.once()
    spare = plain.drop.parent / "spare"
    spare.write_bytes(lines(0, 10))
    os.replace(spare, log)
    plain.once()
    assert rows(plain) == [*range(10)]
    reason, = plain.ledger("SELECT reason FROM sources WHERE reason IS NOT NULL")
    assert reason[0].startswith("the file is another one than before, and holds what was taken of the log as source 1")
    append(log, lines(10, 2))
    plain.once()
    assert rows(plain) == [*range(12)]


@pytest.mark.parametrize("duplicates", ["append", "skip"])
@pytest.mark.parametrize("is_closed_before", [False, True])
def test_rows_that_are_taken_between_a_copy_and_the_cut_are_not_taken_twice(project, duplicates, is_closed_before):
    """The bug: the copy had less than what had been taken of the log, and counted as another one. All of it came twice."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=f'{ALL}\nrescan = "1s"\nduplicates = "{duplicates}"')
    log, copy = project.drop / "a.log", project.drop / "a.log.1"
    with project.service():
        append(log, lines(0, 100))
        project.wait_for_rows(100)
        with open(copy, "wb", buffering=0) as writer:
            writer.write(log.read_bytes())
            # As logrotate does, which has the copy written out before it cuts the log.
            time.sleep(0.3)
            append(log, lines(100, 10))
            project.wait_for_rows(110)
            if is_closed_before:
                writer.close()
            os.truncate(log, 0)
            # What the copy has beyond is its own.
            append(copy, lines(115, 1))
        append(log, lines(110, 5))
        project.wait_for_rows(116)
        time.sleep(1.5)
    project.once()
    assert sorted(rows(project)) == [*range(116)]
    reason, = project.ledger("SELECT reason FROM sources WHERE path LIKE '%.1' AND reason IS NOT NULL")
    assert reason[0].startswith(f"its first 290 bytes are left out: a copy of {log}, which is source 1")


@pytest.mark.parametrize("count", [10, 300])
def test_a_copy_that_an_earlier_run_has_seen_less_of_than_of_the_log_is_left_out(plain, count):
    """The bug: as above, with a restart in between."""
    log, copy = plain.drop / "a.log", plain.drop / "a.log.1"
    log.write_bytes(lines(0, count))
    plain.once()
    with open(copy, "wb", buffering=0) as writer:
        writer.write(log.read_bytes())
        append(log, lines(count, 3))
        plain.once()
        os.truncate(log, 0)
    append(log, lines(count + 3, 2))
    plain.once()
    plain.once()
    assert rows(plain) == [*range(count + 5)]


def test_a_log_that_begins_as_one_did_that_was_cut_is_no_copy(plain):
    """Both programs write the same first line, and nobody has seen the one to be the beginning of the other."""
    log, other = plain.drop / "a.log", plain.drop / "b.log"
    log.write_bytes(lines(0, 10))
    with plain.service():
        plain.wait_for_rows(10)
        with open(other, "wb", buffering=0) as writer:
            writer.write(lines(0, 1))
            time.sleep(0.3)
            writer.write(lines(20, 1))
            plain.wait_for_rows(12)
            os.truncate(log, 0)
            append(log, lines(30, 1))
            writer.write(lines(21, 1))
            plain.wait_for_rows(14)
    assert sorted(rows(plain)) == [0, *range(10), 20, 21, 30]


@pytest.mark.parametrize("by", ["copy", "replacement"])
def test_more_logs_than_are_held_against_a_new_file_are_known_when_they_change_at_once(plain, by):
    """The bug: those that were not among the 64 that were begun last came twice."""
    for number in range(70):
        (plain.drop / f"{number}.log").write_bytes(lines(number * 1000, 10))
    plain.once()
    for number in range(70):
        log, spare = plain.drop / f"{number}.log", plain.folder / "spare"
        if by == "copy":
            shutil.copyfile(log, spare)
            os.rename(spare, plain.drop / f"{number}.log.1")
            os.truncate(log, 0)
            append(log, lines(number * 1000 + 10, 2))
        else:
            spare.write_bytes(lines(number * 1000, 12))
            os.replace(spare, log)
    plain.once()
    assert sorted(rows(plain)) == [number * 1000 + n for number in range(70) for n in range(12)]


def test_a_log_that_begins_as_the_first_part_of_another_is_a_copy_of_that_only(project):
    """The bug: what was behind that was left out as well, unseen."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL)
    log, other = project.drop / "a.log", project.drop / "b.log"
    for first, count in [(1000, 100), (1100, 900)]:
        append(log, lines(first, count))
        project.once()
    other.write_bytes(lines(1000, 100) + lines(5000, 890))
    time.sleep(0.05)
    log.write_bytes(lines(7000, 50))
    project.once()
    project.once()
    assert sorted(rows(project)) == [*range(1000, 2000), *range(5000, 5890), *range(7000, 7050)]
    (reason,), = project.ledger("SELECT reason FROM sources WHERE path LIKE '%b.log'")
    assert reason.startswith("its first 500 bytes are left out: a copy of ")


def cut_at_once(project, count):
    """Logs that have got records, and are copied under names that are no sources' and cut, one after the other."""
    logs = [project.drop / f"{number}.log" for number in range(count)]
    for number, log in enumerate(logs):
        append(log, lines(1000 * number + 1010, 5))
    for number, log in enumerate(logs):
        shutil.copyfile(log, f"{log}.1")
        os.truncate(log, 0)
        append(log, lines(1000 * number + 1015, 2))


@pytest.mark.parametrize("is_running", [False, True])
def test_logs_that_are_copied_and_cut_at_once_are_all_read_to_their_ends(project, is_running):
    """The bug: each copy was held against one of the logs only, and so were the 16 newest ones for each log."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch='include = ["*.log"]')
    for number in range(40):
        (project.drop / f"{number}.log").write_bytes(lines(1000 * number + 1000, 10))
    if is_running:
        with project.service():
            project.wait_for_rows(400)
            cut_at_once(project, 40)
            project.wait_for_rows(680)
    else:
        project.once()
        cut_at_once(project, 40)
        project.once()
    for number in range(40):
        of_log = [row for row in rows(project) if row // 1000 == number + 1]
        assert of_log == [*range(1000 * number + 1000, 1000 * number + 1017)]
    assert project.ledger("SELECT DISTINCT reason FROM sources") == [(None,)]


def test_copies_of_logs_that_begin_alike_are_known_by_what_follows(project):
    """As many as are looked at for each log; their names do not begin as those of the logs."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch='include = ["*.log"]')
    banner, logs = lines(0, 100), [project.drop / f"{number}.log" for number in range(60)]
    for number, log in enumerate(logs):
        log.write_bytes(banner + lines(1000 * number + 1000, 10))
    project.once()
    for number, log in enumerate(logs):
        append(log, lines(1000 * number + 1010, 5))
        shutil.copyfile(log, project.drop / f"old-{number}")
        os.truncate(log, 0)
        append(log, lines(1000 * number + 1015, 2))
    project.once()
    for number in range(60):
        of_log = [row for row in rows(project) if row // 1000 == number + 1]
        assert of_log == [*range(1000 * number + 1000, 1000 * number + 1017)]


def test_a_copy_is_found_among_newer_files_that_are_no_logs(project):
    """The bug: 16 of them, and it was not looked at."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch='include = ["*.log"]')
    log = project.drop / "a.log"
    log.write_bytes(lines(1000, 10))
    project.once()
    append(log, lines(1010, 5))
    shutil.copyfile(log, project.drop / "a.log.1")
    os.truncate(log, 0)
    append(log, lines(1015, 2))
    time.sleep(0.05)
    for number in range(80):
        (project.drop / f"{number}.jpg").write_bytes(os.urandom(200))
    project.once()
    assert rows(project) == [*range(1000, 1017)]
    assert project.ledger("SELECT DISTINCT reason FROM sources") == [(None,)]


def with_inode_of_older(plain, copy, log):
    """Copies the log, of which 15 lines are there, to a file that has the inode of a log which is removed."""
    older = plain.drop / "z.log"
    older.write_bytes(lines(900, 30))
    log.write_bytes(lines(1000, 10))
    plain.once()
    append(log, lines(1010, 5))
    inode = older.stat().st_ino
    time.sleep(0.05)
    older.unlink()
    with_inode(copy, inode, partial(shutil.copyfile, log))
    os.truncate(log, 0)


@pytest.mark.parametrize("name", ["a.log.1", "a-1.log", "0"])
def test_a_copy_with_the_inode_of_an_older_log_comes_before_what_is_as_new(plain, name):
    """The bug: it came behind what its log had by then, as if it were a log that was written anew."""
    log, copy = plain.drop / "a.log", plain.drop / name
    with_inode_of_older(plain, copy, log)
    append(log, lines(1015, 3))
    for path in (log, copy):
        os.utime(path, (2_000_000_000, 2_000_000_000))
    plain.once()
    assert rows(plain) == [*range(900, 930), *range(1000, 1018)]


def test_a_copy_with_the_inode_of_an_older_log_is_foreseen_by_its_log(plain):
    """The bug: the log was looked at again when its copy was known to go on with it, and came behind the log that followed."""
    log, copy = plain.drop / "a.log", plain.drop / "a.log.1"
    with_inode_of_older(plain, copy, log)
    time.sleep(0.05)
    append(log, lines(1015, 50))
    os.rename(log, plain.drop / "a.log-2")
    time.sleep(0.05)
    log.write_bytes(lines(1065, 3))
    plain.once()
    assert rows(plain) == [*range(900, 930), *range(1000, 1068)]
