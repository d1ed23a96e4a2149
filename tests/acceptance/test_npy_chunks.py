"""`npy`: arrays that NumPy itself has saved."""

import io
import os
import struct
import subprocess
import zipfile

import numpy as np
import pytest

from harness import PROGRAM

SHAPE = (3, 4, 2)


def array(count, dtype="<f4", shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 100, (count, *shape)).astype(dtype)


def test_chunks_in_all_orders_and_versions(project):
    project = project(shape=SHAPE, dtype="<f4", decoder='[dataset.npy]\nbyte_order = "convert"', watch='order = "name"')
    chunks = {
        "a-c.npy": array(1000, seed=1),
        "b-fortran.npy": np.asfortranarray(array(777, seed=2)),
        "c-big.npy": array(50, ">f4", seed=3),
        "d-big-fortran.npy": np.asfortranarray(array(60, ">f4", seed=4)),
        "e-large.npy": array(200_000, seed=5),
        "f-large-fortran.npy": np.asfortranarray(array(150_000, seed=6)),
    }
    for name, chunk in chunks.items():
        np.save(project.drop / name, chunk)
    with open(project.drop / "g-v2.npy", "wb") as file:
        np.lib.format.write_array(file, array(5, seed=7), version=(2, 0))
    np.savez(project.drop / "h.npz", array(20, seed=8))
    np.savez_compressed(project.drop / "i.npz", data=np.asfortranarray(array(30, seed=9)))
    project.once()
    expected = [*chunks.values(), array(5, seed=7), array(20, seed=8), array(30, seed=9)]
    assert np.array_equal(project.rows(), np.concatenate(expected))
    assert project.json("verify", "--deep")["ok"]


def test_structured_rows_and_members_by_name(project):
    dtype = [["t", "<u8"], ["x", "<f4", [3]]]
    native = np.dtype([("t", "<u8"), ("x", "<f4", 3)])
    project = project(shape=None, dtype=dtype, decoder='[dataset.npy]\nmember = "log"\nbyte_order = "convert"',
                      watch='order = "name"')
    rows = np.zeros(100, native)
    rows["t"], rows["x"] = np.arange(100), np.random.default_rng(0).random((100, 3))
    np.savez(project.drop / "a.npz", other=np.arange(3), log=rows)
    np.savez_compressed(project.drop / "b.npz", log=rows.astype(native.newbyteorder(">")))
    np.savez(project.drop / "c.npz", other=np.arange(3))
    np.save(project.drop / "d.npy", rows)
    project.once(check=3)
    assert np.array_equal(project.rows(), np.concatenate([rows, rows]))
    reasons = project.rejected()
    assert reasons["c.npz"] == 'the archive has no array "log", but other'
    assert "expected an .npz archive" in reasons["d.npy"]


def test_what_differs_is_refused_with_both_sides(project):
    project = project(shape=SHAPE, dtype="<f4", decoder="[dataset.npy]")
    good = array(10)
    np.save(project.drop / "good.npy", good)
    np.save(project.drop / "dtype.npy", good.astype("<f8"))
    np.save(project.drop / "order.npy", good.astype(">f4"))
    np.save(project.drop / "shape.npy", good[:, :2])
    np.save(project.drop / "row.npy", good[0])
    np.save(project.drop / "scalar.npy", np.float32(1))
    np.save(project.drop / "none.npy", good[:0])
    np.save(project.drop / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(project.drop / "two.npz", a=good, b=good)
    whole = (project.drop / "good.npy").read_bytes()
    (project.drop / "cut.npy").write_bytes(whole[:-1])
    (project.drop / "header.npy").write_bytes(whole[:60])
    (project.drop / "more.npy").write_bytes(whole + b"\0")
    (project.drop / "text.npy").write_bytes(b"1,2,3\n")
    (project.drop / "empty.npy").write_bytes(b"")
    (project.drop / "zip.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    np.savez_compressed(project.drop / "bent.npz", np.random.default_rng(0).random((100, *SHAPE)).astype("<f4"))
    bent = bytearray((project.drop / "bent.npz").read_bytes())
    bent[len(bent) // 2] ^= 0xFF
    (project.drop / "bent.npz").write_bytes(bent)
    # Each of these ends may be the archive's, and for each all that is before it is looked through.
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, 46, 0, 0)
    (project.drop / "ends.npz").write_bytes(b"PK\3\4" + bytes(26) + end * 100_000)
    project.once(check=3)
    assert np.array_equal(project.rows(), good)
    reasons = project.rejected()
    assert reasons["dtype.npy"] == "the array has dtype <f8, expected <f4"
    assert "byte_order" in reasons["order.npy"]
    assert reasons["shape.npy"] == "the array has shape (10, 2, 4, 2), expected (N, 3, 4, 2)"
    assert "array[None]" in reasons["row.npy"]
    assert "shape ()" in reasons["scalar.npy"]
    assert reasons["none.npy"] == "it gives no rows"
    assert "fixed size" in reasons["objects.npy"]
    assert reasons["two.npz"] == "the archive has 2 arrays: a, b; name one with `member`"
    assert "cut short" in reasons["cut.npy"]
    assert "within its header" in reasons["header.npy"]
    assert "not written as one array" in reasons["more.npy"]
    assert "not a .npy file" in reasons["text.npy"]
    assert reasons["empty.npy"] == "the file is empty"
    assert "not an .npz archive" in reasons["zip.npz"]
    assert "again and again" in reasons["ends.npz"]
    assert "damaged" in reasons["bent.npz"] or "not an .npz" in reasons["bent.npz"], reasons["bent.npz"]


def test_what_lies_beside_the_array_of_an_archive_is_none(project):
    """They counted as arrays: `dir/`, `meta.json`."""
    project = project(shape=SHAPE, dtype="<f4", decoder="[dataset.npy]", watch='order = "name"')
    saved = io.BytesIO()
    np.save(saved, array(10))
    for name, members in [
        ("a.npz", {"dir/": b"", "dir/a.npy": saved.getvalue()}),
        ("b.npz", {"meta.json": b"{}", "a.npy": saved.getvalue()}),
        ("c.npz", {"a": saved.getvalue(), "dir/": b""}),
        ("two.npz", {"meta.json": b"{}", "a.npy": saved.getvalue(), "b.npy": saved.getvalue()}),
        ("none.npz", {"dir/": b""}),
    ]:
        with zipfile.ZipFile(project.drop / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    project.once(check=3)
    assert np.array_equal(project.rows(), np.concatenate([array(10)] * 3))
    assert project.rejected() == {
        "two.npz": "the archive has 2 arrays: a, b; name one with `member`",
        "none.npz": "the archive is empty",
    }


def test_archives_of_other_methods_name_theirs(project):
    """The bug: a library's words, without the method or what to do."""
    project = project(shape=SHAPE, dtype="<f4", decoder="[dataset.npy]")
    saved = io.BytesIO()
    np.save(saved, array(10))
    for name, method in [("a.npz", zipfile.ZIP_BZIP2), ("b.npz", zipfile.ZIP_LZMA), ("c.npz", zipfile.ZIP_DEFLATED)]:
        with zipfile.ZipFile(project.drop / name, "w", method) as archive:
            archive.writestr("x.npy", saved.getvalue())
    project.once(check=3)
    assert np.array_equal(project.rows(), array(10))
    text = 'the array "x" is compressed by {}, which is not read: save it with numpy.savez or numpy.savez_compressed'
    assert project.rejected() == {"a.npz": text.format("Bzip2"), "b.npz": text.format("Lzma")}


def test_a_reason_names_both_dtypes_however_long_they_are(project):
    """What was found took all the room."""
    project = project(shape=None, dtype=[["a", "<f4"]], decoder='[dataset.npy]\nbyte_order = "convert"')
    np.save(project.drop / "long.npy", np.zeros(3, [(f"field_{number}", "<f4") for number in range(1000)]))
    # This name was taken for the other: the `<` in it looked like a byte order.
    np.save(project.drop / "name.npy", np.zeros(3, [("<a", ">f4")]))
    project.once(check=3)
    reasons = project.rejected()
    assert reasons["long.npy"].startswith("the array has dtype [('field_0', '<f4'), ('field_1', '<f4')")
    assert reasons["long.npy"].endswith("…, expected [('a', '<f4')]")
    assert reasons["name.npy"] == "the array has dtype [('<a', '>f4')], expected [('a', '<f4')]"


@pytest.mark.parametrize("kind", ["fortran", "field"])
def test_large_rows_take_their_bytes(project, kind):
    """A row's elements had a table of places, and numbers a step each, of many times their bytes."""
    random = np.random.default_rng(1)
    if kind == "fortran":
        shape, dtype, rows = (3000, 3000, 3), "u1", random.integers(0, 256, (1, 3000, 3000, 3), dtype="u1")
        rows = np.asfortranarray(rows)
    else:
        shape, dtype = None, [["image", "<u2", [4096, 4096]]]
        rows = np.zeros(1, [("image", ">u2", (4096, 4096))])
        rows["image"] = random.integers(0, 2**16, (4096, 4096), dtype="u2")
    project = project(shape=shape, dtype=dtype, decoder='[dataset.npy]\nbyte_order = "convert"')
    np.save(project.drop / "a.npy", rows)
    process = subprocess.Popen([PROGRAM, "--config", project.config, "--once"])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert np.array_equal(project.rows(), rows.astype(project.rows().dtype))
    assert usage.ru_maxrss < 200 * 1024, usage.ru_maxrss


def test_members_of_the_same_name_are_refused(project):
    """The bug: one of them was taken, and nothing told of the other."""
    project = project(shape=SHAPE, dtype="<f4", decoder="[dataset.npy]")
    data = io.BytesIO()
    np.save(data, array(2))
    with zipfile.ZipFile(project.drop / "a.npz", "w") as archive:
        archive.writestr("x.npy", data.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", data.getvalue())
    with zipfile.ZipFile(project.drop / "b.npz", "w") as archive:
        archive.comment = b"one of each name"
        archive.writestr("x.npy", data.getvalue())
        archive.writestr("readme.txt", "x")
    project.once(check=3)
    assert project.count() == 2
    (name, reason), = project.rejected().items()
    assert name == "a.npz" and reason.startswith("the archive has members of the same name")
