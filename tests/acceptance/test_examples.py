"""The examples, as they are in the folder."""

import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_random_rows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    from random_rows import batches
    path = tmp_path / "rows.npy"
    # Rows that begin and end in the middle of pages.
    rows = np.random.default_rng(1).integers(0, 256, (700, 5, 999), "u1")
    np.save(path, rows)
    mapped = np.load(path, mmap_mode="r")
    order = np.random.default_rng(2).permutation(len(rows))
    orders = np.array_split(order, 23)
    found = list(batches(mapped, orders))
    assert [len(batch) for batch in found] == [len(order) for order in orders]
    assert np.array_equal(np.concatenate(found), rows[order])
    # Fewer batches than are asked for in advance, and none.
    assert np.array_equal(np.concatenate(list(batches(mapped, [order[:3]]))), rows[order[:3]])
    assert list(batches(mapped, [])) == []
    done = subprocess.run([sys.executable, EXAMPLES / "random_rows.py", path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("700 rows of (5, 999) in ")
