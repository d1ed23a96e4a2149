"""`preview` and `init`."""

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


@pytest.mark.parametrize("make, words", [
    (lambda path: np.save(path, np.zeros(5, dtype=[("a", "<f4")])), "no numbers"),
    (lambda path: np.save(path, np.zeros((0, 8, 8, 3))), "the array has 0 rows"),
    (lambda path: np.save(path, np.asfortranarray(np.zeros((4, 9, 9)))), "Fortran order"),
    (lambda path: np.save(path, np.zeros((4, 2, 2, 2, 2, 2))), "no look that is known"),
    (lambda path: path.write_text("nonsense"), "a.npy"),
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
    assert "files of type txt, expected pictures" in run("init", tmp_path / "texts", check=1).stderr


def taken(tmp_path, folder):
    """What the config of `init` for a folder makes of it."""
    config = run("init", folder).stdout
    (tmp_path / "ingest.toml").write_text(config)
    run("--config", tmp_path / "ingest.toml", "--once")
    return config, np.load(tmp_path / "data" / f"{folder.name}.npy")


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
    assert "[dataset.video]" in config and "1 other file that are not taken" in config.replace("is not", "are not")
    assert rows.shape == (3, 224, 224, 3) and np.load(tmp_path / "data" / "videos.time.npy").tolist() == [0, 1, 2]
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    (tracks / "a.nmea").write_text("$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A\n")
    rows = taken(tmp_path, tracks)[1]
    assert rows["time"][0] == np.datetime64("1994-03-23T12:35:19") and abs(rows["latitude"][0] - 48.1173) < 1e-4
