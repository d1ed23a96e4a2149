"""A source whose decoding ends the whole program: known to the next start, tried once more, then rejected."""

import json
import signal
import subprocess

import numpy as np
from PIL import Image

from harness import PROGRAM

# A picture of 38 bytes that takes 432 MB for its pixels, and then 576 MB within the library, which ends the process where
# it does not get them.
SIDE = 12_000
# Address space for the program, in bytes: enough for the former, and not for both.
ADDRESS_SPACE = 750_000_000


def in_little_memory(project, *words):
    return subprocess.run(["prlimit", f"--as={ADDRESS_SPACE}", PROGRAM, "--config", project.config, *words],
                          capture_output=True, text=True, timeout=300)


def drop(project):
    for name, color in [("a.png", 10), ("z.png", 30)]:
        Image.new("RGB", (40, 40), (color,) * 3).save(project.drop / name)
    Image.new("RGB", (SIDE, SIDE), (20, 20, 20)).save(project.drop / "large.webp", lossless=True, method=0)


def test_a_source_that_ends_the_program_twice_is_rejected_and_the_others_go_on(project):
    project = project()
    drop(project)
    suspects = project.output.with_suffix(".suspects")

    for times in [1, 2]:
        ended = in_little_memory(project, "--once")
        assert ended.returncode == -signal.SIGABRT, (ended.returncode, ended.stderr)
        lines = [json.loads(line) for line in suspects.read_text().splitlines()]
        assert [line["source"] for line in lines] == [str(project.drop / "large.webp")] * times, lines

    done = in_little_memory(project, "--once")
    assert done.returncode == 3, done.stderr
    assert "the program ended while it decoded this source" in done.stderr, done.stderr
    assert "ended 2 times" in project.rejected()["large.webp"], project.rejected()
    assert "npy-ingest retry" in project.rejected()["large.webp"]
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 30]
    assert not suspects.exists()

    # Another chance, on a machine that has the memory.
    project.command("retry", check=0)
    project.once()
    assert sorted(int(row[0, 0, 0]) for row in project.rows()) == [10, 20, 30]
    project.check_exactly_once(["a.png", "large.webp", "z.png"])
    assert not suspects.exists()


def test_a_source_that_is_decoded_at_the_second_try_is_no_suspect_any_more(project):
    project = project()
    drop(project)
    assert in_little_memory(project, "--once").returncode == -signal.SIGABRT
    suspects = project.output.with_suffix(".suspects")
    assert len(suspects.read_text().splitlines()) == 1
    project.once()
    assert not suspects.exists()
    project.check_exactly_once(["a.png", "large.webp", "z.png"])


def test_a_kill_counts_against_no_source(project):
    project = project()
    drop(project)
    for end in [signal.SIGKILL, signal.SIGABRT]:
        with project.service(stop=end, check=None) as process:
            # The large one is on its way, or already in.
            project.wait_for_rows(1)
            assert process.poll() is None
    assert not project.output.with_suffix(".suspects").exists()
    project.once()
    assert len(np.unique(project.rows()[:, 0, 0, 0])) == 3


def test_a_file_for_which_there_is_no_memory_ends_nothing(project):
    project = project()
    drop(project)
    (project.drop / "large.webp").unlink()
    with open(project.drop / "long.bmp", "wb") as file:
        file.write(b"BM")
        file.truncate(500_000_000)
    done = subprocess.run(["prlimit", "--as=400000000", PROGRAM, "--config", project.config, "--once"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, (done.returncode, done.stderr)
    assert "out of memory" in project.rejected()["long.bmp"], project.rejected()
    assert project.count() == 2
