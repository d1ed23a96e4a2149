"""record logs and CSV to rows in a committed .npy, against cp, np.fromfile with npy-append-array, and pandas.

Ours is the whole program, from its start to its synced end. `cp` is followed by a `sync` of the copy; the libraries of Python do
the work in a process that has imported everything before the clock runs, and sync nothing.
"""

import subprocess
import time

import numpy as np

from pairs import OURS, Line

MOVED = np.dtype([("time", "<u8"), ("x", "<f4"), ("y", "<f4"), ("id", "<u4"), ("state", "<u4"), ("value", "<f8")])
RAW = np.dtype([("time", ">u4"), ("speed", ">i2"), ("angle", ">i2"), ("count", ">u4"), ("voltage", ">u2"), ("flags", "u1"), ("pad", "u1")])
ROW = np.dtype([("time", "<f8"), ("speed", "<f4"), ("angle", "<f4"), ("count", "<i8"), ("voltage", "<f4")])
NUMBERS = np.dtype([("time", "<f8"), ("x", "<f8"), ("y", "<f4"), ("n", "<i8")])
FIELDS = ", ".join([
    '{ name = "time", offset = 0, dtype = ">u4", scale = 0.001 }', '{ name = "speed", offset = 4, dtype = ">i2", scale = 0.01 }',
    '{ name = "angle", offset = 6, dtype = ">i2", scale = 0.1, add = 180.0 }', '{ name = "count", offset = 8, dtype = ">u4" }',
    '{ name = "voltage", offset = 12, dtype = ">u2", scale = 0.005 }'])


def dataset(place, name, dtype, decoder):
    listed = ", ".join(f'["{field}", "{dtype[field].str}"]' for field in dtype.names)
    return place.dataset(name, f"dtype = [{listed}]\n[dataset.watch]\nfolders = [\"in\"]\nsettle = \"0ms\"\n{decoder}\n"
                         "[dataset.columns]\nsource = false\nindex = false\n")


def rows(folder):
    return np.load(folder / "out" / "rows.npy", mmap_mode="r")


def timed(work, made):
    def run():
        made.unlink(missing_ok=True)
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    return run


def moved(place, title):
    count = int(place.scale * (1 << 30)) // MOVED.itemsize
    folder = dataset(place, "logs-moved", MOVED, "[dataset.records]")
    source, copy = folder / "in" / "a.bin", folder / "copy"
    block = np.random.default_rng(1).integers(0, 256, (1 << 20) * MOVED.itemsize, np.uint8)
    with open(source, "wb") as file:
        for first in range(0, count, 1 << 20):
            file.write(block[: min(count - first, 1 << 20) * MOVED.itemsize].tobytes())

    def peer():
        subprocess.run(["cp", source, copy], check=True)
        subprocess.run(["sync", copy], check=True)

    def check():
        last = np.fromfile(source, MOVED, offset=(count - 1) * MOVED.itemsize)
        assert len(rows(folder)) == count and rows(folder)[-1:].tobytes() == last.tobytes()

    return Line(title, {OURS: lambda: place.once(folder), "cp and sync": timed(peer, copy)}, count, "records", {"cp and sync": 0.9}, check=check)


def converted(place, title):
    from npy_append_array import NpyAppendArray
    count = int(place.scale * (256 << 20)) // RAW.itemsize
    folder = dataset(place, "logs-converted", ROW, f"[dataset.records]\nlength = 16\nfields = [{FIELDS}]")
    source, made = folder / "in" / "a.bin", folder / "peer.npy"
    np.random.default_rng(2).integers(0, 256, count * RAW.itemsize, np.uint8).tofile(source)

    def peer():
        raw = np.fromfile(source, RAW)
        converted = np.empty(len(raw), ROW)
        converted["time"] = raw["time"] * 0.001
        converted["speed"] = raw["speed"] * 0.01
        converted["angle"] = raw["angle"] * 0.1 + 180.0
        converted["count"] = raw["count"]
        converted["voltage"] = raw["voltage"] * 0.005
        with NpyAppendArray(made) as array:
            array.append(converted)

    def check():
        ours, theirs = rows(folder), np.load(made, mmap_mode="r")
        assert len(ours) == count and all(np.array_equal(ours[name], theirs[name]) for name in ROW.names)

    name = "np.fromfile, npy-append-array"
    return Line(title, {OURS: lambda: place.once(folder), name: timed(peer, made)}, count, "records", {name: 5.0}, check=check)


def csv(place, title):
    able, missing = place.peers({"pandas": "pandas"})
    if "pandas" in able:
        import pandas
    count = int(place.scale * 3_000_000)
    folder = dataset(place, "logs-csv", NUMBERS, "[dataset.csv]")
    source, made = folder / "in" / "a.csv", folder / "peer.npy"
    random = np.random.default_rng(3)
    with open(source, "w") as file:
        file.write("time,x,y,n\n")
        for first in range(0, count, 100_000):
            block = min(count - first, 100_000)
            times, x, y, n = first + np.arange(block) * 0.001, random.normal(size=block), random.random(block), random.integers(0, 10**9, block)
            file.writelines(f"{a:.3f},{b:.9f},{c:.6f},{d}\n" for a, b, c, d in zip(times, x, y, n))

    def peer():
        frame = pandas.read_csv(source, engine="c", dtype={name: NUMBERS[name] for name in NUMBERS.names})
        array = np.lib.format.open_memmap(made, "w+", NUMBERS, (len(frame),))
        for name in NUMBERS.names:
            array[name] = frame[name]
        array.flush()

    def check():
        if "pandas" in able:
            ours, theirs = rows(folder), np.load(made, mmap_mode="r")
            assert len(ours) == count and all(np.allclose(ours[name], theirs[name], rtol=1e-12) for name in NUMBERS.names)

    peers = {"pandas": timed(peer, made)} if "pandas" in able else {}
    return Line(title, {OURS: lambda: place.once(folder)} | peers, count, "lines", {"pandas": 3.0}, check=check, missing=missing)


LINES = {
    "records of 32 bytes that are rows": moved,
    "records of 16 bytes with other byte order, scaled": converted,
    "CSV, lines of four numbers": csv,
}
