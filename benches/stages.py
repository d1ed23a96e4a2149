#!/usr/bin/env python3
"""Where the time goes, and what more cores would give: benches/stages.py [--rounds N] [--scale X] [--disk FOLDER] [--only WORDS]

The lines of `run images` and `run logs`, ours alone, with one to four workers. Beside the time of the whole program it tells
how much processor time each kind of thread took for a row. From that comes a model of machines with more cores and as many
workers: decoding is divided among them; the writer and the intake are one thread each; the slowest of the three, or all
cores together, say how fast it goes. What the disk and the memory take is not in it. Needs the environment of `run`.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from pairs import OURS
from place import Place
from topics import images, logs

PROGRAM = Path(os.environ.get("NPY_INGEST", Path(__file__).resolve().parents[1] / "target" / "release" / "npy-ingest")).resolve()
WORKERS = [1, 2, 3, 4]
CORES = [16, 64]
# Threads are named npy-decode-0, npy-writer, npy-intake; the rest is the start, the end, and what waits.
STAGES = ["decode", "writer", "intake", "rest"]


class Observed(Place):
    """Runs ours with so many workers, and reads what each thread has taken."""
    workers = 1

    def once(self, folder):
        config = folder / "ingest.toml"
        config.write_text(re.sub(r"workers = \d+", f"workers = {self.workers}", config.read_text()))
        return super().once(folder)

    def run(self, words):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        taken = {}
        while process.poll() is None:
            for task in Path(f"/proc/{process.pid}/task").glob("*"):
                try:
                    name, spent_ns = (task / "comm").read_text().strip(), int((task / "schedstat").read_text().split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    continue
                taken[task.name] = (name, spent_ns)
            time.sleep(0.005)
        assert process.returncode == 0, f"ended with {process.returncode}"
        self.stages = defaultdict(float)
        for name, spent_ns in taken.values():
            stage = next((stage for stage in STAGES if name.startswith(f"npy-{stage}")), "rest")
            self.stages[stage] += spent_ns / 1e9


def predicted(stages, cores, workers):
    """Rows a second, and what says so. `stages`: seconds of processor time a row."""
    limits = {
        "all cores": cores / sum(stages.values()), "decoding": min(workers, cores) / stages["decode"],
        "the writer": 1 / stages["writer"], "the intake": 1 / max(stages["intake"], 1e-12)}
    stops = min(limits, key=limits.get)
    return limits[stops], stops


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--scale", type=float, default=1.0)
    words.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()))
    words.add_argument("--only", default="")
    options = words.parse_args()
    cores = os.cpu_count()
    print(f"{cores} cores, load {os.getloadavg()[0]:.1f} at the start; median of {options.rounds} rounds, scale {options.scale:g}")
    print(f"\n| | workers | rows a second | {' | '.join(f'{stage}, us a row' for stage in STAGES)} | predicted | "
          + " | ".join(f"{number} cores" for number in CORES) + " |")
    print("|---|" + "---|" * (3 + len(STAGES) + len(CORES)))
    with tempfile.TemporaryDirectory(dir=options.disk, prefix="npy-ingest-stages-") as disk:
        # The peers are left out.
        place = Observed(Path(disk), Path(disk), PROGRAM, options.scale, set(images.PEERS) | {"pandas"})
        for title, make in [*images.LINES.items(), *logs.LINES.items()]:
            if options.only not in title:
                continue
            line = make(place, title)
            found = {workers: [] for workers in WORKERS}
            for number in range(options.rounds + 1):
                for workers in WORKERS:
                    place.workers = workers
                    wall = line.cases[OURS]()
                    if number:
                        found[workers].append((wall, place.stages))
            # All that is known of the stages comes from one worker, which nobody disturbs.
            alone = {stage: statistics.median(stages[stage] for _, stages in found[1]) / line.work for stage in STAGES}
            for workers in WORKERS:
                rate = line.work / statistics.median(wall for wall, _ in found[workers])
                stages = [statistics.median(stages[stage] for _, stages in found[workers]) / line.work * 1e6 for stage in STAGES]
                more = [predicted(alone, number, number) for number in CORES] if workers == 1 else []
                print(f"| {title if workers == 1 else ''} | {workers} | {rate:,.4g} | {' | '.join(f'{each:.3g}' for each in stages)} | "
                      f"{predicted(alone, cores, workers)[0]:,.4g} | " + " | ".join(f"{rate:,.3g}, {stops}" for rate, stops in more) + " |", flush=True)
            line.clean()


if __name__ == "__main__":
    main()
