"""Files that were created and appended to, read by an old NumPy and by readers in other languages."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from harness import LONG, ROOT
from test_append import STRUCTURES, joined, run, same, save

OLD_NUMPY = ROOT / ".venv-old" / "bin" / "python"


def grown(folder, array, name):
    """The array in two files: created by `append`, and NumPy's own with the second half appended."""
    half = len(array) // 2
    first, second = save(folder / f"{name}-1.npy", array[:half]), save(folder / f"{name}-2.npy", array[half:])
    created = folder / f"{name}-created.npy"
    run("append", created, first, second)
    run("append", first, second)
    return [created, first]


def test_an_old_numpy_reads_and_is_appended_to(tmp_path):
    files = {}
    for number, dtype in enumerate(["u1", ">i4", "<f8", "<c8", "<U3", "<M8[us]", *STRUCTURES[:4]]):
        array = np.zeros((7, 3), dtype)
        array.view("u1").reshape(-1)[::5] = 1 if number != 4 else 0
        for path in grown(tmp_path, array, f"new{number}"):
            files[str(path)] = array.tobytes().hex()
    script = """
import json, sys
import numpy as np
assert np.__version__.startswith("1.23"), np.__version__
for path, content in json.load(sys.stdin).items():
    for mode in [None, "r"]:
        array = np.load(path, mmap_mode=mode)
        assert array.shape == (7, 3) and array.tobytes().hex() == content, path
np.save("old.npy", np.arange(1000).reshape(500, 2))
"""
    done = subprocess.run([OLD_NUMPY, "-c", script], input=json.dumps(files), text=True, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    # Before 1.25 NumPy left no room on purpose, but some by accident.
    old = tmp_path / "old.npy"
    array = np.load(old)
    run("append", old, save(tmp_path / "more.npy", array))
    same(np.load(old), joined([array, array]))


@pytest.mark.skipif(not LONG, reason="installs from npm and Debian; the long form")
def test_npyjs(tmp_path):
    if not shutil.which("npm"):
        pytest.skip("no npm here")
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "npyjs@0.7.0"], cwd=tmp_path, check=True)
    script = """
import Npyjs from "npyjs";
import { readFileSync } from "fs";
const reader = new (Npyjs.default ?? Npyjs)();
for (const path of process.argv.slice(2)) {
    const bytes = readFileSync(path);
    const { data, shape } = reader.parse(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    console.log(JSON.stringify({ shape, data: Array.from(data, Number) }));
}
"""
    (tmp_path / "read.mjs").write_text(script)
    for dtype in ["u1", "<i4", "<f4", "<f8"]:
        array = np.arange(24).reshape(8, 3).astype(dtype)
        paths = grown(tmp_path, array, array.dtype.name)
        done = subprocess.run(["node", "read.mjs", *paths], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines():
            assert json.loads(line) == {"shape": [8, 3], "data": array.ravel().tolist()}


@pytest.mark.skipif(not LONG, reason="installs from npm and Debian; the long form")
def test_xtensor(tmp_path):
    if not shutil.which("g++") or not Path("/usr/include/xtensor/xnpy.hpp").exists():
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "g++", "libxtensor-dev"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "read.cpp").write_text("""
#include <iostream>
#include <xtensor/xnpy.hpp>
int main(int count, char **words) {
    for (int at = 1; at < count; at++) {
        auto array = xt::load_npy<double>(words[at]);
        std::cout << array.dimension() << " " << array.shape(0) << " " << array.shape(1);
        for (double value : array) std::cout << " " << value;
        std::cout << std::endl;
    }
}
""")
    subprocess.run(["g++", "-O0", "-std=c++17", "read.cpp", "-o", "read"], cwd=tmp_path, check=True)
    array = np.arange(24.0).reshape(8, 3)
    done = subprocess.run([tmp_path / "read", *grown(tmp_path, array, "a")], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        assert [float(word) for word in line.split()] == [2, 8, 3, *array.ravel()]
