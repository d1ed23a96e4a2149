"""The ledger's own files: what a killed process leaves of them, and a disk without shared memory."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess

import numpy as np
import pytest
from PIL import Image

from harness import PROGRAM, make_pngs, mounted, needs

SYNC = re.compile(r"\b(?:fsync|fdatasync)\(\d+<(.*?)>\)")
WRITE = re.compile(r"\b(?:pwrite64|pwritev|pwritev2|pwrite)\(\d+<(.*?)>")


def traced(project, *words, check=0):
    """`--once` under strace with these words."""
    done = subprocess.run(["strace", "-f", "-qqq", *words, PROGRAM, "--config", project.config, "--once"], capture_output=True, text=True)
    assert check is None or done.returncode == check, done.stderr[-4000:]
    return done


@pytest.mark.parametrize("watch", ["", 'after = "delete"'])
def test_what_a_killed_process_left_is_durable_before_anything_is_built_upon_it(project, tmp_path, watch):
    """The bug: a commit whose sync never came was published and its sources deleted, and a power cut took it back."""
    needs("strace")
    project = project(shape=(8, 8, 3), watch=watch)
    make_pngs(project.drop, 2)
    project.once()
    make_pngs(project.drop, 2, first=2)
    log = project.output.with_suffix(".ledger.db-wal")
    # SQLite's own syncs are `fsync`: that of the log's header, and then that by which the commit becomes durable.
    traced(project, "-o", "/dev/null", "-P", log, "-e", "trace=fsync", "-e", "inject=fsync:signal=SIGKILL:when=2", check=None)
    # To whoever reads it now, the commit is there.
    for file in project.output.parent.glob("frames.ledger.db*"):
        shutil.copy(file, tmp_path / file.name)
    with sqlite3.connect(tmp_path / "frames.ledger.db") as ledger:
        assert ledger.execute("SELECT rows FROM dataset").fetchall() == [(4,)]
    assert len(np.load(project.output)) == 2 and log.stat().st_size > 0
    trace = tmp_path / "trace"
    traced(project, "-y", "-o", trace, "-e", "trace=fsync,fdatasync,pwrite64,pwritev,pwritev2,unlink,unlinkat,rename,renameat2")
    assert len(np.load(project.output)) == 4
    lines = trace.read_text().splitlines()
    written = [number for number, line in enumerate(lines) if (found := WRITE.search(line)) and found[1] == str(log)]
    synced = [number for number, line in enumerate(lines) if (found := SYNC.search(line)) and found[1] == str(log)]
    others = [number for number, line in enumerate(lines)
              if f"<{project.output}>" in line and ("pwrite" in line or "sync" in line) or "unlink" in line and ".png" in line]
    assert written and synced and others and written[0] < synced[0] < others[0], lines[:40]
    assert project.json("verify", "--deep")["ok"]


@pytest.mark.parametrize("durability", ["batch", "none"])
def test_a_ledger_without_shared_memory_has_a_rollback_journal(project, durability):
    needs("strace")
    project = project(shape=(8, 8, 3), commit=f'durability = "{durability}"')
    memory = project.output.with_suffix(".ledger.db-shm")
    names = []
    for first in (0, 3):
        names += make_pngs(project.drop, 3, first=first)
        traced(project, "-o", "/dev/null", "-P", memory, "-e", "trace=mmap", "-e", "inject=mmap:error=ENODEV")
        assert project.ledger("PRAGMA journal_mode") == [("delete",)]
    project.check_exactly_once(names)
    # It stays so where there is some.
    names += make_pngs(project.drop, 3, first=6)
    project.once()
    assert project.ledger("PRAGMA journal_mode") == [("delete",)]
    project.check_exactly_once(names)
    assert project.json("verify", "--deep")["ok"]


def kept(project, folder):
    """A copy of the ledger as it lies there; gives a function that puts it back."""
    files = lambda of: of.glob("frames.ledger.db*")
    folder.mkdir()
    for file in files(project.output.parent):
        shutil.copy(file, folder / file.name)

    def put_back():
        for file in files(project.output.parent):
            file.unlink()
        for file in files(folder):
            shutil.copy(file, project.output.parent / file.name)
    return put_back


@pytest.mark.parametrize("before", ["batch", "none"])
def test_an_older_ledger_is_refused_whatever_the_durability_is_now(project, tmp_path, before):
    """The bug: with `durability = "none"` in the config, rows were cut off that had been synced and published."""
    project = project(shape=(8, 8, 3), watch='after = "delete"', commit=f'durability = "{before}"')
    make_pngs(project.drop, 5)
    project.once()
    put_back = kept(project, tmp_path / "kept")
    make_pngs(project.drop, 4, first=5)
    project.once()
    rows = np.load(project.output)
    put_back()
    for now in ("batch", "none"):
        project.configure(shape=(8, 8, 3), watch='after = "delete"', commit=f'durability = "{now}"')
        above = "its header says 9 rows, and the ledger 5: they do not belong together"
        assert above in project.once(check=1).stderr
        assert above in project.command("check", check=1).stdout
        assert above in project.command("status", check=0).stdout
        assert above in project.command("verify", check=1).stdout
        assert (np.load(project.output) == rows).all()


def test_rows_that_were_committed_without_syncs_may_be_lost(project, tmp_path):
    """What a power cut can leave of them: the headers, and an older ledger."""
    settings = {"shape": (8, 8, 3), "commit": 'durability = "none"'}
    project = project(**settings)
    names = make_pngs(project.drop, 5)
    with project.service(stop=signal.SIGKILL):
        project.wait_for_rows(5)
    assert project.ledger("SELECT unsynced FROM dataset") == [(1,)]
    put_back = kept(project, tmp_path / "kept")
    names += make_pngs(project.drop, 4, first=5)
    with project.service(stop=signal.SIGKILL):
        project.wait_for_rows(9)
    put_back()
    # Also where the config asks for more by now.
    project.configure(shape=(8, 8, 3))
    assert "problem" not in project.command("check", check=0).stdout
    assert "problem" not in project.command("status", check=0).stdout
    verdict, = project.json("verify")["datasets"]
    assert "rows were lost" in " ".join(verdict["notes"]), verdict
    assert "rows were lost" in project.once().stderr
    project.check_exactly_once(names)
    assert project.ledger("SELECT unsynced FROM dataset") == [(0,)]


def test_an_orderly_stop_makes_up_for_what_was_not_synced(project, tmp_path):
    needs("strace")
    project = project(shape=(8, 8, 3), commit='durability = "none"')
    names = make_pngs(project.drop, 5)
    trace = tmp_path / "trace"
    traced(project, "-y", "-o", trace, "-e", "trace=fsync,fdatasync,pwrite64,pwritev")
    assert project.ledger("SELECT unsynced, clean_rows FROM dataset") == [(0, 5)]
    # The mark is synced before anything is committed, the files after their last count.
    lines = trace.read_text().splitlines()
    synced = [(number, found[1]) for number, line in enumerate(lines) if (found := SYNC.search(line))]
    rows = [number for number, line in enumerate(lines) if f"<{project.output}>" in line and "pwrite" in line]
    log = str(project.output.with_suffix(".ledger.db-wal"))
    assert any(path == log and number < rows[-2] for number, path in synced), lines
    assert any(path == str(project.output) and number > rows[-1] for number, path in synced), lines
    project.check_exactly_once(names)


def test_an_orderly_stop_syncs_the_ledgers_log_though_somebody_reads_it(project, tmp_path):
    """The bug: with `durability = "none"` a power cut after it rolled the ledger back, and the next start cut rows that were synced."""
    needs("strace")
    project = project(shape=(8, 8, 3), commit='durability = "none"')
    make_pngs(project.drop, 1)
    project.once()
    make_pngs(project.drop, 2, first=1)
    trace = tmp_path / "trace"
    path = project.output.with_suffix(".ledger.db")
    with contextlib.closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT rows FROM dataset").fetchall() == [(1,)]
        traced(project, "-y", "-o", trace, "-e", "trace=fsync,fdatasync,pwrite64,pwritev")
        assert reader.execute("SELECT rows, unsynced FROM dataset").fetchall() == [(3, 0)]
    of_log = [line for line in trace.read_text().splitlines() if f"<{path}-wal>" in line]
    assert "sync(" in of_log[-1], of_log


@pytest.mark.parametrize("suffix, folder", [(".npy", "b"), (".label.npy", "."), (".ledger.db", "b")])
def test_a_file_of_another_dataset_with_as_many_rows_is_refused(project, suffix, folder):
    """The bug: after an orderly end it was taken, and with another ledger all sources came a second time."""
    project = project(shape=(8, 8, 3), columns='label = "folder"')
    make_pngs(project.drop / "a", 5)
    project.once()
    own = project.output
    shutil.rmtree(project.drop)
    make_pngs(project.drop / folder, 5, first=5)
    project.configure(shape=(8, 8, 3), columns='label = "folder"', output="other/frames.npy")
    project.once()
    project.configure(shape=(8, 8, 3), columns='label = "folder"')
    shutil.copy(project.folder / "other" / f"frames{suffix}", own.with_suffix(suffix))
    found = "rows 4 to 4 (source 5, "
    for words, code in ((["check"], 1), (["status"], 0), (["verify"], 1), (["--once"], 1)):
        done = project.command(*words, check=code)
        assert found in done.stdout + done.stderr, done
    assert "do not belong together" in done.stderr


def test_rows_of_which_only_older_ones_are_quick_to_check(project, tmp_path):
    """A source of more than 16 MiB is passed over for one before it."""
    project = project(shape=(1024, 1024, 3), image='frames = "all"', columns="index = false")
    make_pngs(project.drop, 1)
    project.once()
    frames = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(6)]
    frames[0].save(project.drop / "1.gif", save_all=True, append_images=frames[1:])
    project.once()
    with open(project.output, "r+b") as file:
        file.seek(128)
        file.write(b"other")
    assert "rows 0 to 0 (source 1, " in project.once(check=1).stderr


READING = [["status"], ["verify", "--deep"], ["sources", "--rejected"], ["sources", "--row", "1"]]


def fill(folder):
    with open(folder / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("how", ["read-only", "full", "of another user"])
def test_a_ledger_that_nobody_writes_is_read_where_nothing_can_be_written(project, how):
    """The bug: SQLite wants files of its own beside it, also to read, and the commands failed with "disk I/O error"."""
    project = project(service='[service]\nmin_free = "1B"')
    with mounted(project.output.parent, "size=1m,mode=755") as remount:
        make_pngs(project.drop, 3)
        (project.drop / "bad.png").write_bytes(b"no picture")
        project.once(check=3)
        user = None
        if how == "read-only":
            remount("ro")
        elif how == "full":
            fill(project.output.parent)
        else:
            user = 65534
            for folder in [project.folder, *project.folder.parents]:
                folder.chmod(folder.stat().st_mode | 0o011)
        run = lambda *words: subprocess.run(
            [PROGRAM, "--config", project.config, *words], capture_output=True, text=True, user=user)
        said = ""
        for words in READING:
            done = run(*words)
            assert done.returncode == 0, (words, done.stdout, done.stderr)
            said += done.stdout
        assert "sound, 3 rows" in said and "rejected: " in said and "drop/000001.png  row 1" in said, said
        cause = {"read-only": "Read-only file system", "full": "is nearly full", "of another user": "Permission denied"}[how]
        told = run("check")
        assert told.returncode == 1 and told.stdout.count("problem ") == 1 and cause in told.stdout, told.stdout
        cause = "is full: make room" if how == "full" else cause
        done = run("retry")
        assert done.returncode == 1 and cause in done.stderr and "is taken again" not in done.stdout, done.stderr


def test_a_log_that_cannot_be_read_without_writing_is_told_of(project):
    project = project()
    with mounted(project.output.parent, "size=1m") as remount:
        make_pngs(project.drop, 3)
        with project.service(stop=signal.SIGKILL):
            project.wait_for_rows(3)
        remount("ro")
        assert project.json("verify", "--deep")["datasets"][0]["rows"] == 3, "with the shared memory that was left"
        remount("rw")
        os.remove(project.output.with_suffix(".ledger.db-shm"))
        remount("ro")
        told, = project.json("verify", check=1)["datasets"][0]["problems"]
        assert "Read-only file system" in told and "frames.ledger.db-wal has commits that SQLite cannot read" in told, told
        remount("rw")
        assert project.json("verify", "--deep")["datasets"][0]["rows"] == 3
