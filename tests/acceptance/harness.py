"""The one harness of the acceptance tests: a project folder, the built program, and real NumPy."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TESTDATA = ROOT / "testdata"
PROGRAM = Path(os.environ.get("NPY_INGEST", ROOT / "target" / "release" / "npy-ingest"))
# The long form of the tests that repeat something: NPY_INGEST_LONG=1.
LONG = os.environ.get("NPY_INGEST_LONG") == "1"

# What the log says when a promise is broken: whatever kills the service, it may say none of these.
ALARMS = ["panicked", "before a restart", "header is rebuilt", "rows were lost"]

SHAPE = (32, 32, 3)

CONFIG = """
{service}
[[dataset]]
name = "frames"
output = "{output}"
{shape}
dtype = {dtype}
[dataset.watch]
folders = ["drop"]
settle = "50ms"
{watch}
{decoder}
[dataset.columns]
{columns}
[dataset.commit]
{commit}
"""


class Project:
    """A folder with a config, a drop folder and an output folder."""

    def __init__(self, folder, **settings):
        self.folder = Path(folder)
        self.drop = self.folder / "drop"
        self.drop.mkdir(parents=True, exist_ok=True)
        self.configure(**settings)

    def configure(self, name="ingest.toml", output="data/frames.npy", shape=SHAPE, dtype="u1", service="",
                  watch="", image="", columns="", commit="", decoder=None):
        """`shape`: None for none. `dtype`: NumPy's word, or a list of [name, dtype]. `decoder`: a decoder table in place
        of that of images."""
        self.config = self.folder / name
        self.output = self.folder / output
        self.config.write_text(CONFIG.format(
            output=output, shape="" if shape is None else f"shape = {list(shape)}", dtype=json.dumps(dtype),
            service=service, watch=watch, decoder=decoder or f"[dataset.image]\n{image}", columns=columns,
            commit=commit))
        return self

    # Running the program.

    def command(self, *words, check=None, timeout=600):
        """Runs a command with this project's config and returns the finished process."""
        done = subprocess.run([PROGRAM, "--config", self.config, *words], capture_output=True, text=True, timeout=timeout)
        assert "panicked" not in done.stderr, done.stderr
        if check is not None:
            assert done.returncode == check, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def once(self, check=0, timeout=600):
        return self.command("--once", check=check, timeout=timeout)

    def json(self, *words, check=0):
        return json.loads(self.command(*words, "--json", check=check).stdout)

    @contextlib.contextmanager
    def service(self, stop=signal.SIGTERM, check=0, env=None):
        """The running service; ended by `stop` at the end of the block. `check`: its exit code; `None` for any."""
        with limits_of_the_machine(), open(self.folder / "service.log", "ab") as log:
            process = subprocess.Popen([PROGRAM, "--config", self.config], stderr=log, env={**os.environ, **(env or {})})
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(stop)
                code = process.wait(timeout=120)
        assert "panicked" not in self.log(), self.log()
        if stop != signal.SIGKILL and check is not None:
            assert code == check, f"exit code {code}\n{self.log()}"

    def log(self):
        path = self.folder / "service.log"
        return path.read_text() if path.exists() else ""

    # What came out.

    def rows(self):
        return np.load(self.output, mmap_mode="r")

    def column(self, name):
        return np.load(self.output.with_suffix(f".{name}.npy"), mmap_mode="r")

    def count(self):
        try:
            return len(self.rows())
        except FileNotFoundError:
            return 0

    def wait_for_rows(self, count, timeout=60):
        """Waits until so many rows are published."""
        end = time.monotonic() + timeout
        while self.count() < count:
            assert time.monotonic() < end, f"{self.count()} of {count} rows after {timeout} s\n{self.log()[-4000:]}"
            time.sleep(0.01)

    def ledger(self, query, *values):
        """The answer of the ledger; nothing while there is none."""
        return ask_ledger(self.output, query, *values)

    def rejected(self):
        """Name of each rejected source -> reason."""
        found = self.ledger("SELECT path, reason FROM sources WHERE status = 'rejected'")
        return {Path(path).name: reason for path, reason in found}

    def check_exactly_once(self, names):
        """Every named source is committed once, with rows of its own, in files that agree with the ledger."""
        found = self.ledger("SELECT path FROM sources WHERE status = 'committed' ORDER BY first_row")
        found = [Path(path).name for (path,) in found]
        assert sorted(found) == sorted(names), (
            f"{len(set(names) - set(found))} lost, {len(found) - len(set(found))} doubled, {len(found)} in all")
        assert self.count() == len(names)
        verdict = self.json("verify", "--deep")
        assert verdict["ok"], verdict


def ask_ledger(output, query, *values):
    """The answer of the ledger of this output; nothing while there is none."""
    path = output.with_suffix(".ledger.db")
    if not output.exists() or not path.exists():
        return []
    connection = sqlite3.connect(path)
    try:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            return []
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def alarms(log):
    """The lines of a log that tell of a broken promise."""
    return [line for line in log.splitlines() if any(word in line for word in ALARMS)]


def wait_for(condition, timeout=20, project=None, each=0.02):
    """Until it is so; it is looked at every `each` seconds. `project`: whose log tells why it is not."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, project.log()[-4000:] if project else "it did not come"
        time.sleep(each)


@contextlib.contextmanager
def limits_of_the_machine(*, change=False):
    """Nobody changes them meanwhile: another test may run beside this one. `change`: this one does, and no service of others runs."""
    if limits_of_the_machine.are_changed:
        yield
        return
    with open(Path(tempfile.gettempdir()) / "npy-ingest-limits.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if change else fcntl.LOCK_SH)
        limits_of_the_machine.are_changed = change
        try:
            yield
        finally:
            limits_of_the_machine.are_changed = False


limits_of_the_machine.are_changed = False


def children_of(pid):
    """The processes that a process has started itself and that have not ended."""
    return [int(child) for child in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# What not every machine has: without it a test is skipped, and `scripts/test` lists it.

def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here: `scripts/setup test` installs it")


def privileged(*command):
    """Runs a command that needs privileges; what it printed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"not possible here: {' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def mount(folder, options):
    """Mounts a tmpfs there."""
    folder.mkdir(parents=True, exist_ok=True)
    privileged("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)


@contextlib.contextmanager
def mounted(folder, options):
    """A tmpfs there for a while; gives a function that mounts it again with other options."""
    mount(folder, options)
    try:
        yield lambda options: privileged("mount", "-o", f"remount,{options}", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def append(path, data):
    """Writes bytes to the end of a file, as a logger does."""
    with open(path, "ab") as file:
        file.write(data)


def with_inode(path, inode, make):
    """Has `make` make files until one has this inode, which gets the name `path`."""
    made = []
    while not made or made[-1].stat().st_ino != inode:
        if len(made) == 50:
            pytest.skip("the filesystem does not use inodes again")
        made.append(path.with_name(f"made{len(made)}.tmp"))
        make(made[-1])
    os.rename(made.pop(), path)
    for other in made:
        other.unlink()


def colour_of(number):
    """A colour that differs from those of the numbers near it, and is never black: a row of zeros is a row that is missing."""
    return ((number * 37) % 256, (number * 101 // 3) % 256, (number // 7) % 255 + 1)


def write_png(path, number, size=(40, 30)):
    """A small PNG whose one colour tells its number."""
    Image.new("RGB", size, colour_of(number)).save(path, compress_level=1)


def make_pngs(folder, count, first=0, suffix=".png"):
    """`count` small PNGs with different pixels; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in range(first, first + count):
        name = f"{number:06}{suffix}"
        write_png(folder / name, number)
        names.append(name)
    return names


def make_photographs(folder, count, seed=0):
    """JPEGs of mixed sizes, cut out of the real photographs of testdata."""
    folder.mkdir(parents=True, exist_ok=True)
    originals = [Image.open(path).convert("RGB") for path in sorted((TESTDATA / "photos").rglob("*.jpg"))]
    random = np.random.default_rng(seed)
    names = []
    for number in range(count):
        original = originals[number % len(originals)]
        width, height = (int(random.integers(side // 3, side)) for side in original.size)
        left, top = int(random.integers(0, original.width - width)), int(random.integers(0, original.height - height))
        name = f"photo-{number:05}.jpg"
        original.crop((left, top, left + width, top + height)).save(folder / name, quality=85)
        names.append(name)
    return names


def copy_testdata(kind, folder):
    shutil.copytree(TESTDATA / kind, folder, dirs_exist_ok=True)


def cpu_ns(process):
    """Processor time of all threads of a process, in nanoseconds: without the rounding of clock ticks."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"))
