"""`check` and `status` tell what a start finds."""

import fcntl
import json
import os
import subprocess

import numpy as np
import pytest

from harness import CONFIG, free_port, make_pngs, mounted, wait_for


def refused(project, *words, run=None):
    """A problem that `check` and `status` tell of, and that a run fails of. What the two say. `run`: what the run says, if not
    the same."""
    done = project.command("check", check=1)
    told = project.command("status", check=0).stdout
    for word in words:
        assert word in done.stdout.split("problem", 1)[1], done.stdout
        assert word in told.split("problem", 1)[1], told
    error = project.once(check=1).stderr
    assert all(word in error for word in (words if run is None else [run])), error
    return done.stdout, told


def test_verify_finds_nothing_wrong_with_a_creation_that_goes_on_or_was_cut_short(project):
    """The bugs: columns that were not made yet were problems, and so was the ledger of a service that just starts."""
    project = project(shape=[1], dtype="i4", decoder="[dataset.csv]\nheader = false")
    project.once()
    project.output.with_suffix(".index.npy").unlink()
    done = project.command("verify", check=0)
    assert "sound, 0 rows" in done.stdout and "frames.index.npy is not there yet" in done.stdout, done.stdout
    project.output.with_suffix(".ledger.db").write_bytes(b"")
    assert "holds nothing: it was cut off" in project.command("verify", check=1).stdout
    with open(project.output) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "it is being made at the moment" in project.command("verify", check=0).stdout


def test_an_output_whose_folders_are_missing(project):
    project = project(output="a/b/c/frames.npy")
    make_pngs(project.drop, 2)
    refused(project, "neither it nor the folder above it exists")
    assert not (project.folder / "a").exists()


def test_an_output_that_is_somebody_elses(project):
    project = project()
    make_pngs(project.drop, 2)
    project.output.parent.mkdir()
    np.save(project.output, np.zeros((5, 3), "<f4"))
    _, told = refused(project, "is not an array of this dataset")
    assert "(5, 3) <f4" in told


@pytest.mark.parametrize("has_run", [False, True])
def test_class_names_that_are_somebody_elses(project, has_run):
    """The bug: the file was overwritten."""
    project = project(columns='label = "folder"')
    if has_run:
        project.once()
    names = project.output.with_suffix(".labels.json")
    names.parent.mkdir(exist_ok=True)
    names.write_text('["mine"]')
    make_pngs(project.drop / "cat", 2)
    before = sorted(names.parent.iterdir())
    refused(project, f"{names} is there already")
    assert names.read_text() == '["mine"]' and sorted(names.parent.iterdir()) == before
    names.unlink()
    project.once()
    assert json.loads(names.read_text()) == ["cat"]


def test_class_names_that_are_missing_or_others(project):
    """The bug: all was called sound."""
    project = project(columns='label = "folder"')
    make_pngs(project.drop / "cat", 2)
    project.once()
    names = project.output.with_suffix(".labels.json")
    for change, words in ((names.unlink, "is missing"), (lambda: names.write_text('["dog"]'), "does not have the class names")):
        change()
        for told in (project.command("verify", check=1), project.command("check", check=1)):
            assert f"{names} {words}" in told.stdout and "the next start writes it anew" in told.stdout, told.stdout
        project.once()
        assert json.loads(names.read_text()) == ["cat"]
        assert project.json("verify")["ok"] and "problem" not in project.command("check", check=0).stdout


def test_a_ledger_that_is_missing_beside_rows(project):
    project = project()
    make_pngs(project.drop, 3)
    project.once()
    project.output.with_suffix(".ledger.db").unlink()
    check, told = refused(project, "has 3 rows and no ledger")
    assert "now (3, 32, 32, 3)" in check and "(3, 32, 32, 3) |u1" in told
    assert project.json("status")["datasets"][0]["rows"] == 3


def test_a_ledger_that_is_empty_beside_rows(project):
    """The bug: it was said not to be there."""
    project = project()
    make_pngs(project.drop, 3)
    project.once()
    os.truncate(project.output.with_suffix(".ledger.db"), 0)
    refused(project, "has 3 rows and its ledger", "frames.ledger.db holds nothing")
    assert "holds nothing" in project.json("verify", check=1)["datasets"][0]["problems"][0]


@pytest.mark.parametrize("suffix", [".npy", ".source.npy"])
def test_files_that_are_too_short(project, suffix):
    project = project()
    make_pngs(project.drop, 3)
    project.once()
    path = project.output.with_suffix(suffix)
    os.truncate(path, path.stat().st_size - 5)
    refused(project, path.name, "3 committed rows need")


@pytest.mark.parametrize("suffix", [".npy", ".source.npy"])
def test_an_array_behind_a_symbolic_link(project, suffix):
    """The bug: all was well, and then each commit failed, as the file was not there."""
    project = project()
    make_pngs(project.drop, 3)
    project.once()
    path, big = project.output.with_suffix(suffix), project.folder / "big.npy"
    path.rename(big)
    path.symlink_to(big)
    make_pngs(project.drop, 1, first=3)
    refused(project, f"{path} is a symbolic link")
    assert f"{path} is a symbolic link" in project.json("verify", check=1)["datasets"][0]["problems"][0]
    path.unlink()
    big.rename(path)
    # The folder may be one.
    path.parent.rename(project.folder / "disk")
    path.parent.symlink_to(project.folder / "disk")
    project.once()
    assert project.count() == 4 and project.json("verify", "--deep")["ok"]


def test_files_that_are_missing(project):
    project = project(columns='label = "folder"')
    make_pngs(project.drop / "cat", 3)
    project.once()
    project.output.with_suffix(".source.npy").unlink()
    refused(project, "frames.source.npy is missing")
    project.output.unlink()
    check, told = refused(project, "frames.npy is missing")
    assert "(3, 32, 32, 3) |u1" in told and "(3, 32, 32, 3) |u1" in check


def test_a_watched_folder_that_is_missing(project):
    project = project()
    project.drop.rmdir()
    refused(project, "drop")
    project.drop.write_text("a file")
    refused(project, "drop")


def test_a_disk_with_too_little_room(project):
    project = project(service='[service]\nmin_free = "1000TiB"')
    make_pngs(project.drop, 2)
    assert "problem   the disk of" in project.command("check", check=1).stdout
    told = project.once(check=1).stderr
    assert "`min_free`); 2 sources are left for the next run" in told and "written: left" not in told, told


def test_a_sound_dataset_has_no_problem_beside_a_service(project):
    project = project()
    make_pngs(project.drop, 30)
    with project.service():
        for number in range(20):
            make_pngs(project.drop, 5, first=100 + 5 * number)
            assert "problem" not in project.command("check", check=0).stdout
            assert project.json("status")["datasets"][0]["problems"] == []


@pytest.mark.parametrize("listens", [False, True])
def test_status_shows_the_array_and_that_the_config_is_another(project, listens):
    service = f'[service]\nlisten = "127.0.0.1:{free_port()}"' if listens else ""
    project = project(service=service)
    make_pngs(project.drop, 3)
    with project.service():
        project.wait_for_rows(3)
        project.configure(service=service, shape=(16, 16, 3))
        told = project.command("status", check=0).stdout
        assert "(3, 32, 32, 3) |u1" in told and "a process is writing" in told, told
        assert "`shape`: was [32, 32, 3], now [16, 16, 3]" in told.split("problem", 1)[1], told
        status, = project.json("status")["datasets"]
        assert status["shape"] == [3, 32, 32, 3] and status["row_bytes"] == 32 * 32 * 3


def test_status_of_files_that_were_moved_away_from_a_service(project):
    service = f'[service]\nlisten = "127.0.0.1:{free_port()}"'
    project = project(service=service)
    make_pngs(project.drop, 3)
    with project.service():
        project.wait_for_rows(3)
        away = project.folder / "away"
        project.output.parent.rename(away)
        wait_for(lambda: "frames.npy is not there any more" in project.command("status", check=0).stdout)
        assert "a process is writing to it" in project.command("status", check=0).stdout
        project.configure()
        assert "frames: " + str(project.output) + " is not there\n" in project.command("status", check=0).stdout
        away.rename(project.output.parent)


def with_another(project, name="other", output="data/other.npy"):
    """Adds a dataset with files of its own."""
    text = CONFIG.split("[[dataset]]")[1].format(
        output=output, shape="shape = [32, 32, 3]", dtype='"u1"', watch="", decoder="[dataset.image]", columns="", commit="")
    text = text.replace('"frames"', f'"{name}"').replace('"drop"', f'"drop-{name}"')
    project.config.write_text(project.config.read_text() + "[[dataset]]" + text)
    make_pngs(project.folder / f"drop-{name}", 2)


def test_a_ledger_that_is_unreadable_leaves_the_other_datasets_alone(project):
    """The bug: it ended every command, and `--json` printed nothing."""
    project = project()
    make_pngs(project.drop, 2)
    (project.drop / "bad.png").write_bytes(b"no picture")
    with_another(project)
    (project.folder / "drop-other" / "bad.png").write_bytes(b"no picture")
    project.once(check=3)
    project.output.with_suffix(".ledger.db").write_bytes(b"garbage" * 400)
    make_pngs(project.folder / "drop-other", 1, first=5)
    advice = "frames.ledger.db: opening it: file is not a database; it is damaged: restore"

    frames, other = project.json("verify", check=1)["datasets"]
    assert not frames["ok"] and advice in frames["problems"][0] and frames["rows"] is None
    assert other["ok"] and other["rows"] == 2
    assert "frames: NOT sound" in project.command("verify", check=1).stdout
    frames, other = project.json("status", check=1)["datasets"]
    assert advice in frames["problems"][0] and len(frames["problems"]) == 1 and frames["rows"] == 2
    assert (other["backlog"], other["rejected"], other["problems"]) == (1, 1, [])
    told = project.command("status", check=1).stdout
    assert "not known" in told and "1 rejected" in told, told
    told = project.command("check", check=1).stdout
    assert told.count(advice) == 1 and "to take   1 source" in told, told
    frames, other = project.json("sources", check=1)["datasets"]
    assert advice in frames["problem"] and frames["sources"] == []
    assert other["problem"] is None and len(other["sources"]) == 3
    assert "drop-other/bad.png" in project.command("sources", check=1).stdout
    done = project.command("retry", check=1)
    assert advice in done.stderr and "drop-other/bad.png  is taken again" in done.stdout
    done = project.once(check=1)
    assert done.stderr.count("npy-ingest: ") == 1 and advice in done.stderr and "other: 1 new row" in done.stdout


@pytest.mark.parametrize("what", ["a column", "a column beside an empty array"])
def test_a_column_that_is_somebody_elses(project, what):
    """The bug: `check` said nothing, and a run made the array and the ledger before it said that nothing was changed."""
    project = project()
    make_pngs(project.drop, 2)
    if what == "a column":
        project.output.parent.mkdir()
    else:
        project.drop.rename(project.folder / "away")
        project.drop.mkdir()
        project.once()
        project.drop.rmdir()
        (project.folder / "away").rename(project.drop)
        project.output.with_suffix(".ledger.db").unlink()
    column = project.output.with_suffix(".source.npy")
    np.save(column, np.arange(3))
    before = sorted(path.name for path in project.output.parent.iterdir())
    refused(project, "frames.source.npy is no column of this new dataset", "Nothing was changed")
    assert sorted(path.name for path in project.output.parent.iterdir()) == before
    assert np.load(column).tolist() == [0, 1, 2]


def test_rows_that_do_not_fit_are_told_before(project):
    """The bug: `check` looked at `min_free` alone, and `status` not even at that."""
    project = project(service='[service]\nmin_free = "1MiB"', shape=(512, 512, 3))
    with mounted(project.output.parent, "size=4m"):
        make_pngs(project.drop, 3)
        project.command("check", check=0)
        assert project.json("status")["datasets"][0]["problems"] == []
        make_pngs(project.drop, 3, first=3)
        check, told = refused(project, "4.5 MiB to be written", "(`min_free`)", run="frames.npy")
        assert "4.5 MiB" in check.split("gives", 1)[1]


def test_an_output_that_cannot_be_written_to(project):
    project = project()
    make_pngs(project.drop, 2)
    with mounted(project.output.parent, "ro"):
        refused(project, "data cannot be written to (Read-only file system", run="Read-only file system")


@pytest.mark.parametrize("what", ["a file", "below a file", "a dangling link"])
@pytest.mark.parametrize("key, other", [("move_to", 'after = "move"'), ("rejected_to", 'rejected = "move"')])
def test_a_target_that_is_no_folder(project, what, key, other):
    target = "done/here" if what == "below a file" else "done"
    project = project(watch=f'{other}\n{key} = "{target}"')
    make_pngs(project.drop, 2)
    project.command("check", check=0)
    done = project.folder / "done"
    if what == "a dangling link":
        done.symlink_to("nowhere")
    else:
        done.write_text("a file")
    words = "is a link to what is not there" if what == "a dangling link" else "is no folder"
    told = project.command("check", check=1).stdout
    assert f"(`{key}`)" in told and f"done {words}" in told, told
    assert words in project.command("status", check=0).stdout


@pytest.mark.parametrize("after", ["move", "delete"])
def test_sources_that_are_still_to_go_are_not_new(project, after):
    """The bug: each of them was "to take", and would give a row."""
    project = project(watch=f'after = "{after}"' + ('\nmove_to = "done"' if after == "move" else ""))
    make_pngs(project.drop, 4)
    away = project.folder / "away"
    subprocess.run(["cp", "-al", project.drop, away], check=True)
    project.once()
    # As if the run had ended before they went.
    subprocess.run(["cp", "-al", f"{away}/.", project.drop], check=True)
    make_pngs(project.drop, 1, first=10)
    told = project.command("check", check=0).stdout
    assert "to take   1 source" in told and "4 committed, and still to be moved or deleted" in told, told
    assert project.json("status")["datasets"][0]["backlog"] == 1
    assert "frames: 1 new row" in project.once().stdout


def test_status_says_that_the_service_does_not_answer(project):
    """The bug: that only a service with `listen` tells, of one that has it."""
    project = project()
    make_pngs(project.drop, 1)
    with project.service():
        project.wait_for_rows(1)
        port = free_port()
        project.configure(service=f'[service]\nlisten = "127.0.0.1:{port}"')
        told = project.command("status", check=0).stdout
        assert f"paused       not known: the service does not answer on 127.0.0.1:{port}: Connection refused" in told, told
