"""`append`: any .npy file, any array, checked with real NumPy."""

import io
import json
import os
import random
import subprocess
import time

import numpy as np
import pytest

from harness import LONG, PROGRAM, make_pngs, mounted


def run(*words, stdin=None, check=0):
    done = subprocess.run([PROGRAM, *map(str, words)], input=stdin, capture_output=True)
    assert b"panicked" not in done.stderr, done.stderr
    assert check is None or done.returncode == check, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


def said(done):
    return done.stderr.decode()


def save(path, array, version=None):
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    return path


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def same(a, b):
    """Equal in dtype, shape and bytes. (NaN, padding and all: bytes of the same order.)"""
    descr = np.lib.format.dtype_to_descr
    assert descr(a.dtype) == descr(b.dtype) and a.shape == b.shape, (a.dtype, b.dtype, a.shape, b.shape)

    def equal(a, b):
        if a.dtype.names:       # padding is not copied
            return all(equal(a[name], b[name]) for name in a.dtype.names)
        return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    assert equal(a, b)


def joined(parts, axis=0):
    """As np.concatenate, which would give structures with padding another dtype."""
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    whole = np.zeros(shape, parts[0].dtype)
    start = 0
    for part in parts:
        place = [slice(None)] * len(shape)
        place[axis] = slice(start, start + part.shape[axis])
        whole[tuple(place)] = part
        start += part.shape[axis]
    if not parts[0].dtype.names:
        assert whole.tobytes() == np.concatenate(parts, axis=axis).astype(whole.dtype).tobytes()
    return whole


DTYPES = ["?", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "<u4", "<u8", "<f2", ">f2", "<f4", ">f8", "<f16", "<c8", ">c16",
          "<c32", "<M8[us]", ">M8[25s]", "<m8[D]", "m8", "S3", "<U5", ">U2", "V7"]
STRUCTURES = [
    np.dtype([("a", "<u2"), ("b", "<f4", (3,))]),
    np.dtype([("a", "u1"), ("b", "<f8"), ("c", ">u2")], align=True),
    np.dtype({"names": ["a", "b"], "formats": ["u1", "<f4"], "offsets": [3, 11], "itemsize": 32}),
    np.dtype([(("a title", "a"), "<f4", (2,)), (("it's", 'say "hi"'), "u1")]),
    np.dtype([("a", [("x", "<i2"), ("y", [("z", ">f8")])], (2, 2))]),
    np.dtype([("\u00e9\u00ff", "u1"), ("b", "S2")]),
    np.dtype([("\u540d\u524d", "<f4"), ("\U0001f600", "<M8[ms]")]),
    np.dtype([(f"a rather long name of a field, number {index}", "<f4") for index in range(300)]),
]


def values(chance, dtype, shape, order="C"):
    """Random bytes of this dtype; padding is zero, so that arrays can be compared by bytes."""
    array = np.zeros(shape, dtype, order=order)

    def fill(view):
        if view.dtype.names:
            for name in view.dtype.names:
                fill(view[name])
        elif view.dtype.kind == "U":
            view[...] = np.array([chr(chance.randint(33, 0x2000)) for _ in range(view.size)]).reshape(view.shape)
        elif view.dtype.kind == "b":
            view[...] = np.array([chance.random() < 0.5 for _ in range(view.size)]).reshape(view.shape)
        else:
            raw = np.frombuffer(chance.randbytes(view.size * view.dtype.itemsize), view.dtype)
            view[...] = raw.reshape(view.shape)
    fill(array)
    return array


VERSIONS = [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", DTYPES + STRUCTURES, ids=str)
def test_any_dtype_order_and_version(tmp_path, dtype, order):
    dtype = np.dtype(dtype)
    chance = random.Random(str(dtype) + order)
    versions = VERSIONS
    if dtype.names and any(ord(letter) > 255 for letter in str(dtype)):
        versions = [(3, 0)]
    axis = 0 if order == "C" else -1
    parts = [values(chance, dtype, shape, order) for shape in
             ([(5, 2, 3), (1, 2, 3), (0, 2, 3), (7, 2, 3)] if order == "C" else [(2, 3, 5), (2, 3, 1), (2, 3, 0), (2, 3, 7)])]
    inputs = [save(tmp_path / f"{index}.npy", part, chance.choice(versions)) for index, part in enumerate(parts)]
    limit = dict(max_header_size=1 << 20)
    for version in versions:
        output = save(tmp_path / "out.npy", parts[0], version)
        run("append", output, *inputs[1:])
        expected = joined(parts, axis)
        same(np.load(output, **limit), expected)
        mapped = np.load(output, mmap_mode="r", **limit)
        assert mapped.flags.f_contiguous == (order == "F")
        same(mapped, expected)
        assert os.path.getsize(output) == mapped.offset + mapped.nbytes
    created = tmp_path / "new.npy"
    assert b"created, 13 rows appended, 13 in all" in run("append", created, *inputs).stdout
    same(np.load(created, **limit), joined(parts, axis))


def test_random_arrays_split_at_random_are_concatenated(tmp_path):
    chance = random.Random(20)
    for number in range(400 if LONG else 40):
        dtype = np.dtype(chance.choice(DTYPES + STRUCTURES[:6]))
        dimensions = chance.choice([1, 1, 2, 3, 4])
        order = chance.choice("CF")
        axis = 0 if order == "C" or dimensions == 1 else -1
        rest = [chance.randint(1, 4) for _ in range(dimensions - 1)]
        parts = []
        for _ in range(chance.randint(2, 5)):
            length = chance.choice([0, 1, 2, 9, 100])
            shape = [length, *rest] if axis == 0 else [*rest, length]
            # Any order: what comes the other way round is turned.
            parts.append(values(chance, dtype, shape, chance.choice("CF")))
        parts[0] = np.asarray(parts[0], order=order)
        if np.isfortran(parts[0]) != (axis == -1):
            continue            # np.save calls C order what is both
        inputs = [save(tmp_path / f"{number}-{index}.npy", part, chance.choice(VERSIONS)) for index, part in enumerate(parts)]
        while len(inputs) > 1:
            some = chance.randint(1, len(inputs) - 1)
            run("append", inputs[0], *inputs[1:1 + some], "--durability", chance.choice(["source", "batch", "none"]))
            del inputs[1:1 + some]
        same(np.load(inputs[0]), joined(parts, axis))


def test_either_byte_order_but_only_if_asked(tmp_path):
    little = np.array([(1, 2.5, "ab")], [("a", "<u4"), ("b", "<c8"), ("c", "<U3")])
    big = little.astype(little.dtype.newbyteorder(">"))
    output, other = save(tmp_path / "a.npy", little), save(tmp_path / "b.npy", big)
    before = output.read_bytes()
    done = run("append", output, other, check=1)
    assert "'<u4'" in said(done) and "'>u4'" in said(done) and "--convert-byte-order" in said(done)
    assert output.read_bytes() == before
    run("append", output, other, "--convert-byte-order")
    same(np.load(output), np.concatenate([little, little]))
    # Nothing else is converted, asked or not.
    floats = save(tmp_path / "f.npy", np.array([300.7]))
    small = save(tmp_path / "u.npy", np.array([1], "u1"))
    done = run("append", small, floats, "--convert-byte-order", check=1)
    assert "<f8 cannot be appended" in said(done) and "|u1" in said(done)


@pytest.mark.parametrize("array, words", [
    (np.array(["a", None], object), "holds Python objects"),
    (np.array(7), "no dimensions"),
    (np.zeros((3, 0)), "a row holds no bytes"),
])
def test_arrays_that_have_no_rows_are_refused(tmp_path, array, words):
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    other = save(tmp_path / "b.npy", np.zeros((1, *array.shape[1:]), array.dtype if not array.dtype.hasobject else "f8"))
    before = path.read_bytes()
    done = run("append", path, other, check=1)
    assert words in said(done) and str(path) in said(done), said(done)
    assert path.read_bytes() == before


def test_shapes_and_inputs_that_do_not_fit(tmp_path):
    output = save(tmp_path / "a.npy", np.zeros((3, 4)))
    before = output.read_bytes()
    for shape, words in [((2, 5), "(2, 5)"), ((4,), "(4,)"), ((), "without dimensions"), ((2, 4, 1), "(2, 4, 1)")]:
        wrong = save(tmp_path / "w.npy", np.zeros(shape))
        right = save(tmp_path / "r.npy", np.ones((1, 4)))
        done = run("append", output, right, wrong, check=1)
        assert words in said(done) and str(wrong) in said(done), said(done)
        assert output.read_bytes() == before, "all inputs or none"
    (tmp_path / "e.npy").write_bytes(b"")
    assert "is empty" in said(run("append", tmp_path / "e.npy", right, check=1))
    assert "the file ends within its header" in said(run("append", output, tmp_path / "e.npy", check=1))
    (tmp_path / "c.npy").write_bytes(right.read_bytes()[:-1])
    assert "ends before its data does: 31 bytes are there, 32 expected" in said(run("append", output, tmp_path / "c.npy", check=1))
    done = run("append", output, "-", stdin=(tmp_path / "c.npy").read_bytes(), check=1)
    assert "ends before its data does: 31 bytes are there, 32 expected" in said(done)
    assert "none does not exist" in said(run("append", tmp_path / "none" / "x.npy", right, check=1))
    assert "No such file" in said(run("append", output, tmp_path / "x.npy", check=1))
    run("append", output, check=2)
    run("append", output, "-", "-", check=2)
    run("append", output, right, "--raw", check=2)
    assert output.read_bytes() == before


def test_an_array_onto_itself(tmp_path):
    output = save(tmp_path / "a.npy", np.arange(10))
    run("append", output, output)
    same(np.load(output), np.concatenate([np.arange(10)] * 2))


@pytest.mark.parametrize("durability", ["batch", "source", "none"])
def test_an_array_several_times_onto_itself(tmp_path, durability):
    """The bug: with `source`, what had been appended was appended again."""
    output, link = save(tmp_path / "a.npy", np.arange(1000)), tmp_path / "link.npy"
    os.link(output, link)
    other = save(tmp_path / "b.npy", np.arange(3))
    done = run("append", output, output, other, link, "--durability", durability)
    assert b"2,003 rows appended, 3,003 in all" in done.stdout
    same(np.load(output), np.concatenate([np.arange(1000), np.arange(1000), np.arange(3), np.arange(1000)]))


def test_a_header_that_a_plain_load_refuses_is_told(tmp_path):
    rows = np.zeros(2, [(f"field {number:05}", "<f4") for number in range(800)])
    output = tmp_path / "a.npy"
    done = run("append", output, save(tmp_path / "b.npy", rows))
    assert "max_header_size" in said(done)
    same(np.load(output, max_header_size=1 << 20), rows)
    assert said(run("append", output, tmp_path / "b.npy")) == ""


def test_raw_rows_that_came_before_a_failure_stay(tmp_path):
    """The bug: those that waited for their commit were taken back, at a full disk and where standard input cannot be read."""
    disk = tmp_path / "disk"
    with mounted(disk, "size=1m"):
        output = disk / "a.npy"
        done = run("append", output, "-", "--raw", "--dtype", "u1", stdin=bytes(3 << 20), check=1)
        assert "no room on the disk" in said(done) and "rows that came before were appended" in said(done), said(done)
        assert len(np.load(output)) > 100 << 10


def test_the_largest_file_that_is_allowed(tmp_path):
    """The bug: the program was killed, by SIGXFSZ."""
    output, rows = save(tmp_path / "a.npy", np.arange(10)), save(tmp_path / "b.npy", np.arange(100_000))
    done = subprocess.run(["prlimit", "--fsize=65536", PROGRAM, "append", output, rows], capture_output=True)
    assert done.returncode == 1 and "File too large" in said(done)
    same(np.load(output), np.arange(10))


def test_an_array_is_not_its_own_standard_input(tmp_path):
    """The bug: what was appended was read again, until the disk was full."""
    output, link = save(tmp_path / "a.npy", np.arange(10)), tmp_path / "link.npy"
    link.symlink_to(output)
    before = output.read_bytes()
    for words in [("append", output, "-"), ("append", link, "-", "--raw"), ("append", output, output, "-")]:
        with open(output, "rb") as stdin:
            done = subprocess.run([PROGRAM, *map(str, words)], stdin=stdin, capture_output=True, timeout=60)
        assert done.returncode == 2 and "standard input is" in said(done) and "itself" in said(done)
        assert output.read_bytes() == before


def test_what_is_done_is_no_failure_if_nobody_can_be_told(tmp_path):
    """The bug: exit code 1, although the rows were there."""
    output = save(tmp_path / "a.npy", np.arange(10))
    for words, words_said in [(["append", output, save(tmp_path / "b.npy", np.arange(2))], "2 rows were appended"),
                              (["recover", output], "is recovered, with 12 rows"), (["ensure-appendable", output], "is appendable")]:
        for more in [[], ["--json"]]:
            if words[0] == "append":
                save(output, np.arange(10))
            with open("/dev/full", "w") as full:
                done = subprocess.run([PROGRAM, *map(str, words), *more], stdout=full, stderr=subprocess.PIPE)
            assert done.returncode == 0 and words_said in said(done) and "standard output" in said(done), said(done)
    assert len(np.load(output)) == 12


def test_standard_input(tmp_path):
    output = tmp_path / "a.npy"
    first, second = np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(9.0).reshape(3, 3))
    run("append", output, "-", stdin=npy_bytes(first) + npy_bytes(second))
    same(np.load(output), np.concatenate([first, second]))
    # Nothing of an array that breaks off; the array before it neither, unless it was to be a commit of its own.
    broken = npy_bytes(first) + npy_bytes(second)[:-8]
    done = run("append", output, "-", stdin=broken, check=1)
    assert "standard input" in said(done) and len(np.load(output)) == 5
    assert "not a .npy file" in said(run("append", output, "-", stdin=b"0123456789abcdef", check=1))
    run("append", output, "-", stdin=b"")
    assert len(np.load(output)) == 5
    new = tmp_path / "new.npy"
    done = run("append", new, "-", stdin=b"", check=1)
    assert "nothing to create it from" in said(done) and not new.exists()
    run("append", new, "-", stdin=broken, check=1)
    assert not new.exists()
    shown = json.loads(run("append", output, "-", "--json", stdin=npy_bytes(first)).stdout)
    assert shown == {"file": str(output), "created": False, "appended": 2, "rows": 7, "bytes_cut": 0}


def test_raw_rows(tmp_path):
    output = tmp_path / "a.npy"
    rows = np.arange(24, dtype="<u2").reshape(4, 3, 2)
    done = run("append", output, "-", "--raw", stdin=rows.tobytes(), check=2)
    assert "--dtype" in said(done) and not output.exists()
    run("append", output, "-", "--raw", "--dtype", "<u2", "--shape", "3,2", stdin=rows.tobytes())
    run("append", output, "-", "--raw", stdin=rows.tobytes())
    same(np.load(output), np.concatenate([rows, rows]))
    done = run("append", output, "-", "--raw", stdin=rows.tobytes() + b"12345", check=1)
    assert f"ended within a row of {output}: 5 of 12 bytes, which were dropped" in said(done)
    assert len(np.load(output)) == 12, "the whole rows stay"
    done = run("append", tmp_path / "b.npy", "-", "--raw", "--dtype", "nonsense", stdin=b"", check=2)
    assert "'nonsense' is not a NumPy dtype" in said(done)
    # What is said of the rows has to fit; the other byte order only if it is asked for.
    before = output.read_bytes()
    for words, reason in [(["--dtype", ">u2"], "--convert-byte-order"), (["--dtype", "<u4"], "whose dtype is <u2"),
                          (["--shape", "2,3"], "have the shape (3, 2)"), (["--convert-byte-order"], "--dtype")]:
        done = run("append", output, "-", "--raw", *words, stdin=rows.tobytes(), check=2)
        assert reason in said(done) and output.read_bytes() == before, said(done)
    run("append", output, "-", "--raw", "--dtype", ">u2", "--convert-byte-order", stdin=rows.byteswap().tobytes())
    same(np.load(output)[12:], rows)


def test_raw_rows_are_in_c_order_whatever_the_array_is_in(tmp_path):
    """The bug: the bytes of `row.tobytes()` went into an array in Fortran order as they were."""
    for shape in [(5,), (2, 3), (2, 3, 4), (1, 7)]:
        rows = np.arange(4 * np.prod(shape), dtype=">i4").reshape(4, *shape)
        array = np.asfortranarray(np.moveaxis(rows, 0, -1))
        path = save(tmp_path / "a.npy", array)
        more = b"".join(row.tobytes() for row in rows)
        run("append", path, "-", "--raw", stdin=more)
        run("append", path, "-", "--raw", "--dtype", "<i4", "--convert-byte-order", stdin=rows.astype("<i4").tobytes())
        found = np.load(path)
        assert found.flags.f_contiguous
        same(found, np.concatenate([array] * 3, axis=-1).astype(">i4"))


def test_a_failure_says_what_was_appended_before_it(tmp_path):
    output, good, bad = tmp_path / "a.npy", save(tmp_path / "g.npy", np.arange(3.0)), tmp_path / "b.npy"
    for words, rows in [([], 0), (["--durability", "source"], 3)]:
        # Good when it is checked, cut short when its turn comes.
        save(bad, np.arange(4.0))
        done = run("append", output, good, "-", *words, stdin=npy_bytes(np.arange(5.0))[:-8], check=1)
        assert ("3 rows that came before were appended" in said(done)) == (rows > 0), said(done)
        assert output.exists() == (rows > 0) and (rows == 0 or len(np.load(output)) == rows)
    done = run("append", output, "-", "--raw", stdin=np.arange(2.0).tobytes() + b"123", check=1)
    assert "3 of 8 bytes, which were dropped; 2 rows that came before were appended" in said(done) and len(np.load(output)) == 5


def test_more_inputs_than_a_process_may_open(tmp_path):
    inputs = [save(tmp_path / f"{index}.npy", np.array([index])) for index in range(80)]
    words = ["prlimit", "--nofile=64", PROGRAM, "append", tmp_path / "a.npy", *inputs]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    assert np.load(tmp_path / "a.npy").tolist() == list(range(80))


def test_a_header_that_claims_more_than_memory(tmp_path):
    output = tmp_path / "a.npy"
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1099511627776), }"
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"
    done = run("append", output, "-", stdin=header + b"12345", check=1)
    assert "ends before its data does" in said(done) and not output.exists()


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_long_row_is_not_held_in_memory(tmp_path, is_stream):
    """The bug: memory grew with the row."""
    text = "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 100000000), }"
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")
    os.truncate(path, 128 + 200_000_000)
    with open(path, "rb") as file:
        words = [PROGRAM, "append", tmp_path / "b.npy", "-" if is_stream else path, "--durability", "none"]
        process = subprocess.Popen(list(map(str, words)), stdin=file)
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0 and usage.ru_maxrss < 100_000, usage.ru_maxrss
    assert np.load(tmp_path / "b.npy", mmap_mode="r").shape == (1, 100_000_000)


@pytest.mark.parametrize("name", ["n" * 251 + ".npy", b"\xff\xfe.npy"])
def test_names_of_any_bytes_and_length(tmp_path, name):
    folder = os.fsencode(tmp_path)
    path = os.path.join(folder, os.fsencode(name))
    with open(path, "wb") as file:
        np.save(file, np.arange(3))
    other = save(tmp_path / "b.npy", np.arange(3))
    subprocess.run([os.fsencode(PROGRAM), b"ensure-appendable", path], check=True, capture_output=True)
    subprocess.run([os.fsencode(PROGRAM), b"append", path, os.fsencode(other)], check=True, capture_output=True)
    with open(path, "rb") as file:
        assert np.load(file).tolist() == [0, 1, 2, 0, 1, 2]
    assert len(os.listdir(folder)) == 2


def test_who_created_a_file_takes_no_rows_of_others_with_it(tmp_path):
    """A creates, and fails; B waits for it, and appends what A must not remove."""
    output, good = tmp_path / "a.npy", save(tmp_path / "g.npy", np.arange(5, dtype="<u4"))
    trace = ["strace", "-f", "-o", "/dev/null", "-e", "trace=unlink", "-e", "inject=unlink:delay_enter=2000000"]
    first = subprocess.Popen([*trace, str(PROGRAM), "append", str(output), "-", "--raw", "--dtype", "<u4"],
                             stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while not output.exists():
        time.sleep(0.01)
    second = subprocess.Popen([PROGRAM, "append", output, good, "--wait"], stderr=subprocess.PIPE)
    first.communicate(b"123")
    second.wait(60)
    # Either it found the file gone and said so, or its rows are there.
    if second.returncode == 0:
        assert np.load(output).tolist() == list(range(5))
    else:
        assert b"does not exist" in second.stderr.read() and not output.exists()


def test_files_of_a_dataset_are_left_alone(project):
    project = project()
    make_pngs(project.drop, 2)
    project.once()
    rows = save(project.folder / "r.npy", project.rows()[:1])
    for path in [project.output, project.output.with_suffix(".source.npy")]:
        for words in [("append", path, rows), ("recover", path), ("ensure-appendable", path)]:
            assert "belongs to a dataset" in said(run(*words, check=1))


def test_readers_see_every_count_and_no_other(tmp_path):
    """Counts never decrease and every row is right, while another process appends one row a commit."""
    output = save(tmp_path / "a.npy", np.zeros((0, 3), "<i8"))
    process = subprocess.Popen([PROGRAM, "append", output, "-", "--raw", "--durability", "none"], stdin=subprocess.PIPE)
    seen = []
    for count in range(1, 400):
        process.stdin.write(np.full(3, count, "<i8").tobytes())
        process.stdin.flush()
        rows = np.load(output, mmap_mode="r")
        assert (rows == np.arange(1, len(rows) + 1)[:, None]).all()
        seen.append(len(rows))
    process.stdin.close()
    assert process.wait(60) == 0
    assert seen == sorted(seen) and len(np.load(output)) == 399
