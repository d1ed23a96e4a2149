"""One measurement of a peer of `appends`, with the same words as the Rust program: CASE FILE ROW_BYTES APPENDS ROWS_AN_APPEND."""

import os
import shutil
import sys
import time

import numpy as np


def timed(act, appends):
    start = time.perf_counter()
    for _ in range(appends):
        act()
    return time.perf_counter() - start


def naa(path, piece, appends, after):
    from npy_append_array import NpyAppendArray
    with NpyAppendArray(path) as array:
        array.append(piece)

        def sync():
            array.fp.flush()
            os.fdatasync(array.fp.fileno())

        def act():
            array.append(piece)
            if after == "sync":
                sync()
            if after == "ordered":
                # Rows, then the count that shows them: what an append here is.
                sync()
                array.update_header()
                sync()
        start = time.perf_counter()
        timed(act, appends)
        if after == "final":
            array.update_header()
            sync()
        return time.perf_counter() - start


def h5py(path, piece, appends, after):
    import h5py
    with h5py.File(path, "w", libver="latest") as file:
        rows = max(1, (256 << 10) // piece[0].nbytes)
        data = file.create_dataset("rows", shape=(0, piece.shape[1]), maxshape=(None, piece.shape[1]), dtype="u1", chunks=(rows, piece.shape[1]))

        def act():
            data.resize(len(data) + len(piece), axis=0)
            data[-len(piece):] = piece
            if after == "sync":
                file.flush()
                os.fdatasync(handle)
        handle = os.open(path, os.O_RDWR)
        act()
        start = time.perf_counter()
        timed(act, appends)
        if after == "final":
            file.flush()
            os.fdatasync(handle)
        return time.perf_counter() - start


def zarr(path, piece, appends, after):
    import zarr
    rows = max(len(piece), 1)
    array = zarr.create_array(path, shape=(0, piece.shape[1]), chunks=(rows, piece.shape[1]), dtype="u1", compressors=None, overwrite=True)

    def act():
        array.append(piece)
        if after == "sync":
            os.sync()
    act()
    start = time.perf_counter()
    timed(act, appends)
    if after == "final":
        os.sync()
    return time.perf_counter() - start


def opens(peer, path, piece, appends):
    if peer == "numpy":
        np.save(path, piece)
        return timed(lambda: np.load(path, mmap_mode="r"), appends)
    {"h5py": h5py, "zarr": zarr}[peer](path, piece, 1, None)
    if peer == "h5py":
        import h5py as module
        return timed(lambda: module.File(path, "r")["rows"], appends)
    import zarr as module
    return timed(lambda: module.open_array(path, mode="r"), appends)


def main():
    case, path, row_bytes, appends, rows = sys.argv[1:]
    row_bytes, appends, rows = int(row_bytes), int(appends), int(rows)
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)
    piece = np.arange(rows * row_bytes, dtype="u8").astype("u1").reshape(rows, row_bytes)
    peer, _, after = case.partition("-")
    if after == "open":
        seconds = opens(peer, path, piece, appends)
    else:
        seconds = {"naa": naa, "h5py": h5py, "zarr": zarr}[peer](path, piece, appends, after or None)
    print(f"{seconds:.9f}")


main()
