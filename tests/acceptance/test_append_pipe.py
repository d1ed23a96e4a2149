"""`append` from a pipe that stays open: what readers see meanwhile, and what others do to the file."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

from harness import PROGRAM
from test_append import npy_bytes, run, said, save


def test_rows_of_a_pipe_become_visible_while_it_is_open(tmp_path):
    output = tmp_path / "a.npy"
    process = subprocess.Popen([PROGRAM, "append", output, "-", "--raw", "--dtype", "<i8"], stdin=subprocess.PIPE)
    try:
        for count in range(1, 4):
            process.stdin.write(np.array([count], "<i8").tobytes())
            process.stdin.flush()
            end = time.monotonic() + 30
            while not output.exists() or len(np.load(output, mmap_mode="r")) < count:
                assert time.monotonic() < end
                time.sleep(0.01)
        # Meanwhile nobody else may append.
        other = save(tmp_path / "b.npy", np.array([9]))
        done = run("append", output, other, check=1)
        assert f"is being written by process {process.pid}" in said(done)
        waiting = subprocess.Popen([PROGRAM, "append", output, other, "--wait"])
        time.sleep(0.2)
        assert waiting.poll() is None
    finally:
        process.stdin.close()
        assert process.wait(60) == 0
    assert waiting.wait(60) == 0
    assert np.load(output).tolist() == [1, 2, 3, 9]


@pytest.mark.parametrize("durability", ["source", "none"])
def test_arrays_of_a_pipe_become_visible_while_it_is_open(tmp_path, durability):
    output = tmp_path / "a.npy"
    words = [PROGRAM, "append", output, "-", "--durability", durability]
    process = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE)
    for count in range(1, 4):
        process.stdin.write(npy_bytes(np.array([count])))
        process.stdin.flush()
        end = time.monotonic() + 30
        while not output.exists() or len(np.load(output, mmap_mode="r")) < count:
            assert time.monotonic() < end
            time.sleep(0.01)
    process.stdin.close()
    assert process.wait(60) == 0


def test_a_producer_that_never_pauses(tmp_path):
    """Its rows become visible all the same, and a signal loses none of those that were read."""
    output = tmp_path / "a.npy"
    words = [PROGRAM, "append", output, "-", "--raw", "--dtype", "<i8"]
    process = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    end, count = time.monotonic() + 30, 0
    while not output.exists() or len(np.load(output, mmap_mode="r")) < 100:
        process.stdin.write(np.array([count], "<i8").tobytes())
        process.stdin.flush()
        count += 1
        assert time.monotonic() < end
        time.sleep(0.01)
    # Within the pause: what was written last waits.
    process.stdin.write(np.array([count], "<i8").tobytes())
    process.stdin.flush()
    time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1 and b"SIGTERM" in process.stderr.read()
    assert np.load(output).tolist() == list(range(count + 1))


def replaced(path):
    np.save(path.with_name("other.npy"), np.arange(50))
    path.with_name("other.npy").rename(path)


def cut_short(path):
    os.truncate(path, path.stat().st_size - 8)


@pytest.mark.parametrize("disturb, words", [
    (lambda path: path.rename(path.with_name("away.npy")), "moved or removed"), (os.remove, "moved or removed"),
    (replaced, "another file has taken its place"), (cut_short, "cut short, to 144 bytes of 152"),
    (lambda path: np.save(path, np.arange(500)), "header was changed"), (lambda path: os.truncate(path, 0), "cut short"),
], ids=["moved", "removed", "replaced", "cut", "saved anew", "emptied"])
def test_who_appends_notices_what_becomes_of_the_file(tmp_path, disturb, words):
    """The bug: rows were confirmed that nobody could find, or that lay behind zeros."""
    path = save(tmp_path / "a.npy", np.arange(2))
    command = [PROGRAM, "append", path, "-", "--raw", "--durability", "source"]
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(np.array([2]).tobytes())
    process.stdin.flush()
    end = time.monotonic() + 30
    while len(np.load(path)) < 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.2)
    disturb(path)
    left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    out, err = process.communicate(np.array([3, 4]).tobytes(), timeout=60)
    assert process.returncode == 1 and not out
    text = err.decode()
    assert words in text and str(path) in text and "last 2 rows were not appended" in text, text
    for name, content in left.items():
        assert (tmp_path / name).read_bytes() == content
    assert left.keys() == {file.name for file in tmp_path.iterdir()}


def test_who_waits_for_a_file_that_its_maker_removes_makes_it(tmp_path):
    """The bug: it ended with `does not exist`."""
    path = tmp_path / "a.npy"
    maker = subprocess.Popen([PROGRAM, "append", path, "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    maker.stdin.write(npy_bytes(np.arange(5))[:-8])
    maker.stdin.flush()
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    waiting = subprocess.Popen([PROGRAM, "append", "--wait", path, "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    waiting.stdin.write(npy_bytes(np.arange(3)))
    waiting.stdin.flush()
    time.sleep(0.3)
    assert waiting.poll() is None
    maker.communicate(timeout=60)
    assert maker.returncode == 1
    assert waiting.communicate(timeout=60)[1] == b"" and waiting.returncode == 0
    assert np.load(path).tolist() == [0, 1, 2]


@pytest.mark.parametrize("words", [["--raw"], []], ids=["raw", "arrays"])
def test_a_pipe_that_does_not_wait_is_waited_for(tmp_path, words):
    """The bug: `Resource temporarily unavailable`. Whoever shares the pipe can have set it so."""
    path = save(tmp_path / "a.npy", np.arange(1))
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = subprocess.Popen([PROGRAM, "append", path, "-", *words], stdin=reader, stderr=subprocess.PIPE)
    os.close(reader)
    content = np.arange(2).tobytes() if words else npy_bytes(np.arange(2))
    for part in [content[:3], content[3:-5], content[-5:]]:
        time.sleep(0.1)
        assert process.poll() is None, process.stderr.read()
        os.write(writer, part)
    os.close(writer)
    assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0
    assert np.load(path).tolist() == [0, 0, 1]
