"""`csv` against np.genfromtxt and the csv module."""

import csv
import gzip
import io
import os
import time

import numpy as np

from harness import append, wait_for
from plain_logs import ALL, PLAIN

HEAD = [["time", "<M8[ns]"], ["name", "<U8"], ["x", "<f8"], ["n", "<i4"], ["ok", "?"]]


def test_rows_are_what_genfromtxt_reads(project):
    dtype = np.dtype([("a", "<f8"), ("b", "<f4"), ("c", "<i8"), ("d", "<u2")])
    project = project(shape=None, dtype=[[name, dtype[name].str] for name in dtype.names], decoder="[dataset.csv]")
    random = np.random.default_rng(0)
    text = io.StringIO()
    text.write("a,b,c,d\n")
    for _ in range(30_000):
        text.write(f"{float(random.normal() * 10.0 ** random.integers(-30, 30))!r},{random.random():.6g},"
                   f"{random.integers(-2**62, 2**62)},{random.integers(0, 65536)}\n")
    (project.drop / "a.csv").write_text(text.getvalue())
    project.once()
    expected = np.genfromtxt(project.drop / "a.csv", delimiter=",", skip_header=1, dtype=dtype)
    rows = project.rows()
    for name in "acd":
        assert np.array_equal(rows[name], expected[name]), name
    # genfromtxt goes by way of f8 and rounds twice.
    assert np.allclose(rows["b"], expected["b"], rtol=1e-6)
    assert np.array_equal(rows["b"], np.array([np.float32(line.split(",")[1]) for line in text.getvalue().split()[1:]]))
    assert project.json("verify", "--deep")["ok"]


def test_everything_that_a_csv_can_be(project):
    project = project(shape=None, dtype=HEAD, watch='order = "name"', decoder="""[dataset.csv]
missing = ["", "NA", "-"]
comment = "#" """)
    (project.drop / "a.csv").write_bytes(
        b"\xef\xbb\xbfok,\"x\",name,time,n,more\r\n"
        b"# a comment, with \"a quote\r\n"
        b"true,1.5,\"a, \"\"b\"\"\",2024-05-01T12:00:00Z,-7,\r\n"
        b"\r\n"
        b"0, 2e3 ,\"two\r\nli\",2024-05-01 14:00:00.25+02:00,+8,z\r\n"
        b"FALSE,NA,,-,0,")
    (project.drop / "b.csv").write_text("time,name,x,n,ok\n2024-05-01,\u00fcn\u00ef,inf,1,1\n", encoding="utf-8")
    project.once()
    rows = project.rows()
    assert list(rows["name"]) == ['a, "b"', "two\r\nli", "", "\u00fcn\u00ef"]
    assert np.array_equal(rows["x"], [1.5, 2000, np.nan, np.inf], equal_nan=True)
    assert list(rows["n"]) == [-7, 8, 0, 1] and list(rows["ok"]) == [True, False, False, True]
    noon = np.datetime64("2024-05-01T12:00", "ns")
    assert list(rows["time"][[0, 1, 3]]) == [noon, noon + np.timedelta64(250, "ms"), noon - np.timedelta64(12, "h")]
    assert np.isnat(rows["time"][2])


def test_times_missing_values_and_chosen_columns(project):
    project = project(shape=None, dtype=[["t", "<f8"], ["when", "<M8[ms]"], ["v", "<f4", [2]]], watch='order = "name"',
                      decoder="""[dataset.csv]
delimiter = ";"
quote = ""
columns = ["epoch", "epoch", "v1", "v0"]
times = ["t"]
time_format = "ms"
missing = ["", "-999"]""")
    (project.drop / "a.csv").write_text('v0;x;epoch;v1\n1;"a;1714564800250.75;2\n-999;b;;4\n')
    project.once()
    rows = project.rows()
    assert rows["t"][0] == 1714564800.25075 and np.isnan(rows["t"][1])
    assert rows["when"][0] == np.datetime64("2024-05-01T12:00:00.250") and np.isnat(rows["when"][1])
    assert np.array_equal(rows["v"], np.array([[2, 1], [4, np.nan]], "f4"), equal_nan=True)


def test_lines_without_a_header(project):
    project = project(shape=(3,), dtype="<i4", decoder='[dataset.csv]\nheader = false\ndelimiter = "\\t"')
    data = np.random.default_rng(1).integers(-1000, 1000, (5000, 3))
    np.savetxt(project.drop / "a.tsv", data, fmt="%d", delimiter="\t", newline="\r\n")
    (project.drop / "wide.tsv").write_text("1\t2\t3\t4\n")
    project.once(check=3)
    assert np.array_equal(project.rows(), data)
    assert project.rejected()["wide.tsv"] == "line 1: it has 4 fields, expected 3"


def test_a_bad_line_rejects_with_its_number_or_is_left_out(project, tmp_path):
    from harness import Project
    good = "\n".join(f"{n},{n}.5" for n in range(70_000))  # several buffers
    bad = {
        "number.csv": (f"a,b\n{good}\n7,x\n{good}\n", 'line 70002: column 2 ("b"): found "x", expected a number'),
        "range.csv": (f"a,b\n\n\n300000000000,1\n{good}", 'line 4: column 1 ("a"): found "300000000000", '
                                                          "expected an integer from -2147483648 to 2147483647"),
        "fields.csv": (f"a,b\r\n{good}\r\n1,2,3\r\n", "line 70002: it has 3 fields, expected 2"),
        "missing.csv": ('a,b\n"x\ny",1\n,2\n', 'line 2: column 1 ("a"): found "x\\ny", expected an integer from -2147483648 to 2147483647'),
        "quote.csv": (f'a,b\n{good}\n1,"2\n3,4\n', "line 70002: a quote is opened and never closed"),
        "header.csv": ("x,y\n1,2\n", 'the header has no column "a", but "x", "y"'),
        "twice.csv": ("a,b,a\n1,2,3\n", 'the header has the column "a" twice'),
        "empty.csv": ("", "the file is empty, expected a line with the names of its columns"),
        "none.csv": ("a,b\n", "it gives no rows"),
    }
    dtype = [["a", "<i4"], ["b", "<f4"]]
    strict = project(shape=None, dtype=dtype, decoder="[dataset.csv]")
    for name, (text, _) in bad.items():
        (strict.drop / name).write_text(text, newline="")
    strict.once(check=3)
    assert strict.rejected() == {name: reason for name, (_, reason) in bad.items()}

    loose = Project(tmp_path / "loose", shape=None, dtype=dtype, decoder='[dataset.csv]\non_error = "skip"')
    (loose.drop / "number.csv").write_text(bad["number.csv"][0])
    loose.once()
    assert loose.count() == 140_000
    (note,), = loose.ledger("SELECT reason FROM sources")
    assert note == 'left out one line, the first was line 70002: column 2 ("b"): found "x", expected a number'


def test_quoting_agrees_with_the_csv_module(project):
    project = project(shape=None, dtype=[["a", "S24"], ["b", "S24"]], decoder="[dataset.csv]")
    random = np.random.default_rng(3)
    alphabet = ['"', ",", "\n", "\r\n", " ", "x", "é", "'", ";"]
    table = [["".join(random.choice(alphabet, random.integers(0, 9))) for _ in range(2)] for _ in range(3000)]
    with open(project.drop / "a.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    project.once()
    rows = project.rows()
    found = [[bytes(row["a"]).decode(), bytes(row["b"]).decode()] for row in rows]
    assert found == table


def test_numbers_that_a_float_does_not_hold_are_bad(project, tmp_path):
    from harness import Project
    good = ["1.00048828126", "2.9802323e-8", "65519.9", "-65504", "inf", "-Infinity", "nan", "1e-30", "0.1"]
    halves = project(shape=[1], dtype="<f2", decoder="[dataset.csv]\nheader = false")
    (halves.drop / "a.csv").write_text("\n".join(good))
    (halves.drop / "b.csv").write_text("1\n70000\n")
    halves.once(check=3)
    assert np.array_equal(halves.rows()[:, 0], np.array([float(text) for text in good]).astype("f2"), equal_nan=True)
    assert halves.rejected() == {"b.csv": 'line 2: column 1: found "70000", which lies beyond what the dtype holds'}
    for dtype, text in [("<f4", "1e39"), (">f4", "-4" + 38 * "0"), ("<f8", "1e400"), (">f8", "-2" + 308 * "0")]:
        strict = Project(tmp_path / f"{dtype[1:]}{dtype[0] == '<'}", shape=[1], dtype=dtype,
                         decoder="[dataset.csv]\nheader = false")
        (strict.drop / "a.csv").write_text("1\ninf\n")
        (strict.drop / "b.csv").write_text(f"1\n{text}\n")
        strict.once(check=3)
        assert strict.rejected()["b.csv"].endswith("which lies beyond what the dtype holds")
        assert list(strict.rows()[:, 0]) == [1, np.inf]


def test_lines_of_a_file_with_cr_ends_and_comments(project):
    project = project(shape=None, dtype=[["a", "U4"], ["b", "i4"]], decoder='[dataset.csv]\ncomment = "#"')
    (project.drop / "a.csv").write_bytes(b'a,b\r"x\ry",1\r\r# c\rq,2\r# "d\rr,3')
    project.once()
    assert project.rows().tolist() == [("x\ry", 1), ("q", 2), ("r", 3)]


def test_a_source_without_rows_says_what_was_left_out(project):
    project = project(shape=None, dtype=[["a", "i4"], ["b", "i4"]],
                      decoder='[dataset.csv]\nheader = false\non_error = "skip"')
    (project.drop / "a.csv").write_text("1;2\n3;4\n")
    project.once(check=3)
    assert project.rejected() == {"a.csv": "it gives no rows: left out 2 lines, the first was line 1: it has 1 field, "
                                           "expected 2"}


def test_what_is_no_utf_8_text_is_named(project):
    """The bug: the reason spoke of a missing column, or of a number that has no digits."""
    text = "x\n1\n"
    for follow in ["false", "true"]:
        one = project(shape=None, dtype=[["x", "<i4"]], decoder=f"[dataset.csv]\nfollow = {follow}",
                      output=f"data/{follow}.npy")
        for encoding, mark in [("utf-16-le", "\ufeff"), ("utf-16-be", "\ufeff"), ("utf-32-le", "\ufeff")]:
            (one.drop / f"{encoding}.csv").write_bytes((mark + text).encode(encoding))
        (one.drop / "packed.csv").write_bytes(gzip.compress(text.encode()))
        one.once(check=3)
        rejected = one.rejected()
        assert rejected["utf-16-le.csv"].startswith("the text is encoded in UTF-16LE (or UTF-32LE), as its byte order mark says, expected UTF-8")
        assert "UTF-16BE" in rejected["utf-16-be.csv"] and "UTF-32LE" in rejected["utf-32-le.csv"]
        assert rejected["packed.csv"] == "the file is compressed (gzip), expected text: unpack it, or exclude it"


def test_a_row_may_end_in_padding(project):
    """The bug: rows were taken to end with their last value, and came out as garbage, some of them lost."""
    dtype = np.dtype([("a", "<f8"), ("b", "u1")], align=True)
    for number, settings in enumerate([{"dtype": str(dtype.descr), "shape": []}, {"dtype": [list(field) for field in dtype.descr], "shape": None}]):
        one = project(name=f"{number}.toml", output=f"data/{number}.npy", decoder="[dataset.csv]", **settings)
        for name, count in [("a.csv", 1_000), ("b.csv", 50_000)]:
            lines = (f"{line}.5,{line % 256}\n" for line in range(count))
            (one.drop / name).write_text("a,b\n" + "".join(lines))
        one.once()
        expected = np.concatenate([np.arange(count) for count in (1_000, 50_000)])
        assert np.array_equal(one.rows()["a"], expected + 0.5) and np.array_equal(one.rows()["b"], expected % 256)
        assert not np.frombuffer(one.rows().tobytes(), "u1").reshape(-1, 16)[:, 9:].any()
        assert one.json("verify", "--deep")["ok"]


def test_a_column_without_a_name_is_known_by_its_place(project):
    project = project(shape=(2,), dtype="u1", decoder="[dataset.csv]\nheader = false")
    (project.drop / "a.csv").write_text("1,300\n")
    project.once(check=3)
    assert project.rejected()["a.csv"].startswith('line 1: column 2: found "300"')


def test_comments_behind_the_last_record_are_read_once(project):
    """The bug: all of them were read again at every look."""
    project = project(shape=[1], dtype="<i4", decoder=PLAIN + '\ncomment = "#"', watch=ALL)
    log, alive = project.drop / "a.log", b"# alive\n"
    with project.service() as service:
        (project.folder / "made").write_bytes(b"1\n" + alive * 500_000 + b"# ali")
        os.rename(project.folder / "made", log)
        end = 2 + 8 * 500_000
        wait_for(lambda: project.ledger("SELECT max(log_end) FROM sources") == [(end,)], project=project)
        read = lambda: int(open(f"/proc/{service.pid}/io").readline().split()[1])
        before = read()
        append(log, b"ve\n")
        for _ in range(10):
            append(log, alive)
            time.sleep(0.15)
        append(log, b"2\n")
        project.wait_for_rows(2)
        assert read() - before < 12_000_000
    assert project.rows()[:, 0].tolist() == [1, 2]
    assert project.json("verify", "--deep")["ok"]
