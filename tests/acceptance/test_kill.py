"""The built program under SIGKILL: nothing lost, nothing doubled, nothing that a reader should not see.

A process drops sources of known content without end (`stream.py`), readers look at the live files all the while
(`witness.py`), and the program is killed again and again: at random moments, and by `strace` at the K-th system call of
every kind that matters, SQLite's own included, in the middle of commits, disposals and recoveries. After every kill the
files are held against the ledger before anybody mends them; after the last one everything is counted.

200 kills; 2,000 with NPY_INGEST_LONG=1; as many as NPY_INGEST_KILLS says. NPY_INGEST_KILL_SEED chooses other moments.
"""

import collections
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness import LONG, PROGRAM, Project, alarms, ask_ledger, is_running
from stream import HEAD, Stream, Violation, read_rows, rightly_rejected

KILLS = int(os.environ.get("NPY_INGEST_KILLS", 2000 if LONG else 200))
SEED = int(os.environ.get("NPY_INGEST_KILL_SEED", 1))
# A project lives through so many kills, then another one begins, with other settings.
KILLS_A_ROUND = 50
SOURCES_A_SECOND = 60
HERE = Path(__file__).parent

# Before which call the program dies: how often a kind is chosen, and the largest K. strace counts for each thread by
# itself; small numbers die during the start, that is during recovery.
CALLS = {
    "pwrite64": (6, 120), "pwritev": (4, 25), "fdatasync": (5, 40), "fsync": (4, 25), "ftruncate": (3, 3),
    "renameat2": (4, 10), "unlink": (3, 10), "rename": (1, 2), "openat": (2, 120), "openat2": (2, 12),
    "fcntl": (2, 120), "flock": (1, 3), "read": (1, 60), "mmap": (1, 120), "mkdir": (1, 3),
}
# A call that does not come within this time is not waited for any longer.
CALL_WAIT_S = 1.5

DATASET = """
[[dataset]]
name = "{name}"
output = "data/{name}.npy"
shape = {shape}
dtype = "{dtype}"
[dataset.watch]
folders = ["drop-{name}"]
settle = "20ms"
rescan = "2s"
after = "{after}"
{watch}
[dataset.image]
fit = "exact"
{image}
[dataset.columns]
{columns}
[dataset.commit]
{commit}
"""


class Killed(Project):
    """Three datasets in one service: animations with all columns, 16-bit grays without copies, plain pictures."""

    def __init__(self, folder, round_, seed):
        self.streams = self.streams_of(round_)
        super().__init__(folder)
        (self.folder / "data").mkdir()
        for stream in self.streams:
            (self.folder / f"drop-{stream.name}").mkdir()
        settings = {"seed": seed, "sources_a_second": SOURCES_A_SECOND, "streams": [vars(stream) for stream in self.streams]}
        (self.folder / "streams.json").write_text(json.dumps(settings))

    @staticmethod
    def streams_of(round_):
        after = [["keep", "move", "delete"][(round_ + place) % 3] for place in range(3)]
        return [
            Stream("clips", 0, True, after[0], ["source", "index", "time", "label", "split"], True, False),
            Stream("grays", 1, False, after[1], ["source"], False, after[1] == "keep"),
            Stream("plain", 2, True, after[2], [], False, False),
        ]

    def configure(self):
        # A long animation is several times the share of 4 KiB, so it comes in parts.
        text = '[service]\nworkers = 2\nmemory = "32KiB"\n'
        commits = ["max_rows = 64", 'durability = "source"', 'max_delay = "5ms"']
        for stream, commit in zip(self.streams, commits):
            watch = ""
            if stream.after == "move":
                watch += f'move_to = "done-{stream.name}"\n'
            if stream.after != "keep":
                watch += f'rejected = "move"\nrejected_to = "failed-{stream.name}"\n'
            if stream.skips_copies:
                watch += 'duplicates = "skip"\n'
            columns = [f"{name} = {str(name in stream.columns).lower()}" for name in ["source", "index", "time"]]
            columns += ['label = "folder"'] if stream.labels else []
            columns += ['split = { train = 0.9, val = 0.1, by = "row" }'] if "split" in stream.columns else []
            text += DATASET.format(
                name=stream.name, after=stream.after, watch=watch, commit=commit, columns="\n".join(columns),
                image='frames = "all"' if stream.colour else "", shape=[8, 8, 3] if stream.colour else [8, 8],
                dtype="u1" if stream.colour else "u2")
        self.config = self.folder / "ingest.toml"
        self.config.write_text(text)

    def output_of(self, stream):
        return self.folder / "data" / f"{stream.name}.npy"

    def start(self, *strace, once=False):
        words = [*strace, PROGRAM, "--config", self.config, *(["--once"] if once else [])]
        with open(self.folder / "service.log", "ab") as log:
            return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)

    def entries(self, stream, query, *values):
        """The ledger's answer; nothing while there is none."""
        return ask_ledger(self.output_of(stream), query, *values)

    def check_killed(self):
        """Invariant I1 in the state that the kill left: published <= committed <= there, in every file."""
        for stream in self.streams:
            main = self.output_of(stream)
            if not main.exists():
                continue
            committed = committed_rows(main.with_suffix(".ledger.db"))
            published = None
            for path in [main, *(main.with_suffix(f".{name}.npy") for name in stream.columns)]:
                if not path.exists():
                    assert committed == 0, f"{path.name} is missing, and {committed} rows are committed"
                    continue
                rows, start, row_bytes = header_of(path)
                published = rows if published is None else published
                assert published <= rows <= committed, (
                    f"{path.name} shows {rows} rows, the main file {published}, committed are {committed}")
                held = (path.stat().st_size - start) // row_bytes
                assert held >= committed, f"{path.name} holds {held} rows, committed are {committed}"


def header_of(path):
    """Rows, where they begin, bytes of one."""
    with open(path, "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return shape[0], file.tell(), dtype.itemsize * int(np.prod(shape[1:], dtype=int))


def committed_rows(ledger):
    """The ledger's count, from a copy: the original is left as the kill left it."""
    if not ledger.exists():
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for end in ["", "-wal"]:
            if Path(f"{ledger}{end}").exists():
                shutil.copy(f"{ledger}{end}", f"{folder}/ledger.db{end}")
        connection = sqlite3.connect(f"{folder}/ledger.db")
        try:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
                return 0
            return connection.execute("SELECT rows FROM dataset").fetchone()[0]
        finally:
            connection.close()


class Killer:
    """Starts the program and kills it, each time in another way."""

    def __init__(self, project, random):
        self.project, self.random = project, random
        self.kinds = collections.Counter()

    def kill_once(self):
        """One start. Counts the kill, if it came to one before the program ended by itself."""
        once, stopped = self.random.random() < 0.15, False
        if self.random.random() < 0.35:
            kind, process = "at a random moment", self.project.start(once=once)
            self.wait(process, float(self.random.exponential(0.12)))
            if self.random.random() < 0.2:
                # In the middle of an orderly stop, or of a reload.
                word = signal.SIGTERM if once else self.random.choice([signal.SIGTERM, signal.SIGHUP])
                process.send_signal(int(word))
                stopped = once
                self.wait(process, float(self.random.exponential(0.01)))
        else:
            weights = np.array([weight for weight, _ in CALLS.values()])
            kind = str(self.random.choice(list(CALLS), p=weights / weights.sum()))
            count = int(np.exp(self.random.uniform(0, np.log(CALLS[kind][1] + 1))))
            process = self.project.start(
                "strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={kind}",
                "-e", f"inject={kind}:signal=SIGKILL:when={count}", once=once)
            if not self.wait(process, CALL_WAIT_S):
                kind = "at a random moment"  # there were fewer calls of that kind
        end_all(process)
        code = process.returncode
        if code == -signal.SIGKILL:
            self.kinds[kind] += 1
        elif code not in [-signal.SIGTERM, -signal.SIGHUP]:  # before it listened for signals
            log = self.project.log()[-3000:]
            if stopped and code == 1:
                assert log.endswith("npy-ingest: stopped by a signal; the next run takes the rest\n"), log
            else:
                assert code in ([0, 3] if once else [0]), f"exit code {code}: {log}"
        self.project.check_killed()

    @staticmethod
    def wait(process, seconds):
        """Whether it ended within that time."""
        try:
            process.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            return False


def end_all(process):
    """Kills what is left of a process group, and waits until nothing of it runs any more."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    others = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait(timeout=30)
    end = time.monotonic() + 30
    while any(is_running(pid) for pid in others):
        assert time.monotonic() < end, f"{others} cannot be killed"
        time.sleep(0.001)


def wait_for_all(project, dropped, timeout):
    """Until the ledgers know all that was dropped."""
    end = time.monotonic() + timeout
    for stream in project.streams:
        good, rejected, mended = (len(dropped[kind][stream.name]) for kind in ["good", "rejected", "mended"])
        while True:
            found = dict(project.entries(stream, "SELECT status, count(*) FROM sources WHERE rows > 0 OR status = 'rejected' GROUP BY status"))
            if found.get("committed", 0) >= good and rejected <= found.get("rejected", 0) <= rejected + mended:
                break
            if time.monotonic() > end:
                return  # the count that follows says what is missing
            time.sleep(0.05)


def count(project, dropped, stream):
    """Lost, doubled and wrong ones of one dataset after its last start, and what else is not as it should be."""
    faults = []
    good = dict(dropped["good"][stream.name])
    rows = np.load(project.output_of(stream), mmap_mode="r")
    try:
        heads = [HEAD.unpack(payload[: HEAD.size].tobytes()) for payload in read_rows(rows, stream.colour)]
    except Violation as violation:
        return 0, 0, [str(violation)]
    found = collections.Counter(head[0] for head in heads if head[2] == 0)
    lost = [number for number in good if number not in found]
    doubled = [number for number, times in found.items() if times > 1]
    if set(found) - set(good):
        faults.append(f"rows of sources that were never dropped: {sorted(set(found) - set(good))[:10]}")
    if len(rows) != sum(good.values()):
        faults.append(f"{len(rows)} rows, expected {sum(good.values())}")
    rejected = {Path(path).relative_to(f"drop-{stream.name}").as_posix(): reason for path, reason in
                project.entries(stream, "SELECT path, reason FROM sources WHERE status = 'rejected'")}
    of_dropped = [dropped[kind][stream.name] for kind in ["rejected", "mended"]]
    if not rightly_rejected(stream, rejected, *of_dropped) or not all(rejected.values()):
        faults.append(f"rejected {sorted(set(rejected) ^ set(dropped['rejected'][stream.name]))[:10]}, or without a reason")
    left = [path for path in (project.folder / f"drop-{stream.name}").rglob("*") if path.is_file()]
    wanted = len(good) + len(rejected) + dropped["copies"][stream.name] if stream.after == "keep" else 0
    if len(left) != wanted:
        faults.append(f"{len(left)} files in the drop folder, expected {wanted}: {sorted(left)[:5]}")
    if stream.after == "move":
        done = [path for path in (project.folder / f"done-{stream.name}").rglob("*") if path.is_file()]
        if len(done) != len(good):
            faults.append(f"{len(done)} files were moved, expected {len(good)}")
    if stream.after != "keep":
        failed = {path.name for path in (project.folder / f"failed-{stream.name}").rglob("*") if path.is_file()}
        missing = [name for path in rejected for name in [Path(path).name, f"{Path(path).name}.reason.txt"] if name not in failed]
        if missing:
            faults.append(f"of the rejected ones, not moved: {sorted(missing)[:10]}")
    return len(lost), len(doubled), faults


def one_round(folder, round_, kills):
    """A project's life. Returns its figures."""
    seed = SEED * 1000 + round_
    project = Killed(folder, round_, seed)
    killer = Killer(project, np.random.default_rng(seed))
    dropper = subprocess.Popen([sys.executable, HERE / "stream.py", folder])
    readers = [subprocess.Popen([sys.executable, HERE / "witness.py", folder, stream.name], stdout=subprocess.PIPE, text=True)
               for stream in project.streams]
    process = None
    try:
        while killer.kinds.total() < kills:
            killer.kill_once()
        (project.folder / "stop").touch()
        assert dropper.wait(timeout=60) == 0
        dropped = json.loads((project.folder / "dropped.json").read_text())
        process = project.start()
        wait_for_all(project, dropped, timeout=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, project.log()[-3000:]
        # Once more: what was disposed of late is disposed of, and nothing is taken again.
        project.command("--once", check=3 if any(dropped["rejected"].values()) else 0)
        for reader in readers:
            reader.send_signal(signal.SIGTERM)
        reports = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]
    finally:
        for other in [dropper, *readers, *([process] if process else [])]:
            other.kill()
            other.wait()
    lost, doubled, faults = 0, 0, []
    for stream in project.streams:
        numbers = count(project, dropped, stream)
        lost, doubled = lost + numbers[0], doubled + numbers[1]
        faults += [f"{stream.name} (after = {stream.after}): {fault}" for fault in numbers[2]]
        for path in (project.folder / "data").glob(f"{stream.name}*.npy"):
            rows, start, row_bytes = header_of(path)
            if path.stat().st_size != start + rows * row_bytes:
                faults.append(f"{path.name}: {path.stat().st_size} bytes after a clean stop, expected {start + rows * row_bytes}")
    verdict = project.command("verify", "--deep", "--json")
    if verdict.returncode != 0 or not json.loads(verdict.stdout)["ok"]:
        faults.append(f"verify --deep: {verdict.stdout} {verdict.stderr}")
    faults += [f"the log: {line}" for line in alarms(project.log())[:5]]
    for report in reports:
        faults += report["shown"]
        if report["loads"] == 0:
            faults.append("a reader saw nothing")
    sums = {name: sum(report[name] for report in reports) for name in ["loads", "unreadable", "violations", "rows", "sources"]}
    return {"kinds": killer.kinds, "lost": lost, "doubled": doubled, "faults": faults, **sums}


def test_killed_at_any_moment_nothing_is_lost_doubled_or_torn(tmp_path):
    begin = time.monotonic()
    total, kinds, faults, done = collections.Counter(), collections.Counter(), [], 0
    while kinds.total() < KILLS and not faults:
        figures = one_round(tmp_path / str(done), done, min(KILLS_A_ROUND, KILLS - kinds.total()))
        kinds += figures.pop("kinds")
        faults = [f"round {done} (NPY_INGEST_KILL_SEED={SEED}): {fault}" for fault in figures.pop("faults")]
        total.update(figures)
        if not faults and not total["lost"] and not total["doubled"]:
            shutil.rmtree(tmp_path / str(done))
        done += 1
    print(f"\n{kinds.total()} kills in {time.monotonic() - begin:.0f} s: {total['sources']} sources, {total['rows']} rows; "
          f"lost {total['lost']}, doubled {total['doubled']}, unreadable {total['unreadable']}, "
          f"reader loads {total['loads']}, reader violations {total['violations']}")
    print("killed " + ", ".join(f"{times} {'' if ' ' in kind else 'before '}{kind}" for kind, times in kinds.most_common()))
    assert not faults, "\n".join(faults)
    assert not any(total[name] for name in ["lost", "doubled", "unreadable", "violations"]), total
