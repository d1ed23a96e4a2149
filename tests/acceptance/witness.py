"""A reader of a live dataset, in a process of its own, that asserts on everything it sees until it is told to stop.

At every look: `np.load` of the main file, then of its columns. It must not raise; the count must not decrease; rows seen
before must be the same bytes (all of them are compared); new rows must be whole, with the right pixels, and not end within
a source; every column must have as many rows or more, with values that fit the rows.

    python witness.py FOLDER STREAM

SIGTERM ends it, after a last look. It prints one JSON object: loads, rows, unreadable, violations (the first few as text).
"""

import json
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from stream import CLASSES, FRAME_MS, HEAD, Stream, Violation, read_rows, sealed

# A rest between two looks, so that readers leave some of the machine to the writer, unless streams.json has `rest_s`.
REST_S = 0.002
SHOWN_MAX = 5


class Witness:
    def __init__(self, folder, stream):
        self.stream = stream
        self.main = folder / "data" / f"{stream.name}.npy"
        self.count, self.loads, self.unreadable = 0, 0, 0
        self.seen = None             # the rows, as they were when they were seen first
        self.columns = {name: np.zeros(0) for name in stream.columns}
        self.sources = set()         # numbers of the sources whose rows were seen
        self.violations = []

    def look(self):
        try:
            rows = np.load(self.main, mmap_mode="r")
        except FileNotFoundError:
            if self.count:
                raise Violation(f"the main file is gone after {self.count} rows") from None
            return
        self.loads += 1
        if len(rows) < self.count:
            raise Violation(f"the count fell from {self.count} to {len(rows)}")
        columns = {}
        for name in self.columns:
            try:
                columns[name] = np.load(self.main.with_suffix(f".{name}.npy"), mmap_mode="r")
            except FileNotFoundError:
                # A dataset that is just being made has its main file first.
                if len(rows):
                    raise Violation(f"{len(rows)} rows, and column {name} is missing") from None
                return
            self.loads += 1
            if len(columns[name]) < len(rows):
                raise Violation(f"column {name} has {len(columns[name])} rows, the main file {len(rows)}")
        new = slice(self.count, len(rows))
        if self.seen is not None and not np.array_equal(rows[: self.count], self.seen[: self.count]):
            changed = [row for row in range(self.count) if not np.array_equal(rows[row], self.seen[row])]
            raise Violation(f"rows that were seen before changed: {changed[:10]}")
        for name, column in columns.items():
            if not np.array_equal(column[: self.count], self.columns[name][: self.count]):
                raise Violation(f"values of column {name} that were seen before changed")
        if len(rows) > self.count:
            self.check_new(read_rows(rows[new], self.stream.colour), {name: column[new] for name, column in columns.items()})
            self.remember(rows, columns)
        self.count = len(rows)

    def check_new(self, payloads, columns):
        """Whole sources, each once, in their order, with columns that fit."""
        heads = [HEAD.unpack(payload[: HEAD.size].tobytes()) for payload in payloads]
        expected_frame, last = 0, None
        for place, (payload, head) in enumerate(zip(payloads, heads)):
            number, frames, frame, dataset, label = head
            if payload.tobytes() != sealed(head):
                raise Violation(f"row {self.count + place} is not a row of any source: {payload[:16].tolist()}")
            if dataset != self.stream.place:
                raise Violation(f"row {self.count + place} belongs to dataset {dataset}")
            if expected_frame and number != last or frame != expected_frame:
                raise Violation(f"row {self.count + place} is frame {frame} of source {number} after frame "
                                f"{expected_frame - 1} of {last}: half a source")
            if frame == 0:
                if number in self.sources:
                    raise Violation(f"row {self.count + place}: source {number} is there twice")
                self.sources.add(number)
            last, expected_frame = number, (frame + 1) % frames
        if expected_frame:
            raise Violation(f"the count shows half of source {last}: {expected_frame} frames of {heads[-1][1]}")
        frame = np.array([head[2] for head in heads])
        if "index" in columns and not np.array_equal(columns["index"], frame):
            raise Violation("the index column does not have the frames' numbers")
        if "time" in columns and not np.allclose(columns["time"], frame * FRAME_MS / 1000):
            raise Violation("the time column does not have the frames' times")
        if "source" in columns:
            ids, first = columns["source"], frame == 0
            if not np.array_equal(np.diff(ids.astype(np.int64)) > 0, first[1:]):
                raise Violation("the ids of the sources do not grow from source to source")
        if "label" in columns:
            names = json.loads(self.main.with_suffix(".labels.json").read_text())
            if [names[label] for label in columns["label"]] != [CLASSES[head[4]] for head in heads]:
                raise Violation("the label column does not have the sources' classes")

    def remember(self, rows, columns):
        if self.seen is None:
            self.seen = np.zeros((1 << 12, *rows.shape[1:]), rows.dtype)
        while len(self.seen) < len(rows):
            self.seen = np.concatenate([self.seen, np.zeros_like(self.seen)])
        self.seen[self.count: len(rows)] = rows[self.count:]
        self.columns = {name: np.array(column[: len(rows)]) for name, column in columns.items()}

    def report(self):
        return {"loads": self.loads, "rows": self.count, "sources": len(self.sources), "unreadable": self.unreadable,
                "violations": len(self.violations), "shown": self.violations[:SHOWN_MAX]}


def main(folder, name):
    settings = json.loads((folder / "streams.json").read_text())
    stream, = [Stream(**stream) for stream in settings["streams"] if stream["name"] == name]
    witness, stopped = Witness(folder, stream), []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while True:
        last = bool(stopped)
        try:
            witness.look()
        except Violation as violation:
            witness.violations.append(str(violation))
        except Exception:
            witness.unreadable += 1
            witness.violations.append(traceback.format_exc())
        if last or len(witness.violations) > 100:
            break
        time.sleep(settings.get("rest_s", REST_S))
    print(json.dumps(witness.report()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
