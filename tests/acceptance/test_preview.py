"""`preview` and `init`."""

import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from harness import PROGRAM, TESTDATA, copy_testdata, make_pngs


def run(*words, check=0):
    done = subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == check, done.stderr
    return done


def test_a_contact_sheet_shows_the_rows(tmp_path):
    colours = np.arange(30, dtype=np.uint8) * 8
    rows = np.broadcast_to(colours[:, None, None, None], (30, 64, 64, 3))
    np.save(tmp_path / "rows.npy", rows)
    done = run("preview", tmp_path / "rows.npy", "--rows", "10:16", "-o", tmp_path / "sheet.png")
    assert "rows 10 to 15 of 30" in done.stdout
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    for row in range(30):
        shown = (sheet == colours[row]).all(axis=2).sum()
        assert (shown >= 64 * 64) == (10 <= row < 16), row
    # In reading order.
    middle = sheet[sheet.shape[0] // 4]
    assert middle[:, 0].tolist().index(80) < middle[:, 0].tolist().index(88)


@pytest.mark.parametrize("dtype, shape", [("<f4", (16000,)), (">i2", (4000, 2)), ("<f2", (3, 40, 50)), ("|b1", (50, 60)), ("<u8", ())])
def test_rows_of_many_kinds_can_be_drawn(tmp_path, dtype, shape):
    random = np.random.default_rng(1)
    numbers = random.normal(size=(5, *shape)) * 100
    np.save(tmp_path / "a.npy", numbers > 0 if dtype == "|b1" else numbers.astype(dtype))
    run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png")
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    assert len(np.unique(drawn)) > 1 and drawn.shape[0] > 20


GROUND, AXIS, INK = (0xf6, 0xf6, 0xf3), (0xd8, 0xd8, 0xd2), (0x3b, 0x82, 0xc4)


def curves(path):
    """Of each curve on a sheet, top to bottom: the first and the last line with ink, for each column; -1 where there is none."""
    sheet = np.asarray(Image.open(path).convert("RGB"))
    lines = np.flatnonzero((sheet[:, 8] != 255).any(axis=1))
    starts = [line for line in lines if line - 1 not in lines]
    found = []
    for start in starts:
        end = next(line for line in range(start, len(sheet) + 1) if line == len(sheet) or (sheet[line, 8] == 255).all())
        ink = (sheet[start:end, 6:-6] == INK).all(axis=2)
        some = ink.any(axis=0)
        found.append(np.where(some, [ink.argmax(axis=0), end - start - 1 - ink[::-1].argmax(axis=0)], -1))
    return found


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "|u1", "<i8"])
def test_an_array_of_numbers_is_one_curve(tmp_path, dtype):
    """The bug: 64 empty boxes."""
    rows = np.full(100_000, 50, dtype)
    rows[:50_000] = np.arange(50_000) // 1000
    rows[77_777] = 100  # A single one is seen.
    np.save(tmp_path / "a.npy", rows)
    done = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png")
    assert "rows 0 to 99999 of 100,000, " in done.stdout
    (first, last), = curves(tmp_path / "a.png")
    assert len(first) == 1024 and (np.diff(last[:512]) <= 0).all() and last[0] > last[500] + 100
    peak = 77_777 * 1024 // 100_000
    assert first.argmin() == peak and last[peak] == last[900] == first[900] and first[peak] < first[900] - 100
    run("preview", tmp_path / "a.npy", "--rows", "60000:60010", "-o", tmp_path / "b.png")
    (first, last), = curves(tmp_path / "b.png")
    assert (first == last).all() and len(set(first)) == 1


def test_records_are_a_curve_for_each_number(tmp_path):
    dtype = [("time", "<M8[ns]"), ("name", "<U8"), ("x", ">f4"), ("ok", "?"), ("at", "<f8", 2)]
    rows = np.zeros(50, dtype)
    rows["time"] = np.datetime64("2024-05-01T12:00:00") + np.arange(50).astype("m8[s]")
    rows["x"] = -np.arange(50)
    rows["x"][10] = np.nan
    rows["time"][20] = np.datetime64("NaT")
    np.save(tmp_path / "a.npy", rows)
    done = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png")
    assert "rows 0 to 49 of 50, in reading order time, x, ok (without 2 other fields), " in done.stdout
    (times, _), (x, _), (ok, _) = curves(tmp_path / "a.png")
    drawn = lambda curve: curve[curve >= 0]
    assert (np.diff(drawn(times)) <= 0).all() and drawn(times)[0] > drawn(times)[-1] + 50
    assert (np.diff(drawn(x)) >= 0).all() and drawn(x)[0] + 50 < drawn(x)[-1]
    assert len(set(ok)) == 1


def make_cut(path):
    np.save(path, np.zeros((9, 8, 8, 3), "u1"))
    os.truncate(path, 128 + 500)


@pytest.mark.parametrize("make, words", [
    (lambda path: np.save(path, np.zeros(5, dtype=[("a", "S3")])), "no numbers"),
    (lambda path: np.save(path, np.zeros((5, 2), dtype=[("a", "<f4")])), "no numbers"),
    (lambda path: np.save(path, np.zeros((0, 8, 8, 3))), "the array has 0 rows"),
    (lambda path: np.save(path, np.asfortranarray(np.zeros((4, 9, 9)))), "Fortran order"),
    (lambda path: np.save(path, np.zeros((4, 2, 2, 2, 2, 2))), "no look that is known"),
    (lambda path: path.write_text("nonsense"), "a.npy"),
    (make_cut, "row 2 of"),
    (make_cut, "it was cut short"),
])
def test_what_cannot_be_drawn_is_said(tmp_path, make, words):
    make(tmp_path / "a.npy")
    done = run("preview", tmp_path / "a.npy", "-o", tmp_path / "a.png", check=1)
    assert words in done.stderr and not (tmp_path / "a.png").exists()


def test_wrong_words_are_exit_2(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 9, 9)))
    for more in [["--rows", "x", "-o", tmp_path / "a.png"], ["-o", tmp_path / "a.nonsense"], ["-o", tmp_path / "a.jpg"],
                 ["--rows", "-20", "-o", tmp_path / "a.png"]]:
        run("preview", tmp_path / "a.npy", *more, check=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_init_prints_a_config_that_works(tmp_path):
    copy_testdata("photos", tmp_path / "drop box")
    done = run("init", tmp_path / "drop box")
    (tmp_path / "ingest.toml").write_text(done.stdout)
    assert 'label = "folder"' in done.stdout and "224" in done.stdout
    run("--config", tmp_path / "ingest.toml", "--once")
    rows = np.load(tmp_path / "data" / "dropbox.npy")
    assert len(rows) == len([path for path in (TESTDATA / "photos").rglob("*") if path.is_file()])


def test_init_takes_the_size_that_all_pictures_have(tmp_path):
    make_pngs(tmp_path / "same", 3)
    done = run("init", tmp_path / "same")
    assert "shape  = [30, 40, 3]" in done.stdout and 'fit = "exact"' in done.stdout
    run("init", tmp_path / "nowhere", check=1)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    assert "found 1 .txt; expected pictures" in run("init", tmp_path / "texts", check=1).stderr


def taken(tmp_path, folder):
    """What the config of `init` for a folder makes of it."""
    config = run("init", folder).stdout
    (tmp_path / "ingest.toml").write_text(config)
    run("--config", tmp_path / "ingest.toml", "--once")
    return config, np.load(tmp_path / "data" / f"{folder.name}.npy")


def test_init_goes_by_the_size_that_pictures_are_shown_in(tmp_path):
    """The bug: of photos that a telephone took upright it wrote the size as they are stored, and every one was rejected."""
    folder = tmp_path / "upright"
    folder.mkdir()
    random = np.random.default_rng(1)
    def save(name, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(random.integers(0, 255, (60, 80, 3)).astype("u1")).save(folder / name, exif=exif)
    for number, orientation in enumerate([6, 8, 5, 7]):
        save(f"{number}.jpg", orientation)
    config, rows = taken(tmp_path, folder)
    assert "all of 60 x 80 pixels" in config and 'fit = "exact"' in config and rows.shape == (4, 80, 60, 3)
    # One that was taken lying.
    save("4.jpg", 1)
    assert 'fit = "cover"' in run("init", folder).stdout and "60 to 80 pixels wide" in run("init", folder).stdout


def test_init_guesses_the_types_of_a_table(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.csv").write_text("when,speed,gear,driver\n2024-05-01T12:00:00Z,1.5,3,Ada\n2024-05-01 12:00:01,,4,\"Lovelace, the first\"\n")
    (folder / "b.csv").write_text("when,speed,gear,driver\n2024-05-01T12:00:02Z,2,5,Bob\n")
    config, rows = taken(tmp_path, folder)
    assert "2 .csv, columns by 2 lines of a.csv" in config
    assert rows.dtype == [("when", "<M8[ns]"), ("speed", "<f8"), ("gear", "<i8"), ("driver", "<U32")]
    assert list(rows["gear"]) == [3, 4, 5] and rows["driver"][1] == "Lovelace, the first" and np.isnan(rows["speed"][1])
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.csv").write_text("1;2.5\n3;4\n")
    config, rows = taken(tmp_path, plain)
    assert "header = false" in config and rows["column1"].tolist() == [2.5, 4]
    twice = tmp_path / "twice"
    twice.mkdir()
    (twice / "a.tsv").write_text("x\tx\n1\t2\n")
    assert taken(tmp_path, twice)[1].tolist() == [(1, 2)]
    (twice / "a.tsv").write_text("")
    assert "found no lines of values" in run("init", twice, check=1).stderr


def test_init_knows_videos_from_sound_and_tracks_from_tables(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10:duration=3", "-f", "lavfi", "-i",
                    "sine=duration=3", videos / "a.mp4"], check=True)
    (videos / "notes.txt").write_text("another file")
    config, rows = taken(tmp_path, videos)
    assert "[dataset.video]" in config and "\n# Not taken: 1 .txt.\n" in config
    assert rows.shape == (3, 224, 224, 3) and np.load(tmp_path / "data" / "videos.time.npy").tolist() == [0, 1, 2]
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    (tracks / "a.nmea").write_text("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\n")
    rows = taken(tmp_path, tracks)[1]
    assert rows["time"][0] == np.datetime64("1994-03-23T12:35:19") and abs(rows["latitude"][0] - 48.1173) < 1e-4


def test_init_takes_a_bad_cell_for_a_bad_line(tmp_path):
    """The bug: one word among the numbers made a text of their column."""
    folder = tmp_path / "tables"
    folder.mkdir()
    lines = [f"2024-05-01T12:{i:02}:00+02:00,{20 + i * .1:.2f},dev{i % 3}\n" for i in range(50)]
    lines[20] = "2024-05-01T12:20:00,hot,devx\n"
    (folder / "log.csv").write_text("time,temp,name\n" + "".join(lines))
    config = run("init", folder).stdout
    assert '["temp", "<f8"],   # 1 of 50 lines has no number here, first line 22: "hot"; see on_error\n' in config
    (tmp_path / "ingest.toml").write_text(config)
    done = run("--config", tmp_path / "ingest.toml", "--once", check=3)
    (tmp_path / "ingest.toml").write_text(config.replace('on_error = "reject"', 'on_error = "skip"').replace("data/", "some/"))
    done = run("--config", tmp_path / "ingest.toml", "--once")
    assert "49 new rows" in done.stdout
    note = run("sources", "--config", tmp_path / "ingest.toml").stdout
    assert "line 22" in note, "the same line by the same number"


def test_init_takes_the_rows_that_most_arrays_have(tmp_path):
    """The bug: arrays were of no known kind."""
    folder = tmp_path / "chunks"
    folder.mkdir()
    for number in range(4):
        np.save(folder / f"c{number}.npy", np.full((5, 3), number, "<f4"))
    config, rows = taken(tmp_path, folder)
    assert "4 .npy, rows as in 4 of 4 arrays that were looked at.\n" in config and rows.shape == (20, 3)
    # From within the folder, the output is outside.
    config = subprocess.check_output([PROGRAM, "init", "."], cwd=folder, text=True)
    assert f'output = "{tmp_path}/data/chunks.npy"' in config
    np.save(folder / "turned.npy", np.full((5, 3), 9, ">f4"))
    np.save(folder / "wide.npy", np.zeros((5, 4), "<f4"))
    np.save(folder / "number.npy", np.float32(1))
    (folder / "broken.npy").write_text("nonsense")
    config = run("init", folder).stdout
    assert "8 .npy, rows as in 5 of 8 arrays that were looked at: the others would be rejected.\n" in config
    assert 'shape  = [3]\ndtype  = "<f4"\n' in config and 'byte_order = "convert"    # 1 array has the other byte order' in config
    records = tmp_path / "records"
    records.mkdir()
    made = np.ones(3, [("a", "<f4"), ("it's", ">u2", (2, 3)), ("c", "S3")])
    np.save(records / "a.npy", made)
    config, rows = taken(tmp_path, records)
    assert rows.dtype == made.dtype and rows.tobytes() == made.tobytes()


def test_init_does_not_take_a_dataset_for_chunks(tmp_path):
    make_pngs(tmp_path / "drop", 2)
    config = run("init", tmp_path / "drop").stdout.replace("data/drop.npy", "drop.npy")
    (tmp_path / "ingest.toml").write_text(config)
    run("--config", tmp_path / "ingest.toml", "--once")
    for path in (tmp_path / "drop").iterdir():
        path.unlink()
    done = run("init", tmp_path, check=1)
    assert "3 arrays of a dataset of npy-ingest; expected pictures" in done.stderr
    np.save(tmp_path / "chunk.npy", np.zeros((2, 5), "u1"))
    config = run("init", tmp_path).stdout
    assert "1 .npy, rows as in 1 of 1 array that was looked at" in config and "# Not taken: 1 .db, 1 .toml, 3 arrays of a dataset of npy-ingest.\n" in config
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ingest.toml").write_text(config.replace("data/", f"{tmp_path.parent}/"))
    done = run("--config", tmp_path / "elsewhere" / "ingest.toml", "--once")
    assert "2 new rows" in done.stdout, "and no rejected source"


def test_init_says_what_it_leaves_out_and_what_it_does_not_know(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ["a.nmea", "b.nmea", "c.csv", "d.mp4", "e.md", "noextension", "f.b\nd"]:
        (folder / name).write_text("x,y\n1,2\n")
    config = run("init", folder).stdout
    assert "# Not taken: 1 .csv, 1 .mp4. Each kind is a dataset of its own: run init on a folder with that kind alone.\n" in config
    assert "# Not taken: 1 without an extension, 1 .b\\nd, 1 .md.\n" in config
    others = tmp_path / "others"
    others.mkdir()
    (others / "a.xyz").write_text("")
    said = run("init", others, check=1).stderr
    assert "found 1 .xyz; expected" in said and "docs/logs.md" in said and "docs/command.md" in said and len(said) < 400
    links = tmp_path / "links"
    links.mkdir()
    for number in range(3):
        (links / f"{number}.jpg").symlink_to(TESTDATA / "photos")
    assert "found 3 symbolic links (not followed: give the folder that has the files); expected" in run("init", links, check=1).stderr
    tabs = tmp_path / "tabs"
    tabs.mkdir()
    (tabs / "a.tsv").write_text("x\ty\n1\t2\n")
    config, rows = taken(tmp_path, tabs)
    assert 'delimiter = "\\t"' in config and rows.tolist() == [(1, 2)]
    assert "whose files are to become rows" in run("init", "--help").stdout
