"""The service under systemd: the notify protocol over a real socket, the watchdog, the unit's hardening, the log."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from harness import LONG, PROGRAM, ROOT, children_of, cpu_ns, make_pngs, needs

UNIT = ROOT / "packaging" / "npy-ingest.service"


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, folder, watchdog_s=None, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0npy-ingest-test-{os.getpid()}-{time.monotonic_ns()}" if abstract else str(folder / "notify")
        self.socket.bind(name)
        self.env = {"NOTIFY_SOCKET": name.replace("\0", "@")}
        if watchdog_s:
            self.env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self.heard = []
        self.read = 0
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            self.heard.append(self.socket.recv(65536).decode())

    def wait_for(self, wanted, timeout=20):
        """The next message that holds these words."""
        end = time.monotonic() + timeout
        while True:
            while self.read < len(self.heard):
                self.read += 1
                if wanted in self.heard[self.read - 1]:
                    return self.heard[self.read - 1]
            assert time.monotonic() < end, f"{wanted!r} did not come within {timeout} s; heard {self.heard}"
            time.sleep(0.01)

    def pings(self, seconds):
        """How many pings come within this time."""
        before = len(self.heard)
        time.sleep(seconds)
        self.read = len(self.heard)
        return sum("WATCHDOG=1" in message for message in self.heard[before:self.read])


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_of_start_reload_and_stop(project, abstract):
    project = project()
    manager = Manager(project.folder, abstract=abstract)
    with project.service(env=manager.env) as service:
        manager.wait_for("READY=1")
        assert project.output.exists(), "ready means that the datasets are open"
        make_pngs(project.drop, 3)
        project.wait_for_rows(3)
        assert "3 new rows" in manager.wait_for("STATUS=1 dataset, 3 new")
        good = project.config.read_text()
        project.config.write_text("nonsense")
        service.send_signal(signal.SIGHUP)
        assert re.search(r"^MONOTONIC_USEC=\d+$", manager.wait_for("RELOADING=1"), re.MULTILINE)
        manager.wait_for("READY=1")
        assert "the old one goes on" in project.log()
        project.config.write_text(good)
        service.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        make_pngs(project.drop, 3, first=3)
        project.wait_for_rows(6)
        service.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")


def test_a_config_that_is_wrong_is_never_ready(project):
    project = project(image='fit = "nonsense"')
    manager = Manager(project.folder)
    with project.service(env=manager.env, check=2) as service:
        service.wait(timeout=20)
    with pytest.raises(AssertionError):
        manager.wait_for("READY=1", timeout=0.5)


def test_pings_come_while_the_service_works_and_while_it_sleeps(project):
    project = project()
    manager = Manager(project.folder, watchdog_s=1.5)
    with project.service(env=manager.env):
        manager.wait_for("READY=1")
        assert manager.pings(3) >= 6, "a sleeping service pings more often than it must"
        make_pngs(project.drop, 400)
        assert manager.pings(3) >= 6
        project.wait_for_rows(400)


@pytest.mark.parametrize("thread, inject", [
    ("npy-writer", "fdatasync:delay_enter=8000000:when=3"),
    ("npy-decode", "openat2:delay_enter=8000000:when=1"),
    ("npy-intake", "getdents64:delay_enter=8000000:when=9"),
])
def test_pings_stop_when_a_thread_hangs(project, thread, inject):
    """A system call that does not return for eight seconds, in this thread; systemd waits for two."""
    needs("strace")
    project = project(service="[service]\nworkers = 2", watch='rescan = "1s"')
    manager = Manager(project.folder, watchdog_s=2)
    trace = project.folder / "trace"
    call = inject.split(":")[0]
    log = open(project.folder / "service.log", "ab")
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, "-e", f"trace={call}", "-e", f"inject={inject}", PROGRAM, "--config",
         project.config], stderr=log, env={**os.environ, **manager.env, "RUST_LOG": "info"})
    try:
        manager.wait_for("READY=1", timeout=60)
        end = time.monotonic() + 20
        number = 0
        while "no more pings" not in project.log():
            make_pngs(project.drop, 1, first=number)
            number += 1
            time.sleep(0.3)
            assert time.monotonic() < end, project.log()
        assert re.search(rf'thread="?{thread}', project.log()), project.log()
        manager.wait_for("is stuck")
        assert manager.pings(1.5) == 0
        # The call returns, and so do the pings.
        manager.wait_for("WATCHDOG=1", timeout=20)
    finally:
        process.send_signal(signal.SIGTERM)
        for child in children_of(process.pid):
            os.kill(child, signal.SIGTERM)
        process.wait(timeout=60)
        log.close()


def test_a_long_move_to_another_disk_is_seen_and_left_alone(project):
    """A copy of 12 s, in pieces. The bugs: the writer counted as stuck, and a scan gave the source its name again meanwhile, so
    that it was copied again and again."""
    needs("strace")
    done = tempfile.mkdtemp(dir="/dev/shm")
    project = project(shape=[1 << 20], decoder="[dataset.records]\n",
                      watch=f'include = ["*"]\nmode = "poll"\nrescan = "1s"\nafter = "move"\nmove_to = "{done}"')
    manager = Manager(project.folder, watchdog_s=3)
    content = os.urandom(24 << 20)
    (project.drop / "large").write_bytes(content)
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-P", f"{done}/.large.npy-ingest.tmp", "-e", "trace=pwrite64",
         "-e", "inject=pwrite64:delay_exit=520000", PROGRAM, "--config", project.config],
        stderr=open(project.folder / "service.log", "ab"), env={**os.environ, **manager.env, "RUST_LOG": "info"})
    try:
        project.wait_for_rows(24)
        assert manager.pings(8) >= 4, project.log()
        end = time.monotonic() + 30
        while os.listdir(done) != ["large"] or os.listdir(project.drop):
            assert time.monotonic() < end, f"{project.log()}\n{os.listdir(done)} {os.listdir(project.drop)}"
            time.sleep(0.1)
        assert "is back" not in project.log() and "no more pings" not in project.log(), project.log()
        assert (Path(done) / "large").read_bytes() == content
    finally:
        for child in children_of(process.pid):
            os.kill(child, signal.SIGTERM)
        process.wait(timeout=60)
        shutil.rmtree(done)


def test_a_watched_service_sleeps(project):
    """With pings and the status page, from one rescan to the next: a rescan is one system call for each folder in which there is nothing
    and which has not changed, and nothing else goes on. In the long form a minute of four takes at most 10 ms of CPU time more than as many bare
    calls on other folders: those take 1 ms, or far more in a virtual machine whose host has taken idle memory away."""
    needs("strace")
    seconds = 60 if LONG else 8
    project = project(service='[service]\nlisten = "127.0.0.1:0"', watch=f'rescan = "{seconds}s"')
    kind = subprocess.run(["stat", "-f", "-c", "%T", project.drop], capture_output=True, text=True, check=True).stdout.strip()
    others = project.folder / "others"
    for number in range(1000):
        (project.drop / str(number)).mkdir()
        (others / str(number)).mkdir(parents=True)
    make_pngs(project.drop / "1", 3)
    # The first scan remembers which folders are empty, if that is not news.
    time.sleep(4)
    manager = Manager(project.folder, watchdog_s=180)
    with project.service(env=manager.env) as service:
        manager.wait_for("READY=1")
        project.wait_for_rows(3)
        time.sleep(4)
        turns_ms = []
        while not turns_ms or LONG and len(turns_ms) < 4 and min(own for own, _ in turns_ms) >= 10:
            # Not by clock ticks: a thread that is awake when one comes is charged for all of it.
            ran = cpu_ns(service)
            bare_calls_ms(others)
            time.sleep(seconds)
            spent_ms, bare_ms = (cpu_ns(service) - ran) / 1e6, bare_calls_ms(others)
            turns_ms.append((spent_ms - bare_ms, bare_ms))
        trace = project.folder / "trace"
        tracer = subprocess.Popen(["strace", "-f", "-qqq", "-o", trace, "-p", str(service.pid)])
        time.sleep(seconds)
        tracer.terminate()
        tracer.wait(timeout=30)
        calls = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
        print(f"idle for {seconds} s with 1,000 watched folders on {kind} and a rescan: "
              + ", ".join(f"{own:.1f} ms of CPU time above the {bare:.1f} ms of bare calls" for own, bare in turns_ms)
              + f"; calls: {calls.total()}")
        # One rescan, or parts of two. It reads each folder, with five calls, where change times cannot be relied on.
        remembers = kind in {"ext2/ext3", "xfs", "btrfs", "f2fs", "tmpfs", "overlayfs"}
        assert 1000 < calls.total() < (2200 if remembers else 11000), calls
        if LONG:
            assert min(own for own, _ in turns_ms) < 10, turns_ms


def bare_calls_ms(folders):
    """Processor time of one look at each of 1,000 folders."""
    top = os.open(folders, os.O_RDONLY)
    begin = time.thread_time_ns()
    for number in range(1000):
        os.stat(str(number), dir_fd=top)
    spent = time.thread_time_ns() - begin
    os.close(top)
    return spent / 1e6


# The unit.


def test_the_unit_is_sound_and_hardened(tmp_path):
    needs("systemd-analyze")
    text = UNIT.read_text()
    assert "Type=notify" in text and "ExecStartPre=" in text and "WatchdogSec=" in text
    # The same with a program that is there.
    unit = tmp_path / "npy-ingest.service"
    unit.write_text(text.replace("/usr/local/bin/npy-ingest", str(PROGRAM.resolve())))
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", unit], capture_output=True, text=True)
    assert done.returncode == 0 and "npy-ingest" not in done.stderr, done.stderr
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", unit], capture_output=True, text=True)
    score = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])
    print(f"systemd-analyze security: {score}")
    assert score <= 1.0, done.stdout


def allowed_by_the_unit():
    """The system calls that the unit's filter lets through."""
    needs("systemd-analyze")

    def calls(group):
        done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
        found = set()
        for word in re.findall(r"^ +(@?\w[\w-]*)$", done.stdout, re.MULTILINE):
            found |= calls(word) if word.startswith("@") else {word}
        return found

    text = UNIT.read_text()
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        groups = set().union(*(calls(group) if group.startswith("@") else {group} for group in line.lstrip("~").split()))
        allowed = allowed - groups if line.startswith("~") else allowed | groups
    # execve and what the loader needs are allowed in any case, as systemd.exec(5) says.
    allowed |= {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn", "clock_gettime", "futex"}
    return allowed


def test_the_unit_allows_every_system_call_that_the_service_makes(project):
    """The filter cannot be tried without systemd itself, but what it allows can be listed, and so can what is called."""
    allowed = allowed_by_the_unit()
    project = project(
        watch='after = "move"\nmove_to = "done"\nrejected = "move"\nrejected_to = "failed"', columns='label = "folder"')
    trace = project.folder / "trace"
    manager = Manager(project.folder, watchdog_s=10)
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", trace, PROGRAM, "--config", project.config], stderr=subprocess.DEVNULL,
        env={**os.environ, **manager.env})
    manager.wait_for("READY=1", timeout=60)
    make_pngs(project.drop / "a", 20)
    (project.drop / "bad.png").write_text("bad")
    project.wait_for_rows(20)
    child = int(trace.read_text().split()[0])
    os.kill(child, signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1", timeout=60)
    os.kill(child, signal.SIGTERM)
    process.wait(timeout=60)
    made = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    print(f"{len(made)} different system calls: {' '.join(sorted(made))}")
    # SQLite gives its files the database's owner where it runs as root, which the service does not.
    made -= {"fchown"}
    assert len(made) > 30 and made <= allowed, made - allowed


# The log.


def test_the_log_as_json_has_one_object_a_line_with_its_fields(project):
    project = project()
    bad = os.path.join(os.fsencode(project.drop), b"bad\n\xff.png")
    with open(bad, "wb") as file:
        file.write(b"no image")
    done = project.command("--once", "--log-format", "json", check=3)
    (line,) = done.stderr.splitlines()
    event = json.loads(line)
    assert event["level"] == "WARN" and event["dataset"] == "frames" and "rejected" in event["message"]
    # The bug: it was a string of Rust's within the string.
    assert event["source"] == f"{project.drop}/bad\n\ufffd.png"
    project.command("retry", check=0)
    line, *more = project.command("--once", check=3).stderr.splitlines()
    assert "bad\\n\ufffd.png" in line and not more


def test_the_log_goes_to_the_journal_where_standard_error_does(project):
    """The journal's socket is at a fixed place, so that this test can only listen where there is no journal."""
    path = "/run/systemd/journal/socket"
    if os.path.exists(path):
        pytest.skip("a journal is running here")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        journal.bind(path)
    except OSError as error:
        pytest.skip(f"no journal can be played here: {error}")
    try:
        project = project()
        (project.drop / "bad.png").write_text("no image")
        with open(project.folder / "stderr", "wb") as stderr:
            status = os.fstat(stderr.fileno())
            env = {**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            subprocess.run([PROGRAM, "--config", project.config, "--once"], stderr=stderr, env=env)
        journal.settimeout(5)
        entry = journal.recv(65536) or journal.recv(65536)  # an empty one asks whether anybody is there
        for words in [b"PRIORITY\n\x01\0\0\0\0\0\0\x004\n", b"rejected: ", b"NPY_DATASET\n", b"NPY_SOURCE\n"]:
            assert words in entry, entry
        assert (project.folder / "stderr").read_bytes() == b""
    finally:
        journal.close()
        os.unlink(path)
