"""The commands and their exit codes."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from harness import PROGRAM, TESTDATA, Project, make_pngs


def run(*words):
    return subprocess.run([PROGRAM, *map(str, words)], capture_output=True, text=True)


def test_help_teaches():
    done = run("--help")
    assert done.returncode == 0
    for word in ["--once", "check", "status", "sources", "retry", "inspect", "verify", "mmap_mode", "Exit codes"]:
        assert word in done.stdout


@pytest.mark.parametrize("words", [["--once"], ["--once", "check"], ["verify", "a.npy", "--deep"], ["check"], ["status"], ["nonsense"], ["sources", "--row", "x"], ["--config", "none.toml"]])
def test_a_wrong_command_line_or_a_missing_config_is_exit_2(words, tmp_path):
    done = subprocess.run([PROGRAM, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr


def test_all_faults_of_a_config_at_once(project):
    project = project(image='fit = "covr"\nfiltre = "area"', watch='rescan = "soon"')
    done = project.command("check", check=2)
    for words in ["`dataset.image.fit`", 'did you mean "cover"', "filtre", "`dataset.watch.rescan`"]:
        assert words in done.stderr, done.stderr
    lines = project.config.read_text().splitlines()
    line = lines.index('fit = "covr"') + 1
    assert f"ingest.toml:{line}:7: " in done.stderr


def test_check_says_what_a_run_would_do(project):
    project = project()
    make_pngs(project.drop, 7)
    done = project.command("check", check=0)
    assert "7 sources" in done.stdout and "7 rows, 21.0 KiB" in done.stdout
    assert not project.output.exists(), "a dry run"
    project.once()
    make_pngs(project.drop, 2, first=7)
    done = project.command("check", check=0)
    assert "2 sources" in done.stdout and "now (7, 32, 32, 3)" in done.stdout and "7 committed" in done.stdout


@pytest.mark.parametrize("change, words", [
    (dict(shape=(16, 16, 3)), ["`shape`"]),
    (dict(dtype="f4"), ["`dtype`"]),
    (dict(image='filter = "area"'), ["`image.filter`", "bilinear", "area"]),
    (dict(columns='label = "folder"'), ["`columns.label`"]),
])
def test_changed_settings_are_refused_with_both_values(project, change, words):
    project = project()
    make_pngs(project.drop, 2)
    project.once()
    before = project.output.read_bytes()
    project.configure(**change)
    for command in [["--once"], ["check"], ["verify"], []]:
        done = project.command(*command, check=2, timeout=20)
        for word in [*words, "was made with other settings", "new `output`"]:
            assert word in done.stderr, done.stderr
        assert done.stderr.count('dataset "frames": ') == 1 or command == ["verify"], done.stderr
    assert project.output.read_bytes() == before


def test_status_and_sources(project):
    project = project(columns='label = "folder"')
    make_pngs(project.drop / "a", 5)
    shutil.copy(TESTDATA / "bad" / "text.jpg", project.drop / "a" / "x.jpg")
    status, = project.json("status")["datasets"]
    assert (status["rows"], status["backlog"], status["last_commit"]) == (0, 6, None)
    project.once(check=3)
    make_pngs(project.drop / "a", 2, first=10)
    status, = project.json("status")["datasets"]
    assert status["rows"] == status["published_rows"] == status["sources"] == 5
    assert (status["rejected"], status["backlog"], status["running"]) == (1, 2, False)
    assert status["shape"] == [5, 32, 32, 3] and status["dtype"] == "|u1"
    assert status["last_commit"].endswith("Z") and status["rows_per_second"] > 0
    assert "5 committed, 1 rejected" in project.command("status", check=0).stdout

    # What the run advises can be pasted.
    (project.folder / "my config.toml").write_text(project.config.read_text())
    done = subprocess.run([PROGRAM, "--config", "my config.toml", "--once"], cwd=project.folder, capture_output=True, text=True)
    advice, = re.findall(r"\((npy-ingest .*) tells why\)", done.stdout)
    assert advice == "npy-ingest sources --config 'my config.toml' --rejected"
    words = shlex.split(advice)[1:]
    assert "x.jpg" in subprocess.check_output([PROGRAM, *words], cwd=project.folder, text=True)

    dataset, = project.json("sources", "--row", "3")["datasets"]
    source, = dataset["sources"]
    assert source["first_row"] == 3 and source["rows"] == 1
    assert source["id"] == project.column("source")[3]
    dataset, = project.json("sources", "--rejected")["datasets"]
    assert [source["path"] for source in dataset["sources"]] == ["drop/a/x.jpg"]
    assert project.command("sources", "--row", "99").returncode == 1
    assert project.command("sources", "--dataset", "nope").returncode == 2


def test_hash_and_checksum_are_blake3_as_documented(project):
    from blake3 import blake3

    project = project()
    make_pngs(project.drop, 3)
    project.once()
    for path, content, first_row, rows, checksum in project.ledger(
            "SELECT path, hash, first_row, rows, checksum FROM sources"):
        assert blake3((project.folder / path).read_bytes()).hexdigest() == content
        assert blake3(project.rows()[first_row:first_row + rows].tobytes()).hexdigest() == checksum


def test_the_header_is_as_promised(project):
    project = project(shape=(224, 224, 3))
    make_pngs(project.drop, 3)
    project.once()
    header = project.output.read_bytes()[:128]
    start = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': ("
    assert header.startswith(start) and header.endswith(b"\n")
    assert header[64:80] == b"%16d" % 3 and header[80:].startswith(b", 224, 224, 3), }")
    shown = json.loads(run("inspect", project.output, "--json").stdout)
    assert shown["rows"] == 3 and shown["grows"] == "window" and shown["count_window_offset"] == 64
    assert shown["bytes_past_last_row"] == 0 and shown["own_layout"] is True
    assert "grows" in run("inspect", project.output).stdout


def test_inspect_and_verify_of_any_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.asfortranarray(np.zeros((3, 4), ">f4")))
    shown = json.loads(run("inspect", path, "--json").stdout)
    assert shown["fortran_order"] and shown["dtype"] == ">f4" and shown["grows"] == "room"
    assert run("verify", path).returncode == 0
    path.write_bytes(path.read_bytes()[:-4])
    done = run("verify", path)
    assert done.returncode == 1 and "4 bytes of its data are missing" in done.stdout
    path.write_bytes(path.read_bytes()[:-43])
    assert "47 bytes of its data are missing" in run("verify", path).stdout
    np.save(path, np.zeros(3, "u1"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "1 byte of its data is missing" in run("verify", path).stdout
    path.write_text("no array")
    done = run("verify", path, "--json")
    verdict = json.loads(done.stdout)
    assert done.returncode == 1 and verdict["ok"] is False and "not a .npy file" in verdict["problems"][0]
    done = run("inspect", path)
    assert done.returncode == 1 and str(path) in done.stderr
    assert run("inspect", tmp_path / "none.npy").returncode == 1


def test_verify_finds_what_is_wrong(project):
    project = project()
    make_pngs(project.drop, 5)
    project.once()
    assert project.json("verify", "--deep")["datasets"][0]["sources_checked"] == 5
    good = project.output.read_bytes()

    project.output.write_bytes(good[:128] + bytes([good[128] ^ 1]) + good[129:])
    assert project.json("verify")["ok"], "only --deep reads all rows"
    verdict = project.json("verify", "--deep", check=1)
    assert "rows 0 to 0" in verdict["datasets"][0]["problems"][0]

    project.output.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for words in (["verify"], ["verify", "--deep"]):
        assert "rows 4 to 4" in project.json(*words, check=1)["datasets"][0]["problems"][0]

    project.output.write_bytes(good[:-100])
    assert "5 committed rows need" in project.json("verify", check=1)["datasets"][0]["problems"][0]
    done = project.once(check=1)
    assert "5 committed rows need" in done.stderr and "Nothing was changed" in done.stderr
    assert project.output.read_bytes() == good[:-100]

    project.output.write_bytes(good.replace(b"%16d" % 5, b"%16d" % 9))
    assert "its header says 9 rows, and the ledger 5" in project.once(check=1).stderr

    # What a crash can leave is mended: a header that is behind, a torn one, a tail.
    for mended in [good.replace(b"%16d" % 5, b"%16d" % 2), b"\0" * 100 + good[100:], good + b"tail"]:
        project.output.write_bytes(mended)
        assert project.json("verify")["ok"] and project.json("verify")["datasets"][0]["notes"]
        project.once()
        assert project.output.read_bytes() == good

    # What is refused is refused before anything is changed.
    column = project.output.with_suffix(".source.npy")
    content = column.read_bytes()
    column.write_bytes(content[:-3])
    torn = b"\0" * 100 + good[100:] + b"tail"
    project.output.write_bytes(torn)
    project.once(check=1)
    assert project.output.read_bytes() == torn
    column.write_bytes(content)
    project.once()
    assert project.output.read_bytes() == good

    column.unlink()
    assert "frames.source.npy is missing" in project.once(check=1).stderr
    column.write_bytes(content)
    project.output.rename(project.folder / "away.npy")
    assert "is missing, and its ledger" in project.once(check=1).stderr
    (project.folder / "away.npy").rename(project.output)
    ledger = project.output.with_suffix(".ledger.db")
    ledger.rename(project.folder / "away.db")
    assert "no ledger" in project.once(check=1).stderr
    (project.folder / "away.db").rename(ledger)
    project.once()


def test_an_array_of_somebody_else_is_not_touched(project):
    project = project()
    make_pngs(project.drop, 2)
    project.output.parent.mkdir()
    np.save(project.output, np.arange(10))
    before = project.output.read_bytes()
    done = project.once(check=1)
    assert "is not an array of this dataset" in done.stderr
    assert project.output.read_bytes() == before


def test_without_standard_error_a_command_fails_as_it_would_with_it(project):
    """A write that failed was a panic, and exit code 101."""
    project = project()
    make_pngs(project.drop, 1)
    (project.drop / "bad.png").write_bytes(b"no picture")
    with open("/dev/full", "w") as full:
        for words, code in [(["--once"], 3), (["sources", "--row", "7"], 1), (["inspect", project.folder / "none.npy"], 1)]:
            done = subprocess.run([PROGRAM, "--config", project.config, *words], stdout=subprocess.DEVNULL, stderr=full)
            assert done.returncode == code, words


def test_a_name_cannot_write_on_the_terminal(project):
    project = project(watch='include = ["**/*"]', output="data/\\u001b[31m\\nframes.npy")
    project.output = project.folder / "data" / "\x1b[31m\nframes.npy"
    (project.drop / "a\x1b[31m\nb.png").write_bytes(b"no picture")
    make_pngs(project.drop, 1)
    done = [project.command(*words) for words in [["check"], ["--once"], ["sources"], ["status"], ["retry"]]]
    with open(project.output, "r+b") as file:
        file.write(b"nothing")
    done += [project.command(words) for words in ["status", "verify", "check"]]
    for one in done:
        assert not any(ord(c) < 32 and c != "\n" for c in one.stdout + one.stderr), one
        assert not any(line.startswith(("b.png", "frames.npy")) for line in one.stdout.splitlines()), one.stdout
    assert "a\\u{1b}[31m\\nb.png" in done[2].stdout
    assert "\\u{1b}[31m\\nframes.npy" in done[6].stdout


def test_status_tells_of_a_damaged_file(project):
    project = project()
    assert project.json("status")["datasets"][0]["problems"] == [], "not there yet"
    make_pngs(project.drop, 1)
    project.once()
    assert project.json("status")["datasets"][0]["problems"] == []
    with open(project.output, "r+b") as file:
        file.write(b"nothing")
    figures = project.json("status")["datasets"][0]
    assert figures["published_rows"] is None and "frames.npy" in figures["problems"][0], figures
    assert "problem" in project.command("status", check=0).stdout


def test_verify_takes_a_config_or_a_file(project):
    """The bug: with a file, the config was not looked at, and nothing said so."""
    project = project()
    make_pngs(project.drop, 1)
    project.once()
    done = project.command("verify", project.output, check=2)
    assert "leave out --config, or the file" in done.stderr and not done.stdout


def test_a_row_that_only_some_datasets_have(project):
    """The bug: nothing was said of those that do not have it."""
    project = project()
    make_pngs(project.drop, 3)
    text = project.config.read_text()
    other = text.replace('"frames"', '"other"').replace("data/frames.npy", "data/other.npy").replace('"drop"', '"drop2"')
    project.config.write_text(text + other)
    make_pngs(project.folder / "drop2", 1)
    project.once()
    done = project.command("sources", "--row", "1", check=0)
    assert done.stdout.startswith("frames  ") and 'dataset "other" has 1 row: there is no row 1' in done.stderr


def test_paths_that_are_no_text(tmp_path):
    """The bugs: `status --json` failed, and `init` named another folder."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    project = Project(folder)
    make_pngs(project.drop, 2)
    project.once()
    answer = project.json("status")
    assert answer["config"] == f"{tmp_path}/\ufffd\ufffd/ingest.toml"
    assert answer["datasets"][0]["output"] == f"{tmp_path}/\ufffd\ufffd/data/frames.npy"
    done = subprocess.run([PROGRAM, "init", project.drop], capture_output=True, text=True)
    assert done.returncode == 1 and "not UTF-8 text" in done.stderr and not done.stdout

