"""Settings that a dataset was not made with: refused where there are rows, taken where there are none."""

import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from harness import append, wait_for

DTYPE = [["n", "<i4"], ["x", "<f4"]]
BAD = "n,x\n1,2.5\nNA,3.5\n3,4.5\n"


def csv(*lines):
    return "\n".join(["[dataset.csv]", *lines])


@pytest.fixture
def rejected(project):
    """A project whose only file is rejected."""
    project = project(shape=None, dtype=DTYPE, decoder=csv())
    (project.drop / "a.csv").write_text(BAD)
    project.once(check=3)
    assert project.rows().shape == (0,)
    return project


@pytest.mark.parametrize("lines, count", [(['on_error = "skip"'], 2), (['missing = ["NA"]'], 2)])
def test_a_dataset_without_rows_takes_the_settings_of_its_repair(rejected, lines, count):
    project = rejected
    if "missing" in lines[0]:
        project.drop.joinpath("a.csv").write_text("n,x\n1,2.5\n3,NA\n")
        project.once(check=3)
    project.configure(shape=None, dtype=DTYPE, decoder=csv(*lines))
    told = project.command("check", check=0).stdout
    is_meant = "missing" in lines[0]  # what becomes of bad lines means nothing to those that are there
    assert ('setting   `csv.missing`: was [""], now ["NA"]; it has no rows yet' in told) == is_meant, told
    project.command("verify", check=0)
    project.once(check=3)
    assert project.command("check", check=0).stdout.count("setting") == 0
    assert project.count() == 0 and len(project.rejected()) == 1, "it stays rejected until it is tried again"
    project.command("retry", check=0)
    project.once(check=0)
    assert project.count() == count
    assert project.json("verify", "--deep")["ok"]
    # Now there are rows.
    project.configure(shape=None, dtype=DTYPE, decoder=csv(*lines, 'delimiter = ";"'))
    for command in ["check", "--once"]:
        assert "`csv.delimiter`: was ,, now ;" in project.command(command, check=2).stderr


@pytest.mark.parametrize("settings, key", [
    (dict(dtype=[["n", "<i4"], ["x", "<f8"]]), "dtype"), (dict(columns='label = "folder"'), "columns.label")])
def test_what_the_files_are_made_with_is_refused_with_a_way_out(rejected, settings, key):
    project = rejected
    project.configure(**{**dict(shape=None, dtype=DTYPE, decoder=csv()), **settings})
    for command in ["check", "--once"]:
        told = project.command(command, check=2).stderr
        assert f"`{key}`: was" in told and "It has no rows yet: remove its files (" in told, told
    files = told.split("its files (")[1].split(")")[0].split(", ")
    assert str(project.output) in files and len(files) >= 4
    for file in files:
        Path(file).unlink()
    (project.drop / "a.csv").write_text("n,x\n1,2.5\n")
    project.once()
    assert project.count() == 1


def test_what_becomes_of_bad_lines_means_nothing_to_the_rows_that_are_there(project):
    project = project(shape=None, dtype=DTYPE, decoder=csv())
    (project.drop / "good.csv").write_text("n,x\n7,7.5\n")
    (project.drop / "zbad.csv").write_text(BAD)
    project.once(check=3)
    # As the ledgers of before have it.
    with sqlite3.connect(project.output.with_suffix(".ledger.db")) as ledger:
        ledger.execute("INSERT INTO settings VALUES (99, 'csv.on_error', 'reject')")
    ledger.close()
    project.once(check=3)
    project.configure(shape=None, dtype=DTYPE, decoder=csv('on_error = "skip"'))
    project.command("check", check=0)
    project.once(check=3)
    project.command("retry", check=0)
    project.once(check=0)
    assert project.rows()["n"].tolist() == [7, 1, 3]


def test_a_file_that_was_rejected_can_be_followed_and_stays_rejected_until_it_is_tried_again(rejected):
    project = rejected
    follow = csv('follow = true', 'on_error = "skip"')
    project.configure(shape=None, dtype=DTYPE, decoder=follow)
    project.once(check=3)
    assert (project.count(), list(project.rejected())) == (0, ["a.csv"])
    project.command("retry", check=0)
    project.once(check=0)
    assert project.rows()["n"].tolist() == [1, 3]
    append(project.drop / "a.csv", b"4,5.5\n")
    project.once(check=0)
    assert project.rows()["n"].tolist() == [1, 3, 4]
    # Rows are there: it is refused, as the documentation says.
    project.configure(shape=None, dtype=DTYPE, decoder=csv('on_error = "skip"'))
    assert "`csv.follow`: was true, now false" in project.once(check=2).stderr


@pytest.mark.parametrize("now", ['follow = true\nmissing = ["NA"]', 'missing = ["NA"]'])
def test_a_log_that_gave_no_row_is_read_anew_under_new_settings(project, now):
    bad = "n,x\n1,NA\n2,3.5\n"
    project = project(shape=None, dtype=DTYPE, decoder=csv("follow = true"))
    (project.drop / "a.csv").write_text(bad)
    project.once(check=3)
    assert project.count() == 0 and list(project.rejected()) == ["a.csv"]
    project.configure(shape=None, dtype=DTYPE, decoder=csv(now))
    project.once(check=0)
    assert project.rows()["n"].tolist() == [1, 2] and np.isnan(project.rows()["x"][0])
    # The column tells of a source that the ledger has.
    ids = {id for id, in project.ledger("SELECT id FROM sources")}
    assert set(project.column("source").tolist()) <= ids
    assert project.json("verify", "--deep")["ok"]


def test_a_service_takes_them_by_a_reload(rejected):
    project = rejected
    with project.service() as service:
        wait_for(lambda: " running" in project.log())
        project.configure(shape=None, dtype=DTYPE, decoder=csv('missing = ["NA"]'))
        service.send_signal(signal.SIGHUP)
        (project.drop / "b.csv").write_text("n,x\n5,NA\n")
        project.wait_for_rows(1)
    assert "takes the settings of the config: `csv.missing`" in project.log()
    assert list(project.rejected()) == ["a.csv"]
