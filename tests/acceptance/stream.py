"""Sources of known content, dropped without end by a process of its own.

A picture is 8 x 8, and each of its pixels carries one byte: 64 bytes that say which source, which frame of how many, which
class, and then a hash of all that. So a row can be judged by itself, by whoever sees it: whole, of a known source, in its
place. PNG, PGM and GIF keep the bytes as they are, so "the right pixels" means equal bytes.

    python stream.py FOLDER        the streams of FOLDER/streams.json, until a file FOLDER/stop appears

What was dropped is in FOLDER/dropped.json at the end.
"""

import dataclasses
import hashlib
import io
import json
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8
ROW_BYTES = SIDE * SIDE
HEAD = struct.Struct("<IHHBB")  # number of the source, frames, frame, dataset, class
CLASSES = ["ant", "bee", "cat", "dog"]
# A frame of a GIF is shown for so long.
FRAME_MS = 40


@dataclasses.dataclass
class Stream:
    """One dataset, and what is dropped for it."""

    name: str
    place: int           # among the datasets; part of every row
    colour: bool         # rows of (8, 8, 3) u1; else (8, 8) u2
    after: str           # keep, move, delete
    columns: list        # names of its column files
    labels: bool         # the sources lie in folders of their class
    skips_copies: bool   # duplicates = "skip", and copies are dropped


def payload(place, number, frame, frames, label):
    """The 64 bytes of one row."""
    return sealed((number, frames, frame, place, label))


def sealed(head):
    """The head's fields and the hash that goes with them."""
    head = HEAD.pack(*head)
    return head + hashlib.blake2b(head, digest_size=ROW_BYTES - HEAD.size).digest()


def colours(values):
    """The pixels of these bytes: all three channels depend on the byte, so that none of them can go wrong unseen."""
    values = np.asarray(values, dtype=np.uint8)
    return np.stack([values, values ^ 0x5A, 255 - values], axis=-1)


PALETTE = colours(np.arange(256)).tobytes()


class Violation(Exception):
    """Rows are not what they must be."""


def read_rows(rows, colour):
    """The payloads of an array's rows, `(N, 64)`, after a check of every pixel."""
    rows = np.asarray(rows)
    values = rows[..., 0] if colour else (rows >> 8).astype(np.uint8)
    expected = colours(values) if colour else values.astype(np.uint16) * 257
    wrong = np.flatnonzero((rows != expected).reshape(len(rows), -1).any(axis=1))
    if len(wrong):
        raise Violation(f"row {wrong[0]} (and {len(wrong) - 1} others): not the pixels of any source: {rows[wrong[0]].ravel()[:12]}")
    return values.reshape(len(rows), ROW_BYTES)


def picture(stream, number, label, kind):
    """The bytes of a source file, its extension, and how many rows it gives."""
    frames = {"gif": 2 + number % 9, "long": 60 + number % 90}.get(kind, 1)
    rows = [np.frombuffer(payload(stream.place, number, frame, frames, label), np.uint8).reshape(SIDE, SIDE)
            for frame in range(frames)]
    file = io.BytesIO()
    if frames > 1:
        images = [Image.fromarray(row) for row in rows]
        for image in images:
            image.putpalette(PALETTE)
        images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=FRAME_MS, optimize=False)
        return file.getvalue(), ".gif", frames
    if stream.colour:
        Image.fromarray(colours(rows[0])).save(file, "PNG")
        return file.getvalue(), ".png", 1
    Image.fromarray(rows[0]).save(file, "PPM" if number % 2 else "PNG")
    return file.getvalue(), ".pgm" if number % 2 else ".png", 1


def damaged(content, number):
    """Something that cannot be decoded, of another content each time."""
    return [content[: len(content) // 2], b"not a picture, number %d" % number, b""][number % 3]


def rightly_rejected(stream, found, rejected, mended):
    """Whether these are rejected, and of the mended ones at most those that were moved away before their like came."""
    return set(rejected) <= set(found) and set(found) - set(rejected) <= set(mended if stream.after != "keep" else [])


class Dropper:
    """Drops the sources of all streams in turn, in every way a file can arrive."""

    def __init__(self, folder, streams, seed):
        self.folder, self.streams = Path(folder), streams
        self.random = np.random.default_rng(seed)
        self.number = 0
        self.good = {stream.name: [] for stream in streams}      # [number, rows]
        self.rejected = {stream.name: [] for stream in streams}  # path below the drop folder
        self.mended = {stream.name: [] for stream in streams}    # the same, of those that came again, and were good then
        self.copies = {stream.name: 0 for stream in streams}
        self.places = {stream.name: [] for stream in streams}    # paths that may be renamed or copied

    def drop(self, stream):
        self.number += 1
        number, random = self.number, self.random
        label = number % len(CLASSES) if stream.labels else 255
        kinds = ["still", "gif", "long"] if stream.colour else ["still"]
        kind = random.choice(kinds, p=[0.8, 0.15, 0.05] if stream.colour else [1.0])
        content, extension, rows = picture(stream, number, label, kind)
        root = self.folder / f"drop-{stream.name}"
        below = Path(CLASSES[label] if stream.labels else ".", self.below(stream), f"{number:06}{extension}")
        path = root / below
        dice = random.random()
        if dice < 0.06:
            self.put(path, self.damaged(content, number), "rename")
            if dice < 0.02:
                # Mended a little later, by somebody who does not know whether it was looked at.
                time.sleep(float(random.uniform(0, 0.1)))
                self.put(path, content, "rename")
                self.good[stream.name].append([number, rows])
                self.mended[stream.name].append(str(below))
            else:
                self.rejected[stream.name].append(str(below))
            return
        self.put(path, content, random.choice(["write", "rename", "rsync", "slow"], p=[0.3, 0.3, 0.35, 0.05]))
        self.good[stream.name].append([number, rows])
        if stream.after == "keep":
            self.places[stream.name].append(path)
            self.rename_or_copy(stream)

    def below(self, stream):
        """The folders of the next source, below that of its class."""
        return "."

    def damaged(self, content, number):
        return damaged(content, number)

    def rename(self, old, new):
        os.rename(old, new)

    def put(self, path, content, way):
        path.parent.mkdir(parents=True, exist_ok=True)
        if way == "rename":      # from another folder of the same disk
            staged = self.folder / "elsewhere" / path.name
            staged.parent.mkdir(exist_ok=True)
            staged.write_bytes(content)
            os.rename(staged, path)
        elif way == "rsync":     # under a temporary name in the same folder
            staged = path.with_name(f".{path.name}.Xq7Z2k")
            staged.write_bytes(content)
            os.rename(staged, path)
        elif way == "slow":      # with a rest in the middle that is longer than `settle`
            with open(path, "wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                time.sleep(0.06)
                file.write(content[len(content) // 2:])
        else:
            path.write_bytes(content)

    def rename_or_copy(self, stream):
        """An earlier source gets another name, or, where copies are skipped, a copy."""
        places, random = self.places[stream.name], self.random
        dice = random.random()
        if dice > 0.1:
            return
        old = places[int(random.integers(len(places)))]
        if dice < 0.05:
            new = old.with_name(f"again-{self.number:06}{old.suffix}")
            self.rename(old, new)
            places[places.index(old)] = new
        elif stream.skips_copies:
            self.put(old.with_name(f"copy-{self.number:06}{old.suffix}"), old.read_bytes(), "rename")
            self.copies[stream.name] += 1

    def save(self):
        text = json.dumps({"good": self.good, "rejected": self.rejected, "mended": self.mended, "copies": self.copies})
        (self.folder / "dropped.json").write_text(text)


def main(folder):
    settings = json.loads((folder / "streams.json").read_text())
    streams = [Stream(**stream) for stream in settings["streams"]]
    dropper = Dropper(folder, streams, settings["seed"])
    due = time.monotonic()
    while not (folder / "stop").exists():
        dropper.drop(streams[dropper.number % len(streams)])
        due += 1 / settings["sources_a_second"]
        time.sleep(max(0, due - time.monotonic()))
    dropper.save()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
