"""See `run`. Whole processes on the same files, in turns: ours with `--once` into a new dataset, durable; the peers as a
user would write them, in a Python that has imported everything before the clock starts.

| line | ours | the peer |
|---|---|---|
| moved | records that are rows as they are | `cp`, then `sync` of the copy |
| converted | records with other byte order, `scale` and `add` | np.fromfile, NumPy's conversion, npy-append-array; no sync |
| csv | lines to numbers | pandas' C reader into a memmap; no sync |
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas
from npy_append_array import NpyAppendArray

RECORD = np.dtype([("time", "<u8"), ("x", "<f4"), ("y", "<f4"), ("id", "<u4"), ("state", "<u4"), ("value", "<f8")])
RAW = np.dtype([("time", ">u4"), ("speed", ">i2"), ("angle", ">i2"), ("count", ">u4"), ("voltage", ">u2"), ("flags", "u1"), ("pad", "u1")])
ROW = np.dtype([("time", "<f8"), ("speed", "<f4"), ("angle", "<f4"), ("count", "<i8"), ("voltage", "<f4")])

CONFIG = """
[[dataset]]
name = "log"
output = "out/log.npy"
{row}
[dataset.watch]
folders = ["in"]
settle = "0ms"
{decoder}
[dataset.columns]
source = false
index = false
"""


def dtype_list(dtype):
    return "dtype = [" + ", ".join(f'["{name}", "{dtype[name].str}"]' for name in dtype.names) + "]"


class Bench:
    def __init__(self, folder, options):
        self.folder, self.options = folder, options

    def setup(self, name, row, decoder):
        folder = self.folder / name
        (folder / "in").mkdir(parents=True)
        (folder / "ingest.toml").write_text(CONFIG.format(row=row, decoder=decoder))
        return folder

    def ours(self, folder):
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir()
        start = time.perf_counter()
        subprocess.run([self.options.program, "--config", folder / "ingest.toml", "--once"], check=True, capture_output=True)
        return time.perf_counter() - start

    def moved(self):
        count = int(self.options.scale * (1 << 30)) // RECORD.itemsize
        folder = self.setup("moved", dtype_list(RECORD), "[dataset.records]")
        source = folder / "in" / "a.bin"
        with open(source, "wb") as file:
            block = np.random.default_rng(1).integers(0, 256, (1 << 20) * RECORD.itemsize, np.uint8)
            for first in range(0, count, 1 << 20):
                file.write(block[: min(count - first, 1 << 20) * RECORD.itemsize].tobytes())

        def peer():
            copy = folder / "copy"
            copy.unlink(missing_ok=True)
            start = time.perf_counter()
            subprocess.run(["cp", source, copy], check=True)
            subprocess.run(["sync", copy], check=True)
            return time.perf_counter() - start

        def check():
            rows = np.load(folder / "out" / "log.npy", mmap_mode="r")
            assert len(rows) == count and rows[-1].tobytes() == np.fromfile(source, RECORD, offset=(count - 1) * RECORD.itemsize)[0].tobytes()

        return folder, peer, check, f"{count:,} records of {RECORD.itemsize} bytes"

    def converted(self):
        count = int(self.options.scale * (256 << 20)) // RAW.itemsize
        fields = ", ".join([
            '{ name = "time", offset = 0, dtype = ">u4", scale = 0.001 }', '{ name = "speed", offset = 4, dtype = ">i2", scale = 0.01 }',
            '{ name = "angle", offset = 6, dtype = ">i2", scale = 0.1, add = 180.0 }', '{ name = "count", offset = 8, dtype = ">u4" }',
            '{ name = "voltage", offset = 12, dtype = ">u2", scale = 0.005 }'])
        folder = self.setup("converted", dtype_list(ROW), f"[dataset.records]\nlength = 16\nfields = [{fields}]")
        source = folder / "in" / "a.bin"
        np.random.default_rng(2).integers(0, 256, count * RAW.itemsize, np.uint8).tofile(source)

        def peer():
            copy = folder / "peer.npy"
            copy.unlink(missing_ok=True)
            start = time.perf_counter()
            raw = np.fromfile(source, RAW)
            rows = np.empty(len(raw), ROW)
            rows["time"] = raw["time"] * 0.001
            rows["speed"] = raw["speed"] * 0.01
            rows["angle"] = raw["angle"] * 0.1 + 180.0
            rows["count"] = raw["count"]
            rows["voltage"] = raw["voltage"] * 0.005
            with NpyAppendArray(copy) as array:
                array.append(rows)
            return time.perf_counter() - start

        def check():
            ours, theirs = (np.load(folder / name, mmap_mode="r") for name in ["out/log.npy", "peer.npy"])
            assert len(ours) == count and all(np.array_equal(ours[name], theirs[name]) for name in ROW.names)

        return folder, peer, check, f"{count:,} records of {RAW.itemsize} bytes to rows of {ROW.itemsize}"

    def csv(self):
        count = int(self.options.scale * 3_000_000)
        dtype = np.dtype([("time", "<f8"), ("x", "<f8"), ("y", "<f4"), ("n", "<i8")])
        folder = self.setup("csv", dtype_list(dtype), "[dataset.csv]")
        source = folder / "in" / "a.csv"
        random = np.random.default_rng(3)
        with open(source, "w") as file:
            file.write("time,x,y,n\n")
            for first in range(0, count, 100_000):
                block = min(count - first, 100_000)
                times, x, y, n = first + np.arange(block) * 0.001, random.normal(size=block), random.random(block), random.integers(0, 10**9, block)
                file.writelines(f"{a:.3f},{b:.9f},{c:.6f},{d}\n" for a, b, c, d in zip(times, x, y, n))

        def peer():
            copy = folder / "peer.npy"
            start = time.perf_counter()
            frame = pandas.read_csv(source, engine="c", dtype={name: dtype[name] for name in dtype.names})
            rows = np.lib.format.open_memmap(copy, "w+", dtype, (len(frame),))
            for name in dtype.names:
                rows[name] = frame[name]
            rows.flush()
            return time.perf_counter() - start

        def check():
            ours, theirs = (np.load(folder / name, mmap_mode="r") for name in ["out/log.npy", "peer.npy"])
            assert len(ours) == count and all(np.allclose(ours[name], theirs[name], rtol=1e-12) for name in dtype.names)

        return folder, peer, check, f"{count:,} lines of 4 numbers, {source.stat().st_size >> 20} MiB"


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--program", required=True)
    words.add_argument("--disk", default=tempfile.gettempdir())
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--scale", type=float, default=1.0)
    words.add_argument("--only")
    options = words.parse_args()
    options.program = Path(options.program).resolve()
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        bench = Bench(Path(folder), options)
        print(f"{'line':10} {'ours s':>8} {'peer s':>8} {'peer / ours':>12}   spread of the ratio, what")
        for name in ["moved", "converted", "csv"]:
            if options.only and options.only != name:
                continue
            place, peer, check, what = getattr(bench, name)()
            pairs = []
            for round_ in range(options.rounds + 1):
                turns = [lambda: bench.ours(place), peer]
                # Who is first changes; the first round warms up.
                if round_ % 2:
                    theirs, ours = turns[1](), turns[0]()
                else:
                    ours, theirs = turns[0](), turns[1]()
                if round_:
                    pairs.append((ours, theirs))
            check()
            ratios = sorted(theirs / ours for ours, theirs in pairs)
            ours, theirs = (statistics.median(times) for times in zip(*pairs))
            print(f"{name:10} {ours:8.2f} {theirs:8.2f} {statistics.median(ratios):12.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}; {what}", flush=True)
            shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
