"""A long life with everything at once: mixed sources, bad ones among them, reloads, kills, orderly stops, and readers.

Six datasets in one service (`soak.py` says what is dropped and what becomes of it). Two rough stretches, in which the service
is killed, stopped and reloaded, and between them one long life of a single process with reloads only, whose memory and
descriptors are looked at all the while. At every pause and at the end everything is counted.

45 seconds; an hour with NPY_INGEST_LONG=1; as many seconds as NPY_INGEST_SOAK_SECONDS says. NPY_INGEST_SOAK_SEED chooses
another course of events, and is printed.
"""

import collections
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np

from harness import LONG, alarms, free_port
from soak import LOGS, REASONS, STREAMS, SoakDropper, config, fault_of
from stream import HEAD, read_rows, rightly_rejected
from test_kill import HERE, Killed, end_all, header_of

SECONDS = float(os.environ.get("NPY_INGEST_SOAK_SECONDS", 3600 if LONG else 45))
SEED = int(os.environ.get("NPY_INGEST_SOAK_SEED", 1))
# The longer it takes, the fewer a second: it is to run beside other work.
SOURCES_A_SECOND = 60 if SECONDS < 300 else 12
# Between two kills, stops or reloads, on average; and between two reloads of the long life.
ROUGH_S, GENTLE_S = (1.0, 1.5) if SECONDS < 300 else (6.0, 6.0)
SAMPLE_S = 0.25 if SECONDS < 300 else 2.0
READERS_REST_S = 0.02 if SECONDS < 300 else 0.5
# What the medians of a time in the first and one in the last quarter of the long life may differ by. Memory: SQLite keeps up to
# 2 MiB for each connection (a dataset has three), which fill while the ledgers grow, and the allocator's arenas come and go with
# the threads of every reload. Descriptors: sources that are just open. Idle, there must be no difference.
MEMORY_TOLERANCE_KIB = 12 << 10
DESCRIPTORS_TOLERANCE = 2
REFUSED = "the new config is refused, the old one goes on"
# Added by the first reload; and the one that is removed and brought back.
ADDED, REMOVED = "chunks", "plain"


class Soak(Killed):
    """The project, its service and what is known of it."""

    @staticmethod
    def streams_of(_):
        return STREAMS

    def configure(self):
        self.config, self.port = self.folder / "ingest.toml", free_port()
        self.present, self.settings = [stream.name for stream in STREAMS if stream.name != ADDED], {}
        self.write_config()

    def write_config(self, **others):
        streams = [stream for stream in STREAMS if stream.name in self.present]
        self.config.write_text(config(streams, self.port, **{**self.settings, **others}))


class Service:
    """The process: started, killed, stopped, reloaded, and looked at."""

    def __init__(self, project, random):
        self.project, self.random = project, random
        self.process, self.read = None, 0
        self.said = collections.Counter()
        self.actions = collections.Counter()
        self.cpu_s = 0.0
        self.samples = []         # of this process: seconds, resident KiB, descriptors, all datasets are there
        self.changed_at = 0.0

    def start(self):
        before = self.told("running")
        self.process, self.samples = self.project.start(), []
        self.wait_for("running", before + 1)

    def told(self, word):
        """How often the log has that by now."""
        with open(self.project.folder / "service.log", "rb") as log:
            log.seek(self.read)
            new = log.read()
            new = new[: new.rfind(b"\n") + 1]
            self.read += len(new)
        for line in new.decode().splitlines():
            assert "panicked" not in line, line
            for known, pattern in [("running", r"INFO .*\brunning\b"), ("refused", REFUSED), ("reloading", "reloading the config")]:
                self.said[known] += bool(re.search(pattern, line))
        return self.said[word]

    def wait_for(self, word, count, timeout=30):
        end = time.monotonic() + timeout
        while self.told(word) < count:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.project.log()[-3000:]}"
            assert time.monotonic() < end, f"{word!r} was not told {count} times\n{self.project.log()[-3000:]}"
            time.sleep(0.01)
        self.changed_at = time.monotonic()

    def kill(self):
        """Soon after something came; now and then during the next start as well."""
        self.note_cpu()
        time.sleep(float(self.random.exponential(0.03)))
        end_all(self.process)
        self.project.check_killed()
        self.actions["killed"] += 1
        if self.random.random() < 0.3:
            self.process = self.project.start()
            time.sleep(float(self.random.exponential(0.05)))
            end_all(self.process)
            self.project.check_killed()
            self.actions["killed while starting"] += 1
        self.start()

    def stop(self):
        self.note_cpu()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0, self.project.log()[-3000:]
        self.actions["stopped"] += 1

    def stop_and_verify(self):
        """After an orderly stop: no file is longer than its rows, and everything agrees."""
        self.stop()
        for stream in STREAMS:
            for path in (self.project.folder / "data").glob(f"{stream.name}*.npy"):
                rows, start, row_bytes = header_of(path)
                assert path.stat().st_size == start + rows * row_bytes, f"{path.name}: {path.stat().st_size} bytes, {rows} rows"
        verify(self.project)

    def reload(self, kind):
        """A reload of that kind, which must be taken or be refused."""
        project, before = self.project, (self.told("running"), self.told("refused"), self.told("reloading"))
        refused = kind in ["no TOML", "unknown key", "same output", "other rows"]
        if kind == "added or removed":
            if ADDED not in project.present:
                project.present.append(ADDED)
            elif REMOVED in project.present:
                project.present.remove(REMOVED)
            else:
                project.present.append(REMOVED)
        elif kind == "changed":
            project.settings = {"settle": str(self.random.choice(["20ms", "50ms", "0s"])),
                                "max_rows": int(self.random.choice([1, 16, 64, 1000]))}
        project.write_config(**({"fit": "stretch"} if kind == "other rows" else {}))
        text = project.config.read_text()
        project.config.write_text({
            "no TOML": text.replace("[service]", "[service", 1), "unknown key": text.replace("settle", "setle", 1),
            "same output": text.replace("data/grays.npy", "data/clips.npy")}.get(kind, text))
        self.process.send_signal(signal.SIGHUP)
        if refused:
            self.wait_for("refused", before[1] + 1)
            project.write_config()
        if not refused or kind == "other rows":
            self.wait_for("running", before[0] + 1)
        # Settings of rows are only looked at when the dataset is opened; everything else before anything is stopped.
        expected = (before[1] + refused, before[2] + (not refused or kind == "other rows"))
        assert (self.told("refused"), self.told("reloading")) == expected, project.log()[-3000:]
        self.actions[f"reloaded: {kind}"] += 1

    # What it takes.

    def sample(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1])
        everything = len(self.project.present) == len(STREAMS) and time.monotonic() > self.changed_at + 2 * SAMPLE_S
        self.samples.append((time.monotonic(), resident, self.descriptors(), everything))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def note_cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        self.cpu_s += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Course:
    """What happens, one after the other, in one thread."""

    def __init__(self, folder, random):
        self.project = Soak(folder, 0, SEED)
        (folder / "streams.json").write_text(json.dumps(
            {"seed": SEED, "rest_s": READERS_REST_S, "streams": [vars(stream) for stream in STREAMS]}))
        self.random = random
        self.service = Service(self.project, random)
        self.dropper = SoakDropper(folder, STREAMS, SEED, self.entries)
        self.drops, self.calms, self.idle_descriptors = 0, [], []
        (folder / "service.log").touch()

    def entries(self, stream, query, *values):
        return self.project.entries(stream, query, *values)

    def run(self, seconds, act, every_s):
        """Drops for so long, and calls `act` now and then, if there is one."""
        begin = due = sampled = time.monotonic()
        acted = begin + float(self.random.exponential(every_s))
        while time.monotonic() < begin + seconds:
            self.dropper.drop(STREAMS[self.drops % len(STREAMS)])
            self.drops += 1
            if act and time.monotonic() > acted:
                act()
                acted = time.monotonic() + float(self.random.exponential(every_s))
                due = max(due, time.monotonic() - 1)
            if time.monotonic() > sampled + SAMPLE_S:
                self.service.sample()
                sampled = time.monotonic()
            assert self.service.process.poll() is None, f"it ended by itself: {self.project.log()[-3000:]}"
            due += 1 / SOURCES_A_SECOND
            time.sleep(max(0, due - time.monotonic()))

    def rough(self):
        dice = self.random.random()
        if dice < 0.5:
            self.service.kill()
        elif dice < 0.65:
            self.service.stop()
            self.service.start()
        else:
            self.gentle()

    def gentle(self):
        kinds = {"added or removed": 0.35, "changed": 0.25, "no TOML": 0.1, "unknown key": 0.1, "same output": 0.1, "other rows": 0.1}
        missing = len(self.project.present) < len(STREAMS)
        self.service.reload("added or removed" if missing else str(self.random.choice(list(kinds), p=list(kinds.values()))))

    def live(self, how, seconds):
        """A part of the long life. Those without reloads are held against each other."""
        if how == "pause":
            self.pause()
        elif how == "calm":
            self.bring_back()
            # Whoever is asked for figures opens the ledgers for them, once.
            self.figures()
            before = len(self.service.samples)
            self.run(seconds, None, seconds)
            self.calms.append(self.service.samples[before:])
        else:
            self.run(seconds, self.gentle, GENTLE_S)

    def bring_back(self):
        while len(self.project.present) < len(STREAMS):
            self.service.reload("added or removed")

    def pause(self):
        """Nothing is dropped until all is taken; then everything is counted."""
        self.bring_back()
        self.dropper.finish()
        faults, end = ["?"], time.monotonic() + 60
        while faults and time.monotonic() < end:
            time.sleep(0.2)
            faults = [f"{stream.name}: {fault}" for stream in STREAMS for fault in self.missing(stream)]
        faults = faults or [f"{stream.name}: {fault}" for stream in STREAMS for fault in self.wrong(stream)]
        assert not faults, "\n".join([f"NPY_INGEST_SOAK_SEED={SEED}", *faults, self.project.log()[-2000:]])
        end = time.monotonic() + 10
        while faults := self.wrong_figures():
            assert time.monotonic() < end, "\n".join(faults)
            time.sleep(0.1)
        self.service.sample()
        # Whoever asked just now takes a moment to be gone.
        numbers = []
        for _ in range(10):
            time.sleep(0.1)
            numbers.append(self.service.descriptors())
        self.idle_descriptors.append((self.service.process.pid, min(numbers)))

    def missing(self, stream):
        """What the service still has to do, by its ledger and by the folder."""
        if stream.name in LOGS:
            rows, wanted = self.entries(stream, "SELECT coalesce(sum(rows), 0) FROM sources"), self.dropper.logs[stream.name].count
            return [] if rows == [(wanted,)] else [f"{rows} rows in the ledger, expected {wanted}"]
        faults = []
        good, rejected, mended = (named[stream.name] for named in [self.dropper.good, self.dropper.rejected, self.dropper.mended])
        found = dict(self.entries(stream, "SELECT status, count(*) FROM sources WHERE rows > 0 OR status = 'rejected' GROUP BY status"))
        if found.get("committed", 0) != len(good) or not len(rejected) <= found.get("rejected", 0) <= len(rejected) + len(mended):
            faults.append(f"{found} in the ledger, expected {len(good)} committed, {len(rejected)} rejected")
        there = {path for path in (self.project.folder / f"drop-{stream.name}").rglob("*") if path.is_file()}
        wanted = self.dropper.files[stream.name] if stream.after == "keep" else set()
        if there != wanted:
            faults.append(f"{len(there)} files in the folder, expected {len(wanted)}: {sorted(map(str, there ^ wanted))[:5]}")
        return faults

    def wrong(self, stream):
        """Rows, reasons and moved files that are not as they must be."""
        rows = np.load(self.project.output_of(stream), mmap_mode="r")
        heads = [HEAD.unpack(payload[: HEAD.size].tobytes()) for payload in read_rows(rows, stream.colour)]
        if stream.name in LOGS:
            log, numbers = self.dropper.logs[stream.name], [head[0] for head in heads]
            reasons = [reason for reason, in self.entries(stream, "SELECT reason FROM sources WHERE reason IS NOT NULL")]
            faults = [] if numbers == list(range(log.count)) else [f"{len(numbers)} records, not the {log.count} in their order"]
            # A log that was copied and cut short when all of it had been taken may be told of as written anew.
            told = [reason for reason in reasons if not reason.startswith("the file was written anew")]
            if not all("left out" in reason for reason in told) or any("left out" in reason for reason in reasons) != bool(log.bad):
                faults.append(f"{log.bad} bad lines, and the ledger says {reasons[:3]}")
            return faults
        faults, good = [], dict(self.dropper.good[stream.name])
        found = collections.Counter(head[0] for head in heads if head[2] == 0)
        lost, doubled = sorted(set(good) - set(found)), [number for number, times in found.items() if times > 1]
        if lost or doubled or set(found) - set(good) or len(rows) != sum(good.values()):
            faults.append(f"lost {lost[:5]}, doubled {doubled[:5]}, unknown {sorted(set(found) - set(good))[:5]}; "
                          f"{len(rows)} rows, expected {sum(good.values())}")
        rejected = {Path(path).relative_to(f"drop-{stream.name}").as_posix(): reason for path, reason in
                    self.entries(stream, "SELECT path, reason FROM sources WHERE status = 'rejected'")}
        if not rightly_rejected(stream, rejected, self.dropper.rejected[stream.name], self.dropper.mended[stream.name]):
            faults.append(f"rejected {sorted(set(rejected) ^ set(self.dropper.rejected[stream.name]))[:5]}")
        for path, reason in rejected.items():
            word = REASONS["array" if stream.name == "chunks" else "picture"][fault_of(int(Path(path).stem))]
            if not reason or word not in reason:
                faults.append(f"{path} was rejected with {reason!r}, expected {word!r}")
        if stream.after == "move":
            moved = [path for path in (self.project.folder / f"done-{stream.name}").rglob("*") if path.is_file()]
            if len(moved) != len(good):
                faults.append(f"{len(moved)} files were moved, expected {len(good)}")
        if stream.after != "keep":
            failed = {path.name for path in (self.project.folder / f"failed-{stream.name}").rglob("*") if path.is_file()}
            wanted = [Path(path).name + end for path in rejected for end in ["", ".reason.txt"]]
            faults += [f"{name} is not in the folder of rejected ones" for name in wanted if name not in failed][:5]
        return faults

    def figures(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.project.port}/status.json", timeout=30) as answer:
            return {dataset["name"]: dataset for dataset in json.load(answer)["datasets"]}

    def wrong_figures(self):
        """Where the service's own figures are not those of the files, or a dataset of it has stopped."""
        told, faults = self.figures(), []
        for stream in STREAMS:
            figures, rows = told[stream.name], len(np.load(self.project.output_of(stream), mmap_mode="r"))
            found = [figures[name] for name in ["rows", "rejected", "backlog", "stopped", "paused"]]
            (rejected,), = self.entries(stream, "SELECT count(*) FROM sources WHERE status = 'rejected'")
            expected = [rows, rejected, 0, None, None]
            if found != expected:
                faults.append(f"status of {stream.name}: rows, rejected, backlog, stopped, paused are {found}, expected {expected}")
        return faults


def verify(project):
    done = project.command("verify", "--deep", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], f"{done.stdout}\n{done.stderr}"


def medians(stretch):
    """Of memory and descriptors, while all datasets were there."""
    found = [sample[1:3] for sample in stretch if sample[3]]
    assert len(found) >= 3, f"{len(found)} samples of {len(stretch)}: too short a life"
    return [statistics.median(values) for values in zip(*found)]


def test_a_long_life_with_everything_at_once(tmp_path):
    print(f"\nNPY_INGEST_SOAK_SEED={SEED}, {SECONDS:.0f} s")
    begin = time.monotonic()
    course = Course(tmp_path, np.random.default_rng(SEED))
    service = course.service
    readers = [subprocess.Popen([sys.executable, HERE / "witness.py", tmp_path, stream.name], stdout=subprocess.PIPE, text=True)
               for stream in STREAMS]
    try:
        service.start()
        for stretch, share in [("rough", 0.25), ("life", 0.5), ("rough", 0.25)]:
            if stretch == "life":
                # What comes before the first calm is the warm-up.
                for act, part in [("gentle", 0.15), ("calm", 0.2), ("gentle", 0.2), ("pause", 0), ("gentle", 0.25), ("calm", 0.2)]:
                    course.live(act, SECONDS * share * part)
                course.pause()
                memory, descriptors = zip(medians(course.calms[0]), medians(course.calms[-1]))
                lived_s, reloads = service.samples[-1][0] - service.samples[0][0], service.said["reloading"]
                all_memory = [sample[1] for sample in service.samples]
            else:
                course.run(SECONDS * share, course.rough, ROUGH_S)
                course.pause()
            service.stop_and_verify()
            service.start()
        # Nothing is taken again, by a service that finds it all as it was.
        course.pause()
        service.stop_and_verify()
        for reader in readers:
            reader.send_signal(signal.SIGTERM)
        reports = [json.loads(reader.communicate(timeout=60)[0]) for reader in readers]
    finally:
        for other in [*readers, *([service.process] if service.process else [])]:
            other.kill()
            other.wait()
    took_s = time.monotonic() - begin
    dropper = course.dropper
    good, records = sum(map(len, dropper.good.values())), sum(log.count for log in dropper.logs.values())
    print(f"{took_s:.0f} s: {good} good sources, {sum(map(len, dropper.rejected.values()))} rejected, {records} records of logs, "
          f"{sum(dropper.copies.values())} copies; " + ", ".join(f"{what} {times}" for what, times in dropper.done.items()))
    print(", ".join(f"{what} {times}" for what, times in service.actions.items()))
    print(f"one life of {lived_s:.0f} s: memory {memory[0] / 1024:.1f} to {memory[1] / 1024:.1f} MiB "
          f"(all: {min(all_memory) / 1024:.1f} to {max(all_memory) / 1024:.1f}), descriptors {descriptors[0]:.0f} to "
          f"{descriptors[1]:.0f}; idle: {course.idle_descriptors}; {reloads} reloads so far; the service used "
          f"{service.cpu_s / took_s * 100:.1f} % of a core")
    print(f"readers: {sum(report['loads'] for report in reports)} loads, {sum(report['violations'] for report in reports)} violations")
    faults = [f"a reader: {shown}" for report in reports for shown in report["shown"]]
    faults += [f"the log: {line}" for line in alarms(course.project.log())[:5]]
    if memory[1] > memory[0] + MEMORY_TOLERANCE_KIB:
        faults.append(f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} KiB within one life")
    if descriptors[1] > descriptors[0] + DESCRIPTORS_TOLERANCE:
        faults.append(f"descriptors grew from {descriptors[0]:.0f} to {descriptors[1]:.0f} within one life")
    if len({number for _, number in course.idle_descriptors}) > 1:
        faults.append(f"descriptors of an idle service differ (process, number): {course.idle_descriptors}")
    assert not any(report["loads"] == 0 for report in reports), "a reader saw nothing"
    assert not faults, "\n".join(faults)
