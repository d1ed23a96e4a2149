"""A source whose decoding ends the whole program: known to the next start, tried once more, then rejected."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from harness import PROGRAM
from test_systemd import Manager

# A picture of 38 bytes that takes 432 MB for its pixels, and then 576 MB within the library, which ends the process where
# it does not get them.
SIDE = 12_000
# Address space for the program, in bytes: enough for the former, and not for both.
ADDRESS_SPACE = 750_000_000

TWO = "[service]\nworkers = 2"


def in_little_memory(project, *words, space=ADDRESS_SPACE):
    """Threads and their arenas take address space as well: one for all, and two workers."""
    return subprocess.run(["prlimit", f"--as={space}", PROGRAM, "--config", project.config, *words],
                          capture_output=True, text=True, timeout=300, env={**os.environ, "MALLOC_ARENA_MAX": "1"})


def suspects_of(project):
    """Name of each source in the file, one for each end."""
    path = project.output.with_suffix(".suspects")
    lines = path.read_text().splitlines() if path.exists() else []
    return [Path(json.loads(line)["source"]).name for line in lines if line]


def drop(project):
    for name, color in [("a.png", 10), ("z.png", 30)]:
        Image.new("RGB", (40, 40), (color,) * 3).save(project.drop / name)
    Image.new("RGB", (SIDE, SIDE), (20, 20, 20)).save(project.drop / "large.webp", lossless=True, method=0)


def test_a_source_that_ends_the_program_twice_is_rejected_and_the_others_go_on(project):
    project = project(service=TWO)
    drop(project)
    for times in [1, 2]:
        ended = in_little_memory(project, "--once")
        assert ended.returncode == -signal.SIGABRT, (ended.returncode, ended.stderr)
        assert suspects_of(project) == ["large.webp"] * times

    done = in_little_memory(project, "--once")
    assert done.returncode == 3, done.stderr
    assert "the program ended while it decoded this source" in done.stderr, done.stderr
    assert "ended 2 times" in project.rejected()["large.webp"], project.rejected()
    assert "npy-ingest retry" in project.rejected()["large.webp"]
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 30]
    assert suspects_of(project) == []

    # Another chance, on a machine that has the memory.
    project.command("retry", check=0)
    project.once()
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 20, 30]
    project.check_exactly_once(["a.png", "large.webp", "z.png"])
    assert suspects_of(project) == []


def test_a_source_that_is_decoded_at_the_second_try_is_no_suspect_any_more(project):
    project = project(service=TWO)
    drop(project)
    assert in_little_memory(project, "--once").returncode == -signal.SIGABRT
    assert suspects_of(project) == ["large.webp"]
    project.once()
    assert suspects_of(project) == []
    project.check_exactly_once(["a.png", "large.webp", "z.png"])


def test_bad_sources_do_not_hide_each_other(project):
    """Commits are far apart, and one source ends the program while another's rejection is not committed."""
    project = project(service=TWO, watch='order = "name"', commit='max_delay = "1h"')
    drop(project)
    for name in ["b.webp", "m.webp"]:
        shutil.copy(project.drop / "large.webp", project.drop / name)
        with open(project.drop / name, "ab") as file:
            file.write(name.encode())
    ends = 0
    while (done := in_little_memory(project, "--once")).returncode == -signal.SIGABRT:
        ends += 1
        assert ends <= 6, suspects_of(project)
    assert done.returncode == 3, done.stderr
    assert sorted(project.rejected()) == ["b.webp", "large.webp", "m.webp"]
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 30]
    assert suspects_of(project) == []


def test_sources_that_have_memory_enough_one_by_one_are_all_taken(project):
    project = project(service=TWO, watch='order = "name"')
    drop(project)
    with open(project.drop / "large.webp", "rb") as file:
        (project.drop / "other.webp").write_bytes(file.read() + b"other")
    ends = 0
    # Enough for one of them, and for the first half of another.
    while (done := in_little_memory(project, "--once", space=1_700_000_000)).returncode == -signal.SIGABRT:
        ends += 1
        assert ends <= 4, suspects_of(project)
    assert done.returncode == 0, (done.stderr, project.rejected())
    print(f"\nends before all were taken: {ends}")
    project.check_exactly_once(["a.png", "large.webp", "other.webp", "z.png"])
    assert suspects_of(project) == []


@pytest.mark.parametrize("to_the_thread", [True, False])
def test_a_signal_from_outside_counts_against_no_source(project, to_the_thread):
    project = project(service=TWO)
    drop(project)
    with project.service(check=None) as process:
        tasks = Path(f"/proc/{process.pid}/task")

        def decoding():
            """The thread that has the large picture in hand: it takes memory and time."""
            resident = int((tasks.parent / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            running = [task for task in tasks.iterdir()
                       if (task / "comm").read_text().startswith("npy-decode") and (task / "stat").read_text().rsplit(")")[1].split()[0] == "R"]
            return resident > 300_000_000 and running

        end = time.monotonic() + 60
        while not (found := decoding()):
            assert time.monotonic() < end and process.poll() is None
        os.kill(int(found[0].name) if to_the_thread else process.pid, signal.SIGABRT)
        assert process.wait(60) == -signal.SIGABRT
    assert suspects_of(project) == []
    project.once()
    project.check_exactly_once(["a.png", "large.webp", "z.png"])


def test_a_file_for_which_there_is_no_memory_ends_nothing(project):
    project = project(service=TWO)
    drop(project)
    (project.drop / "large.webp").unlink()
    with open(project.drop / "long.bmp", "wb") as file:
        file.write(b"BM")
        file.truncate(500_000_000)
    done = in_little_memory(project, "--once", space=400_000_000)
    assert done.returncode == 3, (done.returncode, done.stderr)
    assert "not enough memory" in project.rejected()["long.bmp"], project.rejected()
    assert project.count() == 2


def test_a_decode_without_an_end_is_ended_by_the_watchdog(project):
    """As no picture is known that takes for ever, systemd's patience is short, and the picture large."""
    project = project(service=TWO, watch='order = "name"')
    for name, color in [("a.png", 10), ("z.png", 30)]:
        Image.new("RGB", (40, 40), (color,) * 3).save(project.drop / name)
    Image.new("RGB", (SIDE, SIDE), (20, 20, 20)).save(project.drop / "large.webp", quality=1, method=0)
    for times in [1, 2]:
        manager = Manager(project.folder, watchdog_s=0.6, abstract=True)
        with project.service(env=manager.env, check=None) as process:
            assert process.wait(120) == -signal.SIGABRT, project.log()
        assert suspects_of(project) == ["large.webp"] * times
    assert project.log().count("a decode comes to no end") == 2, project.log()
    project.once(check=3)
    assert "ended 2 times" in project.rejected()["large.webp"]
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 30]
