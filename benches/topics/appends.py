"""Appending to one file, from one row of 64 bytes to bulk, durable and not.

Each measurement is a process of its own (ours is `benches/append.rs`), which times the appends alone.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pairs import OURS, Line

ROOT = Path(__file__).resolve().parents[2]
PEERS = {"npy-append-array": "npy_append_array", "h5py": "h5py", "zarr": "zarr"}
# Words for a case, and how many appends one measurement takes: fewer for those that would take minutes. "floor" is one write
# on an O_APPEND descriptor. Then the targets: of the speed of the case that is named.
SMALL = {OURS: ("ours", 200_000), "floor": ("write", 200_000), "npy-append-array": ("naa", 20_000), "h5py": ("h5py", 4_000), "zarr": ("zarr", 100)}
LARGER = {case: (word, appends // 2) for case, (word, appends) in SMALL.items()}
LAYOUTS = {
    "one row of 64 B, not synced, in memory": (64, 1, True, SMALL, {"floor": 1 / 1.5, "best": 1}),
    "one row of 3 KB, not synced, in memory": (3072, 1, True, LARGER, {"floor": 1 / 1.1, "best": 1}),
    "one row of 3 KB, not synced, on disk": (3072, 1, False, LARGER, {"floor": 1 / 1.1, "best": 1}),
    "one durable row of 3 KB": (3072, 1, False, {
        OURS: ("ours-durable", 600), "one sync, no order": ("write+fdatasync", 600), "16 threads": ("ours-durable-threads", 4_800),
        "npy-append-array": ("naa-sync", 600), "npy-append-array, rows then count": ("naa-ordered", 600),
        "h5py": ("h5py-sync", 300), "zarr": ("zarr-sync", 20)}, {"npy-append-array, rows then count": 1, "h5py": 1, "zarr": 1}),
    "durable rows of 3 KB in groups of 16": (3072, 1, False, {
        OURS: ("ours-durable-16", 4_800), "npy-append-array": ("naa-sync", 600), "h5py": ("h5py-sync", 300), "zarr": ("zarr-sync", 20)}, {"npy-append-array": 10}),
    "durable rows of 150 KB in groups of 16": (150_528, 1, False, {
        OURS: ("ours-durable-16", 960), "npy-append-array": ("naa-sync", 300), "h5py": ("h5py-sync", 100)}, {"best": 1}),
    "64 rows of 150 KB, in memory": (150_528, 64, True, {
        OURS: ("ours-bulk", 100), "floor": ("write", 100), "npy-append-array": ("naa", 100), "h5py": ("h5py", 40), "zarr": ("zarr", 20)}, {"floor": 0.97, "best": 1}),
    "64 rows of 150 KB, with the final sync": (150_528, 64, False, {
        OURS: ("ours-bulk-write-back", 200), "plain write": ("write+final-fdatasync", 200), "without write-back": ("ours-bulk", 200),
        "dropping behind": ("ours-bulk-drop-behind", 200), "npy-append-array": ("naa-final", 200), "h5py": ("h5py-final", 60)}, {"plain write": 1.3, "best": 1}),
    "opening for reading": (3072, 64, True, {
        OURS: ("ours-open", 2_000), "NumPy": ("numpy-open", 2_000), "to append": ("ours-open-to-append", 2_000), "h5py": ("h5py-open", 500), "zarr": ("zarr-open", 100)}, {"best": 1}),
}
APART = ("floor", "one sync, no order", "16 threads", "plain write", "without write-back", "dropping behind", "to append")
built = []


def program():
    """Builds `benches/append.rs` once."""
    if not built:
        subprocess.run(["cargo", "bench", "--quiet", "--bench", "append", "--no-run"], cwd=ROOT, check=True)
        found = [path for path in (ROOT / "target/release/deps").glob("append-*") if path.suffix != ".d"]
        built.append(max(found, key=lambda path: path.stat().st_mtime))
    return built[0]


def make(place, title):
    row_bytes, rows, in_memory, cases, targets = LAYOUTS[title]
    present, missing = place.peers(PEERS)
    path = (place.memory if in_memory else place.disk) / "rows.npy"
    remove = lambda: shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def case(word, appends):
        appends = max(5, int(appends * place.scale))
        own = word.startswith(("ours", "write"))
        start = [program()] if own else [sys.executable, Path(__file__).with_name("append_peers.py")]

        def run():
            if not in_memory:
                # Nobody pays for the file that was removed before: its journal, and the device's discards.
                os.sync()
            done = subprocess.run([*start, word, path, str(row_bytes), str(appends), str(rows)], capture_output=True, text=True)
            remove()
            if done.returncode != 0:
                raise RuntimeError(f"{word}: {done.stderr}")
            # For one append: the cases do not all do the same number of them.
            return float(done.stdout) / appends
        return run

    # A peer may be there in several ways.
    chosen = {name: words for name, words in cases.items() if name.partition(",")[0] not in PEERS or name.partition(",")[0] in present}
    return Line(title, {name: case(*words) for name, words in chosen.items()}, rows, "rows", targets,
                apart=tuple(name for name in chosen if name in APART), missing={name: why for name, why in missing.items() if name in cases})


LINES = dict.fromkeys(LAYOUTS, make)
