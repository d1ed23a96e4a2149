"""Names that are used again: by a file beside the one that was renamed, by the next bad delivery, by a mended file."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import PROGRAM, needs, wait_for

CSV = dict(shape=[1], dtype="i4", decoder="[dataset.csv]\nheader = false")


def values(project):
    return sorted(int(row) for row in project.rows().reshape(-1)) if project.output.exists() else []


@pytest.mark.parametrize("as_service", [False, True])
def test_a_new_file_under_the_name_of_a_renamed_one_is_taken(project, as_service):
    """The bug: it was disregarded for as long as the service ran, as the ledger had the old name still."""
    project = project(**CSV)
    (project.drop / "today").mkdir()
    for number in range(5):
        (project.drop / "today" / f"{number}.csv").write_text(f"{number}\n")
    (project.drop / "a.csv").write_text("10\n")
    project.once()

    def rename_and_use_again():
        (project.drop / "a.csv").rename(project.drop / "a.1.csv")
        (project.drop / "a.csv").write_text("11\n")
        (project.drop / "today").rename(project.drop / "yesterday")
        (project.drop / "today").mkdir()
        for number in range(5):
            (project.drop / "today" / f"{number}.csv").write_text(f"{20 + number}\n")

    if as_service:
        with project.service():
            time.sleep(0.5)
            rename_and_use_again()
            project.wait_for_rows(12)
    else:
        rename_and_use_again()
        done = project.once()
        assert "not taken" not in done.stderr, done.stderr
    assert values(project) == [0, 1, 2, 3, 4, 10, 11, 20, 21, 22, 23, 24]
    project.once()
    assert project.count() == 12


def test_bad_files_of_one_name_are_all_rejected_and_all_brought_back(project):
    """The bug: each made the ledger forget the one before it, which was moved away."""
    project = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    for number in range(3):
        (project.drop / "a.csv").write_text(f"bad{number}\n")
        project.once(check=3)
    (project.drop / "a.csv").write_text("7\n")
    project.once(check=3)
    failed = project.folder / "failed"
    listed = project.ledger("SELECT moved_to FROM sources WHERE status = 'rejected' ORDER BY id")
    assert [os.path.basename(path) for path, in listed] == ["a.csv", "a.1.csv", "a.2.csv"]
    for number, name in enumerate(["a.csv", "a.1.csv", "a.2.csv"]):
        (failed / name).write_text(f"{number}\n")  # mended where it lies
    project.command("retry", check=0)
    project.once()
    assert values(project) == [0, 1, 2, 7] and not project.rejected()


def test_a_mended_file_that_is_put_back_is_not_rejected_any_more(project):
    project = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    (project.drop / "a.csv").write_text("bad\n")
    project.once(check=3)
    (project.folder / "failed" / "a.csv").rename(project.folder / "a.csv")
    (project.folder / "a.csv").write_text("3\n")
    (project.folder / "a.csv").rename(project.drop / "a.csv")
    project.once()
    assert values(project) == [3] and not project.rejected()


def test_retry_says_what_is_gone(project):
    project = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    (project.drop / "a.csv").write_text("bad\n")
    project.once(check=3)
    (project.folder / "failed" / "a.csv").unlink()
    done = project.command("retry", check=0)
    assert "a.csv  is gone" in done.stdout and "taken again" not in done.stdout
    assert not project.rejected()


@pytest.mark.parametrize("away", ["failed", "drop"])
def test_retry_forgets_nothing_while_a_folder_is_away(project, away):
    """The bug: the disk of `rejected_to` was not mounted, and no source that lay there was listed any more."""
    project = project(watch='rejected = "move"\nrejected_to = "failed"' if away == "failed" else "", **CSV)
    (project.drop / "sub").mkdir()
    for name in ["a.csv", "sub/b.csv"]:
        (project.drop / name).write_text("bad\n")
    project.once(check=3)
    (project.folder / away).rename(project.folder / "elsewhere")
    done = project.command("retry", check=1)
    assert done.stderr.count("is not there: mount the disk") == 2 and not done.stdout, done
    assert len(project.rejected()) == 2
    (project.folder / "elsewhere").rename(project.folder / away)
    assert project.command("retry", check=0).stdout.count("is taken again") == 2


def test_retry_brings_back_into_a_folder_that_was_removed(project):
    """The bug: it failed for as long as nobody made the folder."""
    project = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    (project.drop / "today/sub").mkdir(parents=True)
    (project.drop / "today/sub/a.csv").write_text("bad\n")
    project.once(check=3)
    shutil.rmtree(project.drop / "today")
    (project.folder / "failed/today/sub/a.csv").write_text("5\n")
    project.command("retry", check=0)
    project.once()
    assert values(project) == [5] and not project.rejected()


def test_retry_gives_no_source_a_name_that_is_not_taken(project):
    """The bug: it came back as latest.1.csv, which `include` does not take, and nobody knew of it any more."""
    watch = 'include = ["**/latest.csv"]\nrejected = "move"\nrejected_to = "failed"'
    project = project(watch=watch, **CSV)
    (project.drop / "latest.csv").write_text("bad\n")
    project.once(check=3)
    (project.drop / "latest.csv").write_text("1\n")
    done = project.command("retry", check=1)
    assert "drop/latest.1.csv, which it would get, is none that `include`" in done.stderr, done.stderr
    assert os.listdir(project.drop) == ["latest.csv"] and list(project.rejected()) == ["latest.csv"]
    project.once(check=3)
    (project.drop / "latest.csv").unlink()
    (project.folder / "failed/latest.csv").write_text("2\n")
    project.command("retry", check=0)
    assert os.listdir(project.drop) == ["latest.csv"] and not project.rejected()


def test_retry_brings_back_what_was_moved_away_while_it_looked(project):
    """The bug: it forgot the source, which lay in `rejected_to` by then, and no ledger had it any more."""
    needs("strace")
    project = project(watch='rejected = "keep"', **CSV)
    (project.drop / "a.csv").write_text("bad\n")
    project.once(check=3)
    text = project.config.read_text()
    project.config.write_text(text.replace('rejected = "keep"', 'rejected = "move"\nrejected_to = "failed"'))
    slow = ["strace", "-f", "-qqq", "-o", "/dev/null", "-P", project.drop / "a.csv", "-e", "trace=statx",
            "-e", "inject=statx:delay_exit=4000000:when=1"]
    retry = subprocess.Popen([*slow, PROGRAM, "--config", project.config, "retry"], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    project.once(check=3)
    assert os.listdir(project.drop) == [] and retry.poll() is None
    told, _ = retry.communicate(timeout=60)
    assert retry.returncode == 0 and "drop/a.csv  is taken again" in told, told
    assert os.listdir(project.drop) == ["a.csv"] and not project.rejected()


def test_retry_while_rejected_sources_are_being_moved_loses_none(project):
    """The bug: `retry` forgot files that were on their way to `rejected_to`, where nobody knew of them then."""
    project = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    names = {f"{number:03}.csv" for number in range(300)}
    for name in names:
        (project.drop / name).write_text(f"bad {name}\n")
    rejected = lambda: project.ledger("SELECT path, moved_to FROM sources WHERE status = 'rejected'")
    with project.service():
        wait_for(lambda: project.output.exists() and len(rejected()) == 300, timeout=120, project=project)
        project.command("retry", check=0)
        are_moved = lambda: not os.listdir(project.drop) and all(moved_to for _, moved_to in rejected())
        wait_for(are_moved, timeout=120, project=project)
    assert {os.path.basename(path) for path, _ in rejected()} == names
    assert {name for name in os.listdir(project.folder / "failed") if name.endswith(".csv")} == names


def test_retry_leaves_another_datasets_file_under_the_same_name_to_it(project):
    """The bug: two datasets shared `rejected_to`, and one's file was brought back as that of the other, which had been removed."""
    one = project(watch='rejected = "move"\nrejected_to = "failed"', **CSV)
    text = one.config.read_text()
    second = text[text.index("[[dataset]]"):].replace('"frames"', '"more"').replace("data/frames.npy", "data/more.npy")
    one.config.write_text(text + second.replace('folders = ["drop"]', 'folders = ["other"]'))
    (one.folder / "other").mkdir()
    failed = one.folder / "failed"
    (one.drop / "a.csv").write_text("bad of one\n")
    one.once(check=3)
    for path in failed.iterdir():
        path.unlink()
    (one.folder / "other" / "a.csv").write_text("bad of the other\n")
    one.once(check=3)
    done = one.command("retry", check=0)
    assert "frames  drop/a.csv  is gone" in done.stdout and "more  other/a.csv  is taken again" in done.stdout, done.stdout
    assert not list(one.drop.iterdir()) and (one.folder / "other" / "a.csv").read_text() == "bad of the other\n"


def test_files_that_are_given_back_are_taken_only_if_they_are_wanted(project):
    """The bugs: what was left aside of an excluded file gave a row, and was deleted; half a copy was taken as a file."""
    watch = 'include = ["**/*.csv", "**/*.tmp"]\nexclude = ["**/*.part"]\nafter = "delete"'
    project = project(watch=watch, **CSV)
    (project.drop / ".x.txt.npy-ingest-aside").write_text("1\n")
    (project.drop / "..big.csv.npy-ingest-aside.npy-ingest.tmp").write_text("2\n")
    (project.drop / "a.csv").write_text("3\n")
    os.utime(project.drop / ".x.txt.npy-ingest-aside")
    project.once()
    project.once()
    assert values(project) == [3]
    assert (project.drop / "..big.csv.npy-ingest-aside.npy-ingest.tmp").exists()
    assert any(path.name.endswith(("x.txt", "aside")) for path in project.drop.iterdir())


def test_folders_that_are_one_by_a_symbolic_link_are_seen_as_one(project):
    """The bug: a target that leads into the watched folder was taken for another one, and its files came again and again."""
    one = project(watch='after = "move"\nmove_to = "link"', **CSV)
    (one.drop / "done").mkdir()
    (one.folder / "link").symlink_to(one.drop / "done")
    assert "inside a watched folder" in one.command("check", check=2).stderr


@pytest.fixture
def elsewhere():
    """A folder on another disk."""
    folder = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("key", ["after", "rejected"])
def test_equal_deliveries_of_one_name_all_get_to_another_disk(project, elsewhere, key):
    """The bug: each was taken for a copy of the one before it, which a crash had left, and removed."""
    watch = f'{key} = "move"\n' + {"after": "move_to", "rejected": "rejected_to"}[key] + f' = "{elsewhere}"'
    content, header = ("7\n", "false") if key == "after" else ("a\n7\n", "true")
    project = project(watch=watch, **CSV)
    for number in range(3):
        (project.drop / "a.csv").write_text(content)
        # Within the seconds that some disks count in.
        os.utime(project.drop / "a.csv", ns=(0, 10**18 + number * 10**8))
        project.once(check=0 if key == "after" else 3)
    assert sorted(path.name for path in elsewhere.glob("*.csv")) == ["a.1.csv", "a.2.csv", "a.csv"]
    project.configure(watch=watch, **{**CSV, "decoder": f"[dataset.csv]\nheader = {header}"})
    project.command("retry", check=0)
    project.once()
    assert values(project) == [7, 7, 7] and not project.rejected()


def test_a_source_whose_move_to_another_disk_was_killed_is_no_copy_of_an_equal_one(project, elsewhere):
    """The bug: it was taken for a copy, which it would have been in its first run, and removed."""
    needs("strace")
    project = project(watch=f'after = "move"\nmove_to = "{elsewhere}"', **CSV)
    for kill in [[], ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=renameat2",
                      "-e", "inject=renameat2:signal=KILL:when=1"], []]:
        if not (project.drop / "a.csv").exists():
            (project.drop / "a.csv").write_text("7\n")
            # Its time looks like a rounded one of the second.
            os.utime(project.drop / "a.csv", ns=(0, 10**18 + bool(kill) * 10**8))
        subprocess.run([*kill, PROGRAM, "--config", project.config, "--once"], capture_output=True)
        assert (project.drop / "a.csv").exists() == bool(kill)
    assert sorted(os.listdir(elsewhere)) == ["a.1.csv", "a.csv"] and values(project) == [7, 7]


@pytest.mark.parametrize("call", ["unlink,unlinkat", "pwrite64"])
def test_a_retry_from_another_disk_that_is_killed_doubles_nothing(project, elsewhere, call):
    """The bug: both the copy and what was copied were taken, the one by the next run, the other by the next `retry`."""
    needs("strace")
    watch = f'rejected = "move"\nrejected_to = "{elsewhere}"'
    project = project(watch=watch, **CSV)
    (project.drop / "a.csv").write_text("a\n7\n")
    project.once(check=3)
    project.configure(watch=watch, **{**CSV, "decoder": "[dataset.csv]\nheader = true"})
    killed = subprocess.run(["strace", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={call}",
                             "-e", f"inject={call}:signal=KILL:when=1", PROGRAM, "--config", project.config, "retry"])
    assert killed.returncode != 0
    for _ in range(2):
        project.command("--once")
        project.command("retry", check=0)
    project.once()
    assert values(project) == [7] and not project.rejected() and os.listdir(elsewhere) == []
