"""Disks that fail, fill and vanish, for real: injected errors of single system calls, small filesystems, folders that go.

`strace` attaches to the running program and has one system call on one file fail, as a bad disk would. What has to come
of it is the table of faults in docs/format.md: nobody notices, the dataset pauses and goes on by itself, or it stops until a restart.
In each case the other dataset goes on, sources that are not committed stay where they are, and in the end every source is
there once.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from harness import PROGRAM, Project, make_pngs, mount, needs, privileged, write_png

CONFIG = """
[[dataset]]
name = "frames"
output = "data/frames.npy"
shape = [8, 8, 3]
dtype = "u1"
[dataset.watch]
folders = ["drop"]
settle = "20ms"
rescan = "1s"
{watch}
[dataset.image]
[dataset.columns]
label = "folder"

[[dataset]]
name = "other"
output = "other/other.npy"
shape = [8, 8, 3]
dtype = "u1"
[dataset.watch]
folders = ["drop-other"]
settle = "20ms"
[dataset.image]
"""

MOVE = 'after = "move"\nmove_to = "done"'
GOES_ON_WITHIN_S = 20


class Two(Project):
    """The dataset under test, and another one that must not be touched by what happens to the first."""

    def __init__(self, folder, watch=MOVE):
        self.watch = watch
        super().__init__(folder)
        self.other = Project.__new__(Project)
        self.other.folder, self.other.drop = self.folder, self.folder / "drop-other"
        self.other.config, self.other.output = self.config, self.folder / "other" / "other.npy"
        self.other.drop.mkdir()
        self.names, self.other_names = [], []

    def configure(self):
        self.config = self.folder / "ingest.toml"
        self.output = self.folder / "data" / "frames.npy"
        self.config.write_text(CONFIG.format(watch=self.watch))

    def drop_more(self, count, folder="."):
        """Whole files, all at once, into both datasets."""
        for names, drop in [(self.names, self.drop / folder), (self.other_names, self.other.drop)]:
            drop.mkdir(exist_ok=True)
            for number in range(len(names), len(names) + count):
                name = f"{number:06}.png"
                write_png(drop / f".{name}", number)
                (drop / f".{name}").rename(drop / name)
                names.append(name)

    def wait_for_log(self, word, seconds=GOES_ON_WITHIN_S):
        end = time.monotonic() + seconds
        while word not in self.log():
            assert time.monotonic() < end, f"not in the log after {seconds} s: {word}\n{self.log()[-4000:]}"
            time.sleep(0.02)

    def check_all(self):
        """Every source of both datasets is there once, and is disposed of."""
        self.check_exactly_once(self.names)
        self.other.check_exactly_once(self.other_names)
        if self.watch == MOVE:
            assert not [*self.drop.rglob("*.png")]
            assert sorted(path.name for path in (self.folder / "done").rglob("*.png")) == sorted(self.names)


@contextlib.contextmanager
def failing(process, *faults, path=None):
    """While this lasts, system calls of the process fail as these `inject=` expressions of strace say; those on `path` only."""
    words = ["strace", "-f", "-qqq", "-o", "/dev/null", "-p", str(process.pid)]
    words += ["-P", str(path)] if path else []
    words += ["-e", "trace=" + ",".join(fault.split(":")[0] for fault in faults)]
    for fault in faults:
        words += ["-e", f"inject={fault}"]
    strace = subprocess.Popen(words)
    end = time.monotonic() + 30
    while not all("TracerPid:\t0\n" not in (task / "status").read_text() for task in Path(f"/proc/{process.pid}/task").iterdir()):
        assert strace.poll() is None and time.monotonic() < end, "strace cannot attach to the program"
        time.sleep(0.01)
    try:
        yield
    finally:
        strace.terminate()
        strace.wait(timeout=30)


@contextlib.contextmanager
def started_failing(project, *faults, path=None):
    """The service, started with such faults; ended by SIGTERM."""
    words = ["strace", "-f", "-qqq", "-o", "/dev/null"] + (["-P", str(path)] if path else [])
    words += ["-e", "trace=" + ",".join(fault.split(":")[0] for fault in faults)]
    for fault in faults:
        words += ["-e", f"inject={fault}"]
    with open(project.folder / "service.log", "ab") as log:
        strace = subprocess.Popen([*words, PROGRAM, "--config", project.config], stderr=log)
    try:
        yield
        children = Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert strace.wait(timeout=60) == 0, project.log()
    finally:
        strace.kill()
        strace.wait()
    assert "panicked" not in project.log()


# What fails, on which file, how, and what comes of it. One picture is committed while it lasts: its row is the first write
# to the main file, the count in the header the second.
NOTHING, PAUSES, STOPS = "nothing", "pauses", "stops"
WAL = "frames.ledger.db-wal"
FAULTS = [
    ("frames.npy", ["pwrite64:error=EINTR:when=1..3"], NOTHING),
    ("frames.npy", ["pwrite64:error=ENOSPC:when=1"], PAUSES),
    ("frames.npy", ["pwrite64:error=EDQUOT:when=1"], PAUSES),
    ("frames.npy", ["pwrite64:error=EIO:when=1"], STOPS),
    ("frames.npy", ["pwrite64:error=ENOSPC:when=1", "ftruncate:error=EIO:when=1"], STOPS),
    ("frames.npy", ["fdatasync:error=EIO:when=1"], STOPS),
    ("frames.npy", ["fdatasync:error=ENOSPC:when=1"], STOPS),
    ("frames.source.npy", ["pwrite64:error=ENOSPC:when=1"], PAUSES),
    ("frames.source.npy", ["pwrite64:error=EIO:when=1"], STOPS),
    ("frames.source.npy", ["fdatasync:error=EIO:when=1"], STOPS),
    (WAL, ["pwrite64:error=ENOSPC:when=1"], PAUSES),
    (WAL, ["pwrite64:error=EIO:when=1"], STOPS),
    (WAL, ["fsync:error=EIO:when=1"], STOPS),
    # The publication: what is committed already.
    ("frames.npy", ["pwrite64:error=ENOSPC:when=2"], PAUSES),
    ("frames.npy", ["pwrite64:error=EIO:when=2"], STOPS),
    ("frames.source.npy", ["pwrite64:error=EIO:when=2"], STOPS),
]


@pytest.mark.parametrize("file, faults, outcome", FAULTS, ids=lambda value: value if isinstance(value, str) else "+".join(value))
def test_an_error_of_the_disk(tmp_path, file, faults, outcome):
    project = Two(tmp_path)
    project.drop_more(3)
    committed_anyway = faults[-1].endswith("when=2")
    with project.service(check=None) as service:
        project.wait_for_rows(3)
        project.other.wait_for_rows(3)
        before = np.array(project.rows())
        with failing(service, *faults, path=project.output.parent / file):
            project.drop_more(1)
            if outcome == PAUSES:
                project.wait_for_log("paused for")
            elif outcome == STOPS:
                project.wait_for_log("it takes nothing more before a restart")
            else:
                project.wait_for_rows(4)
        project.drop_more(4)
        project.other.wait_for_rows(8)  # whatever becomes of the first
        if outcome == STOPS:
            time.sleep(0.3)
            assert project.count() == 3, "nothing is published after the fault"
            kept = {path.name for path in project.drop.iterdir()}
            assert kept >= set(project.names[3 + committed_anyway:]), "sources that are not committed are kept"
        else:
            project.wait_for_rows(8, timeout=GOES_ON_WITHIN_S)
        assert np.array_equal(project.rows()[:3], before)
    assert service.returncode == (1 if outcome == STOPS else 0), project.log()
    lines = [line for line in project.log().splitlines() if " ERROR " in line]
    assert len(lines) == (0 if outcome == NOTHING else 1), lines
    if lines:
        error = {"ENOSPC": "full|No space left", "EDQUOT": "Disk quota exceeded|quota", "EIO": "Input/output error|disk I/O error"}
        words = error[faults[-1].split("error=")[1].split(":")[0]].split("|")
        assert any(word in lines[0] for word in words) and 'dataset="frames"' in lines[0], lines[0]
        assert file.removesuffix("-wal") in lines[0], lines[0]
    if outcome == STOPS:
        with project.service():
            project.wait_for_rows(8)
            time.sleep(0.3)
    project.check_all()


def test_a_service_whose_only_dataset_stopped_ends_with_1_and_says_why(project):
    project = project()
    make_pngs(project.drop, 2)
    with project.service(check=1) as service:
        project.wait_for_rows(2)
        with failing(service, "fdatasync:error=EIO:when=1", path=project.output):
            make_pngs(project.drop, 1, first=2)
            assert service.wait(timeout=30) == 1
    assert "Input/output error" in project.log() and str(project.output) in project.log()
    project.once()
    assert project.count() == 3


def test_a_service_that_syncs_at_its_end_alone_and_fails_ends_with_1(project):
    """The bug: with `durability = "none"` a warning said that the next start makes up for it, and the exit code was 0."""
    needs("strace")
    project = project(shape=(8, 8, 3), commit='durability = "none"')
    make_pngs(project.drop, 1)
    with contextlib.ExitStack() as faults:
        with project.service(check=1) as service:
            project.wait_for_rows(1)
            faults.enter_context(failing(service, "fdatasync:error=EIO", path=project.output))
    assert "what the disk has of them is not known" in project.log(), project.log()
    assert project.ledger("SELECT unsynced FROM dataset") == [(1,)]
    # The next start asks the disk, not memory.
    trace = project.folder / "trace"
    subprocess.run(["strace", "-f", "-qqq", "-o", trace, "-P", project.output, "-e", "trace=fadvise64,pread64",
                    PROGRAM, "--config", project.config, "--once"], check=True, capture_output=True)
    calls = [line.split("(")[0].split()[-1] for line in trace.read_text().splitlines() if "DONTNEED" in line or f", {8 * 8 * 3}, " in line]
    assert calls[:2] == ["fadvise64", "pread64"], trace.read_text()
    assert project.ledger("SELECT unsynced FROM dataset") == [(0,)]


def test_after_a_last_sync_that_failed_all_rows_of_the_run_are_read_from_the_disk(project):
    """The bug: with `durability = "none"` only the newest 256 MiB were, as if a disk had confirmed those before."""
    needs("strace")
    project = project(shape=(4096, 8192, 3), commit='durability = "none"\nmax_rows = 1')
    make_pngs(project.drop, 1)
    project.once()
    make_pngs(project.drop, 4, first=1)
    with contextlib.ExitStack() as faults:
        with project.service(check=1) as service:
            project.wait_for_rows(5)
            faults.enter_context(failing(service, "fdatasync:error=EIO", path=project.output))
    assert project.ledger("SELECT clean_rows, unsynced FROM dataset") == [(1, 1)]
    project.once()
    assert project.ledger("SELECT clean_rows, unsynced FROM dataset") == [(5, 0)]


def test_once_ends_with_1_on_an_error_and_the_next_run_takes_the_rest(project):
    project = project()
    names = make_pngs(project.drop, 5)
    project.once()
    names += make_pngs(project.drop, 5, first=5)
    for fault in ["pwrite64,pwritev:error=EIO:when=1", "fdatasync:error=EIO:when=1", "pwrite64,pwritev:error=ENOSPC:when=1"]:
        done = subprocess.run(
            ["strace", "-f", "-qqq", "-o", "/dev/null", "-P", project.output, "-e", f"inject={fault}",
             PROGRAM, "--config", project.config, "--once"],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and str(project.output) in done.stderr, done.stderr
        assert project.count() == 5
    project.once()
    project.check_exactly_once(names)


@pytest.mark.parametrize("after, fault", [
    ("move", "renameat2:error=EIO:when=1"), ("move", "renameat2:error=EACCES:when=1"),
    ("move", "renameat2:error=EXDEV:when=1"), ("move", "fsync:error=EIO:when=1"),
    ("delete", "unlink:error=EIO:when=1"), ("delete", "unlink:error=EROFS:when=1..2"),
])
def test_a_source_that_cannot_be_disposed_of_is_tried_again(tmp_path, after, fault):
    project = Two(tmp_path, watch=MOVE if after == "move" else 'after = "delete"')
    project.drop_more(2)
    with project.service() as service:
        project.wait_for_rows(2)
        while [*project.drop.glob("*.png")]:
            time.sleep(0.01)
        # A move is made durable by a sync of both folders.
        with failing(service, fault, path=project.folder / "done" if "fsync" in fault else None):
            project.drop_more(1)
            project.wait_for_rows(3)
            if "EXDEV" not in fault:
                project.wait_for_log("later scans try again")
        project.drop_more(3)
        project.wait_for_rows(6)
        end = time.monotonic() + 10
        while [*project.drop.glob("*.png")]:
            assert time.monotonic() < end, project.log()
            time.sleep(0.02)
        project.other.wait_for_rows(6)
    project.check_all()
    for name in project.names if after == "move" else []:
        write_png(project.folder / "expected.png", int(name.removesuffix(".png")))
        assert (project.folder / "done" / name).read_bytes() == (project.folder / "expected.png").read_bytes()


@pytest.mark.parametrize("when, mend", [("1", None), ("1..2", None), ("1+", "retry"), ("1+", "chmod")])
def test_a_source_that_cannot_be_read_is_tried_four_times(tmp_path, when, mend):
    """The bug: one that got its permissions later stayed rejected."""
    is_rejected = mend is not None
    project = Two(tmp_path)
    with project.service() as service:
        project.wait_for_log("running")
        with failing(service, f"read:error=EIO:when={when}", path=project.drop / "000000.png"):
            project.drop_more(1)
            if is_rejected:
                project.wait_for_log("rejected: the file cannot be read: Input/output error")
            else:
                project.wait_for_rows(1)
        if is_rejected:
            end = time.monotonic() + 10
            while not project.rejected():
                assert time.monotonic() < end, project.log()
                time.sleep(0.02)
            assert (project.drop / "000000.png").exists()
            if mend == "retry":
                project.command("retry", check=0)
            else:
                time.sleep(0.05)
                (project.drop / "000000.png").chmod(0o640)
        project.wait_for_rows(1)
        project.other.wait_for_rows(1)
    project.check_all()


def test_a_dataset_whose_lock_is_held_for_a_while(tmp_path):
    """The bug: it took nothing before a restart."""
    project = Two(tmp_path)
    project.drop_more(3)
    project.once()
    with open(project.output) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        project.drop_more(2)
        with project.service():
            project.other.wait_for_rows(5)
            project.wait_for_log("another process writes to")
            time.sleep(2.5)
            assert project.count() == 3
            fcntl.flock(held, fcntl.LOCK_UN)
            project.wait_for_rows(5, GOES_ON_WITHIN_S)
            time.sleep(0.3)
    project.check_all()


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM", "EACCES", "EROFS"])
def test_a_dataset_that_cannot_be_opened_for_a_while(tmp_path, error):
    project = Two(tmp_path)
    project.drop_more(2)
    project.command("--once", check=0)
    project.drop_more(2)
    with started_failing(project, f"openat:error={error}:when=1", path=project.output):
        project.wait_for_rows(4)
        project.other.wait_for_rows(4)
    assert "trying again every two seconds" in project.log()
    project.check_all()


@pytest.mark.parametrize("fault, word", [
    ("inotify_add_watch:error=ENOSPC", "the limit of inotify watches is reached"),
    ("inotify_init1:error=EMFILE", ""),
    ("inotify_add_watch:error=EACCES", "polling it"),
])
def test_without_events_it_polls(tmp_path, fault, word):
    project = Two(tmp_path)
    with started_failing(project, fault):
        project.drop_more(2)
        project.wait_for_rows(2)
        project.drop_more(2)
        project.wait_for_rows(4)
        project.other.wait_for_rows(4)
    assert word in project.log()
    project.check_all()


def test_a_folder_that_cannot_be_listed_for_a_while(tmp_path):
    project = Two(tmp_path)
    project.drop_more(3)
    with started_failing(project, "getdents64:error=EIO:when=1..4", path=project.drop):
        project.wait_for_rows(3)
        project.drop_more(3)
        project.wait_for_rows(6)
        project.other.wait_for_rows(6)
    project.check_all()


# Filesystems of their own.


def run(*words):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True)


class Image:
    """A small ext4 in a file, on a loop device."""

    def __init__(self, file, size):
        file.touch()
        os.truncate(file, size)
        assert run("mkfs.ext4", "-q", "-m", "0", file).returncode == 0
        self.device = privileged("losetup", "--find", "--show", file)

    def mount(self, folder):
        folder.mkdir(exist_ok=True)
        privileged("mount", self.device, folder)

    def remove(self):
        run("losetup", "--detach", self.device)


@contextlib.contextmanager
def small_filesystem(kind, tmp_path, folder, size):
    image = None
    if kind == "tmpfs":
        mount(folder, f"size={size}")
    else:
        image = Image(tmp_path / "image", size)
        image.mount(folder)
    try:
        yield image
    finally:
        run("umount", "-l", folder)
        if image:
            image.remove()


def fill(folder, but):
    """Takes all room but so many bytes."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with open(ballast, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            for _ in range(max(0, free - but) >> 12):
                file.write(b"\1" * 4096)
    return ballast


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_disk_that_fills_and_is_freed_again_and_again(tmp_path, kind):
    project = Two(tmp_path)
    data = project.folder / "data"
    with small_filesystem(kind, tmp_path, data, 16 << 20):
        with project.service():
            project.wait_for_log("running")
            for round_ in range(2):
                ballast = fill(data, but=[0, 20_000][round_])
                pauses = project.log().count("paused for")
                project.drop_more(400)
                end = time.monotonic() + 20
                while project.log().count("paused for") == pauses:
                    assert time.monotonic() < end, project.log()[-2000:]
                    time.sleep(0.02)
                project.other.wait_for_rows(400 * (round_ + 1))
                before = np.array(project.rows())
                assert len(project.names) - len(before) == len([*project.drop.glob("*.png")])
                time.sleep(1.2)  # an attempt that fails again
                assert np.array_equal(project.rows()[: len(before)], before)
                ballast.unlink()
                project.wait_for_rows(400 * (round_ + 1))
        project.check_all()


def test_killed_on_a_full_disk_it_recovers_there(tmp_path):
    """Recovery itself needs no room: it starts on the disk that is still full, and goes on when there is room."""
    project = Two(tmp_path)
    data = project.folder / "data"
    with small_filesystem("ext4", tmp_path, data, 16 << 20):
        with project.service(stop=signal.SIGKILL):
            project.drop_more(100)
            project.wait_for_rows(100)
            ballast = fill(data, but=0)
            project.drop_more(200)
            project.wait_for_log("paused for")
        before = np.array(project.rows())
        with project.service():
            project.other.wait_for_rows(300)
            time.sleep(1)
            assert np.array_equal(project.rows()[: len(before)], before)
            ballast.unlink()
            project.wait_for_rows(300)
        project.check_all()


# Folders that go and come back.


def test_a_drop_folder_that_is_unmounted_and_mounted_again(tmp_path):
    project = Two(tmp_path, watch="")
    with small_filesystem("ext4", tmp_path, project.drop, 16 << 20) as image:
        with project.service():
            project.drop_more(5)
            project.wait_for_rows(5)
            for round_ in range(2):
                end = time.monotonic() + 20
                while run("umount", project.drop).returncode != 0:
                    assert time.monotonic() < end, "the program does not let go of the folder"
                    time.sleep(0.05)
                time.sleep(1.5)  # it looks at the folder below, which is empty
                assert project.count() == 5 * (round_ + 1)
                image.mount(project.drop)
                project.drop_more(5)
                project.wait_for_rows(5 * (round_ + 2))
        project.check_all()


def test_a_drop_folder_that_is_renamed_and_comes_back(tmp_path):
    project = Two(tmp_path, watch="")
    away = project.folder / "away"
    with project.service():
        project.drop_more(5)
        project.wait_for_rows(5)
        project.drop.rename(away)
        make_pngs(away, 5, first=5)  # while nobody looks
        time.sleep(2.5)
        assert project.count() == 5 and "cannot be read" in project.log()
        away.rename(project.drop)
        project.names += [f"{number:06}.png" for number in range(5, 10)]
        project.wait_for_rows(10)
        time.sleep(1.5)
        start = time.monotonic()
        make_pngs(project.drop, 1, first=10)
        project.names.append("000010.png")
        project.wait_for_rows(11)
        assert time.monotonic() - start < 1, "it is watched again, not only scanned"
    project.check_exactly_once(project.names)


def test_an_output_folder_that_is_renamed_and_comes_back(tmp_path):
    project = Two(tmp_path)
    away = project.folder / "away"
    project.drop_more(5)
    with project.service(check=None):
        project.wait_for_rows(5)
        project.output.parent.rename(away)
        project.drop_more(5, folder="class")  # the class names are a file that is made anew by its path
        project.other.wait_for_rows(10)
        time.sleep(1.5)
        away.rename(project.output.parent)
        project.drop_more(5, folder="class")
        project.other.wait_for_rows(15)
        time.sleep(2.5)
    with project.service():
        project.wait_for_rows(15)
        time.sleep(0.5)
    project.check_all()


def test_an_output_disk_that_is_unmounted_under_it_and_comes_back(tmp_path):
    project = Two(tmp_path)
    data = project.folder / "data"
    with small_filesystem("ext4", tmp_path, data, 16 << 20) as image:
        project.drop_more(5)
        with project.service(check=None):
            project.wait_for_rows(5)
            assert run("umount", "-l", data).returncode == 0
            project.drop_more(5)
            project.other.wait_for_rows(10)
            time.sleep(1)
        image.mount(data)
        with project.service():
            project.wait_for_rows(10)
            time.sleep(0.5)
        project.check_all()


def test_an_output_folder_that_is_removed_under_it_is_made_anew_by_the_next_start(tmp_path):
    """Who removes an array loses its rows; the sources are still there, and give a new one."""
    project = Two(tmp_path, watch="")
    project.drop_more(5)
    with project.service(check=None):
        project.wait_for_rows(5)
        shutil.rmtree(project.output.parent)
        project.output.parent.mkdir()
        project.drop_more(5)
        project.other.wait_for_rows(10)
        time.sleep(0.5)
    with project.service():
        project.wait_for_rows(10)
    project.check_all()
