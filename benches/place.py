"""Where a line works: folders, the program, and the service run over them."""

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path


class Place:
    def __init__(self, disk: Path, memory: Path, program: Path, scale: float, without: set[str]):
        # A folder on the disk that is measured, one on a tmpfs, and `npy-ingest`.
        self.disk, self.memory, self.program = disk, memory, program
        # Of the amount of work.
        self.scale = scale
        self.without = without

    def peers(self, modules: dict[str, str]) -> tuple[set[str], dict[str, str]]:
        """Of peers and the modules that they are: which can take part, and why others cannot."""
        missing = {}
        for name, module in modules.items():
            if name in self.without:
                missing[name] = "left out"
            elif importlib.util.find_spec(module) is None:
                missing[name] = f"{module} is not installed"
        return set(modules) - set(missing), missing

    def dataset(self, name: str, settings: str) -> Path:
        """A folder with an empty `in` and a config for one dataset, `out/rows.npy`. `settings` follows its output."""
        folder = self.disk / name
        (folder / "in").mkdir(parents=True)
        (folder / "ingest.toml").write_text(
            f'[service]\nworkers = {os.cpu_count()}\n[[dataset]]\nname = "rows"\noutput = "out/rows.npy"\n{settings}')
        return folder

    def once(self, folder: Path) -> float:
        """Everything in `in` into a new dataset, durable: the whole program, from its start to its end."""
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out").mkdir()
        start = time.perf_counter()
        self.run([self.program, "--config", folder / "ingest.toml", "--once"])
        return time.perf_counter() - start

    def run(self, words):
        subprocess.run(words, check=True, capture_output=True)
