"""`--once` on folders of photographs: what comes out, and what a second run does."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

import numpy as np
import pytest
from PIL import Image

from harness import PROGRAM, TESTDATA, Project, children_of, copy_testdata, make_photographs, make_pngs, needs, wait_for

BAD = {
    "truncated.jpg": "cut short",
    "truncated.png": "cut short",
    "text.jpg": "begins with the text",
    "empty.png": "empty",
    "not-an-image.png": "begins with the bytes",
    "bomb.png": "50000 x 50000",
    "header-only.jpg": "cut short",
}


def test_a_thousand_photographs_and_ten_bad_files(project):
    project = project(shape=(64, 64, 3), columns='label = "folder"')
    make_photographs(project.drop / "jpeg", 1000)
    make_pngs(project.drop / "png", 20)
    copy_testdata("bad", project.drop / "bad")
    for name in ["truncated.jpg", "text.jpg", "not-an-image.png"]:
        shutil.copy(TESTDATA / "bad" / name, project.drop / "bad" / f"second-{name}")

    done = project.once(check=3)
    assert "1,020 new rows" in done.stdout and "10 sources are rejected" in done.stdout
    rows = project.rows()
    assert rows.shape == (1020, 64, 64, 3) and rows.dtype == np.uint8
    assert isinstance(rows, np.memmap)
    reasons = project.rejected()
    assert len(reasons) == 10
    for name, words in BAD.items():
        assert words in reasons[name], reasons
    assert project.json("verify", "--deep")["ok"]

    # A second run changes nothing, opens no source, and says the same.
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in project.output.parent.glob("*.npy")}
    trace = project.folder / "trace"
    traced = subprocess.run(
        ["strace", "-f", "-e", "trace=open,openat,openat2", "-o", trace, PROGRAM, "--config", project.config, "--once"],
        capture_output=True, text=True)
    assert traced.returncode == 3, traced.stderr
    opened = [line for line in trace.read_text().splitlines() if ".jpg" in line or ".png" in line]
    assert opened == []
    assert len(project.rows()) == 1020
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in project.output.parent.glob("*.npy")}
    assert before == after


def test_the_columns_tell_where_rows_come_from(project):
    project = project(columns='label = "folder"\ntime = true\nsplit = { train = 0.5, val = 0.5 }')
    copy_testdata("photos", project.drop)
    make_pngs(project.drop, 3)  # directly in the watched folder: no class
    project.once()
    rows = project.rows()
    names = ["index", "label", "source", "split", "time"]
    columns = {name: project.column(name) for name in names}
    dtypes = [columns[name].dtype.str for name in names]
    assert dtypes == ["<u8", "<i8", "<u8", "|u1", "<f8"]
    assert all(len(column) == len(rows) for column in columns.values())

    import json
    labels = json.loads(project.output.with_suffix(".labels.json").read_text())
    assert sorted(labels) == ["nature", "objects", "people", "space"]
    for row in range(len(rows)):
        (path, first_row), = project.ledger("SELECT path, first_row FROM sources WHERE id = ?", int(columns["source"][row]))
        assert first_row == row
        parts = path.split("/")
        assert parts[0] == "drop"
        label = columns["label"][row]
        assert (labels[label] if label >= 0 else None) == (parts[1] if len(parts) == 3 else None)
    assert set(columns["split"]) == {0, 1}
    assert not columns["index"].any() and not columns["time"].any()


def test_growth_never_moves_a_row_to_another_split_or_label(project):
    project = project(columns='label = "folder"\nsplit = { train = 0.7, val = 0.3 }')
    make_pngs(project.drop / "b", 40)
    project.once()
    split, label = (np.array(project.column(name)) for name in ["split", "label"])
    make_pngs(project.drop / "a", 40, first=100)
    project.once()
    assert project.count() == 80
    assert (project.column("split")[:40] == split).all()
    assert (project.column("label")[:40] == label).all()
    assert set(project.column("label")[40:]) == {1}


@pytest.mark.parametrize("order", ["arrival", "name", "mtime"])
def test_one_worker_and_four_give_the_same_bytes(tmp_path, order):
    columns = 'label = "folder"\nsplit = { train = 0.9, val = 0.1 }'
    project = Project(tmp_path)
    make_photographs(project.drop / "a", 120)
    copy_testdata("odd", project.drop / "b")
    copy_testdata("bad", project.drop / "c")
    files = {}
    for workers in [1, 4]:
        project.configure(
            f"{workers}.toml", output=f"out{workers}/frames.npy", shape=(48, 48, 3), columns=columns,
            service=f"[service]\nworkers = {workers}", watch=f'order = "{order}"')
        project.once(check=3)
        paths = sorted(project.output.parent.glob("*.npy")) + [project.output.with_suffix(".labels.json")]
        files[workers] = {path.name: path.read_bytes() for path in paths}
    assert len(files[1]) == 6
    assert files[1] == files[4]


def test_names_are_in_order_where_the_config_says_so(project):
    project = project(watch='order = "name"')
    names = make_pngs(project.drop, 30)[::-1]
    for place, name in enumerate(names):
        path = project.drop / name
        path.rename(project.drop / f"{place:03}.png")
    project.once()
    found = project.ledger("SELECT path FROM sources ORDER BY first_row")
    assert [path for path, in found] == sorted(path for path, in found)


def test_animations_give_a_row_for_each_frame(project):
    # So little memory that the frames go to the writer in several parts.
    project = project(
        shape=(200, 200, 3), image='frames = "all"', columns="time = true",
        service='[service]\nmemory = "1MiB"\nworkers = 2', watch='order = "name"')
    frames = [Image.new("RGB", (50, 50), (number * 4 % 256, number % 256, 90)) for number in range(300)]
    frames[0].save(project.drop / "a.gif", save_all=True, append_images=frames[1:], duration=40)
    frames[0].save(project.drop / "b.webp", save_all=True, append_images=frames[1:60], duration=100, lossless=True)
    for number in range(5):
        make_pngs(project.drop, 5, first=number * 5)
    copy_testdata("odd", project.drop / "odd")
    project.once(check=0)
    frames_of = {path.split("/")[-1]: rows for path, rows in project.ledger("SELECT path, rows FROM sources")}
    with Image.open(project.drop / "a.gif") as gif:
        assert frames_of["a.gif"] == gif.n_frames
    assert frames_of["b.webp"] == 60
    assert frames_of["animated.gif"] == 5 and frames_of["animated.png"] == 4 and frames_of["animated.webp"] == 4
    (first_row, source), = project.ledger("SELECT first_row, id FROM sources WHERE path LIKE '%b.webp'")
    rows = slice(first_row, first_row + 60)
    assert (project.column("index")[rows] == np.arange(60)).all()
    assert np.allclose(project.column("time")[rows], np.arange(60) * 0.1)
    assert (project.column("source")[rows] == source).all()
    assert project.json("verify", "--deep")["ok"]
    # The frames themselves, whichever part they went in.
    for number in range(60):
        assert abs(project.rows()[first_row + number].reshape(-1, 3).mean(0) - (number * 4 % 256, number % 256, 90)).max() < 2


def test_missing_folder_is_said_and_the_others_go_on(project):
    project = project(watch="")
    make_pngs(project.drop, 3)
    text = project.config.read_text().replace('folders = ["drop"]', 'folders = ["drop", "not-mounted"]')
    project.config.write_text(text)
    done = project.once(check=1)
    assert "not-mounted" in done.stderr and "cannot be read" in done.stderr
    assert "every second" not in done.stderr, "nobody looks again"
    assert project.count() == 3


def test_a_folder_that_cannot_be_scanned_is_told_once(project):
    """The bug: the scan at the end told of it once more."""
    project = project()
    make_pngs(project.drop, 3)
    here = os.getcwd()
    try:
        os.chdir(project.drop)
        for _ in range(20):  # longer than a path may be
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(here)
    told = project.once(check=1).stderr
    assert told.count("not scanned: ") == 2 and told.count("npy-ingest: ") == 1, "as it happens, and in the end"
    assert project.count() == 3


def test_what_a_cut_short_creation_left_is_removed(project):
    project = project()
    names = make_pngs(project.drop, 2)
    project.once()
    data = project.output.parent
    # No process has a number above 4,194,304.
    left = [".frames.npy.5000001.tmp", ".frames.source.npy.5000002.tmp", ".frames.index.npy.5000003.tmp"]
    others = [".frames.npy.tmp", ".frames.npy.05000001.tmp", ".frames.npy.5000001.tmp.x", ".other.npy.5000001.tmp",
              f".frames.npy.{os.getpid()}.tmp", "frames.npy.5000001.tmp", ".frames.time.npy.5000001.tmp", ".frames.npy.+5.tmp"]
    for name in left + others:
        (data / name).write_bytes(b"x")
    project.once()
    there = {path.name for path in data.iterdir()}
    assert not there & set(left) and there >= set(others), there
    project.check_exactly_once(names)


def test_a_file_that_is_still_being_written_is_left(project):
    project = project()
    make_pngs(project.drop, 2)
    with open(project.drop / "half.png", "wb") as half:
        half.write((project.drop / "000000.png").read_bytes()[:50])
        half.flush()
        done = project.once()
        assert "half.png is still being written" in done.stderr
        assert project.count() == 2
    (project.drop / "half.png").write_bytes((project.drop / "000001.png").read_bytes())
    project.once()
    assert project.count() == 3


def test_of_many_unfinished_files_some_are_named_and_all_are_counted(project):
    project = project()
    with contextlib.ExitStack() as open_files:
        for number in range(23):
            half = open_files.enter_context(open(project.drop / f"{number}.png", "wb"))
            half.write(b"half")
            half.flush()
        told = project.once().stderr.splitlines()
    assert sum(".png is still being written" in line for line in told) == 20, told
    assert told[-1] == "npy-ingest: 3 more sources are still being written: left for the next run"


def test_links_that_are_not_followed_are_counted(project):
    project = project()
    make_pngs(project.drop, 1)
    for name in ["a.png", "b.png"]:
        (project.drop / name).symlink_to("000000.png")
    (project.drop / "c.txt").symlink_to("000000.png")
    assert project.once().stderr == 'npy-ingest: dataset "frames": 2 symbolic links are not followed\n'


def test_a_file_of_several_names_is_not_called_unfinished(project):
    project = project(watch='hard_links = "refuse"')
    make_pngs(project.drop, 2)
    os.link(project.drop / "000000.png", project.folder / "other.png")
    told = project.once().stderr
    assert "000000.png has 2 names (`hard_links`): left for the next run" in told and "being written" not in told, told
    assert project.count() == 1


def test_a_signal_ends_it_while_it_moves_to_another_disk(project, tmp_path):
    """The bug: it heard nothing until the last file was moved."""
    needs("strace")
    done = tempfile.mkdtemp(dir="/dev/shm")
    project = project(shape=[1 << 20], decoder="[dataset.records]\n",
                      watch=f'include = ["*"]\nafter = "move"\nmove_to = "{done}"')
    content = os.urandom(8 << 20)
    (project.drop / "large").write_bytes(content)
    slow = ["strace", "-f", "-qqq", "-o", "/dev/null", "-P", f"{done}/.large.npy-ingest.tmp", "-e", "trace=pwrite64",
            "-e", "inject=pwrite64:delay_exit=700000"]
    run = subprocess.Popen([*slow, PROGRAM, "--config", project.config, "--once"], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: os.listdir(done))
        os.kill(children_of(run.pid)[0], signal.SIGTERM)
        started = time.monotonic()
        _, told = run.communicate(timeout=60)
        assert run.returncode == 1 and "stopped by a signal" in told, told
        assert time.monotonic() - started < 3 and os.listdir(done) == []
        assert (project.drop / "large").read_bytes() == content
        project.once()
        assert os.listdir(done) == ["large"] and project.count() == 8
    finally:
        shutil.rmtree(done)
