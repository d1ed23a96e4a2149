"""`recover`, `ensure-appendable`, and what a kill at any system call leaves behind."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from harness import LONG, PROGRAM
from test_append import run, said, same, save, VERSIONS


def framed(text, version=(1, 0)):
    """A header of exactly this text."""
    text = text.encode("latin1") + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text


def tight(path, array, version=(1, 0)):
    """An array whose header has no padding at all."""
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    descr = np.lib.format.dtype_to_descr(array.dtype)
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {array.shape!r}, }}"
    path.write_bytes(framed(text, version) + array.tobytes("A"))
    same(np.load(path), array)
    return path


# recover

@pytest.mark.parametrize("order", "CF")
def test_a_file_that_was_cut_short(tmp_path, order):
    array = np.asarray(np.arange(60, dtype="<f4").reshape((10, 6) if order == "C" else (6, 10)), order=order)
    whole = save(tmp_path / "a.npy", array)
    whole.write_bytes(whole.read_bytes()[:-30])     # the last row and 6 bytes of the one before
    with pytest.raises(ValueError):
        np.load(whole)
    done = run("append", whole, save(tmp_path / "b.npy", array), check=1)
    assert "30 bytes of the 10 rows that its header counts are missing" in said(done)
    zeros = tmp_path / "z.npy"
    shutil.copy(whole, zeros)
    assert b"8 rows now, the header said 10; 18 bytes of an incomplete row were cut off" in run("recover", whole).stdout
    same(np.load(whole), array[:8] if order == "C" else array[:, :8])
    assert b"filled up with 6 zeros" in run("recover", zeros, "--zero-fill").stdout
    filled = np.load(zeros)
    flat = filled.ravel(order)
    assert filled.shape[0 if order == "C" else 1] == 9 and (flat[-1], flat[-2]) == (0, 0) and flat[-3] == array.ravel(order)[51]
    for path in [whole, zeros]:
        before = path.read_bytes()
        assert b"nothing to recover" in run("recover", path).stdout
        assert path.read_bytes() == before


def test_rows_that_were_written_and_not_counted(tmp_path):
    """What npy-append-array leaves when it is killed before it writes its header."""
    array = np.arange(12.0).reshape(4, 3)
    path = save(tmp_path / "a.npy", array)
    path.write_bytes(path.read_bytes() + array.tobytes() + b"123")
    done = run("append", path, save(tmp_path / "b.npy", array), check=1)
    assert "99 bytes behind the last row" in said(done) and "recover" in said(done)
    run("recover", path)
    run("append", path, tmp_path / "b.npy")
    same(np.load(path), np.concatenate([array] * 3))


def test_what_cannot_be_recovered(tmp_path):
    path = tmp_path / "a.npy"
    for content, words in [(b"", "is empty"), (b"\x93NUMPY\x01\x00", "ends within its header"), (b"x" * 200, "not a .npy file"),
                           (framed("{'descr': '<f4'}"), "no key"), (framed("{'descr': '<f4', 'fortran_order': False, 'shape': ()}"), "no dimensions")]:
        path.write_bytes(content)
        done = run("recover", path, check=1)
        assert words in said(done) and str(path) in said(done), said(done)
        assert path.read_bytes() == content
    assert "does not exist" in said(run("recover", tmp_path / "none.npy", check=1))


# ensure-appendable

@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("order", "CF")
def test_a_header_without_room_gets_some(tmp_path, order, version, in_place):
    array = np.asarray(np.random.default_rng(1).integers(0, 99, (70, 3, 50)), order=order)
    path = tight(tmp_path / "a.npy", array, version)
    path.chmod(0o640)
    os.chown(path, 1234, 2345)
    inode = path.stat().st_ino
    done = run("append", path, path, check=None)
    if done.returncode:
        assert "ensure-appendable" in said(done)
        same(np.load(path), array)
    words = ["--in-place"] if in_place else []
    run("ensure-appendable", path, *words)
    found = path.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, 1234, 2345)
    assert (found.st_ino == inode) or not in_place
    assert os.listdir(tmp_path) == ["a.npy"]
    before = path.read_bytes()
    assert b"appendable as it was" in run("ensure-appendable", path, *words).stdout
    assert path.read_bytes() == before
    whole = np.load(path)
    run("append", path, path)
    same(np.load(path), np.concatenate([whole, whole], axis=0 if order == "C" else -1))


def test_files_of_numpy_need_no_move(tmp_path):
    for dtype in ["<f4", [("a", "u1"), ("b", "<f8")], [(f"name {index}", "<i4") for index in range(40)]]:
        array = np.zeros(3, dtype)
        path = save(tmp_path / "a.npy", array)
        size = path.stat().st_size
        assert b"appendable now" in run("ensure-appendable", path).stdout
        assert path.stat().st_size == size
        same(np.load(path), array)


def test_links_lead_to_the_file(tmp_path):
    array = np.arange(100)
    path = tight(tmp_path / "a.npy", array)
    link = tmp_path / "link.npy"
    link.symlink_to("a.npy")
    run("ensure-appendable", link)
    run("append", link, save(tmp_path / "b.npy", array))
    assert link.is_symlink()
    same(np.load(path), np.concatenate([array, array]))


# Kills

def kill_at(call, words):
    """Runs the program and kills it when it makes the system call for the n-th time. Whether it was killed."""
    name, number = call
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={name}", "-e", f"inject={name}:signal=SIGKILL:when={number}"]
    done = subprocess.run([*command, PROGRAM, *map(str, words)], capture_output=True)
    return done.returncode != 0


CALLS = ["pwrite64", "pwritev", "fdatasync", "ftruncate", "rename", "unlink", "fsync", "openat", "copy_file_range"]


def count_calls(words):
    done = subprocess.run(["strace", "-f", "-c", "-e", "trace=" + ",".join(CALLS), PROGRAM, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", done.stderr, re.MULTILINE)
    return {name: int(count) for count, name in rows if name in CALLS}


def every_kill(make, words, step):
    """Makes the files anew and kills the command at every call that changes something (some of them, in the short form)."""
    make()
    calls = count_calls(words)
    assert sum(calls.values()) > 3
    for name, count in calls.items():
        first = 1 if name != "openat" else max(1, count - 6)     # the program's own files come first
        for number in range(first, count + 1, step if count > 12 else 1):
            make()
            yield (name, number), kill_at((name, number), words)


def test_killed_at_every_call_while_appending(tmp_path):
    path, other = tmp_path / "a.npy", tmp_path / "b.npy"
    array, more = np.arange(3000).reshape(1000, 3), np.full((500, 3), 7)
    expected = np.concatenate([array, more])
    save(other, more)
    killed = 0
    for call, was_killed in every_kill(lambda: save(path, array), ["append", path, other], 1 if LONG else 3):
        killed += was_killed
        found = np.load(path)
        assert len(found) in (1000, 1500), call
        same(found, expected[: len(found)])
        assert was_killed or len(found) == 1500, call
        run("append", path, other)
        same(np.load(path), np.concatenate([found, more]))
    assert killed > 4


def test_killed_at_every_call_while_rows_are_moved(tmp_path):
    path = tmp_path / "a.npy"
    array = np.random.default_rng(2).integers(0, 1 << 60, (12 << 20) // 8 // 3 // (1 if LONG else 2)).reshape(-1, 2)
    tight(path, array)
    original = path.read_bytes()

    def make():
        for file in tmp_path.iterdir():
            file.unlink()
        path.write_bytes(original)

    killed = unreadable = 0
    for call, was_killed in every_kill(make, ["ensure-appendable", path, "--in-place"], 1 if LONG else 5):
        killed += was_killed
        try:
            same(np.load(path), array)
        except ValueError:
            unreadable += 1
        done = run("ensure-appendable", path, "--in-place")
        same(np.load(path), array)
        assert [file.name for file in tmp_path.iterdir()] == ["a.npy"], call
        assert done.stdout
    assert killed > 8 and unreadable > 0
    for call, was_killed in every_kill(make, ["ensure-appendable", path], 1 if LONG else 5):
        same(np.load(path), array)
        run("ensure-appendable", path)
        same(np.load(path), array)
        assert [file.name for file in tmp_path.iterdir()] == ["a.npy"], call


def test_a_full_disk_takes_nothing_away(tmp_path):
    """On a small filesystem: nothing is appended, and once there is room it is."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        array = np.zeros(100 << 10, "u1")
        path, other = save(disk / "a.npy", array), save(tmp_path / "b.npy", np.ones(1 << 20, "u1"))
        before = path.read_bytes()
        done = run("append", path, other, check=1)
        assert "no room on the disk" in said(done) and str(path) in said(done)
        same(np.load(path), array)
        assert len(path.read_bytes()) == len(before)
        wide = tight(disk / "t.npy", np.zeros(500 << 10, "u1"))
        content = wide.read_bytes()
        for words in [[], ["--in-place"]]:
            assert "No space left" in said(run("ensure-appendable", wide, *words, check=1))
            assert wide.read_bytes() == content and sorted(os.listdir(disk)) == ["a.npy", "t.npy"]
        subprocess.run(["mount", "-o", "remount,size=4m", disk], check=True)
        run("append", path, other)
        assert len(np.load(path)) == (100 << 10) + (1 << 20)
    finally:
        subprocess.run(["umount", disk], check=True)
