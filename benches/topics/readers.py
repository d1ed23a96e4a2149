"""random rows of a file that is not in memory, as a sampler reads them: batches of 32 in an order of their own.

Before each measurement the page cache gives up the file. Ours is `examples/random_rows.py` on a plain `.npy`.
"""

import importlib.util
import os
import time
from pathlib import Path

import numpy as np

from pairs import OURS, Line

BATCH = 32
# Row shape, rows in the file, rows that are read.
LAYOUTS = {"cold random rows of 150 KB": ((224, 224, 3), 6_000, 1_500), "cold random rows of 4 KB": ((4096,), 200_000, 12_000)}
spec = importlib.util.spec_from_file_location("random_rows", Path(__file__).resolve().parents[2] / "examples/random_rows.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


def make(place, title):
    shape, rows, read = LAYOUTS[title]
    rows, read = max(200, int(rows * place.scale)), max(100, int(read * place.scale))
    present, missing = place.peers({"h5py": "h5py"})
    plain, chunked = place.disk / "random.npy", place.disk / "random.h5"
    array = np.lib.format.open_memmap(plain, "w+", "u1", (rows, *shape))
    random = np.random.default_rng(1)
    for first in range(0, rows, 500):
        array[first:first + 500] = random.integers(0, 256, (min(500, rows - first), *shape), "u1")
    array.flush()
    if "h5py" in present:
        import h5py
        with h5py.File(chunked, "w", libver="latest") as file:
            file.create_dataset("rows", data=array, chunks=(1, *shape))
    del array
    order = random.permutation(rows)[:read]
    orders = [order[at:at + BATCH] for at in range(0, read, BATCH)]
    sums = {}

    def case(name, path, read_all):
        def run():
            with open(path, "rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            sums[name] = sum(int(batch.sum()) for batch in read_all())
            return time.perf_counter() - start
        return run

    def with_preadv():
        found = np.load(plain, mmap_mode="r")
        batch, row_bytes = np.empty((BATCH, *shape), "u1"), found[0].nbytes
        with open(plain, "rb", buffering=0) as file:
            for order in orders:
                for place_in_batch, row in enumerate(order):
                    os.preadv(file.fileno(), [batch[place_in_batch]], found.offset + int(row) * row_bytes)
                yield batch[:len(order)]

    def with_h5py():
        with h5py.File(chunked) as file:
            data, batch = file["rows"], np.empty((BATCH, *shape), "u1")
            for order in orders:
                for place_in_batch, row in enumerate(order):
                    data.read_direct(batch, np.s_[int(row)], np.s_[place_in_batch])
                yield batch[:len(order)]

    cases = {OURS: case(OURS, plain, lambda: recipe.batches(np.load(plain, mmap_mode="r"), orders)),
             "mapped, nothing asked for": case("mapped", plain, lambda: (np.load(plain, mmap_mode="r")[order] for order in orders)),
             "os.preadv": case("preadv", plain, with_preadv)}
    if "h5py" in present:
        cases["h5py"] = case("h5py", chunked, with_h5py)

    def check():
        assert len(set(sums.values())) == 1, sums

    def clean():
        plain.unlink()
        chunked.unlink(missing_ok=True)

    return Line(title, cases, read, "rows", {"h5py": 1}, apart=("mapped, nothing asked for", "os.preadv"), missing=missing, check=check, clean=clean)


LINES = dict.fromkeys(LAYOUTS, make)
