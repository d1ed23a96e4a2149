"""Videos to rows of 224 x 224 RGB in a committed .npy: npy-ingest with its worker, against libraries of Python that fill a memmap.

The videos are H.264 with a key frame every two seconds, as streaming services ask for them, where a line does not say otherwise.
Ours is the whole program, from its start to its synced end. Each peer is a process that has started and imported everything before
the clock runs (`peers/videos.py`); it decodes in as many threads, or as many processes where there are many videos, as there are
cores, and syncs its array in the end. All others smooth what they make smaller; of OpenCV's two ways, `INTER_LINEAR`, which most
code takes, does not, and `INTER_AREA` does. How far the first row of each is from FFmpeg's exact conversion is told with each line.

Some lines ask for few frames of a video; what those cost hangs on where its key frames are. The peers of the targets are those that
decode it all and keep what is wanted, which is what most code does. Those that go to the wanted frames, as ours does, are shown
beside them.
"""

import functools
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from pairs import OURS, Line, Peer

SIDE, RATE = 224, 30
# Frames from one key frame to the next. Without being told, x264 takes the second.
GOP, GOP_OF_X264 = 2 * RATE, 250
VIDEOS = Path("target/bench-videos")
MODULES = {"PyAV": "av", "OpenCV": "cv2", "decord": "decord", "torchcodec": "torchcodec"}
WORDS = {"PyAV": "pyav", "OpenCV": "opencv", "decord": "decord", "torchcodec": "torchcodec"}


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)], check=True)


def video(width, height, seconds, gop=GOP):
    """A video with things that move, detail everywhere and some noise; it is made once."""
    path = VIDEOS / f"{height}p-{seconds}s-gop{gop}.mp4"
    if not path.exists():
        VIDEOS.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={width}x{height}:rate={RATE}", "-f", "lavfi", "-i",
               f"mandelbrot=size=320x180:rate={RATE}", "-filter_complex",
               f"[1]scale={width}:{height}[m];[0][m]blend=all_mode=average,noise=alls=8:allf=t", "-t", seconds,
               "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-g", gop, "-sc_threshold", 0,
               "-movflags", "faststart", "-f", "mp4", part)
        part.rename(path)
    return path


def clips(count):
    """One second each."""
    folder = VIDEOS / f"clips-{count}"
    if not folder.exists():
        part = folder.with_suffix(".part")
        part.mkdir(parents=True, exist_ok=True)
        ffmpeg("-i", video(640, 360, count, RATE), "-c", "copy", "-f", "segment", "-segment_time", 1, "-reset_timestamps", 1,
               part / "%05d.mp4")
        part.rename(folder)
    return sorted(folder.iterdir())


def line(place, title, videos, unit, rows, settings="", ways=None, times=None, target=1.0, command="", work=None):
    """`rows`: of each video. `ways`: case -> peer and what it does; those that go to frames are apart."""
    folder = place.dataset(f"videos-{title}".replace(" ", "-").replace(",", ""), f"""
shape = [{SIDE}, {SIDE}, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
order = "name"
[dataset.video]
fit = "stretch"
{settings}
""")
    for number, path in enumerate(videos):
        os.link(path, folder / "in" / f"{number:05}.mp4") if same_disk(path, folder) else copy(path, folder / "in" / f"{number:05}.mp4")
    able, missing = place.peers(MODULES)
    out = folder / "peer.npy"
    array = np.lib.format.open_memmap(out, "w+", "u1", (rows * len(videos), SIDE, SIDE, 3))
    array.flush()
    peers, firsts = {}, {}
    ways = ways or {**{name: (name, "all") for name in MODULES}, "OpenCV, smoothing": ("OpenCV", "all, smoothing")}

    def theirs(case, peer, way):
        def run():
            if peer not in peers:
                peers[peer] = Peer("videos.py", WORDS[peer])
            seconds = peers[peer].ask(videos=[str(path) for path in videos], rows=rows, out=str(out), way=way, times=times)
            firsts[case] = array[0].astype(int)
            return seconds
        return run

    def by_command():
        start = time.perf_counter()
        waiting = [str(path) for path in videos]
        at_once = 1 if len(videos) == 1 else os.cpu_count()
        running = []
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(subprocess.Popen(["ffmpeg", "-v", "error", "-nostdin", "-i", waiting.pop(0), "-vf",
                                                 f"{command}scale={SIDE}:{SIDE}:flags=bilinear", "-pix_fmt", "rgb24", "-vsync", "0",
                                                 "-f", "null", "-"]))
            assert running.pop(0).wait() == 0
        return time.perf_counter() - start

    def check():
        ours = np.load(folder / "out" / "rows.npy", mmap_mode="r")
        assert ours.shape == array.shape, (ours.shape, array.shape)
        # Without these flags it takes a way with colours that are off by some steps.
        exact = f"scale={SIDE}:{SIDE}:flags=bilinear+accurate_rnd+full_chroma_int"
        raw = subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-i", videos[0], "-vf", exact,
                              "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True).stdout
        first = np.frombuffer(raw, "u1").reshape(SIDE, SIDE, 3).astype(int)
        firsts[OURS] = ours[0].astype(int)
        far = {case: np.abs(row - first).mean() for case, row in firsts.items()}
        print("First row, mean difference of 255:", ", ".join(f"{case} {mean:.1f}" for case, mean in far.items()), flush=True)
        assert far[OURS] < 3, "the first row is not the first frame"
        assert np.abs(ours[-1].astype(int) - array[-1]).mean() < 12, "the last row is not that of the last peer"

    def clean():
        for peer in peers.values():
            peer.close()

    cases = {OURS: lambda: place.once(folder)}
    cases |= {case: theirs(case, peer, way) for case, (peer, way) in ways.items() if peer in able}
    cases["ffmpeg -f null"] = by_command
    going = tuple(case for case, (_, way) in ways.items() if way in ("by time", "keyframes"))
    return Line(title, cases, work or rows * len(videos), unit, {"best": target}, apart=("ffmpeg -f null", *going), check=check, clean=clean,
                missing=missing)


def same_disk(path, folder):
    return path.stat().st_dev == folder.stat().st_dev


def copy(path, to):
    to.write_bytes(path.read_bytes())


KEEPING = {"PyAV": ("PyAV", "all and keep"), "OpenCV": ("OpenCV", "all and keep"), "OpenCV, seeking": ("OpenCV", "by time"),
           "decord, get_batch": ("decord", "by time"), "torchcodec, get_frames_played_at": ("torchcodec", "by time"),
           "PyAV, seeking": ("PyAV", "by time")}


def lengths(place):
    """Of the video at 360p and at 1080p, in seconds, and how many clips."""
    even = lambda seconds: max(2, round(seconds * place.scale / 2) * 2)
    return even(120), even(40), max(2, round(200 * place.scale))


def long_360p(place, title):
    seconds = lengths(place)[0]
    return line(place, title, [video(640, 360, seconds)], "frames", seconds * RATE)


def long_1080p(place, title):
    seconds = lengths(place)[1]
    return line(place, title, [video(1920, 1080, seconds)], "frames", seconds * RATE)


def many(place, title):
    return line(place, title, clips(lengths(place)[2]), "frames", RATE)


def one_a_second(place, title, gop=GOP):
    seconds = lengths(place)[1]
    return line(place, title, [video(1920, 1080, seconds, gop)], "frames of the video", seconds, "fps = 1", KEEPING,
                list(range(seconds)), 5.0, "fps=1:round=up,", seconds * RATE)


def keyframes(place, title, gop=GOP):
    seconds = lengths(place)[1]
    ways = {**KEEPING, "PyAV, skip_frame": ("PyAV", "keyframes")}
    times = [frame / RATE for frame in range(0, seconds * RATE, gop)]
    return line(place, title, [video(1920, 1080, seconds, gop)], "frames of the video", len(times), "keyframes = true", ways,
                times, 20.0, "select=key,", seconds * RATE)


LINES = {
    "360p, all frames": long_360p,
    "1080p, all frames": long_1080p,
    "clips of one second": many,
    "1080p, one frame a second": one_a_second,
    # Cameras that watch places are set to a key frame a second, as a rule.
    "1080p with a key frame a second, one frame a second": functools.partial(one_a_second, gop=RATE),
    "1080p with the key frames of x264, one frame a second": functools.partial(one_a_second, gop=GOP_OF_X264),
    "1080p, key frames": keyframes,
    "1080p with the key frames of x264, key frames": functools.partial(keyframes, gop=GOP_OF_X264),
}
