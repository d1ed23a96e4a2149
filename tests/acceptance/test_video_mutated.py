"""Videos with random faults through the real worker: each gives rows or a reason in bounded time, and nothing of the worker's
own breaks. What FFmpeg does with them is its own affair; what the worker says of it is ours."""

import collections
import os
import random
import re
import time

import pytest

from harness import LONG
from test_video import ffmpeg, make, table

# Videos in each of the containers and codecs below, and the seed that made them.
VIDEOS = int(os.environ.get("NPY_INGEST_MUTATED", "5000" if LONG else "100"))
SEED = int(os.environ.get("NPY_INGEST_MUTATED_SEED", "1"))
SIZE = (64, 48)

KINDS = {
    "h264.mp4": ["-c:v", "libx264", "-g", "6", "-bf", "2"],
    "h264.mkv": ["-c:v", "libx264", "-g", "6"],
    "h264.ts": ["-c:v", "libx264", "-g", "6"],
    "hevc.mp4": ["-c:v", "libx265", "-g", "6", "-x265-params", "log-level=none"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-g", "6", "-deadline", "realtime"],
    "mjpeg.avi": ["-c:v", "mjpeg"],
    "mpeg4.mov": ["-c:v", "mpeg4", "-g", "6"],
    "flv.flv": ["-c:v", "flv"],
    "theora.ogv": ["-c:v", "libtheora"],
}

# Faults of ours, whatever the video: the worker left the protocol, panicked, or was told of as broken.
OURS = re.compile(r"panic|the worker answered|the worker's answer|expected a number|within a line|a time for each|cannot be written")


def mutated(data, rng):
    """The bytes with one to four faults, most of them small, such as disks, radio links and bad programs make."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        # The first kilobyte tells of all the rest.
        at = rng.randrange(min(len(data), 1024) if rng.random() < 0.4 else len(data))
        length = min(rng.choice([1, 1, 2, 4, 4, 8, 64, 700]), len(data) - at)
        match rng.choice(["flip", "flip", "random", "zeros", "ones", "cut", "leave out", "repeat", "swap", "number"]):
            case "flip":
                data[at] ^= 1 << rng.randrange(8)
            case "random":
                data[at:at + length] = rng.randbytes(length)
            case "zeros":
                data[at:at + length] = bytes(length)
            case "ones":
                data[at:at + length] = b"\xff" * length
            case "cut":
                del data[max(at, 16):]
            case "leave out":
                del data[at:at + length]
            case "repeat":
                data[at:at] = data[at:at + length]
            case "swap":
                other = rng.randrange(len(data))
                data[at], data[other] = data[other], data[at]
            case "number":
                value = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)])
                data[at:at + 4] = value.to_bytes(4, rng.choice(["big", "little"]))
        if len(data) < 32:
            break
    return bytes(data)


@pytest.mark.parametrize("on_error", ["keep", "reject"])
def test_videos_with_random_faults_give_rows_or_a_reason(project, tmp_path, on_error):
    made = tmp_path / "made"
    made.mkdir()
    rng = random.Random(f"{SEED} {on_error}")
    project = project(shape=(48, 64, 3), watch='order = "name"\nduplicates = "append"', columns="time = true",
                      decoder=table(f'on_error = "{on_error}"\ntimeout = "20s"\nmemory = "1GiB"'))
    names = []
    for kind, words in KINDS.items():
        make(made / kind, *words, frames=16, size=SIZE)
        whole = (made / kind).read_bytes()
        for number in range(VIDEOS):
            name = f"{number:05}-{kind}"
            (project.drop / name).write_bytes(mutated(whole, rng))
            names.append(name)
    # One that is good, behind all of them.
    ffmpeg("-i", made / "h264.mp4", "-c", "copy", project.drop / "zzz.mp4")

    started = time.monotonic()
    done = project.command("--once", timeout=36_000)
    seconds = time.monotonic() - started
    assert done.returncode in (0, 3), done.stderr[-2000:]
    assert seconds < 120 + len(names) / 2, f"{seconds:.0f} s"

    reasons = project.rejected()
    given = {os.path.basename(path): rows for path, rows in
             project.ledger("SELECT path, rows FROM sources WHERE status = 'committed'")}
    assert sorted([*reasons, *given]) == sorted([*names, "zzz.mp4"])
    assert given["zzz.mp4"] == 16
    assert not {name: reason for name, reason in reasons.items() if OURS.search(reason)}
    assert sum(given.values()) == len(project.rows()) == len(project.column("time"))

    short = lambda reason: re.sub(r"\d+", "N", re.split(r"[:;(]", reason)[0].strip())
    signals = collections.Counter(re.findall(r"killed by signal \d+|kept us waiting", " ".join(reasons.values())))
    kinds = collections.Counter(short(reason) for reason in reasons.values())
    print(f"\nmutated videos, on_error = {on_error}: {len(names)} in {seconds:.1f} s, {len(given) - 1} with rows, rejected: "
          f"{dict(kinds.most_common())}, ends of the worker: {dict(signals)}")
