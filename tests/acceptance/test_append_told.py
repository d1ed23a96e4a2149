"""What the commands for single arrays say, and what they leave behind when they fail."""

import json
import os
import subprocess

import numpy as np

from harness import PROGRAM
from test_append import run, said, same, save
from test_append_repair import kill_at


def test_what_append_refuses_is_no_sound_file(tmp_path):
    """The bug: `verify` found no fault in rows behind NumPy's count, and `append` refused the file."""
    path, other = save(tmp_path / "a.npy", np.arange(4)), save(tmp_path / "b.npy", np.arange(1))
    path.write_bytes(path.read_bytes() + bytes(16))
    done = run("verify", path, check=1)
    assert b"NOT sound" in done.stdout and b"16 bytes behind the last row" in done.stdout and b"recover" in done.stdout
    assert json.loads(run("verify", path, "--json", check=1).stdout)["ok"] is False
    run("append", path, other, check=1)
    run("recover", path)
    run("append", path, other)
    # Behind a count of ours it is what a dead appender left, and the next one goes on.
    path.write_bytes(path.read_bytes() + bytes(16))
    done = run("verify", path)
    assert b"sound" in done.stdout and b"16 bytes past the last row" in done.stdout
    assert b"`append` cuts them off, `npy-ingest recover` counts them" in done.stdout
    run("append", path, other)
    assert len(np.load(path)) == 8


def test_another_array_behind_the_first_is_no_sound_file(tmp_path):
    """The bug: `verify` said that `recover` counts it, and `recover` refused."""
    path, other = save(tmp_path / "a.npy", np.arange(4)), save(tmp_path / "b.npy", np.arange(1))
    for is_ours in [False, True]:
        if is_ours:
            save(path, np.arange(4))
            run("append", path, other)
        with open(path, "ab") as file:
            np.save(file, np.arange(5))
        done = run("verify", path, check=1)
        assert b"NOT sound" in done.stdout and b"another array begins at byte" in done.stdout and b"truncate" in done.stdout
        assert b"past the last row: another array" in run("inspect", path).stdout


def test_the_name_of_a_folder_is_no_name_of_a_file(tmp_path):
    """The bug: `append new/ b.npy` made a file called `new`."""
    other = save(tmp_path / "b.npy", np.arange(1))
    for name in ["new/", "new/.", "new//"]:
        done = run("append", f"{tmp_path}/{name}", other, check=1)
        assert "is the name of a folder" in said(done) and os.listdir(tmp_path) == ["b.npy"]


def test_rows_that_were_never_confirmed_are_told(tmp_path):
    """The bug: half of an input that a killed append had left was counted without a word."""
    path = save(tmp_path / "a.npy", np.arange(4))
    run("append", path, path)
    for rows, words in [(2, b"the last 2 rows were never confirmed"), (1, b"the last row was never confirmed")]:
        path.write_bytes(path.read_bytes() + bytes(8 * rows) + b"123")
        kept = path.read_bytes()
        done = run("recover", path)
        assert words in done.stdout and b"next append would have cut" in done.stdout, done.stdout
        path.write_bytes(kept)
        assert json.loads(run("recover", path, "--json").stdout)["unconfirmed_rows"] == rows
    other = save(tmp_path / "b.npy", np.arange(4))
    other.write_bytes(other.read_bytes() + bytes(8))
    assert b"never confirmed" not in run("recover", other).stdout


def test_texts_say_what_to_do(tmp_path):
    rows, fifo = save(tmp_path / "a.npy", np.zeros((2, 3))), tmp_path / "pipe"
    os.mkfifo(fifo)
    fortran = save(tmp_path / "f.npy", np.asfortranarray(np.zeros((3, 2))))
    one, narrow = save(tmp_path / "one.npy", np.zeros(3)), save(tmp_path / "n.npy", np.zeros((2, 3), "<f4"))
    single = save(tmp_path / "s.npy", np.array(1.5))
    single.write_bytes(single.read_bytes()[:-1])
    for words, code, expected in [
        (["append", rows, one], 1, "give it that axis, with a[None]"), (["append", fortran, one], 1, "with a[..., None]"),
        (["append", rows, narrow], 1, "convert it first (array.astype in NumPy)"),
        (["append", rows, fifo], 1, f"{fifo} is not a regular file: what comes from a pipe is taken from standard input (-)"),
        (["append", rows, tmp_path / "none.npy"], 1, f"ingest: opening {tmp_path / 'none.npy'}: No such file"),
        (["verify", tmp_path / "none.npy"], 1, f"ingest: opening {tmp_path / 'none.npy'}: No such file"),
        (["inspect", fifo], 1, f"ingest: {fifo} is not a regular file\n"),
        (["verify"], 2, "or a .npy file that is to be checked"),
        (["append", tmp_path / "new.npy", "-", "--raw", "--dtype", "u1", "--shape", "3x2"], 2, "224,224,3"),
    ]:
        done = run(*words, stdin=b"", check=code)
        assert expected in said(done), (words, said(done))
    done = run("verify", single, check=1)
    assert b"cannot be recovered" in done.stdout and b"npy-ingest recover" not in done.stdout
    run("append", tmp_path / "new.npy", "-", "--raw", "--dtype", "u1", "--shape", "(3, 2)", stdin=bytes(12))
    assert np.load(tmp_path / "new.npy").shape == (2, 3, 2)


def test_one_row_was_appended(tmp_path):
    """The bug: `1 row that came before were appended`."""
    path = save(tmp_path / "a.npy", np.zeros(2))
    done = run("append", path, "-", "--raw", stdin=bytes(8 + 3), check=1)
    assert "; 1 row that came before was appended to" in said(done)
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "append", path, save(tmp_path / "b.npy", np.zeros(1))], stdout=full, stderr=subprocess.PIPE)
    assert b"1 row was appended" in done.stderr and len(np.load(path)) == 4


def test_an_array_that_is_to_be_made_is_no_input_of_its_own(tmp_path):
    """The bug: the empty array that had just been made was taken for an input."""
    one, new = save(tmp_path / "a.npy", np.arange(3)), tmp_path / "new.npy"
    done = run("append", new, one, new, check=1)
    assert f"opening {new}: No such file" in said(done) and not new.exists()


def test_what_a_killed_creation_left_is_removed_by_the_next(tmp_path):
    """The bug: `.k.npy.PID.tmp` stayed for ever."""
    one, new = save(tmp_path / "a.npy", np.arange(3)), tmp_path / "k.npy"
    assert kill_at(("fdatasync", 1), ["append", new, one]) and not new.exists()
    left = [name for name in os.listdir(tmp_path) if name.startswith(".k.npy.") and name.endswith(".tmp")]
    alive = tmp_path / f".k.npy.{os.getpid()}.tmp"
    alive.write_bytes(b"")
    foreign = tmp_path / ".other.npy.4194304.tmp"
    foreign.write_bytes(b"")
    assert len(left) == 1
    run("append", new, one)
    assert sorted(os.listdir(tmp_path)) == sorted(["a.npy", "k.npy", alive.name, foreign.name])
    same(np.load(new), np.arange(3))
