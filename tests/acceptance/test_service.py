"""The running service: how files arrive, how readers see them, how it stops."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness import LONG, TESTDATA, cpu_ns, make_photographs, make_pngs, mounted, wait_for, write_png


def test_every_way_a_file_arrives(project):
    project = project()
    elsewhere = project.folder / "elsewhere"
    names = make_pngs(elsewhere, 60)
    with project.service():
        time.sleep(0.3)
        for name in names[:20]:
            shutil.copy(elsewhere / name, project.drop / name)
        for name in names[20:40]:
            (elsewhere / name).rename(project.drop / name)
        # Written slowly, over three seconds, with pauses far longer than `settle`.
        with open(project.drop / names[40], "wb", buffering=0) as slow:
            content = (elsewhere / names[40]).read_bytes()
            for part in range(10):
                slow.write(content[len(content) * part // 10:len(content) * (part + 1) // 10])
                time.sleep(0.3)
                assert not project.ledger("SELECT 1 FROM sources WHERE path LIKE ?", f"%{names[40]}")
        # Written under a temporary name and renamed, as rsync does.
        for name in names[41:50]:
            (project.drop / f".{name}.x7Yq").write_bytes((elsewhere / name).read_bytes())
            (project.drop / f".{name}.x7Yq").rename(project.drop / name)
        # A whole folder moved in.
        (elsewhere / "folder").mkdir()
        for name in names[50:]:
            (elsewhere / name).rename(elsewhere / "folder" / name)
        (elsewhere / "folder").rename(project.drop / "folder")
        project.wait_for_rows(60)
    project.check_exactly_once(names)
    assert not project.rejected()


def test_a_burst_into_freshly_made_nested_folders(project):
    project = project(shape=(8, 8, 3))
    originals = project.folder / "originals"
    names = make_pngs(originals, 2000)
    with project.service():
        time.sleep(0.3)
        for number, name in enumerate(names):
            folder = project.drop / str(number % 40) / str(number % 7) / "deep"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(originals / name, folder / name)
        project.wait_for_rows(2000, timeout=30)
    project.check_exactly_once(names)


def test_polling_finds_what_events_would(project):
    project = project(watch='mode = "poll"')
    elsewhere = project.folder / "elsewhere"
    names = make_pngs(elsewhere, 20)
    with project.service():
        time.sleep(0.5)
        for name in names[:10]:
            shutil.copy(elsewhere / name, project.drop / name)
        project.wait_for_rows(10, timeout=5)
        (elsewhere / "folder").mkdir()
        for name in names[10:]:
            (elsewhere / name).rename(elsewhere / "folder" / name)
        (elsewhere / "folder").rename(project.drop / "folder")
        project.wait_for_rows(20, timeout=5)
    project.check_exactly_once(names)


def test_a_burst_while_the_service_cannot_listen(project):
    """The kernel's queue of events overflows: what was lost is found by a scan."""
    project = project(shape=(4, 4, 3))
    elsewhere = project.folder / "elsewhere"
    names = make_pngs(elsewhere, 12_000)
    with project.service() as service:
        time.sleep(0.5)
        service.send_signal(signal.SIGSTOP)
        for name in names:
            (elsewhere / name).rename(project.drop / name)
            os.utime(project.drop / name)
        service.send_signal(signal.SIGCONT)
        project.wait_for_rows(len(names))
        assert "events were lost" in project.log()
    project.check_exactly_once(names)


def test_folders_that_are_made_or_renamed_while_events_are_lost_are_watched(project):
    """The bug: they never were again, and their files waited for the next rescan, each time, until a restart."""
    project = project(shape=(4, 4, 3), watch='rescan = "1h"')
    names = make_pngs(project.drop / "old", 1)
    with project.service() as service:
        project.wait_for_rows(1)
        service.send_signal(signal.SIGSTOP)
        # The kernel makes one event of two that follow each other and are alike.
        with open(project.drop / "a.txt", "wb") as one, open(project.drop / "b.txt", "wb") as other:
            for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
                os.pwrite(one.fileno(), b"x", 0)
                os.pwrite(other.fileno(), b"x", 0)
        (project.drop / "old").rename(project.drop / "renamed")
        (project.drop / "new").mkdir()
        service.send_signal(signal.SIGCONT)
        wait_for(lambda: "events were lost" in project.log(), project=project)
        time.sleep(0.5)
        for number, folder in enumerate(["renamed", "new", "renamed", "new"]):
            names += make_pngs(project.drop / folder, 1, first=10 + number)
            project.wait_for_rows(len(names), timeout=10)
    project.check_exactly_once(names)


def test_a_dropped_photograph_is_a_row_within_300_ms(project):
    project = project(shape=(224, 224, 3))
    latencies = []
    with project.service():
        project.wait_for_rows(0)
        time.sleep(1)
        source = TESTDATA / "photos" / "objects" / "coffee.jpg"
        for number in range(11):
            shutil.copy(source, project.folder / "copy.jpg")
            start = time.monotonic()
            (project.folder / "copy.jpg").rename(project.drop / f"{number}.jpg")
            while project.count() <= number:
                time.sleep(0.001)
                assert time.monotonic() - start < 10
            latencies.append(time.monotonic() - start)
            time.sleep(0.2)
    latencies.sort()
    print(f"drop to row: median {latencies[5] * 1000:.0f} ms, longest {latencies[-1] * 1000:.0f} ms")
    assert latencies[5] < 0.3, latencies


READER = """
import hashlib, sys, time
import numpy as np
path, seconds = sys.argv[1], float(sys.argv[2])
seen, count, loads, end = [], 0, 0, time.monotonic() + seconds
while time.monotonic() < end:
    rows = np.load(path, mmap_mode="r")
    loads += 1
    assert len(rows) >= count, f"the count fell from {count} to {len(rows)}"
    for row in range(count, len(rows)):
        assert rows[row].any(), f"row {row} is empty"
        seen.append(hashlib.sha256(rows[row].tobytes()).digest())
    count = len(rows)
    if count:
        row = (loads * 7919) % count
        assert hashlib.sha256(rows[row].tobytes()).digest() == seen[row], f"row {row} changed"
rows = np.load(path, mmap_mode="r")
for row in range(count):
    assert hashlib.sha256(rows[row].tobytes()).digest() == seen[row], f"row {row} changed"
print(loads, count)
"""


def test_a_reader_sees_no_exception_no_shrinking_and_no_change(project):
    seconds = 60 if LONG else 12
    project = project()
    with project.service():
        while not project.output.exists():
            time.sleep(0.01)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, project.output, str(seconds)], stdout=subprocess.PIPE, text=True)
        number = 0
        while reader.poll() is None:
            write_png(project.drop / f"{number}.png", number + 1)
            number += 1
            time.sleep(0.002)
        assert reader.returncode == 0
        loads, count = map(int, reader.stdout.read().split())
        project.wait_for_rows(number)
    print(f"{loads} loads of up to {count} rows in {seconds} s")
    assert loads > 100 and count > 100


def test_sigterm_under_load_drains_commits_and_exits_0(project):
    project = project(shape=(224, 224, 3))
    names = make_photographs(project.drop, 400)
    with project.service() as service:
        project.wait_for_rows(20)
        start = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == 0
        print(f"stopped after {time.monotonic() - start:.2f} s with {project.count()} rows")
    assert 20 <= project.count()
    with project.service():
        project.wait_for_rows(400)
        # They may all have been there: then it has hardly begun, and does not listen for signals yet.
        end = time.monotonic() + 30
        while project.log().count(" running ") < 2:
            assert time.monotonic() < end, project.log()
            time.sleep(0.01)
    project.check_exactly_once(names)


def test_a_second_daemon_is_refused(project):
    project = project()
    with project.service() as service:
        project_count = len(make_pngs(project.drop, 3))
        project.wait_for_rows(project_count)
        done = project.command("--once")
        assert done.returncode == 1
        assert "another process writes to" in done.stderr and str(service.pid) in done.stderr
        assert project.json("status")["datasets"][0]["running"] is True
    assert project.json("status")["datasets"][0]["running"] is False


def test_a_missing_drop_folder_is_waited_for_and_one_made_anew_is_watched(project):
    project = project()
    project.drop.rmdir()
    with project.service():
        time.sleep(0.5)
        assert "cannot be read" in project.log() and str(project.drop) in project.log()
        make_pngs(project.drop, 3)
        project.wait_for_rows(3)
        shutil.rmtree(project.drop)
        time.sleep(1.5)
        make_pngs(project.drop, 3, first=10)
        project.wait_for_rows(6)
        time.sleep(1.5)
        start = time.monotonic()
        make_pngs(project.drop, 1, first=20)
        project.wait_for_rows(7)
        assert time.monotonic() - start < 5, "the new folder is watched, not only scanned"


def test_a_full_disk_pauses_and_goes_on_when_there_is_room(project):
    project = project(shape=(64, 64, 3))
    data = project.folder / "data"
    with mounted(data, "size=2m") as remount:
        names = make_pngs(project.drop, 300)  # 3.5 MiB of rows
        with project.service():
            end = time.monotonic() + 30
            while "paused for" not in project.log():
                assert time.monotonic() < end, project.log()
                time.sleep(0.05)
            assert "No space left on device" in project.log() or "full" in project.log()
            rows = np.array(project.rows())
            remount("size=64m")
            project.wait_for_rows(300, timeout=90)
            assert (project.rows()[:len(rows)] == rows).all()
        project.check_exactly_once(names)


def test_a_dataset_pauses_before_its_disk_is_full(project):
    project = project(shape=(64, 64, 3), service='[service]\nmin_free = "30MiB"', commit="max_rows = 16")
    data = project.folder / "data"
    with mounted(data, "size=32m") as remount:
        names = make_pngs(project.drop, 300)  # 3.5 MiB of rows
        with project.service():
            end = time.monotonic() + 60
            while "nearly full" not in project.log():
                assert time.monotonic() < end, project.log()
                time.sleep(0.05)
            assert "30.0 MiB to stay free (`min_free`)" in project.log() and project.count() < 300
            free = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
            assert free > 28 << 20, "the ledger's log is not counted before it is written"
            remount("size=64m")
            project.wait_for_rows(300, timeout=90)
        project.check_exactly_once(names)


def blank(path):
    np.save(path, np.zeros_like(np.load(path)))


@pytest.mark.parametrize("suffix, change, words", [
    (".npy", lambda path: os.truncate(path, 128), "it has 128 bytes, and its 5 rows need"),
    (".label.npy", lambda path: os.truncate(path, 0), "it has 0 bytes"),
    (".npy", blank, "the 16 bytes of its count, at byte 64, are"),
    (".label.npy", blank, "the 16 bytes of its count, at byte 64, are"),
], ids=["cut", "column-emptied", "overwritten", "column-overwritten"])
def test_a_file_that_is_changed_in_place_stops_the_dataset(project, suffix, change, words):
    """The bug: it went on, deleted the sources of rows that were not there, and its stop called what it left sound."""
    project = project(watch='after = "delete"', columns='label = "folder"')
    path = project.output.with_suffix(suffix)
    make_pngs(project.drop, 5)
    with project.service(check=1):
        project.wait_for_rows(5)
        wait_for(lambda: not list(project.drop.iterdir()))
        change(path)
        make_pngs(project.drop, 1, first=5)
        wait_for(lambda: "before a restart" in project.log(), project=project)
    assert f"{path} was changed by another program" in project.log() and words in project.log(), project.log()
    assert [path.name for path in project.drop.iterdir()] == ["000005.png"]
    assert project.ledger("SELECT rows FROM dataset") == [(5,)]
    assert path.name in project.once(check=1).stderr, "refused"


def test_a_file_that_was_changed_in_place_is_not_called_sound_by_a_stop(project):
    project = project()
    make_pngs(project.drop, 5)
    with project.service(check=1):
        project.wait_for_rows(5)
        os.truncate(project.output, 128)
    assert "it has 128 bytes, and its 5 rows need" in project.log(), project.log()
    assert project.ledger("SELECT clean_rows FROM dataset") == [(0,)]


def test_a_full_disk_in_the_middle_of_a_long_source(project):
    """The rows of an animation go to the writer in parts. When one of them does not fit, the source is taken again as a
    whole, and nobody waits for a buffer that never comes back."""
    from PIL import Image

    project = project(
        shape=(200, 200, 3), image='frames = "all"', service='[service]\nmemory = "1MiB"\nworkers = 2')
    data = project.folder / "data"
    with mounted(data, "size=20m") as remount:
        frames = [Image.new("RGB", (50, 50), (number, 255 - number, 90)) for number in range(100)]
        for number in range(4):
            first, *others = frames[number:] + frames[:number]
            first.save(project.drop / f"{number}.gif", save_all=True, append_images=others, duration=40)
        with project.service():
            end = time.monotonic() + 30
            while "paused for" not in project.log():
                assert time.monotonic() < end, project.log()
                time.sleep(0.05)
            remount("size=200m")
            project.wait_for_rows(400)
        assert project.ledger("SELECT rows FROM sources") == [(100,)] * 4
        assert project.json("verify", "--deep")["ok"]


def test_a_full_disk_ends_once_with_words_and_without_loss(project):
    project = project(shape=(64, 64, 3))
    data = project.folder / "data"
    with mounted(data, "size=2m") as remount:
        names = make_pngs(project.drop, 300)
        done = project.once(check=1)
        assert "No space left on device" in done.stderr or "full" in done.stderr, done.stderr
        remount("size=64m")
        project.once()
        project.check_exactly_once(names)


def test_a_read_only_output_folder_is_waited_for(project):
    project = project()
    data = project.folder / "data"
    with mounted(data, "size=16m,ro") as remount:
        names = make_pngs(project.drop, 5)
        done = project.once(check=1)
        assert "Read-only file system" in done.stderr and str(data) in done.stderr
        with project.service():
            time.sleep(0.5)
            assert "Read-only file system" in project.log()
            remount("rw")
            project.wait_for_rows(5)
        project.check_exactly_once(names)


def resident_kib(process):
    fields = dict(line.split(":", 1) for line in open(f"/proc/{process.pid}/status") if ":" in line)
    return int(fields["VmHWM"].split()[0])


def test_memory_is_bounded_by_the_config(project):
    """12-megapixel photographs, `memory = "256MiB"`: at most 256 MiB, and 64 MiB for each worker."""
    from PIL import Image

    count, workers = (2000 if LONG else 150), 2
    project = project(shape=(224, 224, 3), service=f'[service]\nmemory = "256MiB"\nworkers = {workers}')
    image = Image.open(TESTDATA / "photos" / "people" / "astronaut.jpg").resize((4000, 3000))
    image.save(project.folder / "large.jpg", quality=85)
    for number in range(count):
        os.link(project.folder / "large.jpg", project.drop / f"{number}.jpg")
    with project.service() as service:
        project.wait_for_rows(count, timeout=900)
        peak_mib = resident_kib(service) / 1024
    print(f"{count} photographs of 12 megapixels: {peak_mib:.0f} MiB at most")
    assert peak_mib < 256 + 64 * workers


def test_idle_uses_no_cpu(project):
    folders, seconds = (1000, 60) if LONG else (200, 10)
    # A rescan is work, and would fall into the longer time.
    project = project(watch='rescan = "5m"')
    for number in range(folders):
        make_pngs(project.drop / str(number), 1, first=number)

    with project.service() as service:
        project.wait_for_rows(folders)
        time.sleep(3)
        before = cpu_ns(service)
        time.sleep(seconds)
        used_ms = (cpu_ns(service) - before) / 1e6
        print(f"{folders} folders watched, {used_ms:.3f} ms of CPU time in {seconds} s of idleness")
        assert used_ms < 10


def test_reload_takes_a_new_dataset_and_refuses_a_bad_config(project):
    project = project()
    names = make_pngs(project.drop, 5)
    with project.service() as service:
        project.wait_for_rows(5)
        good = project.config.read_text()
        project.config.write_text(good.replace('dtype = "u1"', 'dtype = "u3"'))
        service.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while "the old one goes on" not in project.log():
            assert time.monotonic() < end
            time.sleep(0.02)
        names += make_pngs(project.drop, 5, first=5)
        project.wait_for_rows(10)
        second = good.replace('name = "frames"', 'name = "second"').replace("data/frames.npy", "data/second.npy")
        project.config.write_text(good + second)
        service.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while not (project.folder / "data/second.npy").exists() or len(np.load(project.folder / "data/second.npy")) < 10:
            assert time.monotonic() < end, project.log()
            time.sleep(0.02)
        names += make_pngs(project.drop, 5, first=10)
        project.wait_for_rows(15)
    project.check_exactly_once(names)


def test_a_reload_of_a_paused_service_waits_as_it_did(project):
    """The bug: it ended, right after it had said that the old config goes on."""
    project = project()
    make_pngs(project.drop, 1)
    ledger = project.output.with_suffix(".ledger.db")
    with project.service() as service:
        project.wait_for_rows(1)
        ledger.rename(project.folder / "away")
        service.send_signal(signal.SIGHUP)
        wait_for(lambda: "reloading the config" in project.log() and "trying again every two seconds" in project.log())
        assert service.poll() is None
        (project.folder / "away").rename(ledger)
        make_pngs(project.drop, 1, first=1)
        project.wait_for_rows(2)
        # Other settings are refused as ever.
        text = project.config.read_text()
        project.config.write_text(text.replace("[32, 32, 3]", "[16, 16, 3]"))
        service.send_signal(signal.SIGHUP)
        wait_for(lambda: "the new config is refused, the old one goes on" in project.log())
        make_pngs(project.drop, 1, first=2)
        project.wait_for_rows(3)
