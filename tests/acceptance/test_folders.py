"""What real folders do to a watcher: mounts, limits, silent filesystems, rsync, links, files that must not be opened."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from harness import LONG, PROGRAM, limits_of_the_machine, make_pngs, mount, mounted, needs, privileged, wait_for, write_png


def started(project):
    """Waits until the service has scanned once."""
    wait_for(lambda: project.output.exists(), project=project)
    time.sleep(0.5)


def test_a_folder_that_is_renamed_while_it_is_filled(project):
    project = project()
    with project.service():
        started(project)
        names = make_pngs(project.drop / "a", 50)
        (project.drop / "a").rename(project.drop / "b")
        names += make_pngs(project.drop / "b", 50, first=50)
        (project.drop / "b").rename(project.drop / "c")
        names += make_pngs(project.drop / "c" / "deep", 50, first=100)
        project.wait_for_rows(150)
        (project.drop / "c").rename(project.folder / "away")
        time.sleep(0.5)
        (project.folder / "away").rename(project.drop / "back")
        names += make_pngs(project.drop / "back", 5, first=150)
        project.wait_for_rows(155)
        time.sleep(0.5)
    project.check_exactly_once(names)


def test_a_root_that_is_swapped_for_another_is_watched(project):
    """As a deployment does it: a new folder is renamed into the place of the old one."""
    project = project(watch='rescan = "1h"')
    with project.service():
        started(project)
        names = make_pngs(project.drop, 3)
        project.wait_for_rows(3)
        for number in range(3):
            names += make_pngs(project.folder / "next", 2, first=10 + 10 * number)
            project.drop.rename(project.folder / f"old{number}")
            (project.folder / "next").rename(project.drop)
            wait_for(lambda: project.count() == len(names), 10, project=project)
            names += make_pngs(project.drop, 2, first=15 + 10 * number)
            wait_for(lambda: project.count() == len(names), 10, project=project)
    project.check_exactly_once(names)


def test_a_drop_folder_that_is_unmounted_and_mounted_again(project):
    project = project(watch='rescan = "1s"')
    with mounted(project.drop, "size=16m"):
        with project.service():
            started(project)
            names = make_pngs(project.drop, 5)
            project.wait_for_rows(5)
            subprocess.run(["umount", "-l", project.drop], check=True)
            time.sleep(1.5)
            mount(project.drop, "size=16m")
            names += make_pngs(project.drop, 5, first=5)
            project.wait_for_rows(10, timeout=15)
            time.sleep(1.2)
            start = time.monotonic()
            names += make_pngs(project.drop, 1, first=10)
            project.wait_for_rows(11)
            print(f"after the second mount a file is a row within {time.monotonic() - start:.2f} s")
        project.check_exactly_once(names)


@contextlib.contextmanager
def limit(name, value):
    """Sets fs.inotify.NAME, and restores it."""
    path = Path("/proc/sys/fs/inotify") / name
    with limits_of_the_machine(change=True):
        try:
            before = path.read_text()
            path.write_text(str(value))
        except OSError as error:
            pytest.skip(f"{path} cannot be set here: {error}")
        try:
            yield
        finally:
            path.write_text(before)


@pytest.mark.parametrize("name, value, words", [
    ("max_user_watches", 5, "fs.inotify.max_user_watches"),
    ("max_user_instances", 0, "no inotify"),
])
def test_at_the_limit_of_watches_folders_are_polled_and_it_is_said(project, name, value, words):
    project = project()
    for number in range(20):
        (project.drop / str(number)).mkdir()
    with limit(name, value):
        with project.service():
            started(project)
            wait_for(lambda: words in project.log() and "polling" in project.log(), project=project)
            names = make_pngs(project.drop / "19", 5)
            project.wait_for_rows(5, timeout=10)
            make = project.drop / "new" / "nested"
            names += make_pngs(make, 5, first=5)
            project.wait_for_rows(10, timeout=10)
    project.check_exactly_once(names)


def test_a_fuse_folder_is_polled(project):
    """Files come from behind the mount, where this kernel's events do not tell of them."""
    needs("bindfs")
    project = project()
    behind = project.folder / "behind"
    behind.mkdir()
    privileged("bindfs", "--no-allow-other", behind, project.drop)
    try:
        with project.service():
            started(project)
            wait_for(lambda: "sends no events: polling" in project.log(), project=project)
            names = make_pngs(behind, 5)
            project.wait_for_rows(5, timeout=30)
            names += make_pngs(behind / "sub", 5, first=5)
            project.wait_for_rows(10, timeout=30)
        project.check_exactly_once(names)
    finally:
        subprocess.run(["umount", "-l", project.drop], check=True)


def test_an_overwrite_with_an_older_time_stamp(project):
    project = project(watch='changed = "append"')
    with project.service():
        started(project)
        for mode in range(2):
            path = project.drop / f"{mode}.png"
            write_png(path, 1 + mode)
            project.wait_for_rows(1 + 2 * mode)
            write_png(project.folder / "other.png", 50 + mode)
            os.utime(project.folder / "other.png", (10**9, 10**9))
            if mode == 0:
                (project.folder / "other.png").rename(path)
            else:
                shutil.copyfile(project.folder / "other.png", path)
                os.utime(path, (10**9, 10**9))
            project.wait_for_rows(2 + 2 * mode)
    assert project.json("verify", "--deep")["ok"] and project.count() == 4


def test_hard_links_are_sources_of_their_own(project):
    project = project()
    with project.service():
        started(project)
        names = make_pngs(project.folder / "elsewhere", 4)
        for name in names:
            os.link(project.folder / "elsewhere" / name, project.drop / name)
        project.wait_for_rows(4)
        # A second name for one that is there: the same file and the same content, but a source of its own.
        os.link(project.drop / names[0], project.drop / "again.png")
        project.wait_for_rows(5, timeout=10)
        time.sleep(0.5)
    assert project.count() == 5


def test_hard_links_are_refused_where_asked(project):
    """A stranger's link to a file that only the service may read: no byte of it is read. An upload by `ln` and `unlink` is
    taken, and a rejected file as well, once its other name is gone."""
    project = project(watch='hard_links = "refuse"')
    secret = project.folder / "secret"
    names = make_pngs(secret, 3)
    with project.service() as service:
        started(project)
        traced = subprocess.Popen(["strace", "-f", "-qq", "-y", "-e", "trace=read,pread64,mmap", "-o", project.folder / "reads",
                                   "-p", str(service.pid)]) if shutil.which("strace") else None
        time.sleep(0.5)
        for name in names:
            os.link(secret / name, project.drop / name)
        begin = time.monotonic()
        # A link for a moment, as uploads make it.
        write_png(project.folder / "upload.png", 9)
        os.link(project.folder / "upload.png", project.drop / "upload.png")
        time.sleep(0.5)
        assert project.count() == 0 and project.rejected() == {}
        os.unlink(project.folder / "upload.png")
        project.wait_for_rows(1, timeout=10)
        taken_s = time.monotonic() - begin
        wait_for(lambda: len(project.rejected()) == 3, 30, project=project)
        print(f"the upload was a row after {taken_s:.1f} s, links were rejected after {time.monotonic() - begin:.1f} s")
        assert time.monotonic() - begin > 9, "links get their time"
        assert project.rejected()["000000.png"] == (
            'the file has 2 names (hard links), and the config has hard_links = "refuse": copy it instead, or remove its other '
            "names and run `npy-ingest retry`")
        if traced:
            traced.terminate()
            traced.wait(timeout=10)
            reads = (project.folder / "reads").read_text()
            assert "upload.png" in reads and not any(f"drop/{name}" in reads for name in names)
        # Not by itself, since nothing tells of it; but by `retry`.
        (secret / names[0]).unlink()
    project.command("retry", check=0)
    done = project.command("--once")
    assert project.count() == 2 and done.returncode == 3, done.stderr
    assert sorted(project.rejected()) == names[1:]
    assert project.ledger("SELECT hash FROM sources WHERE status = 'rejected'") == [(None,)] * 2


def test_a_file_that_gets_another_name_while_it_is_read_waits(project):
    """The link is made when the file is open already: it counts when the file has been read."""
    project = project(shape=(2,), dtype="u1", watch='hard_links = "refuse"', decoder="[dataset.command]\n"
                      'argv = ["sh", "-c", "cp -l $0 $0.other; printf ab", "{source}"]\noutput = "raw"')
    (project.drop / "a.bin").write_bytes(b"x")
    done = project.once()
    assert project.count() == 0 and project.rejected() == {} and "a.bin" in done.stderr + done.stdout


def test_a_log_with_another_name_waits_where_hard_links_are_refused(project):
    project = project(shape=None, dtype=[["n", "<u8"]], decoder="[dataset.records]\nfollow = true",
                      watch='hard_links = "refuse"\nrescan = "1s"')
    log = project.folder / "secret.log"
    log.write_bytes(struct.pack("<3Q", 0, 1, 2))
    os.link(log, project.drop / "a.log")
    with project.service():
        wait_for(lambda: "nothing is taken from it while it has other names" in project.log(), project=project)
        time.sleep(2)
        assert project.count() == 0
        log.unlink()
        project.wait_for_rows(3, timeout=10)
        os.link(project.drop / "a.log", log)
        with open(log, "ab") as file:
            file.write(struct.pack("<Q", 3))
        time.sleep(1)
        assert project.count() == 3
        log.unlink()
        project.wait_for_rows(4, timeout=10)
    assert project.rows()["n"].tolist() == [0, 1, 2, 3]


def test_rsync_with_its_temporary_names_and_in_place(project):
    needs("rsync")
    project = project()
    elsewhere = project.folder / "elsewhere"
    names = make_pngs(elsewhere / "a", 40)
    with project.service():
        started(project)
        subprocess.run(["rsync", "-a", "--bwlimit=200", f"{elsewhere}/", f"{project.drop}/"], check=True)
        project.wait_for_rows(40)
        # The same again changes nothing, and what is new comes in place.
        names += make_pngs(elsewhere / "b", 20, first=40)
        subprocess.run(["rsync", "-a", "--inplace", "--bwlimit=100", f"{elsewhere}/", f"{project.drop}/"], check=True)
        project.wait_for_rows(60)
        time.sleep(0.5)
    project.check_exactly_once(names)
    assert not project.rejected()


def test_an_upload_that_pauses_and_is_resumed_by_another_process(project):
    """As an scp that broke off: the file is closed half way, quiet for longer than `settle`, and then goes on. What was
    there was cut short; it is rejected, and taken when it is whole."""
    project = project()
    write_png(project.folder / "whole.png", 3, size=(200, 200))
    content = (project.folder / "whole.png").read_bytes()
    with project.service():
        started(project)
        (project.drop / "a.png").write_bytes(content[:len(content) // 2])
        wait_for(lambda: project.rejected(), project=project)
        assert "cut short" in project.rejected()["a.png"]
        with open(project.drop / "a.png", "ab") as file:
            file.write(content[len(content) // 2:])
        project.wait_for_rows(1)
    assert project.rejected() == {} and project.count() == 1


def test_twenty_thousand_files_while_the_service_is_stopped(project):
    count = 20_000
    project = project(shape=(4, 4, 3))
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    write_png(elsewhere / "one.png", 1)
    content = (elsewhere / "one.png").read_bytes()
    end = content.index(b"IEND") - 4
    names = [f"{number:06}.png" for number in range(count)]
    # Folders that are watched: a new one is scanned, and sends nothing.
    for number in range(20):
        (project.drop / str(number)).mkdir()
    with project.service() as service:
        started(project)
        service.send_signal(signal.SIGSTOP)
        for number, name in enumerate(names):
            # A text chunk of its own makes each another content.
            text = b"tEXtn\0" + str(number).encode()
            chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
            (project.drop / str(number % 20) / name).write_bytes(content[:end] + chunk + content[end:])
        start = time.monotonic()
        service.send_signal(signal.SIGCONT)
        project.wait_for_rows(count, timeout=180)
        print(f"{count} files after a stop: {count / (time.monotonic() - start):.0f} a second")
        assert "events were lost" in project.log()
    project.check_exactly_once(names)


# What must not be opened, or not be believed.


def test_what_is_no_regular_file_is_never_opened(project):
    """A socket, a pipe, devices, and links of all kinds under the names of pictures. A pipe that is opened would have its
    writer go on; a device that is read would count."""
    project = project()
    outside = project.folder / "outside"
    make_pngs(outside, 2)
    os.mkfifo(project.drop / "pipe.png")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(project.drop / "socket.png"))
    for name, device in [("zero.png", (1, 5)), ("tty.png", (5, 0))]:
        with contextlib.suppress(PermissionError):
            os.mknod(project.drop / name, 0o666 | stat.S_IFCHR, os.makedev(*device))
    os.symlink(outside / "000000.png", project.drop / "file.png")
    os.symlink(outside, project.drop / "folder")
    os.symlink("/proc/self/mem", project.drop / "mem.png")
    os.symlink("loop.png", project.drop / "loop.png")
    with project.service():
        started(project)
        names = make_pngs(project.drop, 2, first=5)
        project.wait_for_rows(2)
        # And as replacements of what was a file a moment ago.
        for _ in range(200):
            write_png(project.drop / "swap.png", 9)
            os.unlink(project.drop / "swap.png")
            os.symlink(outside / "000001.png", project.drop / "swap.png")
            os.unlink(project.drop / "swap.png")
        with pytest.raises(OSError):
            os.close(os.open(project.drop / "pipe.png", os.O_WRONLY | os.O_NONBLOCK))
        time.sleep(0.5)
        from harness import colour_of

        assert not any(tuple(row[0, 0]) == colour_of(1) for row in project.rows()), "a link's target is never read"
    committed = {Path(path).name for path, in project.ledger("SELECT path FROM sources")}
    assert set(names) <= committed <= {*names, "swap.png"}, committed


def png_of(width, height, data):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_decompression_bombs_meet_limits(project):
    """Small files that claim or hold enormous pictures: rejected with the limit, in little memory and time."""
    project = project(service='[service]\nmemory = "64MiB"\nworkers = 2')
    zeros = zlib.compressobj(1)
    bomb = b"".join(zeros.compress(bytes(1 << 20)) for _ in range(500)) + zeros.flush()
    (project.drop / "honest.png").write_bytes(png_of(40_000, 40_000, bomb))
    (project.drop / "lie.png").write_bytes(png_of(2**31 - 1, 2**31 - 1, zlib.compress(b"\0" * 100)))
    (project.drop / "tail.png").write_bytes(png_of(8, 8, bomb))
    (project.drop / "wide.pgm").write_bytes(b"P5\n4000000000 4000000000\n255\n" + b"x" * 100)
    (project.drop / "list.gif").write_bytes(
        b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\0\x08\0;")
    good = make_pngs(project.drop, 3)
    start = time.monotonic()
    with project.service() as service:
        wait_for(lambda: project.count() >= 3 and len(project.rejected()) >= 4, 60, project=project)
        time.sleep(0.5)
        fields = dict(line.split(":", 1) for line in open(f"/proc/{service.pid}/status") if ":" in line)
        peak_mib = int(fields["VmHWM"].split()[0]) / 1024
    print(f"bombs of 500 MiB in {len(bomb) / 2**20:.1f}: {peak_mib:.0f} MiB of memory, {time.monotonic() - start:.1f} s")
    assert peak_mib < 64 + 2 * 64 + 64
    rejected = project.rejected()
    for name in ["honest.png", "lie.png", "wide.pgm", "list.gif"]:
        assert name in rejected, rejected
        print(f"{name}: {rejected[name]}")
    assert set(good) <= {Path(path).name for path, in project.ledger("SELECT path FROM sources WHERE status = 'committed'")}
