"""What the soak test drops: the pictures of `stream.py`, arrays and logs, and what people do to files that are there.

Six datasets in one service. All rows carry the payload of `stream.py`, so that `witness.py` can read any of them; a record
of a log is a row by itself, and the numbers of a log's records count from 0 through all its files.
"""

import io
import os
import shutil
from pathlib import Path

import blake3
import numpy as np
from PIL import Image

from stream import CLASSES, ROW_BYTES, SIDE, Dropper, Stream, payload, picture

STREAMS = [
    Stream("clips", 0, True, "move", ["source", "index", "time", "label", "split"], True, False),
    Stream("grays", 1, False, "keep", ["source"], False, True),
    Stream("plain", 2, True, "delete", [], False, False),
    Stream("chunks", 3, False, "delete", ["source", "index"], False, False),
    Stream("records", 4, False, "keep", [], False, False),
    Stream("lines", 5, False, "keep", [], False, False),
]
LOGS = ["records", "lines"]
# Files of a dataset that keeps them, folders of one kind, and rotated logs: older ones are removed by their owner.
FILES_MAX, FOLDERS_MAX, ROTATED_MAX = 200, 12, 4

DATASET = """
[[dataset]]
name = "{name}"
output = "data/{name}.npy"
shape = {shape}
dtype = "{dtype}"
[dataset.watch]
folders = ["drop-{name}"]
settle = "{settle}"
rescan = "2s"
after = "{after}"
{watch}
{decoder}
[dataset.columns]
{columns}
[dataset.commit]
max_rows = {max_rows}
"""


def config(streams, port, settle="20ms", max_rows=64, workers=2, fit="exact"):
    """The text of a config with these datasets. `fit`: that of `grays`; another one than before is to be refused."""
    text = f'[service]\nworkers = {workers}\nmemory = "64KiB"\nlisten = {port}\n'
    for stream in streams:
        watch = []
        if stream.after == "move":
            watch.append(f'move_to = "done-{stream.name}"')
        if stream.after != "keep":
            watch.append(f'rejected = "move"\nrejected_to = "failed-{stream.name}"')
        if stream.skips_copies:
            watch.append('duplicates = "skip"\nchanged = "append"')
        if stream.name in LOGS:
            # A log that is rotated twice between two looks would else be a stranger under its second name.
            watch.append('include = ["a.log", "a.log.*"]')
        columns = [f"{name} = {str(name in stream.columns).lower()}" for name in ["source", "index", "time"]
                   if stream.name not in LOGS or name != "time"]
        columns += ['label = "folder"'] if stream.labels else []
        columns += ['split = { train = 0.9, val = 0.1, by = "row" }'] if "split" in stream.columns else []
        decoder = {
            "chunks": "[dataset.npy]",
            "records": "[dataset.records]\nfollow = true",
            "lines": '[dataset.csv]\nfollow = true\nheader = false\non_error = "skip"',
            "grays": f'[dataset.image]\nfit = "{fit}"',
        }.get(stream.name, '[dataset.image]\nfit = "exact"\nframes = "all"')
        text += DATASET.format(
            name=stream.name, after=stream.after, watch="\n".join(watch), decoder=decoder, columns="\n".join(columns),
            settle=settle, max_rows=max_rows, shape=[SIDE, SIDE, 3] if stream.colour else [SIDE, SIDE],
            dtype="u1" if stream.colour else "<u2")
    return text


def grays(place, number, frame, frames):
    """One row of a dataset without colours."""
    values = np.frombuffer(payload(place, number, frame, frames, 255), np.uint8).reshape(SIDE, SIDE)
    return values.astype("<u2") * 257


def array_file(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# What is wrong with a bad source of this number, and a word of its reason, by the source's kind.
FAULTS = ["cut short", "no such format", "empty", "another shape"]
REASONS = {
    "picture": {"cut short": "", "no such format": "", "empty": "empty", "another shape": "expected 8 x 8"},
    "array": {"cut short": "", "no such format": "", "empty": "empty", "another shape": "shape"},
}


def fault_of(number):
    return FAULTS[number % len(FAULTS)]


class Log:
    """A log of numbered records that is written in pieces, and rotated."""

    def __init__(self, folder, stream, random):
        self.path, self.stream, self.random = folder / f"drop-{stream.name}" / "a.log", stream, random
        self.count = 0           # records that were begun
        self.pending = b""       # what is still to be written of the last ones
        self.bad = 0             # lines that are none
        self.rotated = []        # how many records there were at each rotation that is still to be seen, newest first
        self.file = open(self.path, "ab", buffering=0)

    def record(self):
        row = grays(self.stream.place, self.count, 0, 1)
        self.count += 1
        if self.stream.name == "records":
            return row.tobytes()
        line = ",".join(map(str, row.ravel().tolist())).encode() + b"\n"
        if self.random.random() < 0.02:
            self.bad += 1
            line += b"not a line,%d\n" % self.count
        return line

    def write(self):
        data = self.pending + b"".join(self.record() for _ in range(int(self.random.integers(1, 8))))
        cut = len(data) if self.random.random() < 0.5 else int(self.random.integers(len(data)))
        self.file.write(data[:cut])
        self.pending = data[cut:]

    def finish(self):
        self.file.write(self.pending)
        self.pending = b""

    def rotate(self, committed):
        """By renaming, or by copying and cutting short. The oldest one is removed once all its records are `committed`."""
        self.finish()
        name = f"{self.path}.{{}}".format
        while len(self.rotated) >= ROTATED_MAX and self.rotated[-1] <= committed:
            os.unlink(name(len(self.rotated)))
            self.rotated.pop()
        for place in range(len(self.rotated), 0, -1):
            os.rename(name(place), name(place + 1))
        if self.random.random() < 0.5:
            os.rename(self.path, name(1))
            self.file.close()
            self.file = open(self.path, "ab", buffering=0)
        else:
            shutil.copy(self.path, self.path.with_name("copy.tmp"))
            os.rename(self.path.with_name("copy.tmp"), name(1))
            os.truncate(self.path, 0)
        self.rotated.insert(0, self.count)


class SoakDropper(Dropper):
    """Drops for all streams, and changes what is there. `entries(stream, query, *values)` asks a ledger: what the service has
    not taken yet is left alone, since nobody could say whether it was to become rows."""

    def __init__(self, folder, streams, seed, entries):
        super().__init__(folder, streams, seed)
        self.entries = entries
        self.files = {stream.name: set() for stream in streams}  # that are there if the service takes none away
        self.names = {stream.name: [] for stream in streams}     # of good sources that were taken away, to be used again
        self.folders = {stream.name: [] for stream in streams}   # nested ones, oldest first
        self.logs = {stream.name: Log(self.folder, stream, self.random) for stream in streams if stream.name in LOGS}
        self.done = dict.fromkeys(["overwritten", "touched", "removed", "name used again", "nested folder", "rotation"], 0)

    def drop(self, stream):
        random = self.random
        if stream.name in LOGS:
            self.logs[stream.name].write()
            if random.random() < 0.02:
                self.logs[stream.name].rotate(self.entries(stream, "SELECT coalesce(sum(rows), 0) FROM sources")[0][0])
                self.done["rotation"] += 1
            return
        if stream.name == "chunks":
            return self.drop_array(stream)
        dice = random.random()
        if stream.after == "keep" and dice < 0.2:
            self.change(stream)
        elif stream.after != "keep" and dice < 0.05:
            self.use_again(stream)
        else:
            super().drop(stream)

    def drop_array(self, stream):
        self.number += 1
        number, frames = self.number, 1 + self.number % 9
        rows = np.stack([grays(stream.place, number, frame, frames) for frame in range(frames)])
        below = Path(self.below(stream), f"{number:06}.npy")
        path = self.folder / f"drop-{stream.name}" / below
        if self.random.random() < 0.06:
            bad = {"cut short": array_file(rows)[:-5], "no such format": b"not an array, number %d" % number, "empty": b"",
                   "another shape": array_file(rows[..., :7])}[fault_of(number)]
            self.put(path, bad, "rename")
            self.rejected[stream.name].append(str(below))
            return
        self.put(path, array_file(rows), self.random.choice(["write", "rename", "rsync", "slow"], p=[0.3, 0.3, 0.35, 0.05]))
        self.good[stream.name].append([number, frames])

    def below(self, stream):
        """A new nested folder now and then, and often one that is there."""
        folders, dice = self.folders[stream.name], self.random.random()
        if dice < 0.05:
            folders.append(f"new-{self.number:06}/nested/deep")
            self.done["nested folder"] += 1
            self.prune(stream)
        return folders[int(self.random.integers(len(folders)))] if folders and dice < 0.4 else "."

    def prune(self, stream):
        """The oldest nested folder goes once it is empty, in all classes."""
        folders = self.folders[stream.name]
        if len(folders) <= FOLDERS_MAX:
            return
        root = self.folder / f"drop-{stream.name}"
        places = [root / name / folders[0] for name in ([*CLASSES] if stream.labels else ["."])]
        files = [file for place in places if place.exists() for file in place.iterdir()]
        if stream.after == "keep":
            if not all(self.is_taken(stream, file) for file in files):
                return
            for file in files:
                self.remove(stream, file)
        elif files:
            return
        folders.pop(0)
        for place in places:
            if place.exists():
                os.removedirs(place)  # up to the first one that holds something
                root.mkdir(exist_ok=True)

    def damaged(self, content, number):
        if fault_of(number) == "another shape":
            file = io.BytesIO()
            Image.new("RGB", (SIDE + 1, SIDE), (number % 256, 1, 2)).save(file, "PNG")
            return file.getvalue()
        return {"cut short": content[: len(content) // 2], "no such format": b"not a picture, number %d" % number}.get(
            fault_of(number), b"")

    def put(self, path, content, way):
        name = path.relative_to(self.folder).parts[0].removeprefix("drop-")
        self.files[name].add(path)
        super().put(path, content, way)
        if name != "chunks" and name in self.names:
            self.names[name] = [*self.names[name][-50:], path]

    def rename(self, old, new):
        name = old.relative_to(self.folder).parts[0].removeprefix("drop-")
        self.files[name] = self.files[name] - {old} | {new}
        super().rename(old, new)

    def remove(self, stream, path):
        path.unlink()
        self.files[stream.name].discard(path)
        if path in self.places[stream.name]:
            self.places[stream.name].remove(path)
        self.done["removed"] += 1

    def is_taken(self, stream, path):
        """Whether its content is in the ledger, committed or rejected."""
        content = blake3.blake3(path.read_bytes()).hexdigest()
        return bool(self.entries(stream, "SELECT 1 FROM sources WHERE hash = ? LIMIT 1", content)) or bool(self.entries(
            stream, "SELECT 1 FROM sources WHERE path = ? AND status = 'rejected' LIMIT 1", str(path.relative_to(self.folder))))

    def change(self, stream):
        """A source that is there is overwritten, touched or, where there are many, removed."""
        places, random = self.places[stream.name], self.random
        if not places:
            return
        path = places[int(random.integers(len(places)))]
        dice = random.random()
        if dice < 0.2:
            os.utime(path)
            self.done["touched"] += 1
        elif dice < 0.7 and self.is_taken(stream, path):
            self.number += 1
            content, extension, rows = picture(stream, self.number, 255, "still")
            self.put(path, content, random.choice(["write", "rename", "rsync"]))
            self.good[stream.name].append([self.number, rows])
            self.done["overwritten"] += 1
        elif len(self.files[stream.name]) > FILES_MAX and self.is_taken(stream, places[0]):
            self.remove(stream, places[0])

    def use_again(self, stream):
        """Another source under a name that the service has taken away."""
        free = [path for path in self.names[stream.name] if path.parent.exists() and not path.exists()
                and str(path.relative_to(self.folder / f"drop-{stream.name}")) not in self.rejected[stream.name]]
        if not free:
            return
        path = free[int(self.random.integers(len(free)))]
        self.number += 1
        root = self.folder / f"drop-{stream.name}"
        label = CLASSES.index(path.relative_to(root).parts[0]) if stream.labels else 255
        content, extension, rows = picture(stream, self.number, label, "gif" if path.suffix == ".gif" else "still")
        self.put(path, content, "rename")
        self.good[stream.name].append([self.number, rows])
        self.done["name used again"] += 1

    def finish(self):
        """Completes what was left half way."""
        for log in self.logs.values():
            log.finish()
