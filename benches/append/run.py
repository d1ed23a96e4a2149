"""Appending, measured against the peers in one run. See `benches/append/run`.

Each line's cases are run in turn, round after round, so that what disturbs one disturbs all. Shown are the median and the
spread (the half between the first and the third quartile) of the rounds, and the ratio to the line's first case.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def line(title, row_bytes, rows, cases):
    return dict(title=title, row_bytes=row_bytes, rows=rows, cases=cases)


# Case -> appends in one round: fewer for those that would take minutes.
LINES = [
    line("one row of 64 B", 64, 1, {"write": 200_000, "ours": 200_000, "naa": 20_000, "h5py": 4_000, "zarr": 100}),
    line("one row of 3 KB", 3072, 1, {"write": 50_000, "ours": 50_000, "naa": 10_000, "h5py": 2_000, "zarr": 60}),
    line("durable rows of 3 KB", 3072, 1, {"naa-sync": 600, "write+fdatasync": 600, "ours-durable": 600, "ours-durable-16": 4_800,
                                           "ours-durable-threads": 4_800, "h5py-sync": 300, "zarr-sync": 20}),
    line("durable rows of 150 KB", 150_528, 1, {"naa-sync": 300, "write+fdatasync": 300, "ours-durable": 300, "ours-durable-16": 960, "h5py-sync": 100}),
    line("64 rows of 150 KB, in memory", 150_528, 64, {"write": 100, "ours-bulk": 100, "naa": 100, "h5py": 40, "zarr": 20}),
    line("64 rows of 150 KB, with the final sync", 150_528, 64, {"write+final-fdatasync": 200, "ours-bulk": 200, "ours-bulk-write-back": 200,
                                                                 "ours-bulk-drop-behind": 200, "naa-final": 200, "h5py-final": 60}),
    line("opening for reading", 3072, 64, {"numpy-open": 2_000, "ours-open": 2_000, "ours-open-to-append": 2_000, "h5py-open": 500, "zarr-open": 100}),
]
IN_MEMORY = {"one row of 64 B", "one row of 3 KB", "64 rows of 150 KB, in memory", "opening for reading"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--disk", required=True, help="a folder on the disk that is measured")
    parser.add_argument("--memory", default="/dev/shm", help="a folder on a tmpfs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of appends")
    parser.add_argument("--only", default="", help="lines whose title holds this")
    parser.add_argument("--peers", default="naa,h5py,zarr", help="which peers take part")
    arguments = parser.parse_args()
    peers = arguments.peers.split(",")

    def run(case, folder, entry, appends):
        path = os.path.join(folder, f"npy-ingest-bench-{os.getpid()}.npy")
        own = case.startswith(("ours", "write"))
        program = [arguments.program] if own else [sys.executable, os.path.join(HERE, "peers.py")]
        words = [case, path, str(entry["row_bytes"]), str(appends), str(entry["rows"])]
        try:
            done = subprocess.run([*program, *words], capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{case}: {error.stderr}")
        finally:
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
        return float(done.stdout) / appends

    for entry in LINES:
        if arguments.only not in entry["title"]:
            continue
        folder = arguments.memory if entry["title"] in IN_MEMORY else arguments.disk
        cases = {case: max(5, int(appends * arguments.scale)) for case, appends in entry["cases"].items()
                 if case.startswith(("ours", "write", "numpy")) or case.split("-")[0] in peers}
        times = {case: [] for case in cases}
        for _ in range(arguments.rounds):
            for case, appends in cases.items():
                times[case].append(run(case, folder, entry, appends))
        print(f"\n{entry['title']} ({folder})\n")
        print("| case | microseconds each | spread | rows a second | ratio of speed |\n|---|---|---|---|---|")
        for case, found in times.items():
            median = statistics.median(found)
            quartiles = statistics.quantiles(found, n=4) if len(found) > 1 else [median] * 3
            # Ratios of pairs that ran one after the other, then their median.
            ratios = [a / b for a, b in zip(next(iter(times.values())), found)]
            print(f"| {case} | {median * 1e6:,.2f} | {(quartiles[2] - quartiles[0]) / 2 * 1e6:,.2f} "
                  f"| {entry['rows'] / median:,.0f} | {statistics.median(ratios):.2f} |", flush=True)


main()
