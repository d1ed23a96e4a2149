"""What makes a file a new source, and what becomes of it: changed, renamed, doubled, mended, moved, deleted."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from harness import PROGRAM, TESTDATA, make_pngs, with_inode, write_png


def age(path, seconds=100):
    """Gives the file another modification time."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * 10**9))


def test_a_renamed_source_or_folder_is_not_taken_again(project):
    project = project()
    make_pngs(project.drop / "a", 5)
    project.once()
    (project.drop / "a").rename(project.drop / "b")
    (project.drop / "b" / "000000.png").rename(project.drop / "moved.png")
    project.once()
    assert project.count() == 5
    paths = {path for path, in project.ledger("SELECT path FROM sources")}
    assert "drop/moved.png" in paths and "drop/b/000001.png" in paths and len(paths) == 5


def test_a_project_that_is_moved_or_restored_as_a_whole_keeps_its_rows(project, tmp_path_factory):
    project = project()
    make_pngs(project.drop, 5)
    project.once()
    copy = tmp_path_factory.mktemp("restored") / "project"
    shutil.copytree(project.folder, copy)  # other inodes, same times
    project.folder, project.drop = copy, copy / "drop"
    project.configure()
    project.once()
    assert project.count() == 5


def test_a_touched_source_is_the_same_and_an_overwritten_one_goes_by_changed(project):
    for changed, rows in [("ignore", 3), ("append", 4)]:
        one = project(output=f"data/{changed}.npy", watch=f'changed = "{changed}"')
        make_pngs(one.drop, 3)
        one.once()
        age(one.drop / "000000.png")
        write_png(one.drop / "000001.png", 77)
        one.once()
        assert one.count() == rows, changed
        one.once()
        assert one.count() == rows, changed
        if changed == "append":
            assert one.ledger("SELECT count(*) FROM sources WHERE path LIKE '%000001.png'") == [(2,)]


def test_the_same_content_under_another_name_goes_by_duplicates(project):
    for duplicates, rows in [("append", 4), ("skip", 3)]:
        one = project(output=f"data/{duplicates}.npy", watch=f'duplicates = "{duplicates}"')
        make_pngs(one.drop, 3)
        one.once()
        shutil.copyfile(one.drop / "000000.png", one.drop / "copy.png")
        one.once()
        assert one.count() == rows, duplicates
        one.once()
        assert one.count() == rows, duplicates
        if duplicates == "skip":
            (status, count, reason), = one.ledger("SELECT status, rows, reason FROM sources WHERE path LIKE '%copy.png'")
            assert (status, count) == ("committed", 0) and "000000.png" in reason
        (one.drop / "copy.png").unlink()


def test_a_source_that_is_damaged_and_restored_is_not_doubled(project):
    project = project(watch='changed = "append"')
    make_pngs(project.drop, 1)
    project.once()
    good = (project.drop / "000000.png").read_bytes()
    (project.drop / "000000.png").write_text("damaged")
    project.once(check=3)
    (project.drop / "000000.png").write_bytes(good)
    project.once(check=0)
    assert project.count() == 1 and not project.rejected()


def test_a_mended_file_is_tried_again_by_itself(project):
    project = project()
    shutil.copy(TESTDATA / "bad" / "truncated.png", project.drop / "a.png")
    project.once(check=3)
    write_png(project.drop / "a.png", 1)
    project.once(check=0)
    assert project.count() == 1 and project.rejected() == {}


def test_retry_gives_rejected_sources_another_chance(project):
    project = project(watch='rejected = "move"\nrejected_to = "failed"')
    shutil.copy(TESTDATA / "bad" / "text.jpg", project.drop / "a.jpg")
    (project.drop / "sub").mkdir()
    shutil.copy(TESTDATA / "bad" / "truncated.jpg", project.drop / "sub" / "b.jpg")
    project.once(check=3)
    failed = project.folder / "failed"
    assert not (project.drop / "a.jpg").exists()
    assert "begins with the text" in (failed / "a.jpg.reason.txt").read_text()
    assert "cut short" in (failed / "sub" / "b.jpg.reason.txt").read_text()
    done = project.command("retry", project.drop / "a.jpg", check=0)
    assert "a.jpg" in done.stdout and "b.jpg" not in done.stdout
    assert (project.drop / "a.jpg").exists() and not (failed / "a.jpg.reason.txt").exists()
    assert list(project.rejected()) == ["b.jpg"]
    assert project.command("retry", "nowhere.jpg").returncode == 1
    write_png(project.folder / "good.png", 5)
    (project.folder / "good.png").rename(failed / "sub" / "b.jpg")  # mended where it lies
    project.command("retry", check=0)
    project.once(check=3)
    assert project.count() == 1 and list(project.rejected()) == ["a.jpg"]


def test_retry_takes_names_as_they_are_shown(project):
    """The bug: a name with a line end, with ESC or of other bytes could not be named, nor could the place that a source was
    moved to, and a name of nothing was passed over beside one of something."""
    project = project(watch='include = ["**/*"]\nrejected = "move"\nrejected_to = "failed"')
    names = [b"new\nline", b"\xff\xfe", b"back\\slash", b"sp ace", b"tab\t", b"\x1b[31m", "\u202eé".encode()]
    for name in names:
        (Path(os.fsdecode(os.fsencode(project.drop) + b"/" + name))).write_bytes(b"no picture " + name)
    (project.drop / "sub").mkdir()
    (project.drop / "sub" / "x").write_bytes(b"no picture")
    project.once(check=3)
    lines = project.command("sources", "--rejected", check=0).stdout.splitlines()
    shown = {line.split("  ")[2] for line in lines}
    assert len(shown) == 8 and "drop/\\u{1b}[31m" in shown
    for name in shown - {"drop/sub/x"}:
        assert project.command("retry", name, check=0).stdout == f"frames  {name}  is taken again\n"
    assert sorted(os.listdir(os.fsencode(project.drop))) == sorted([*names, b"sub"])
    # From the config's folder, a name is a path as it is shown.
    done = subprocess.run([PROGRAM, "--config", project.config, "retry", "drop/sp ace", "./drop/sp ace"],
                          capture_output=True, text=True, cwd=project.folder)
    assert done.returncode == 1 and done.stderr.count("is not rejected") == 2, "they are back already"
    project.once(check=3)
    done = subprocess.run([PROGRAM, "--config", project.config, "retry", "drop/sp ace", "./drop/sp ace"],
                          capture_output=True, text=True, cwd=project.folder)
    assert done.returncode == 0 and done.stdout == "frames  drop/sp ace  is taken again\n", done
    project.command("retry", check=0)
    project.once(check=3)
    done = project.command("retry", "failed/sub/x", "nowhere\n", check=1)
    assert "drop/sub/x  is taken again" in done.stdout and "nowhere\\n is not rejected" in done.stderr
    assert (project.drop / "sub" / "x").exists()
    assert "drop/sub/x" not in project.command("sources", "--rejected", check=0).stdout


def test_retry_wakes_a_running_service(project):
    project = project(watch='rescan = "1h"')
    write_png(project.folder / "good.png", 1)
    content = (project.folder / "good.png").read_bytes()
    (project.drop / "a.png").write_bytes(content[:-20])
    with project.service():
        while not project.rejected():
            time.sleep(0.02)
        project.command("retry", check=0)
        end = time.monotonic() + 10
        while project.log().count("rejected:") < 2:
            assert time.monotonic() < end, project.log()
            time.sleep(0.02)


@pytest.mark.parametrize("after", ["move", "delete"])
def test_sources_are_disposed_of_after_their_commit(project, after):
    project = project(watch='after = "move"\nmove_to = "done"' if after == "move" else 'after = "delete"')
    names = make_pngs(project.drop / "a", 20)
    project.once()
    assert [*project.drop.rglob("*.png")] == []
    done = sorted(path.name for path in (project.folder / "done").rglob("*.png"))
    assert done == (sorted(names) if after == "move" else [])
    # The name is free for the next picture, which is another source; and nothing is overwritten in the target.
    write_png(project.drop / "a" / names[0], 999)
    project.once()
    assert project.count() == 21 and [*project.drop.rglob("*.png")] == []
    # `sources` says where they are.
    *_, before, last = project.command("sources", check=0).stdout.splitlines()
    if after == "move":
        assert before.endswith("row 19  (moved to done/a/000019.png)")
        assert last.endswith("row 20  (moved to done/a/000000.1.png)")
    else:
        assert before.endswith("row 19  (deleted)")
    if after == "move":
        assert (project.folder / "done" / "a" / "000000.1.png").exists()
        moved = {path for path, in project.ledger("SELECT moved_to FROM sources")}
        assert str(project.folder / "done" / "a" / "000000.1.png") in moved
    # What a crash kept from being disposed of is disposed of by the next run, and not taken again.
    project.configure(watch="")
    write_png(project.drop / "kept.png", 5)
    project.once()
    project.configure(watch='after = "move"\nmove_to = "done"' if after == "move" else 'after = "delete"')
    project.once()
    assert project.count() == 22 and not (project.drop / "kept.png").exists()


RECORDS = {"shape": [8], "decoder": "[dataset.records]\n"}


def rows_of(project):
    return sorted(bytes(row) for row in project.rows())


def test_a_file_with_inode_size_and_time_of_a_deleted_one_is_read(project):
    """The bug: it was deleted unread. A filesystem gives inodes again, and archives and loggers may have fixed times."""
    project = project(watch='include = ["**/*.bin"]\nafter = "delete"', **RECORDS)
    kept, dropped = project.folder / "kept", project.drop / "a.bin"
    with project.service():
        for number in range(4):
            kept.write_bytes(b"ROWROW%02d" % number)  # in place: the inode stays
            os.utime(kept, ns=(0, 0))
            os.link(kept, dropped)
            project.wait_for_rows(number + 1)
            while dropped.exists():
                time.sleep(0.02)
    assert rows_of(project) == [b"ROWROW%02d" % number for number in range(4)]


@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_source_that_is_renamed_before_it_is_disposed_of_is_not_taken_again(project, after):
    keep, away = 'include = ["**/*.bin"]', 'after = "move"\nmove_to = "done"' if after == "move" else 'after = "delete"'
    project = project(watch=keep, **RECORDS)
    for name in ["a", "b", "c"]:
        (project.drop / f"{name}.bin").write_bytes(name.encode() * 8)
    project.once()
    (project.drop / "a.bin").rename(project.drop / "renamed.bin")
    project.configure(watch=f"{keep}\n{away}", **RECORDS)
    # The same folder, spelled in another way.
    project.config.write_text(project.config.read_text().replace('["drop"]', f'["{project.drop}"]'))
    project.once()
    assert rows_of(project) == [b"a" * 8, b"b" * 8, b"c" * 8]
    assert [*project.drop.rglob("*.bin")] == []


def test_a_source_whose_target_is_blocked_can_be_renamed(project):
    """It is tried again, and not in every scan; one warning tells of all."""
    watch = 'include = ["**/*.bin"]\nrescan = "1s"\nafter = "move"\nmove_to = "done"'
    project = project(watch=watch, **RECORDS)
    (project.folder / "done").write_text("in the way")
    with project.service():
        for name in ["a", "b"]:
            (project.drop / f"{name}.bin").write_bytes(name.encode() * 8)
        project.wait_for_rows(2)
        time.sleep(0.5)
        (project.drop / "a.bin").rename(project.drop / "renamed.bin")
        time.sleep(2)
        (project.folder / "done").unlink()
        end = time.monotonic() + 30
        while [*project.drop.rglob("*.bin")]:
            assert time.monotonic() < end, project.log()
            time.sleep(0.1)
    assert rows_of(project) == [b"a" * 8, b"b" * 8]
    assert (project.folder / "done" / "renamed.bin").exists()
    assert project.log().count("could not be moved to") == 1, project.log()


def test_each_name_of_a_file_can_be_renamed(project):
    project = project(watch='include = ["**/*.bin"]', **RECORDS)
    (project.drop / "a.bin").write_bytes(b"a" * 8)
    os.link(project.drop / "a.bin", project.drop / "b.bin")
    project.once()
    (project.drop / "a.bin").rename(project.drop / "c.bin")
    project.once()
    (project.drop / "b.bin").rename(project.drop / "d.bin")
    project.once()
    assert project.count() == 2
    assert {path for path, in project.ledger("SELECT path FROM sources")} == {"drop/c.bin", "drop/d.bin"}


def test_a_name_that_is_used_again_is_told_of_once(project):
    project = project(watch='include = ["**/*.bin"]\nrescan = "1s"', **RECORDS)
    path = project.drop / "a.bin"
    with project.service():
        path.write_bytes(b"a" * 8)
        project.wait_for_rows(1)
        path.unlink()
        path.write_bytes(b"b" * 16)
        time.sleep(3)
    assert project.count() == 1
    assert project.log().count("another file of this name was taken before") == 1, project.log()
    assert "1 file was not taken" in project.command("status", check=0).stdout


def test_nothing_below_an_excluded_folder_is_taken(project):
    """The bug: a folder made below an excluded one was scanned for itself; its files were taken, and deleted."""
    project = project(watch='include = ["**/*.bin"]\nexclude = ["**/.*", "skip"]\nafter = "delete"', **RECORDS)
    left = [project.drop / ".hidden" / "sub" / "x.bin", project.drop / "skip" / "sub" / "deep" / "x.bin"]
    for path in left:
        path.parent.parent.mkdir(parents=True, exist_ok=True)
    with project.service():
        (project.drop / "ok.bin").write_bytes(b"okokokok")
        project.wait_for_rows(1)
        for path in left:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"excluded")
        (project.drop / "last.bin").write_bytes(b"lastlast")
        project.wait_for_rows(2)
        time.sleep(1)
    assert rows_of(project) == [b"lastlast", b"okokokok"]
    assert all(path.exists() for path in left)


def test_links_pipes_and_foreign_files_are_left_alone(project):
    project = project()
    make_pngs(project.drop, 2)
    make_pngs(project.folder / "outside", 2, first=10)
    os.symlink(project.folder / "outside" / "000010.png", project.drop / "link.png")
    os.symlink(project.folder / "outside", project.drop / "folder")
    os.mkfifo(project.drop / "pipe.png")
    (project.drop / "notes.txt").write_text("no image")
    (project.drop / ".hidden.png").write_bytes((project.drop / "000000.png").read_bytes())
    (project.drop / "half.png.part").write_bytes(b"")
    project.once()
    assert project.count() == 2 and not project.rejected()
    assert "of the files there now: 2 committed, 1 symbolic link (not followed)" in project.command("check", check=0).stdout


def test_names_of_any_bytes(project):
    project = project()
    names = [b"new\nline.png", b"esc\x1b[31m.png", b"latin1-\xe9.png", "\u4f60\u597d.png".encode(), b"quote'\".png"]
    for number, name in enumerate(names):
        write_png(project.folder / "a.png", number)
        os.rename(project.folder / "a.png", os.path.join(os.fsencode(project.drop), name))
    project.once()
    assert project.count() == 5
    project.once()
    assert project.count() == 5
    stored = {os.fsencode(path) if isinstance(path, str) else path for path, in project.ledger("SELECT path FROM sources")}
    assert stored == {b"drop/" + name for name in names}
    for name in [b"bad\nline.png", b"bad\x1b[31m.png"]:
        with open(os.path.join(os.fsencode(project.drop), name), "wb") as bad:
            bad.write(b"no image")
    done = project.once(check=3)
    assert "\x1b[31m" not in done.stderr and len(done.stderr.splitlines()) == 2
    project.command("retry", check=0)
    listing = project.command("sources", check=0).stdout
    assert "\x1b" not in listing and len(listing.splitlines()) == 5
    assert len(project.json("sources")["datasets"][0]["sources"]) == 5


def test_sources_that_were_touched_or_copied_back_are_known(project):
    """The bug: each was told of as another file under its name, and `status` counted it as not taken."""
    project = project(watch='include = ["**/*.bin"]\nrescan = "1s"', **RECORDS)
    for name in "abc":
        (project.drop / f"{name}.bin").write_bytes(name.encode() * 8)
    project.once()
    os.utime(project.drop / "a.bin", (1, 1))
    (project.drop / "b.bin").rename(project.folder / "b.bin")
    (project.drop / "b.bin").write_bytes(b"b" * 8)
    # As long, and another content.
    (project.drop / "c.bin").write_bytes(b"d" * 8)
    done = project.once()
    assert "another file of this name" in done.stderr and done.stderr.count("not taken") == 1 and "c.bin" in done.stderr, done.stderr
    assert project.count() == 3
    for name in "ab":
        status = (project.drop / f"{name}.bin").stat()
        known = project.ledger("SELECT mtime_ns, inode FROM sources WHERE path = ?", f"drop/{name}.bin")
        assert known == [(status.st_mtime_ns, status.st_ino)]


def need_birth(path):
    """Skips the test where the filesystem does not tell when files were made."""
    if int(subprocess.run(["stat", "-c", "%W", path], capture_output=True, text=True).stdout) <= 0:
        pytest.skip("the filesystem does not tell when files were made")


def test_a_source_that_was_renamed_and_touched_meanwhile_is_known(project):
    """The bug: its rows came twice. Another file that got the inode of one that was removed is another."""
    project = project(watch='include = ["**/*.bin"]', **RECORDS)
    first = project.drop / "a.bin"
    first.write_bytes(b"ROWROW00")
    need_birth(first)
    project.once()
    os.utime(first.rename(project.drop / "b.bin"))
    project.once()
    assert rows_of(project) == [b"ROWROW00"]
    (project.drop / "b.bin").rename(project.folder / "c.bin")
    inode = (project.folder / "c.bin").stat().st_ino
    (project.folder / "c.bin").unlink()
    with_inode(project.drop / "d.bin", inode, lambda path: path.write_bytes(b"ROWROW00"))
    project.once()
    assert rows_of(project) == [b"ROWROW00"] * 2


def test_the_next_file_of_a_name_is_taken_after_a_kill_kept_the_removal_from_being_noted(project):
    """The bug: it had the inode and the content of the one before, and was deleted unread."""
    project = project(watch='include = ["**/*.bin"]\nafter = "delete"', **RECORDS)
    source = project.drop / "a.bin"
    source.write_bytes(b"ROWROW00")
    need_birth(source)
    inode = source.stat().st_ino
    project.once()
    with contextlib.closing(sqlite3.connect(project.output.with_suffix(".ledger.db"))) as ledger, ledger:
        ledger.execute("UPDATE sources SET moved_to = NULL")
    with_inode(source, inode, lambda path: path.write_bytes(b"ROWROW00"))
    project.once()
    assert rows_of(project) == [b"ROWROW00"] * 2 and not source.exists()
