"""Logs that are not what they were: mended, written anew, cut, copied, renamed or linked, with `follow = true`."""

import os
import shutil
import signal
import time

import numpy as np
import pytest

from harness import append, mounted, wait_for, with_inode
from plain_logs import ALL, PLAIN, lines, rows

HEADER = "[dataset.csv]\nheader = true\nfollow = true"


def reasons(project):
    return [reason for reason, in project.ledger("SELECT reason FROM sources ORDER BY id") if reason]


def test_a_rejected_log_that_is_written_anew_is_a_new_one(plain):
    log = plain.drop / "a.log"
    log.write_bytes(b"1\nx\n3\n")
    plain.once(check=3)
    log.write_bytes(lines(50, 5))
    plain.once()
    plain.once()
    assert rows(plain) == [1, *range(50, 55)]
    assert plain.rejected() == {}


def test_a_log_with_the_inode_of_a_rejected_one_is_taken(plain):
    old = plain.drop / "a.log"
    old.write_bytes(b"x\n")
    plain.once(check=3)
    inode = old.stat().st_ino
    old.unlink()
    with_inode(plain.drop / "b.log", inode, lambda made: made.write_bytes(lines(50, 2)))
    plain.once(check=3)
    assert rows(plain) == [50, 51]
    assert list(plain.rejected()) == ["a.log"]
    assert reasons(plain)[1:] == []


def test_a_rejected_header_that_was_mended_is_read_again(project):
    project = project(shape=[1], dtype="<i4", decoder=HEADER + '\ncolumns = ["v"]', watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"w\n1\n")
    project.once(check=3)
    assert project.rejected() == {"a.log": 'the header has no column "v", but "w"'}
    inode = log.stat().st_ino
    log.unlink()
    with_inode(log, inode, lambda made: made.write_bytes(b"v\n50\n51\n"))
    project.once()
    assert rows(project) == [50, 51]
    assert project.rejected() == {}


def test_a_rejected_header_that_was_mended_is_tried_again(project):
    project = project(shape=[1], dtype="<i4", decoder=HEADER + '\ncolumns = ["v"]', watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"w\n1\n")
    project.once(check=3)
    log.write_bytes(b"v\n50\n51\n")
    project.command("retry", check=0)
    project.once()
    append(log, b"52\n")
    project.once()
    assert rows(project) == [50, 51, 52]
    assert project.rejected() == {}


def test_a_rejected_log_that_nobody_touched_is_tried_again(plain):
    """The bug: `retry` forgot the rejection, and nothing was taken of the log ever again: it looked as it did when it was taken
    last, so that nobody read it."""
    logs = plain.drop / "a.log", plain.drop / "b.log"
    for log, content in zip(logs, [b"1\n2\nx\n4\n", b"y\n50\n"]):
        log.write_bytes(content)
    plain.once(check=3)
    rejected = plain.rejected()
    assert list(rejected) == ["a.log", "b.log"]
    plain.command("retry", check=0)
    assert plain.rejected() == {}
    plain.once(check=3)
    assert plain.rejected() == rejected
    assert rows(plain) == [1, 2]
    # Mended in a way that does not show.
    for log in logs:
        times = log.stat()
        log.write_bytes(log.read_bytes().replace(b"x", b"3").replace(b"y", b"9"))
        os.utime(log, ns=(times.st_atime_ns, times.st_mtime_ns))
    plain.command("retry", check=0)
    plain.once()
    assert rows(plain) == [1, 2, 3, 4, 9, 50]
    assert plain.rejected() == {}
    assert plain.json("verify", "--deep")["ok"]


def test_a_rejected_log_goes_on_where_it_was_mended_and_not_before(plain):
    log = plain.drop / "a.log"
    log.write_bytes(b"1\n2\nx\n")
    plain.once(check=3)
    append(log, b"4\n")
    plain.once(check=3)
    os.utime(log)
    plain.once(check=3)
    assert rows(plain) == [1, 2]
    assert plain.ledger("SELECT count(*) FROM sources") == [(2,)], "it is not looked at again for nothing"
    log.write_bytes(b"1\n2\n3\n4\n")
    plain.once()
    assert rows(plain) == [1, 2, 3, 4]
    assert plain.rejected() == {}
    assert plain.json("verify", "--deep")["ok"]


@pytest.mark.parametrize("kept", [600, 120])
def test_a_log_that_is_cut_and_goes_on_while_its_writer_has_it_open(plain, kept):
    """Also where it was cut within the bytes that it is known by."""
    log = plain.drop / "a.log"
    with plain.service():
        with open(log, "ab", buffering=0) as file:
            file.write(lines(10000, 200))
            plain.wait_for_rows(200)
            file.truncate(kept)
            time.sleep(1.5)
            file.write(lines(20000, 20))
            time.sleep(1.5)
            file.write(lines(30000, 180))
            time.sleep(1.5)
        plain.wait_for_rows(400)
        time.sleep(1.2)
    assert rows(plain) == [*range(10000, 10200), *range(20000, 20020), *range(30000, 30180)]
    reason, = reasons(plain)
    assert reason.startswith(f"the file was cut to {kept} bytes when 1200 of it had been taken")


def test_a_log_with_the_inode_of_one_that_goes_on_in_another_file_comes_in_its_order(plain):
    """The bug: it was taken for what the older one became, looked at again when that was known to go on elsewhere, and came
    behind the log that followed it."""
    log, newer = plain.drop / "a.log", plain.drop / "a.log.tmp"
    log.write_bytes(lines(0, 10))
    plain.once()
    inode = log.stat().st_ino
    # As rsync brings a newer version of it.
    newer.write_bytes(lines(0, 15))
    os.rename(newer, log)
    os.rename(log, plain.drop / "a.log.2")
    with_inode(plain.drop / "a.log.1", inode, lambda made: made.write_bytes(lines(15, 5)))
    log.write_bytes(lines(20, 5))
    plain.once()
    assert rows(plain) == [*range(25)]
    assert reasons(plain) == []


@pytest.mark.parametrize("more", [b"", b"7\n8\n"])
def test_a_log_with_the_inode_of_one_whose_records_it_begins_with_is_told(plain, more):
    """The bug: it was taken for the deleted one, and gave no rows without a word."""
    log = plain.drop / "a.log"
    log.write_bytes(b"7\n" * 3)
    plain.once()
    inode = log.stat().st_ino
    time.sleep(0.05)
    log.unlink()
    plain.once()
    with_inode(plain.drop / "b.log", inode, lambda made: made.write_bytes(b"7\n" * 3 + more))
    plain.once()
    plain.once()
    assert rows(plain) == [7, 7, 7] + [int(record) for record in more.split()]
    reason, = reasons(plain)
    assert "the file is another one than before, and " in reason and reason.endswith("give no rows again")


@pytest.mark.parametrize("records, taken", [(b"x\n1\n", []), (b"1\nx\n", [1])])
def test_a_log_with_the_inode_of_a_rejected_one_that_begins_alike_is_listed(plain, records, taken):
    """The bug: the list had the deleted one alone."""
    log = plain.drop / "a.log"
    log.write_bytes(records)
    plain.once(check=3)
    inode = log.stat().st_ino
    time.sleep(0.05)
    log.unlink()
    plain.once(check=None)
    with_inode(plain.drop / "b.log", inode, lambda made: made.write_bytes(records + b"3\n"))
    plain.once(check=3)
    assert rows(plain) == taken
    assert "b.log" in plain.rejected()


def test_a_log_that_equals_one_that_is_gone_is_told(plain):
    """The bug: no rows, and no word, where it had another name."""
    log, other = plain.drop / "a.log", plain.drop / "b.log"
    log.write_bytes(lines(0, 5))
    plain.once()
    other.write_bytes(lines(0, 5))
    log.unlink()
    plain.once()
    reason, = reasons(plain)
    assert reason.startswith("the file is another one than before, and holds what was taken of the log as source 1, byte by byte")
    append(other, lines(5, 2))
    plain.once()
    assert rows(plain) == [*range(7)]


def test_a_log_that_is_cut_twice_goes_on_from_the_second_cut(plain):
    log = plain.drop / "a.log"
    with plain.service():
        log.write_bytes(lines(10000, 200))
        plain.wait_for_rows(200)
        for kept, first in [(600, 20000), (900, 30000)]:
            os.truncate(log, kept)
            time.sleep(1.5)
            append(log, lines(first, 300))
            plain.wait_for_rows(500 if kept == 600 else 800)
    assert rows(plain) == [*range(10000, 10200), *range(20000, 20300), *range(30000, 30300)]


def test_what_nobody_can_know_of_a_cut_is_told(plain):
    log = plain.drop / "a.log"
    log.write_bytes(lines(10000, 200))
    plain.once()
    # Longer than before when it is seen.
    os.truncate(log, 600)
    append(log, lines(20000, 150))
    plain.once()
    assert plain.count() == 450
    reason, = reasons(plain)
    assert "written anew" in reason and "the rows of what was kept are there twice" in reason
    # Shorter than before, and written to behind the cut.
    os.truncate(log, 600)
    append(log, lines(30000, 20))
    plain.once()
    assert plain.count() == 450
    assert "what was written within these bytes since is not taken" in reasons(plain)[-1]
    # Nothing of what was there before.
    log.write_bytes(lines(50000, 200))
    plain.once()
    assert plain.count() == 650
    assert "twice" not in reasons(plain)[-1]


def test_a_cut_within_quotes_goes_on_from_the_whole_record_before(project):
    project = project(shape=None, dtype=[["s", "S9"], ["n", "<i4"]], decoder=PLAIN, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b'"x\ny",1\n"p\nq",2\n')
    project.once()
    os.truncate(log, 12)
    project.once()
    append(log, b'\nm",3\n')
    project.once()
    assert project.rows()["n"].tolist() == [1, 2, 3]
    assert project.rows()["s"].tolist() == [b"x\ny", b"p\nq", b"p\nq\nm"]


def test_a_copy_that_ends_within_a_line_goes_on_with_the_whole_line(project):
    project = project(shape=[2], dtype="<i4", decoder=PLAIN, watch=ALL + '\nduplicates = "skip"')
    (project.drop / "a.log").write_bytes(b"1,2\n3,4\n5")
    project.once()
    shutil.copy(project.drop / "a.log", project.drop / "b.log")
    time.sleep(1.2)
    project.once()
    append(project.drop / "b.log", b",6\n7,8\n")
    project.once()
    assert rows(project) == [[1, 2], [3, 4], [5, 6], [7, 8]]


def test_a_short_first_line_does_not_say_how_many_fields_the_others_have(project):
    project = project(shape=None, dtype=[[name, "<f8"] for name in "abc"],
                      decoder=PLAIN + '\ncolumns = [0, 1, 2]\non_error = "skip"', watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"boot\n1,2,3\n")
    project.once()
    append(log, b"4,5,6\n7\n7,8,9\n")
    project.once()
    assert project.rows().tolist() == [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    assert "it has 1 field, expected 3" in reasons(project)[-1]


@pytest.mark.parametrize("copy", [True, False])
def test_a_log_that_goes_on_without_its_header(project, copy):
    """Its program writes the header once, and the log is copied and cut."""
    project = project(shape=[2], dtype="<i4", decoder=HEADER, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"t,b\n1,2\n3,4\n")
    project.once()
    for number, data in enumerate([b"5,6\n7,8\n", b"9,10\n"], 1):
        if copy:
            shutil.copy(log, project.drop / f"a.log.{number}")
        os.truncate(log, 0)
        append(log, data)
        project.once()
    append(log, b"11,12\n")
    project.once()
    if copy:
        assert rows(project) == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]
        assert "it begins without the header of source 1, in whose place it is: its first line is a row" in reasons(project)
    else:
        assert rows(project) == [[1, 2], [3, 4], [7, 8], [11, 12]]
        assert all("its first line reads as a row, and was passed over" in reason for reason in reasons(project))
        assert len(reasons(project)) == 2


def test_names_that_are_numbers_are_no_row(project):
    project = project(shape=[2], dtype="<i4", decoder=HEADER, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"0,1\n1,2\n")
    project.once()
    os.rename(log, project.drop / "a.log.1")
    log.write_bytes(b"0,1\n3,4\n")
    project.once()
    assert rows(project) == [[1, 2], [3, 4]]
    os.rename(log, project.drop / "b.log")
    project.once()
    log.write_bytes(b"0,1\n5,6\n")
    project.once()
    assert rows(project) == [[1, 2], [3, 4], [5, 6]]
    assert reasons(project) == []


def test_texts_that_go_on_without_their_header(project):
    """The bug: any line reads as a row of texts, and the first one of each log was taken for its header."""
    project = project(shape=[2], dtype="U8", decoder=HEADER + "\ncolumns = [0, 1]", watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"id,x\n0,a\n1,b\n")
    project.once()
    for number, data in enumerate([b"2,c\n3,d\n", b"4,e\n", b"id,x\n5,f\n"], 1):
        shutil.copy(log, project.drop / f"a.log.{number}")
        os.truncate(log, 0)
        append(log, data)
        project.once()
    assert rows(project) == [["0", "a"], ["1", "b"], ["2", "c"], ["3", "d"], ["4", "e"], ["5", "f"]]
    assert "it begins without the header of source 1, in whose place it is: its first line is a row" in reasons(project)


def test_a_hard_link_to_a_log_whose_end_is_not_complete_is_told_once(plain):
    log = plain.drop / "a.log"
    log.write_bytes(b"1\n2\n3")
    os.link(log, plain.drop / "b.log")
    with plain.service():
        plain.wait_for_rows(2)
        time.sleep(3.5)
        entries = plain.ledger("SELECT count(*) FROM sources")[0][0]
        assert entries <= 2
        append(log, b"\n4\n")
        plain.wait_for_rows(4)
        time.sleep(1.5)
    assert rows(plain) == [1, 2, 3, 4]


def test_a_header_that_never_ends_is_rejected(project):
    project = project(shape=[1], dtype="<i4", decoder=HEADER, watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"v" * 1000)
    project.once()
    assert project.ledger("SELECT * FROM sources") == []
    append(log, b"v" * (2 << 20))
    project.once(check=3)
    assert "line 1: it has more than 1048576 bytes" in project.rejected()["a.log"]


def test_an_end_that_waits_is_told_when_the_log_gets_another_name(plain):
    log = plain.drop / "a.log"
    log.write_bytes(b"1\n2\n34")
    plain.once()
    os.rename(log, plain.drop / "a.log.1")
    log.write_bytes(b"5\n")
    plain.once()
    assert rows(plain) == [1, 2, 5]
    reason, = reasons(plain)
    assert "and 2 bytes behind its last record, which wait for the rest of one" in reason
    append(plain.drop / "a.log.1", b"\n")
    plain.once()
    assert rows(plain) == [1, 2, 5, 34]


@pytest.mark.parametrize("first", ["copied", "renamed"])
def test_a_copy_and_a_new_name_in_one_scan_give_no_rows_twice(project, first):
    """The bug: the copy was held against the old name of the log, where nothing or another log was."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + '\nduplicates = "skip"')
    log, renamed = project.drop / "a.log", project.drop / "a.log.2"
    append(log, lines(0, 20))
    project.once()
    if first == "copied":
        shutil.copy(log, project.drop / "a.log.1")
        append(log, lines(20, 5))
        log.rename(renamed)
    else:
        append(log, lines(20, 5))
        log.rename(renamed)
        shutil.copy(renamed, project.drop / "a.log.1")
    append(log, lines(25, 3))
    for _ in range(3):
        time.sleep(1.1)
        project.once()
    assert rows(project) == [*range(28)]


def test_a_part_that_meets_a_full_disk_has_the_checksum_of_its_rows(project):
    """The bug: it was over the rows that were lost as well, and the next start after a kill refused the dataset."""
    project = project(shape=None, dtype=[["x", "<u4"]], decoder="[dataset.records]\nlength = 4\nfollow = true", watch='include = ["**/*"]',
                      service='[service]\nworkers = 1\nmemory = "256KiB"\nmin_free = "64KiB"')
    data = project.folder / "data"
    with mounted(data, "size=4m"):
        filler = data / "filler"
        filler.write_bytes(bytes(3700 << 10))
        (project.folder / "log").write_bytes(np.arange(100_000, dtype="<u4").tobytes())
        with project.service(stop=signal.SIGKILL):
            (project.folder / "log").rename(project.drop / "a.log")
            wait_for(lambda: "paused" in project.log(), project=project)
            filler.unlink()
            project.wait_for_rows(100_000)
        project.once()
        assert np.array_equal(project.rows()["x"], np.arange(100_000)) and project.json("verify", "--deep")["ok"]


def test_a_log_that_is_written_anew_with_the_comments_of_before_does_not_wait(project):
    """The bug: they were taken for what is left of a log that was cut, which waits until nobody has it open."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN + '\ncomment = "#"', watch=ALL)
    log, comments = project.drop / "a.log", b"# device 7\n"
    with project.service():
        log.write_bytes(comments + lines(0, 3))
        project.wait_for_rows(3)
        with open(log, "wb", buffering=0) as writer:
            writer.write(comments)
            time.sleep(0.5)
            for number in range(3, 6):
                writer.write(lines(number, 1))
                project.wait_for_rows(number + 1, timeout=10)
    assert rows(project) == [*range(6)]


def test_a_log_that_waits_as_it_was_cut_and_is_open_is_told_once(project):
    """The bug: nothing was taken while its writer had it open, without a word."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN, watch=ALL + '\nrescan = "1s"')
    log = project.drop / "a.log"
    with project.service():
        log.write_bytes(lines(0, 5))
        project.wait_for_rows(5)
        with open(log, "wb", buffering=0) as writer:
            for number in [0, 100, 101, 102, 103]:
                writer.write(lines(number, 1))
                time.sleep(0.6)
        project.wait_for_rows(9)
    assert rows(project) == [*range(5), *range(100, 104)]
    assert project.log().count("and is open for writing: what is new in it waits") == 1


def test_a_log_whose_lines_end_in_cr_goes_on_without_its_header(project):
    """The bug: its first line was looked for by LF only, so that its first row was passed over as a header."""
    project = project(shape=[1], dtype="<i4", decoder=HEADER + "\ncolumns = [0]", watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"v\r0\r1\r")
    project.once()
    shutil.copy(log, project.drop / "a.log.1")
    os.truncate(log, 0)
    append(log, b"2\r3\r")
    project.once()
    assert rows(project) == [0, 1, 2, 3]


@pytest.mark.parametrize("data", [b"1\r\n2\r\n", b"1\n2\n# closed\n", b"1\n2\n\n\n"])
def test_what_is_no_record_does_not_wait_for_the_rest_of_one(project, data):
    """The bug: each rotation told of 1 byte behind the last record, which was the LF behind the CR."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN + '\ncomment = "#"', watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(data)
    project.once()
    os.rename(log, project.drop / "a.log.1")
    log.write_bytes(b"3\r\n")
    project.once()
    append(log, b"4\r\n")
    project.once()
    assert rows(project) == [1, 2, 3, 4]
    assert reasons(project) == []


def test_a_comment_that_is_not_complete_goes_on(project):
    project = project(shape=[1], dtype="<i4", decoder=PLAIN + '\ncomment = "#"', watch=ALL)
    log = project.drop / "a.log"
    log.write_bytes(b"1\n#")
    project.once()
    append(log, b"7\n2\n# 8")
    project.once()
    append(log, b"9\n3\n")
    project.once()
    assert rows(project) == [1, 2, 3]


def test_a_log_that_begins_with_zeros_after_it_was_cut_says_why(project):
    """Its writer does not append: it goes on where it was, and what is before that is a hole."""
    project = project(shape=[1], dtype="<i8", decoder="[dataset.records]\nfollow = true", watch=ALL)
    log = project.drop / "a.log"
    with project.service(), open(log, "wb", buffering=0) as writer:
        writer.write(np.arange(1, 51, dtype="<i8").tobytes())
        project.wait_for_rows(50)
        shutil.copy(log, project.drop / "a.log.1")
        os.truncate(log, 0)
        writer.write(np.array([51], dtype="<i8").tobytes())
        project.wait_for_rows(101)
    assert rows(project) == [*range(1, 51), *([0] * 50), 51]
    reason, = [reason for reason in reasons(project) if "zeros" in reason]
    assert "does not open its log for appending (O_APPEND)" in reason


@pytest.mark.parametrize("running", [True, False])
def test_a_log_that_was_rejected_stays_listed_while_another_has_its_name(plain, running):
    """The bug: it was forgotten with the first rows of the log behind it, and its rest was neither in the array nor listed."""
    log, old = plain.drop / "a.log", plain.drop / "a.log.1"
    log.write_bytes(b"1\nx\n3\n")

    def rotate():
        os.rename(log, old)
        log.write_bytes(b"4\n")

    if running:
        with plain.service():
            plain.wait_for_rows(1)
            wait_for(plain.rejected, project=plain)
            rotate()
            plain.wait_for_rows(2)
    else:
        plain.once(check=3)
        rotate()
        plain.once(check=3)
    assert list(plain.rejected()) == ["a.log"]
    # Mended under its new name.
    old.write_bytes(b"1\n2\n3\n")
    plain.once()
    assert rows(plain) == [1, 4, 2, 3] and plain.rejected() == {}


def test_a_rejection_is_forgotten_where_the_log_goes_on_in_the_same_commit_or_is_read_again(plain):
    log = plain.drop / "a.log"
    log.write_bytes(b"1\nx\n3\n")
    plain.once(check=3)
    log.write_bytes(b"1\n2\ny\n")
    plain.once(check=3)
    assert rows(plain) == [1, 2]
    reason, = plain.rejected().values()
    assert '"y"' in reason
    log.unlink()
    (plain.drop / "b.log").write_bytes(b"7\n")
    plain.once(check=3)
    plain.command("retry", check=0)
    assert plain.rejected() == {}
