"""`retry` beside a service that moves the same files, and kills of either: a rejected file is always in a list, and is one."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import PROGRAM, needs, wait_for

CSV = dict(shape=[1], dtype="i4", decoder="[dataset.csv]\nheader = false")
QUIET = ["strace", "-f", "-qqq", "-o", "/dev/null"]


@pytest.fixture
def elsewhere():
    """A folder on another disk."""
    folder = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(folder)
    shutil.rmtree(folder)


def move_to(folder):
    return f'rejected = "move"\nrejected_to = "{folder}"'


def traced(project, *options, words=("--once",)):
    """A run or command under strace with these options."""
    needs("strace")
    command = [*QUIET, *options, PROGRAM, "--config", project.config, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def bad_files(folder):
    return sorted(path.name for path in folder.glob("*.csv")) if folder.exists() else []


def check_listed(project, folder, names):
    """These files lie there, and each is one entry's."""
    found = [moved_to for (moved_to,) in project.ledger("SELECT moved_to FROM sources WHERE status = 'rejected'")]
    assert bad_files(folder) == sorted(names) and sorted(found) == sorted(str(folder / name) for name in names), found


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_is_forgotten_while_a_service_moves_it_is_taken_again(project, is_killed):
    """The bug: `retry` forgot a file under its name, which the service moved away before that was done, or was killed right
    after: it lay in `rejected_to`, and no ledger had it."""
    needs("strace")
    project = project(watch='rejected = "keep"', **CSV)
    (project.drop / "a.csv").write_text("bad\n")
    project.once(check=3)
    project.configure(watch=move_to("failed"), **CSV)
    failed = project.folder / "failed"
    # The source's rename is the one after that of its reason.
    delay = "renameat2:delay_enter=1500000" + (":delay_exit=5000000:when=2" if is_killed else "")
    command = [*QUIET, "-e", "trace=renameat2", "-e", f"inject={delay}", PROGRAM, "--config", project.config]
    with open(project.folder / "service.log", "ab") as log:
        service = subprocess.Popen(command, stderr=log)
    try:
        wait_for(lambda: (failed / "a.csv.reason.txt").exists(), project=project)
        time.sleep(0.3)
        slow = "pwrite64:delay_enter=2500000:when=1" if is_killed else "fdatasync,fsync:delay_enter=3000000"
        calls = slow.split(":")[0]
        done = traced(project, "-e", f"trace={calls}", "-e", f"inject={slow}", words=["retry"])
        assert done.returncode == 0 and "is taken again" in done.stdout, done
        time.sleep(1)
    finally:
        children = subprocess.run(["pgrep", "-P", str(service.pid)], capture_output=True, text=True).stdout.split()
        for child in children:
            os.kill(int(child), signal.SIGKILL if is_killed else signal.SIGTERM)
        service.wait(timeout=60)
    for _ in range(2):
        project.command("--once")
    assert bad_files(project.drop) == []
    check_listed(project, failed, ["a.csv"])


@pytest.mark.parametrize("is_rounded", [False, True])
def test_a_retry_that_is_killed_again_and_again_leaves_nothing_behind(project, elsewhere, is_rounded):
    """The bugs: what had been copied to its home was removed only after the ledger had forgotten it, so that a second kill left
    it; on a disk that rounds times it was never removed."""
    project = project(watch=move_to(elsewhere), **CSV)
    (project.drop / "a.csv").write_text("bad\n")
    project.once(check=3)
    if is_rounded:
        second = int((elsewhere / "a.csv").stat().st_mtime)
        os.utime(elsewhere / "a.csv", (second, second))
    for _ in range(2):
        kill = ["-P", elsewhere / "a.csv", "-e", "inject=unlink,unlinkat:signal=KILL"]
        assert traced(project, *kill, words=["retry"]).returncode != 0
    project.command("--once")
    project.command("retry", check=0)
    assert bad_files(elsewhere) == [] and bad_files(project.drop) == ["a.csv"]
    project.once(check=3)
    check_listed(project, elsewhere, ["a.csv"])


@pytest.mark.parametrize("is_elsewhere, times", [(False, (1, 2)), (True, (1, 2)), (True, (1, 1))])
def test_a_start_takes_no_equal_file_for_what_a_kill_left_unnoted(project, elsewhere, is_elsewhere, times):
    """The bug: the first equal file was noted as the place, though it was another source's, and the one that had been moved was
    in no list."""
    project = project(watch=move_to(elsewhere if is_elsewhere else "failed"), **CSV)
    project.config.write_text(project.config.read_text().replace('["drop"]', '["other", "drop"]'))
    failed = elsewhere if is_elsewhere else project.folder / "failed"
    (project.folder / "other").mkdir()
    for folder, time_s in zip(["other", "drop"], times):
        path = project.folder / folder / "a.csv"
        path.write_text("bad\n")
        os.utime(path, (10**9 + time_s, 10**9 + time_s))
        if folder == "other":
            project.once(check=3)
    # By the sync between the move and its note: the second of this folder.
    kill = ["-P", project.drop if is_elsewhere else failed, "-e", "inject=fsync:signal=KILL:when=2"]
    assert traced(project, *kill).returncode not in (0, 3)
    assert bad_files(project.drop) == [] and bad_files(failed) == ["a.1.csv", "a.csv"]
    project.once(check=3)
    check_listed(project, failed, ["a.1.csv", "a.csv"])


def test_a_file_that_can_be_neither_read_nor_moved_is_rejected_once(project, elsewhere):
    """The bug: each attempt to move it set its time of change, by which it was read and rejected again, for ever."""
    needs("strace")
    project = project(watch=move_to(elsewhere), **CSV)
    names = [project.drop / "a.csv", project.drop / ".a.csv.npy-ingest-aside"]
    names[0].write_text("1\n")
    paths = [word for name in names for word in ["-P", name]]
    command = [*QUIET, *paths, "-e", "inject=read,pread64:error=EIO", PROGRAM, "--config", project.config]
    with open(project.folder / "service.log", "ab") as log:
        service = subprocess.Popen(command, stderr=log)
    try:
        wait_for(lambda: "it could not be moved" in project.log(), timeout=60, project=project)
        # A second rejection comes after four attempts to read it.
        time.sleep(9)
    finally:
        for child in subprocess.run(["pgrep", "-P", str(service.pid)], capture_output=True, text=True).stdout.split():
            os.kill(int(child), signal.SIGTERM)
        service.wait(timeout=60)
    assert project.ledger("SELECT count(*), max(id) FROM sources") == [(1, 1)], project.log()
    assert bad_files(project.drop) == ["a.csv"] and bad_files(elsewhere) == []


def test_a_dataset_that_does_not_open_holds_up_no_move_of_another(project, elsewhere):
    """The bug: the copy that a crash had left was not known while another dataset was stopped, whatever that had to do with it."""
    one = project(watch=f'after = "move"\nmove_to = "{elsewhere}"', **CSV)
    text = one.config.read_text()
    second = text[text.index("[[dataset]]"):].replace('"frames"', '"more"').replace("data/frames.npy", "data/more.npy")
    second = second.replace('folders = ["drop"]', 'folders = ["other"]').replace("after =", "#").replace("move_to", "#")
    one.config.write_text(text + second)
    (one.folder / "other").mkdir()
    (one.folder / "other" / "b.csv").write_text("5\n")
    one.once()
    (one.drop / "a.csv").write_text("7\n")
    traced(one, "-P", one.drop / ".a.csv.npy-ingest-aside", "-e", "inject=unlink,unlinkat:signal=KILL")
    assert bad_files(elsewhere) == ["a.csv"]
    array = one.folder / "data" / "more.npy"
    array.write_bytes(array.read_bytes()[:50])
    with one.service(check=1):
        wait_for(lambda: not os.listdir(one.drop), timeout=20, project=one)
    assert bad_files(elsewhere) == ["a.csv"] and one.count() == 1
