"""`records` against np.fromfile and NumPy's own conversions."""

import binascii
import gzip
import os
import resource
import shutil
import zlib

import blake3
import numpy as np
import pytest

RECORD = np.dtype([("t", "<u8"), ("x", "<f4"), ("y", "<f4"), ("id", "<u2"), ("flags", "u1"), ("pad", "u1"), ("v", "<i4")])
DTYPE = [[name, RECORD[name].str] for name in RECORD.names]


def records(count, seed=0, dtype=RECORD):
    random = np.random.default_rng(seed)
    made = np.frombuffer(random.bytes(count * dtype.itemsize), dtype).copy()
    for name in made.dtype.names or ():
        if made.dtype[name].kind == "f":  # no NaN, so that == works
            made[name] = random.random(count)
    return made


def test_a_log_is_what_fromfile_reads(project):
    project = project(shape=None, dtype=DTYPE, decoder="[dataset.records]\nskip = 37")
    # Larger than a source's share of the memory, and not a multiple of anything.
    data = records(1_400_003)
    (project.drop / "a.bin").write_bytes(os.urandom(37) + data.tobytes())
    (project.drop / "b.log").write_bytes(bytes(37) + data[:5].tobytes())
    project.once()
    found = np.fromfile(project.drop / "a.bin", RECORD, offset=37)
    rows = project.rows()
    assert rows.dtype == RECORD and rows.shape == (1_400_008,)
    assert np.array_equal(rows[:1_400_003], found) and np.array_equal(rows[1_400_003:], data[:5])
    assert np.array_equal(project.column("index")[:3], [0, 1, 2])
    assert project.json("verify", "--deep")["ok"]
    # A second run knows them, and the hash is that of the file.
    hashes = dict(project.ledger("SELECT path, hash FROM sources"))
    assert hashes["drop/a.bin"] == blake3.blake3((project.drop / "a.bin").read_bytes()).hexdigest()
    project.once()
    assert project.count() == 1_400_008


@pytest.mark.parametrize("count", [37_449, 37_450, 400_003])
def test_rows_that_several_threads_made_have_their_checksum(project, count):
    raw = np.dtype([("a", ">u2"), ("b", ">i4"), ("pad", "u1")])
    fields = '[{ name = "a", offset = 0, dtype = ">u2", scale = 0.5 }, { name = "b", offset = 2, dtype = ">i4" }]'
    # Several blocks, and with the least memory several parts.
    project = project(shape=None, dtype=[["a", "<f4"], ["b", "<i8"]], service='[service]\nmemory = "16MiB"',
                      decoder=f"[dataset.records]\nlength = 7\nfields = {fields}")
    data = records(count, dtype=raw)
    (project.drop / "a.bin").write_bytes(data.tobytes())
    project.once()
    rows = project.rows()
    assert np.array_equal(rows["a"], data["a"] * np.float32(0.5)) and np.array_equal(rows["b"], data["b"])
    (content, checksum), = project.ledger("SELECT hash, checksum FROM sources")
    assert content == blake3.blake3(data.tobytes()).hexdigest() and checksum == blake3.blake3(rows.tobytes()).hexdigest()
    assert project.json("verify", "--deep")["ok"]


def test_a_copy_of_a_large_log_is_found_at_its_end(project):
    project = project(shape=None, dtype=DTYPE, decoder="[dataset.records]", watch='duplicates = "skip"',
                      service='[service]\nmemory = "16MiB"')
    data = records(900_000)
    (project.drop / "a.bin").write_bytes(data.tobytes())
    shutil.copy(project.drop / "a.bin", project.drop / "b.bin")
    project.once()
    assert project.count() == 900_000
    assert project.json("verify", "--deep")["ok"]
    # Renamed: found again by its content, without new rows.
    (project.drop / "a.bin").rename(project.drop / "c.bin")
    project.once()
    assert project.count() == 900_000


def test_values_are_converted_as_numpy_does(project):
    source = np.dtype({"names": ["a", "b", "c", "d", "e"], "formats": [">u2", ">f8", "<i4", ">i8", "u1"],
                       "offsets": [2, 4, 13, 20, 30], "itemsize": 33})
    dtype = [["d", "<i8"], ["a", "<f4"], ["b", "<f4"], ["c", "<f8"], ["high", "u1"], ["flag", "?"], ["when", "<M8[ns]"]]
    project = project(shape=None, dtype=dtype, decoder="""[dataset.records]
length = 33
fields = [
  { name = "a", offset = 2, dtype = ">u2", scale = 0.5, add = -100 },
  { name = "b", dtype = ">f8" },
  { name = "c", offset = 13, dtype = "<i4", scale = 1e-7 },
  { name = "d", offset = 20, dtype = ">i8" },
  { name = "high", offset = 30, dtype = "u1", bits = [4, 4] },
  { name = "flag", offset = 30, dtype = "u1", bits = [0, 1] },
  { name = "when", offset = 13, dtype = "<i4", scale = 1_000_000_000 },
]""")
    raw = np.random.default_rng(1).bytes(33 * 100_001)
    data = np.frombuffer(raw, source).copy()
    data["b"] = np.random.default_rng(2).random(len(data))
    (project.drop / "a.dat").write_bytes(data.tobytes())
    project.once()
    rows = project.rows()
    assert np.array_equal(rows["a"], (data["a"] * 0.5 - 100).astype("f4"))
    assert np.array_equal(rows["b"], data["b"].astype("f4"))
    assert np.array_equal(rows["c"], data["c"] * 1e-7)
    assert np.array_equal(rows["d"], data["d"])
    assert np.array_equal(rows["high"], data["e"] >> 4)
    assert np.array_equal(rows["flag"], (data["e"] & 1).astype(bool))
    assert np.array_equal(rows["when"], data["c"].astype("M8[s]").astype("M8[ns]"))


def test_whole_numbers_stay_exact(project):
    """Beyond 2^53 `scale` and `add` went through `f8`, all 64 bits of a `u8` were -1, and sums beyond 2^63 were refused."""
    start = 1_714_564_800_000_000_000
    dtype = [["a", "<M8[ns]"], ["b", "<M8[ns]"], ["c", "<i8"], ["d", "<u8"], ["e", "<f8"], ["f", "<u8"], ["g", "<u8"]]
    project = project(shape=None, dtype=dtype, decoder=f"""[dataset.records]
length = 12
fields = [
  {{ name = "a", offset = 0, dtype = "<u4", add = {start} }},
  {{ name = "b", offset = 0, dtype = "<u4", scale = 1_000_000, add = {start} }},
  {{ name = "c", offset = 0, dtype = "<u4", add = 9007199254740993 }},
  {{ name = "d", offset = 4, dtype = "<u8", bits = [0, 64] }},
  {{ name = "e", offset = 4, dtype = "<u8", bits = [0, 64] }},
  {{ name = "f", offset = 4, dtype = "<u8", add = -1 }},
  {{ name = "g", offset = 0, dtype = "<u4", scale = 4_000_000_000 }},
]""")
    raw = np.zeros(1000, [("x", "<u4"), ("y", "<u8")])
    random = np.random.default_rng(4)
    raw["x"], raw["y"] = random.integers(0, 2**32, 1000), random.integers(1, 2**64, 1000, dtype="u8")
    raw["x"][:4], raw["y"][:2] = [1, 100, 200, 300], [2**64 - 1, 2**63 + 5]
    (project.drop / "a.bin").write_bytes(raw.tobytes())
    project.once()
    rows = project.rows()
    x, y = raw["x"].astype("i8"), raw["y"]
    assert np.array_equal(rows["a"].astype("i8"), start + x)
    assert np.array_equal(rows["b"].astype("i8"), start + x * 1_000_000)
    assert np.array_equal(rows["c"], x + 9007199254740993)
    assert np.array_equal(rows["d"], y) and np.array_equal(rows["e"], y.astype("f8"))
    assert np.array_equal(rows["f"], y - np.uint64(1))
    assert np.array_equal(rows["g"], x.astype("u8") * np.uint64(4_000_000_000))
    assert rows["d"][0] == 2**64 - 1 and rows["f"][1] == 2**63 + 4


def test_floats_are_rounded_as_numpy_does_and_stay_finite(project):
    """Large ones became infinite without a word, and halves were rounded twice."""
    dtype = [["single", "<f4"], ["half", "<f2"]]
    project = project(shape=None, dtype=dtype, decoder="""[dataset.records]
length = 16
fields = [{ name = "single", dtype = "<f8" }, { name = "half", dtype = "<f8" }]""")
    random = np.random.default_rng(5)
    values = np.zeros((4000, 2))
    values[:, 0] = random.standard_normal(4000) * 10.0 ** random.integers(-50, 38, 4000)
    halves = np.arange(0x7BFF, dtype="u2").view("f2").astype("f8")[random.integers(0, 0x7BFE, 4000)]
    between = (halves + np.nextafter(halves.astype("f2"), np.float16(np.inf)).astype("f8")) / 2
    values[:, 1] = between + random.integers(-1, 2, 4000) * 2.0**-40 * between
    values[:4] = [[np.inf, -np.inf], [np.nan, np.nan], [3.4e38, 65504], [0, 1 + 2**-11 + 2**-30]]
    (project.drop / "a.bin").write_bytes(values.tobytes())
    for name, bad in [("single.bin", [1e39, 0]), ("half.bin", [0, -70000])]:
        (project.drop / name).write_bytes(np.vstack([values[:7], [bad]]).tobytes())
    project.once(check=3)
    rows = project.rows()
    with np.errstate(all="ignore"):
        assert np.array_equal(rows["single"], values[:, 0].astype("f4"), equal_nan=True)
        assert np.array_equal(rows["half"], values[:, 1].astype("f2"), equal_nan=True)
    reasons = project.rejected()
    assert reasons["single.bin"] == 'the record at byte 112: "single" is 1e39, which f4 does not hold'
    assert reasons["half.bin"] == 'the record at byte 112: "half" is -70000, which f2 does not hold'


def test_plain_rows_of_one_dtype(project):
    project = project(shape=(2, 2), dtype="<f4", decoder="""[dataset.records]
length = 10
fields = [{ dtype = ">i2", count = 3 }, { offset = 8, dtype = "<u2", scale = 2 }]""")
    data = np.frombuffer(np.random.default_rng(3).bytes(10 * 500), np.dtype([("a", ">i2", 3), ("b", "<u2"), ("c", "<u2")]))
    (project.drop / "a.bin").write_bytes(data.tobytes())
    project.once()
    expected = np.column_stack([data["a"], data["c"] * 2.0]).reshape(-1, 2, 2).astype("f4")
    assert np.array_equal(project.rows(), expected)


def framed(payloads, kind):
    for payload in payloads:
        body = b"\xaa\x55" + payload
        yield body + (zlib.crc32(body).to_bytes(4, "big") if kind == "crc32"
                      else binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "little") if kind == "crc16-ccitt" else b"")


@pytest.mark.parametrize("kind", ["crc32", "crc16-ccitt", None])
def test_markers_find_the_way_back(project, kind):
    size = {"crc32": 4, "crc16-ccitt": 2, None: 0}[kind]
    order = 'order = "big", ' if kind == "crc32" else ""
    check = f'checksum = {{ kind = "{kind}", {order}offset = 14 }}' if kind else ""
    project = project(shape=(3,), dtype="<u4", decoder=f"""[dataset.records]
length = {14 + size}
sync = "AA55"
{check}
fields = [{{ offset = 2, dtype = "<u4", count = 3 }}]""")
    random = np.random.default_rng(7)
    good, stream, left_out = [], bytearray(), 0
    for number, record in enumerate(framed((random.integers(0, 2**32, 3, dtype="<u4").tobytes() for _ in range(60_000)), kind)):
        if kind is None and b"\xaa\x55" in record[2:]:
            continue  # without a checksum a marker within the data may mislead
        if number % 977 == 5:
            lost = bytes(random.integers(0, 0xAA, int(random.integers(1, 40)), dtype="u1"))  # no marker in it
            stream += lost
            left_out += len(lost)
        if number % 1201 == 7 and kind:
            broken = bytearray(record)
            broken[6] ^= 0x40
            stream += broken
            left_out += len(broken)
            continue
        stream += record
        good.append(np.frombuffer(record[2:14], "<u4"))
    stream += b"\xaa\x55\x01"  # the last one is cut in half
    left_out += 3
    (project.drop / "a.bin").write_bytes(stream)
    project.once()
    assert np.array_equal(project.rows(), np.array(good))
    (note,), = project.ledger("SELECT reason FROM sources WHERE status = 'committed'")
    assert note.startswith(f"left out {left_out} bytes in "), (note, left_out)
    assert note in project.command("sources").stdout


def test_long_records_full_of_markers_take_no_longer_than_others(project):
    """Each marker had its record summed up: a minute for these two megabytes."""
    project = project(shape=(65536,), dtype="u1", decoder="""[dataset.records]
length = 65536
sync = "FF"
checksum = { kind = "crc32", offset = 65532 }""")
    random = np.random.default_rng(6)

    def record():
        body = b"\xff" + random.bytes(65531)
        return body + zlib.crc32(body).to_bytes(4, "little")

    good = [record() for _ in range(4)]
    lost = b"\xff" * (1 << 20)
    (project.drop / "a.bin").write_bytes(good[0] + lost + good[1] + good[2] + random.bytes(777) + good[3] + lost)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.once()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [row.tobytes() for row in project.rows()] == good
    (note,), = project.ledger("SELECT reason FROM sources")
    assert note == f"left out {2 * len(lost) + 777} bytes in 3 places, the first at byte 65536"
    assert after.ru_utime - before.ru_utime < 10


def test_a_bad_record_rejects_with_its_place(project):
    project = project(shape=None, dtype=[["x", "u1"]], decoder="""[dataset.records]
length = 6
checksum = { kind = "crc32", offset = 2 }
fields = [{ name = "x", dtype = "<i2" }]""")
    def record(value):
        body = value.to_bytes(2, "little", signed=True)
        return body + zlib.crc32(body).to_bytes(4, "little")
    good = b"".join(record(value) for value in range(200))
    (project.drop / "good.bin").write_bytes(good)
    (project.drop / "value.bin").write_bytes(good + record(300) + good)
    (project.drop / "sum.bin").write_bytes(good[:600] + bytes([good[600] ^ 1]) + good[601:])
    (project.drop / "cut.bin").write_bytes(good[:-1])
    (project.drop / "empty.bin").write_bytes(b"")
    project.once(check=3)
    assert np.array_equal(project.rows()["x"], np.arange(200))
    reasons = project.rejected()
    assert reasons["value.bin"] == 'the record at byte 1200: "x" is 300, which u1 does not hold'
    assert reasons["sum.bin"].startswith("the record at byte 600: its checksum is ")
    assert reasons["cut.bin"].startswith("the file ends within a record: 199 records of 6 bytes and 5 bytes more")
    assert reasons["empty.bin"] == "it gives no rows"


def test_bad_records_are_left_out_where_the_config_says_so(project):
    project = project(shape=None, dtype=[["x", "u1"]], decoder="""[dataset.records]
length = 2
checksum = { kind = "xor8", offset = 1 }
on_error = "skip"
fields = [{ name = "x" }]""")
    (project.drop / "a.bin").write_bytes(bytes([1, 1, 2, 9, 3, 3, 4]))
    project.once()
    assert list(project.rows()["x"]) == [1, 3]
    (note,), = project.ledger("SELECT reason FROM sources")
    assert note == "left out 3 bytes in 2 places, the first at byte 2"


def test_the_end_of_a_plain_log_that_was_cut_short_can_be_left_out(project):
    """The bug: a file that ends within a record was rejected, and `on_error = "skip"` refused, as having no effect."""
    project = project(shape=None, dtype=DTYPE, decoder='[dataset.records]\nskip = 3\non_error = "skip"',
                      watch='order = "name"')
    data = records(1000)
    (project.drop / "a.bin").write_bytes(b"xyz" + data.tobytes() + b"12345")
    (project.drop / "b.bin").write_bytes(b"xyz" + data[:2].tobytes())
    (project.drop / "c.bin").write_bytes(b"xyz12")
    project.once(check=3)
    assert np.array_equal(project.rows(), np.concatenate([data, data[:2]]))
    size, end = RECORD.itemsize, 3 + 1000 * RECORD.itemsize
    note = f"left out 5 bytes at byte {end}, where the file ends within a record of {size}"
    assert project.ledger("SELECT reason FROM sources WHERE path LIKE '%a.bin'") == [(note,)]
    assert project.rejected() == {"c.bin": f"it gives no rows: left out 2 bytes at byte 3, where the file ends within a record of {size}"}
    assert project.json("verify", "--deep")["ok"]


def test_converted_records_lose_their_cut_end_as_well(project):
    fields = '[{ name = "x", dtype = "<i2", scale = 2 }]'
    project = project(shape=[1], dtype="<i4",
                      decoder=f'[dataset.records]\nlength = 2\non_error = "skip"\nfields = {fields}')
    (project.drop / "a.bin").write_bytes(np.arange(5, dtype="<i2").tobytes() + b"1")
    project.once()
    assert project.rows()[:, 0].tolist() == [0, 2, 4, 6, 8]


def test_a_compressed_log_is_refused(project):
    project = project(shape=[1], dtype="u1", decoder="[dataset.records]", watch='include = ["*"]')
    (project.drop / "a.bin.gz").write_bytes(gzip.compress(b"123"))
    (project.drop / "b.bin").write_bytes(b"\x1f\x8b\x08\0")
    project.once(check=3)
    assert project.rows()[:, 0].tolist() == [0x1F, 0x8B, 8, 0]
    assert project.rejected() == {"a.bin.gz": "the file is compressed (gzip), expected records: unpack it, or exclude it"}


@pytest.mark.parametrize("marker", ["AA55", "AAAA"])
def test_a_marker_that_data_holds_is_no_record_of_a_followed_log(project, marker):
    """The bug: behind more than a mebibyte of lost bytes a part ended at such a marker, which the next part took for a record."""
    sync, lost = bytes.fromhex(marker), 1 << 20

    def record(number):
        return sync + number.to_bytes(4, "little") + bytes(6)

    begun = b"".join(map(record, range(5))) + b"\x01" * (lost + 5000) + sync + b"\x07\x07"
    rest = b"\x07" * 300 + b"".join(map(record, range(5, 10)))
    project = project(shape=None, dtype=[["a", "<u4"]], watch='include = ["*.log"]', decoder=(
        f'[dataset.records]\nlength = 12\nsync = "{marker}"\nfollow = true\nfields = [{{ name = "a", offset = 2, dtype = "<u4" }}]'))
    log = project.drop / "a.log"
    log.write_bytes(begun)
    project.once()
    with open(log, "ab") as file:
        file.write(rest)
    project.once()
    assert project.rows()["a"].tolist() == list(range(10))
    left_out = sum(int(reason.split()[2]) for reason, in project.ledger("SELECT reason FROM sources WHERE reason IS NOT NULL"))
    assert left_out == len(begun + rest) - 10 * 12
