"""Random rows of an array that is larger than memory, as fast as the disk gives them.

    python examples/random_rows.py data/frames.npy

A mapped file reads what is touched, when it is touched: one place of the disk at a time, while the program waits. A sampler
knows its next batches, so it can ask for them in advance; the disk then works on many rows at once, and while the program
computes. Nothing is copied, and rows that are in memory already cost one call.
"""

import mmap
import sys
import time
from collections import deque

import numpy as np


def batches(array, orders, ahead=2):
    """For each sequence of row numbers, the rows as one array; those of the next `ahead` batches are being read meanwhile.

    `array` is what `np.load(path, mmap_mode="r")` gives, C order.
    """
    mapped = array._mmap
    # NumPy maps from the last page boundary before the first row.
    first = array.offset % mmap.ALLOCATIONGRANULARITY
    row_bytes = array[0].nbytes
    waiting = deque()
    for order in orders:
        for row in order:
            start = first + int(row) * row_bytes
            page = start - start % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, start + row_bytes - page)
        waiting.append(order)
        if len(waiting) > ahead:
            yield array[waiting.popleft()]
    while waiting:
        yield array[waiting.popleft()]


def main():
    array = np.load(sys.argv[1], mmap_mode="r")
    order = np.random.permutation(len(array))
    start = time.perf_counter()
    total = sum(len(batch) for batch in batches(array, np.array_split(order, max(1, len(order) // 32))))
    print(f"{total} rows of {array.shape[1:]} in {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
