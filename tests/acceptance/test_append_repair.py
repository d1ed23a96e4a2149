"""`recover`, `ensure-appendable`, and what a kill at any system call leaves behind."""

import json
import os
import re
import shutil
import subprocess
import warnings

import numpy as np
import pytest

from harness import LONG, PROGRAM, mounted
from test_append import run, said, same, save, VERSIONS
from test_disk import small_filesystem


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


def padded(array, rows, total, count="{}"):
    """A header of so many bytes with spaces at its end, which counts fewer rows than there are."""
    descr = np.lib.format.dtype_to_descr(array.dtype)
    shape = ", ".join([count.format(rows), *map(str, array.shape[1:])]) + ("," if array.ndim == 1 else "")
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': ({shape}), }}"
    return framed(text.ljust(total - 11)) + array.tobytes()


def test_room_in_a_header_makes_no_rows_disappear(tmp_path):
    """Rows that the header does not count, of another program: neither command takes them for its own."""
    other = save(tmp_path / "b.npy", np.zeros(1, "<f4"))
    array = np.arange(15, dtype="<f4")
    wide = np.arange(150, dtype="<f4").reshape(150, *[1] * 19)
    named = np.zeros(100, [("nn", "<f8")])
    for name, content, rows in [("room", padded(array, 10, 128), 15), ("little room", padded(wide, 100, 150), 150),
                                ("none", padded(wide, 100, 148), 150), ("by C", padded(named, 5, 192, "{:20d}"), 100)]:
        path = tmp_path / "a.npy"
        path.write_bytes(content)
        for words in [("append", path, other), ("ensure-appendable", path), ("ensure-appendable", path, "--in-place")]:
            done = run(*words, check=1)
            assert "bytes behind the last row" in said(done), (name, said(done))
            assert path.read_bytes() == content
        run("recover", path, check=None)
        assert len(np.load(path)) == rows or path.read_bytes() == content, name


def test_several_arrays_in_one_file_are_refused(tmp_path):
    """The bug: `append` cut the second one off without asking, and `recover` made rows of its header."""
    path, other = tmp_path / "a.npy", save(tmp_path / "b.npy", np.arange(1))
    for is_ours in [False, True]:
        save(path, np.arange(10))
        if is_ours:
            run("append", path, other)
        end = path.stat().st_size
        with open(path, "ab") as file:
            np.save(file, np.arange(5))
        before = path.read_bytes()
        for words in [("append", path, other), ("recover", path), ("ensure-appendable", path)]:
            done = run(*words, check=1)
            assert f"another array begins at byte {end}" in said(done) and f"truncate -s {end} {path}" in said(done)
            assert path.read_bytes() == before
        subprocess.run(["truncate", "-s", str(end), path], check=True)
        run("append", path, other)
        assert len(np.load(path)) == 11 + is_ours


def test_rows_that_an_appender_did_not_publish_are_cut_off_and_told(tmp_path):
    path, other = save(tmp_path / "a.npy", np.arange(10)), save(tmp_path / "b.npy", np.arange(1))
    run("append", path, other)
    path.write_bytes(path.read_bytes() + bytes(24))
    done = run("append", path, other, "--json")
    assert "24 bytes behind its last row are" in said(done) and "cuts them off" in said(done) and json.loads(done.stdout)["bytes_cut"] == 24
    assert len(np.load(path)) == 12


def test_an_append_that_is_refused_changes_nothing(tmp_path):
    """The bug: what lay behind the last row was cut off, and a long header rewritten, before any input was looked at."""
    wide = np.zeros(5, [(f"field_{index:03}", "<f4") for index in range(16)] + [("y" * 64, "<f4")])
    ours, across = save(tmp_path / "a.npy", np.arange(10)), save(tmp_path / "w.npy", wide)
    run("append", ours, save(tmp_path / "b.npy", np.arange(1)))
    ours.write_bytes(ours.read_bytes() + bytes(24))
    wrong, empty = save(tmp_path / "c.npy", np.zeros((2, 2))), tmp_path / "empty.npy"
    for path, dtype in [(ours, "<i8"), (across, wide.dtype)]:
        before = path.read_bytes()
        save(empty, np.zeros(0, dtype))
        for words, stdin, code in [([wrong], None, 1), ([tmp_path / "none.npy"], None, 1), ([empty], None, 0),
                                   (["-"], b"no array", 1), (["-", "--raw"], b"1", 1), (["-", "--raw"], b"", 0)]:
            run("append", path, *words, stdin=stdin, check=code)
            assert path.read_bytes() == before, words
    assert len(os.listdir(tmp_path)) == 5
    run("append", ours, ours)
    run("append", across, across)
    assert np.load(ours).tolist() == [*range(10), 0] * 2 and len(np.load(across)) == 10


def test_a_part_of_a_row_is_cut_off_whatever_room_the_header_has(tmp_path):
    path = tight(tmp_path / "a.npy", np.arange(9))
    for part, told in [(b"123", b"3 bytes of an incomplete row were cut off"), (b"1", b"1 byte of an incomplete row was cut off")]:
        path.write_bytes(path.read_bytes() + part)
        assert told in run("recover", path).stdout
    same(np.load(path), np.arange(9))


def test_room_is_what_an_appender_can_use(tmp_path):
    other = save(tmp_path / "b.npy", np.zeros((1, 1), "<f4"))
    for total in range(75, 110):
        path = tmp_path / "a.npy"
        path.write_bytes(padded(np.zeros((9, 1), "<f4"), 9, total))
        shown = json.loads(run("inspect", path, "--json").stdout)
        done = run("append", path, other, check=None)
        assert (shown["grows"] != "no") == (done.returncode == 0), (total, shown, said(done))
        if done.returncode == 0:
            assert json.loads(run("inspect", path, "--json").stdout)["rows_max_in_place"] == shown["rows_max_in_place"]
        run("ensure-appendable", path)
        run("append", path, other)
        assert np.load(path).sum() == 0


def test_names_beyond_latin_1_in_a_header_of_version_1(tmp_path):
    path, rows = tmp_path / "a.npy", np.zeros(3, [("\u540d", "<f4"), ("\U0001f600", "u1")])
    text = "{'descr': [('\\u540d', '<f4'), ('\\U0001f600', '|u1')], 'fortran_order': False, 'shape': (3,), }"
    path.write_bytes(framed(text) + rows.tobytes())
    same(np.load(path), rows)
    run("ensure-appendable", path)
    with warnings.catch_warnings(action="ignore"):      # of the version, when NumPy saves such names
        np.save(tmp_path / "b.npy", rows)
    run("append", path, tmp_path / "b.npy")
    same(np.load(path), np.concatenate([rows, rows]))


def test_what_cannot_be_recovered(tmp_path):
    path = tmp_path / "a.npy"
    for content, words in [(b"", "is empty"), (b"\x93NUMPY\x01\x00", "ends within its header"), (b"x" * 200, "not a .npy file"),
                           (framed("{'descr': '<f4'}"), "no key"), (framed("{'descr': '<f4', 'fortran_order': False, 'shape': ()}"), "no dimensions")]:
        path.write_bytes(content)
        done = run("recover", path, check=1)
        assert words in said(done) and str(path) in said(done), said(done)
        assert path.read_bytes() == content
    assert "does not exist" in said(run("recover", tmp_path / "none.npy", check=1))


def test_what_is_sound_and_cannot_grow_needs_no_recovery(tmp_path):
    """The bug: exit code 1."""
    for array in [np.array(1.5), np.zeros((3, 0)), np.zeros((0, 2, 0))]:
        path = save(tmp_path / "a.npy", array)
        before = path.read_bytes()
        assert b"nothing to recover" in run("recover", path).stdout and path.read_bytes() == before
        path.write_bytes(before + b"1")
        assert "cannot grow" in said(run("recover", path, check=1))


# ensure-appendable

@pytest.mark.parametrize("in_place", [False, True])
def test_a_header_that_is_longer_than_ours_gets_room(tmp_path, in_place):
    """The bug: `ensure-appendable` said that `ensure-appendable` makes room. Older Pythons escape letters that they do not know."""
    for length in range(0, 64, 9):
        name = "\U0001fae8" * 20 + "x" * length
        escaped = name.encode("unicode_escape").decode("ascii")
        path, rows = tmp_path / "a.npy", np.arange(5, dtype="<f4").view([(name, "<f4")])
        path.write_bytes(framed(f"{{'descr': [('{escaped}', '<f4')], 'fortran_order': False, 'shape': (5,), }}") + rows.tobytes())
        same(np.load(path), rows)
        words = ["ensure-appendable", path, *["--in-place"][:in_place]]
        assert b"appendable now" in run(*words).stdout
        same(np.load(path), rows)
        assert b"appendable as it was" in run(*words).stdout
        assert json.loads(run("inspect", path, "--json").stdout)["grows"] == "window"
        run("append", path, path)
        same(np.load(path), np.concatenate([rows, rows]))


def test_no_header_becomes_too_long_for_a_plain_load(tmp_path):
    """The bug: a file that np.load took was refused by it once it had room."""
    path, text = tmp_path / "a.npy", "{{'descr': [('{}', '<f4')], 'fortran_order': False, 'shape': (5,), }}"
    path.write_bytes(framed(text.format("n" * (9_999 - len(text.format(""))))) + bytes(20))
    before = path.read_bytes()
    assert len(np.load(path)) == 5
    for more in [[], ["--in-place"]]:
        done = run("ensure-appendable", path, *more, check=1)
        assert "10000 characters that a plain np.load reads" in said(done) and path.read_bytes() == before
    path.write_bytes(framed(text.format("n" * 10_000)) + bytes(20))
    run("ensure-appendable", path)

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


def killed_while_moving(path, words, call="fdatasync", number=4):
    assert kill_at((call, number), words)
    journal = path.with_name(f".{path.name}.moving")
    assert journal.exists()
    return journal


def test_a_journal_is_of_one_file_alone(tmp_path):
    """A move that was cut off, and then other files under its name, or its file under another name."""
    path, other = tmp_path / "a.npy", save(tmp_path / "b.npy", np.arange(4))
    array = np.arange(1000)
    # Made anew where it was: nothing is left of what was moved.
    killed_while_moving(tight(path, array), ["ensure-appendable", path, "--in-place"])
    np.save(path, np.arange(7))
    run("append", path, other)
    assert np.load(path).tolist() == [*range(7), *range(4)]
    path.unlink()
    # Renamed, and another one made in its place: neither is lost.
    journal = killed_while_moving(tight(path, array), ["ensure-appendable", path, "--in-place"])
    away = tmp_path / "away.npy"
    path.rename(away)
    assert "moved" in said(run("append", away, other, check=1))
    tight(path, array)
    before = path.read_bytes()
    done = run("append", path, other, check=1)
    assert str(journal) in said(done) and "remove" in said(done) and journal.exists() and path.read_bytes() == before
    path.unlink()
    away.rename(path)
    run("ensure-appendable", path)
    same(np.load(path), array)
    assert not journal.exists()


def test_a_damaged_journal_is_refused_or_does_no_harm(tmp_path):
    """The bug: the move went on with the piece before the damaged one, over bytes that had been moved already, and ended with 0."""
    path, array = tmp_path / "a.npy", np.random.default_rng(3).integers(0, 256, (13_000, 1000), dtype=np.uint8)
    tight(path, array)
    original, whole = path.read_bytes(), array.tobytes()
    piece = 4 << 20
    slots = [4096, 4096 + (56 + piece + 4095) // 4096 * 4096]
    cuts = [("cut", length) for length in [5000, slots[1], slots[1] + 100, slots[1] + 56 + piece - 1]]
    flips = [("flip", slot + at) for slot in slots for at in [0, 1, 9, 17, 30, 56, 2_000_000]] + [("flip", 20)]
    refused = 0
    for number in [5, 6, 7, 9] if not LONG else range(3, 13):
        path.write_bytes(original)
        journal = killed_while_moving(path, ["ensure-appendable", path, "--in-place"], number=number)
        moving, written = path.read_bytes(), journal.read_bytes()
        assert len(written) == slots[1] + 56 + piece
        for kind, at in [*cuts, *flips]:
            damaged = written[:at] if kind == "cut" else written[:at] + bytes([written[at] ^ 4]) + written[at + 1:]
            path.write_bytes(moving)
            journal.write_bytes(damaged)
            done = run("ensure-appendable", path, "--in-place", check=None)
            if done.returncode:
                refused += 1
                assert "damaged" in said(done) and str(journal) in said(done), said(done)
                assert path.read_bytes() == moving and journal.read_bytes() == damaged
            else:
                assert kind == "flip" and path.read_bytes().endswith(whole) and len(np.load(path, mmap_mode="r")) == 13_000, (number, at)
    assert refused > 30


def test_a_move_that_was_cut_off_is_said_to_be_finished(tmp_path):
    """The bug: `appendable as it was`, `"changed": "nothing"`."""
    path, array = tmp_path / "a.npy", np.arange(1000)
    for words, expected in [(["ensure-appendable"], "had begun was finished"), (["recover"], "cut off was finished"),
                            (["append", path], "cut off was finished")]:
        journal = killed_while_moving(tight(path, array), ["ensure-appendable", path, "--in-place"])
        moving, kept = path.read_bytes(), journal.read_bytes()
        done = run(words[0], path, *words[1:])
        assert expected in done.stdout.decode() + said(done)
        same(np.load(path)[:1000], array)
        path.write_bytes(moving)
        journal.write_bytes(kept)
        shown = json.loads(run(words[0], path, *words[1:], "--json").stdout)
        assert shown.get("changed") in ("rows", True, None) and shown.get("moved_bytes", 1) > 0
        # Once it is finished there is nothing to say.
        done = run(words[0], path, *words[1:])
        assert "was finished" not in done.stdout.decode() + said(done)


def test_no_array_is_made_where_one_was_moved_away(tmp_path):
    """The bug: an append to the name made an empty array, and failed on the journal of the one that had it before."""
    path, other, array = tmp_path / "a.npy", save(tmp_path / "b.npy", np.arange(4)), np.arange(1000)
    journal = killed_while_moving(tight(path, array), ["ensure-appendable", path, "--in-place"])
    away = tmp_path / "away.npy"
    path.rename(away)
    done = run("append", path, other, check=1)
    assert str(journal) in said(done) and "give it its name back" in said(done) and f"remove {journal}" in said(done)
    assert sorted(os.listdir(tmp_path)) == [journal.name, "away.npy", "b.npy"]
    # And a half moved array whose journal is elsewhere says which one it wants.
    for words in [("append", away, other), ("verify", away), ("inspect", away), ("recover", away)]:
        done = run(*words, check=1)
        assert str(tmp_path / ".away.npy.moving") in said(done) and "is not there" in said(done), said(done)
    away.rename(path)
    run("append", path, other)
    same(np.load(path), np.concatenate([array, np.arange(4)]))


def test_a_header_across_sectors_that_was_cut_off(tmp_path):
    """As above, for a header that is rewritten by the journal and does not move."""
    path = tmp_path / "a.npy"
    dtype = [(f"field_{index:03}", "<f4") for index in range(16)] + [("y" * 64, "<f4")]
    more = save(tmp_path / "b.npy", np.ones(1, dtype))
    for number in [1, 2, 3]:
        for anew in [None, np.zeros(5, dtype), np.zeros(10, dtype), np.arange(1000)]:
            path.unlink(missing_ok=True)
            np.save(path, np.zeros(5, dtype))
            kill_at(("fdatasync", number), ["append", path, more])
            if anew is not None:
                np.save(path, anew)
            expected = np.zeros(5, dtype) if anew is None else anew
            done = run("append", path, save(tmp_path / "c.npy", expected[:2]))
            found = np.load(path)
            assert found.dtype == expected.dtype and len(found) in (len(expected) + 2, len(expected) + 3), said(done)
            same(found[:len(expected)], expected)


def test_holes_are_kept_and_have_room(tmp_path):
    """A sparse file, copied and moved, on a disk that could not hold all of it."""
    disk = tmp_path / "disk"
    with mounted(disk, "size=16m"):
        path = disk / "a.npy"
        path.write_bytes(framed("{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,), }"))
        start = path.stat().st_size
        with open(path, "r+b") as file:
            file.truncate(start + 50_000_000)
        before = path.stat()
        done = run("ensure-appendable", path, "--in-place", check=1)
        assert "without --in-place" in said(done) and path.stat().st_size == before.st_size
        assert len(np.load(path, mmap_mode="r")) == 50_000_000 and os.listdir(disk) == ["a.npy"]
        run("ensure-appendable", path)
        assert path.stat().st_blocks < 100 and len(np.load(path, mmap_mode="r")) == 50_000_000


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_row_that_finds_no_room_for_its_zeros_takes_none(tmp_path, kind):
    """The bug: the disk was full afterwards, of zeros."""
    disk = tmp_path / "disk"
    with small_filesystem(kind, tmp_path, disk, 16 << 20):
        path = disk / "a.npy"
        path.write_bytes(framed("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 50000000), }".ljust(117)) + b"\7" * 100_000)
        os.sync()
        before, free = path.read_bytes(), os.statvfs(disk).f_bavail
        assert "No space left" in said(run("recover", path, "--zero-fill", check=1))
        # A block or two of ext4 may have come to say where the file's blocks are.
        assert path.read_bytes() == before and os.statvfs(disk).f_bavail >= free - 8


def test_holes_that_find_no_room_stay_holes(tmp_path):
    """The bug: those that were filled before the disk was full stayed so."""
    disk = tmp_path / "disk"
    with small_filesystem("ext4", tmp_path, disk, 16 << 20):
        path = disk / "a.npy"
        path.write_bytes(framed("{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,), }"))
        os.truncate(path, path.stat().st_size + 50_000_000)
        os.sync()
        before = path.stat().st_blocks
        done = run("ensure-appendable", path, "--in-place", check=1)
        assert "without --in-place a copy is made, in which holes stay holes" in said(done)
        assert path.stat().st_blocks == before and sorted(os.listdir(disk)) == ["a.npy", "lost+found"]


def test_a_full_disk_takes_nothing_away(tmp_path):
    """On a small filesystem: nothing is appended, and once there is room it is."""
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m") as remount:
        array = np.zeros(100 << 10, "u1")
        path, other = save(disk / "a.npy", array), save(tmp_path / "b.npy", np.ones(1 << 20, "u1"))
        before = path.read_bytes()
        done = run("append", path, other, check=1)
        assert "no room on the disk" in said(done) and str(path) in said(done)
        same(np.load(path), array)
        assert len(path.read_bytes()) == len(before)
        wide = tight(disk / "t.npy", np.ones(500 << 10, "u1"))
        content = wide.read_bytes()
        for words in [[], ["--in-place"]]:
            assert "No space left" in said(run("ensure-appendable", wide, *words, check=1))
            assert wide.read_bytes() == content and sorted(os.listdir(disk)) == ["a.npy", "t.npy"]
        remount("size=4m")
        run("append", path, other)
        assert len(np.load(path)) == (100 << 10) + (1 << 20)
