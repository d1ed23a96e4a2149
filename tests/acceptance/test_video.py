"""`video`: frames of videos against the ffmpeg command and its filters. The frames carry their number in black and white
blocks, so that each can be told from its pixels."""

import io
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from harness import LONG, PROGRAM, children_of, is_running, wait_for
from test_systemd import allowed_by_the_unit

WORKER = PROGRAM.parent / "npy-ingest-video"
WIDTH, HEIGHT, FRAMES, RATE = 160, 96, 60, 30
BITS = 8
# Steps of 255, on the mean.
NEAR = 2


def numbered(number, width=WIDTH, height=HEIGHT):
    """Colour bars above, the number in blocks below, and something that moves."""
    frame = np.zeros((height, width, 3), "u1")
    half = height // 2
    bars = [(235, 235, 235), (220, 200, 30), (30, 200, 200), (40, 180, 40), (180, 40, 180), (190, 40, 40), (40, 40, 190), (16, 16, 16)]
    for place, colour in enumerate(bars):
        frame[:half, place * width // 8:(place + 1) * width // 8] = colour
    for bit in range(BITS):
        if number >> bit & 1:
            frame[half:, bit * width // BITS:(bit + 1) * width // BITS] = 255
    at = number * 2 % (width - 16)
    frame[8:24, at:at + 16] = (250, 120, 10)
    return frame


def number_of(row):
    """The number of a frame of three channels that is shown whole, in whatever size."""
    height, width = row.shape[:2]
    places = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return sum(1 << bit for bit, place in enumerate(places) if row[height * 3 // 4, place].mean() > 128)


def ffmpeg(*words, data=None):
    done = subprocess.run(["ffmpeg", "-v", "error", "-nostdin" if data is None else "-y", *map(str, words)],
                          input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make(path, *words, frames=FRAMES, size=(WIDTH, HEIGHT), rate=RATE):
    """A video of numbered frames, encoded as `words` say."""
    data = b"".join(numbered(number, *size).tobytes() for number in range(frames))
    ffmpeg("-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", rate, "-i", "-", *words, path, data=data)


def reference(path, *words, size=None, dtype="u1", pixels="rgb24", before=()):
    """What the ffmpeg command makes of it."""
    raw = ffmpeg(*before, "-i", path, *words, "-f", "rawvideo", "-pix_fmt", pixels, "-vsync", "passthrough", "-")
    width, height = size or (WIDTH, HEIGHT)
    return np.frombuffer(raw, dtype).reshape(-1, height, width, {"gray": 1, "rgba": 4, "gray16le": 1}.get(pixels, 3))


def times(path):
    """Presentation times, from the first frame's."""
    text = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=time_base:frame=best_effort_timestamp",
                           "-of", "json", path], capture_output=True, text=True, check=True).stdout
    found = json.loads(text)
    top, bottom = map(int, found["streams"][0]["time_base"].split("/"))
    stamps = [int(frame["best_effort_timestamp"]) for frame in found["frames"]]
    return [(stamp - stamps[0]) * top / bottom for stamp in stamps]


def difference(rows, expected):
    assert len(rows) == len(expected), (len(rows), len(expected))
    each = np.abs(rows.astype("f8") - expected).reshape(len(rows), -1).mean(1)
    return each.max()


CODECS = {
    "h264.mp4": ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", 20, "-crf", 12],
    "hevc.mp4": ["-pix_fmt", "yuv420p", "-c:v", "libx265", "-x265-params", "log-level=none:keyint=20", "-crf", 12],
    "vp9.webm": ["-pix_fmt", "yuv420p", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-crf", 15, "-b:v", 0],
    "av1.mkv": ["-pix_fmt", "yuv420p", "-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", 8, "-crf", 15, "-b:v", 0],
    "mjpeg.avi": ["-pix_fmt", "yuvj420p", "-c:v", "mjpeg", "-q:v", 2],
}


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    if not WORKER.exists():
        pytest.exit(f"{WORKER} is missing: docs/video.md says how to build it", returncode=2)
    folder = tmp_path_factory.mktemp("videos")
    for name, words in CODECS.items():
        make(folder / name, *words)
    return folder


def table(more=""):
    return f"[dataset.video]\n{more}"


def take(project, *paths, check=0, **settings):
    """The rows of a project that takes these videos."""
    settings = {"shape": (HEIGHT, WIDTH, 3), "watch": 'order = "name"', "columns": "time = true", **settings}
    project = project(**settings)
    for path in paths:
        shutil.copy(path, project.drop)
    project.once(check=check)
    return project


def test_frames_and_times_of_every_codec(project, videos):
    project = take(project, *(videos / name for name in CODECS), decoder=table('fit = "exact"'))
    rows, shown, index = project.rows(), project.column("time"), project.column("index")
    assert len(rows) == FRAMES * len(CODECS)
    for place, name in enumerate(sorted(CODECS)):
        part = slice(place * FRAMES, (place + 1) * FRAMES)
        assert difference(rows[part], reference(videos / name)) <= NEAR, name
        assert [number_of(row) for row in rows[part]] == list(range(FRAMES)), name
        assert shown[part].tolist() == times(videos / name), name
        assert index[part].tolist() == list(range(FRAMES))
    verdict = project.json("verify", "--deep")
    assert verdict["ok"], verdict


@pytest.mark.parametrize("chosen, expected", [
    ("fps = 10", ["-vf", "fps=fps=10:round=up"]),
    ("fps = 7", ["-vf", "fps=fps=7:round=up"]),
    ("fps = 1", ["-vf", "fps=fps=1:round=up"]),
    ('fps = "90/2"', ["-vf", "fps=fps=45:round=up"]),
    ("stride = 7", ["-vf", "select=not(mod(n\\,7))"]),
    ('start = "0.5s"\nend = "1.5s"', ["-vf", "trim=start=0.5:end=1.5"]),
    ('start = "0.5s"\nend = "1.5s"\nstride = 4', ["-vf", "trim=start=0.5:end=1.5,select=not(mod(n\\,4))"]),
    ('start = "1s"\nfps = 5', ["-vf", "trim=start=1,setpts=PTS-STARTPTS,fps=fps=5:round=up"]),
    ("keyframes = true", None),
])
def test_the_frames_that_are_chosen_are_those_of_ffmpegs_filters(project, videos, chosen, expected):
    path = videos / "h264.mp4"
    project = take(project, path, decoder=table(f'fit = "exact"\n{chosen}'))
    wanted = reference(path, *expected) if expected else reference(path, before=["-skip_frame", "nokey"])
    numbers = [number_of(row) for row in wanted]
    assert [number_of(row) for row in project.rows()] == numbers
    shown = times(path)
    assert project.column("time").tolist() == [shown[number] for number in numbers]
    assert project.column("index").tolist() == list(range(len(numbers)))


def test_a_variable_frame_rate_goes_by_time(project, videos, tmp_path):
    """Frames come ever more slowly: at 30, and in the end at 10 a second; in the milliseconds of Matroska."""
    path = tmp_path / "slower.mkv"
    make(path, "-vf", "settb=1/1000,setpts=(N+N*N/61)/30.1/TB", "-vsync", "passthrough", "-enc_time_base", "1/1000", *CODECS["h264.mp4"])
    shown = times(path)
    assert 3 < shown[-1] < 4 and len(shown) == FRAMES
    every = take(project, path, decoder=table('fit = "exact"'))
    assert every.column("time").tolist() == shown
    assert [number_of(row) for row in every.rows()] == list(range(FRAMES))
    sampled = every.configure(output="fps/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true",
                              decoder=table("fps = 6"))
    sampled.once()
    wanted = [max(number for number in range(FRAMES) if shown[number] <= tick / 6 + 0.0005) for tick in range(len(sampled.rows()))]
    assert [number_of(row) for row in sampled.rows()] == wanted
    assert len(wanted) in (int(shown[-1] * 6) + 1, int(shown[-1] * 6) + 2)
    numbers = [number_of(row) for row in reference(path, "-vf", "fps=fps=6:round=up")]
    assert numbers[:len(wanted)] == wanted[:len(numbers)] and abs(len(numbers) - len(wanted)) <= 1, (wanted, numbers)


@pytest.mark.parametrize("name, words", [
    ("a.mp4", ["-c:v", "libx264", "-g", 40, "-bf", 3, "-x264-params", "b-pyramid=normal:open-gop=1"]),
    ("b.mkv", ["-c:v", "libx264", "-g", 250, "-bf", 2]),
    ("c.mp4", ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=50:open-gop=1"]),
    ("d.ts", ["-c:v", "libx264", "-g", 30]),
    ("e.mp4", ["-c:v", "libx264", "-g", 60, "-bf", 3]),
    ("f.mp4", ["-c:v", "libx264", "-x264-params", "keyint=30:intra-refresh=1"]),
    ("g.ts", ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-q:v", 2]),
    ("h.mp4", ["-c:v", "mpeg4", "-g", 60, "-bf", 2, "-q:v", 2]),
    ("i.webm", ["-c:v", "libvpx-vp9", "-g", 45, "-deadline", "realtime", "-cpu-used", 8, "-b:v", 0]),
    ("j.mkv", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", 2]),
])
def test_leaps_and_frames_that_are_not_decoded_change_nothing(project, videos, name, words):
    """Over 600 frames, with frames that refer to what is behind them, and key frames that are no fresh start or not whole."""
    path = videos / name
    quality = ["-crf", 20, "-preset", "veryfast"] if {"libx264", "libx265"} & set(words) else []
    make(path, "-pix_fmt", "yuv420p", *quality, *words, frames=600)
    shown = times(path)
    made = take(project, path, decoder=table('fit = "exact"\nstride = 250'))
    assert [number_of(row) for row in made.rows()] == [0, 250, 500 % 256]
    for number, (chosen, first, step) in enumerate([("fps = 1", 0, 1), ("fps = 0.25", 0, 4), ('fps = 0.5\nstart = "7.3s"', 7.3, 2), ('fps = 3\nend = "6s"', 0, 1 / 3),
                                                      ('fps = 0.2\nstart = "1500ms"', 1.5, 5)]):
        made.configure(output=f"{number}/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table(f'fit = "exact"\n{chosen}'))
        made.once()
        until = 6 if "end" in chosen else shown[-1] + 1 / RATE
        ticks = [first + place * step for place in range(100) if first + place * step < until - 0.002]
        # The transport stream and Matroska round.
        wanted = [max(frame for frame in range(600) if shown[frame] <= tick + 0.0005) for tick in ticks]
        assert [number_of(row) for row in made.rows()] == [frame % 256 for frame in wanted], (name, chosen)
        assert made.column("time").tolist() == [shown[frame] for frame in wanted]
    made.configure(output="late/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table('fit = "exact"\nstart = "15s"\nend = "15.5s"'))
    made.once()
    assert made.column("time").tolist() == [time_s for time_s in shown if 15 <= time_s < 15.5]


def test_clips(project, videos):
    path = videos / "h264.mp4"
    def clips(name, table_lines, shape=(16, HEIGHT, WIDTH, 3)):
        made = clips.project.configure(output=f"{name}/frames.npy", shape=shape, columns="time = true", decoder=table(table_lines))
        made.once()
        return made
    clips.project = take(project, path, shape=(16, HEIGHT, WIDTH, 3), decoder=table('fit = "exact"'))
    numbers = lambda rows: [[number_of(frame) for frame in row] for row in rows]
    first = np.array(clips.project.rows())
    assert numbers(clips.project.rows()) == [list(range(start, start + 16)) for start in (0, 16, 32)]
    assert np.allclose(clips.project.column("time"), [0, 16 / 30, 32 / 30])
    plain = reference(path)
    assert difference(first[1], plain[16:32]) <= NEAR
    padded = clips("padded", 'tail = "pad"')
    assert numbers(padded.rows())[3] == [*range(48, 60), *[59] * 4] and len(padded.rows()) == 4
    hopping = clips("hopping", "hop = 10\nstride = 2")
    assert numbers(hopping.rows()) == [[2 * (start + place) for place in range(16)] for start in (0, 10)]
    apart = clips("apart", "hop = 20\ntail = \"pad\"")
    assert numbers(apart.rows()) == [[*range(start, start + 16)] for start in (0, 20, 40)]
    channels_first = clips("chw", 'layout = "chw"', shape=(16, 3, HEIGHT, WIDTH))
    assert np.array_equal(channels_first.rows(), first.transpose(0, 1, 4, 2, 3))


@pytest.mark.parametrize("fit, method", [("cover", "bilinear"), ("stretch", "lanczos3"), ("stretch", "area"), ("stretch", "nearest")])
def test_sizes_agree_with_pillow(project, videos, fit, method):
    from PIL import ImageOps
    path = videos / "h264.mp4"
    project = take(project, path, shape=(40, 50, 3), decoder=table(f'fit = "{fit}"\nfilter = "{method}"'))
    filters = {"bilinear": Image.BILINEAR, "lanczos3": Image.LANCZOS, "area": Image.BOX, "nearest": Image.NEAREST}
    resize = (lambda image: ImageOps.fit(image, (50, 40), filters[method])) if fit == "cover" else (lambda image: image.resize((50, 40), filters[method]))
    expected = np.stack([np.asarray(resize(Image.fromarray(frame))) for frame in reference(path)])
    assert difference(project.rows(), expected) <= NEAR


def test_values_and_channels(project, videos):
    path = videos / "h264.mp4"
    plain = reference(path)
    project = take(project, path, shape=(3, HEIGHT, WIDTH), dtype="<f4",
                   decoder=table('fit = "exact"\nlayout = "chw"\nscale = 0.00392156862745098\nmean = [0.5, 0.4, 0.3]\nstd = [0.2, 0.2, 0.1]'))
    expected = (plain.astype("f8").transpose(0, 3, 1, 2) / 255 - np.reshape([0.5, 0.4, 0.3], (3, 1, 1))) / np.reshape([0.2, 0.2, 0.1], (3, 1, 1))
    assert np.abs(project.rows() - expected).mean() <= NEAR / 255 / 0.1
    gray = project.configure(output="gray/frames.npy", shape=(HEIGHT, WIDTH), decoder=table('fit = "exact"'))
    gray.once()
    expected = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in plain])
    assert difference(gray.rows(), expected) <= NEAR


VARIANTS = {
    "709": (["-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 10, "-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709"], "rgb24"),
    "2020": (["-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-crf", 10, "-vf", "scale=out_color_matrix=bt2020", "-colorspace", "bt2020nc"], "rgb24"),
    "full": (["-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 10, "-vf", "scale=out_range=pc", "-color_range", "pc"], "rgb24"),
    "444": (["-pix_fmt", "yuv444p", "-c:v", "libx264", "-crf", 10], "rgb24"),
    "422 of 10 bits": (["-pix_fmt", "yuv422p10le", "-c:v", "libx264", "-crf", 10], "rgb24"),
    "gray": (["-pix_fmt", "gray", "-c:v", "ffv1"], "rgb24"),
    "rgb": (["-pix_fmt", "bgr0", "-c:v", "ffv1"], "rgb24"),
    "interlaced": (["-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 10, "-flags", "+ildct+ilme", "-x264opts", "tff=1"], "rgb24"),
}


def test_colours_ranges_and_depths(project, videos, tmp_path):
    """Each at its own size, and at a smaller one, which takes another way through the worker."""
    folder = tmp_path / "made"
    folder.mkdir()
    for name, (words, _) in VARIANTS.items():
        make(folder / f"{name}.mkv", *words, frames=12)
    project = take(project, *folder.iterdir(), decoder=table('fit = "exact"'))
    small = project.configure(output="small/frames.npy", shape=(32, 40, 3), watch='order = "name"', decoder=table('fit = "stretch"'))
    small.once()
    small_rows = small.rows()
    rows = np.load(project.folder / "data" / "frames.npy")
    for place, name in enumerate(sorted(VARIANTS)):
        expected = reference(folder / f"{name}.mkv")
        part = slice(place * 12, (place + 1) * 12)
        assert difference(rows[part], expected) <= NEAR, name
        shrunk = np.stack([np.asarray(Image.fromarray(frame).resize((40, 32), Image.BILINEAR)) for frame in expected])
        assert difference(small_rows[part], shrunk) <= NEAR, name
    notes = small.ledger("SELECT path FROM sources WHERE reason LIKE '%interlaced%'")
    assert [path for (path,) in notes] == ["drop/interlaced.mkv"]


def test_deep_samples_stay_deep(project, videos, tmp_path):
    path = tmp_path / "ramp.mkv"
    ffmpeg("-y", "-f", "lavfi", "-i", "nullsrc=s=256x64:d=0.2:r=30,format=yuv420p10le,geq=lum='64+(X*4+Y/16)*876/1024':cb=512:cr=512",
           "-c:v", "ffv1", path)
    project = take(project, path, shape=(64, 256, 3), dtype="<u2", decoder=table('fit = "exact"'))
    expected = reference(path, size=(256, 64), dtype="<u2", pixels="rgb48le")
    assert difference(project.rows(), expected) <= NEAR * 257
    assert len(np.unique(project.rows())) > 400
    shrunk = project.configure(output="small/frames.npy", shape=(32, 128, 3), dtype="<u2", decoder=table('filter = "area"'))
    shrunk.once()
    assert len(np.unique(shrunk.rows())) > 400
    assert difference(shrunk.rows(), expected.reshape(-1, 32, 2, 128, 2, 3).mean((2, 4))) <= NEAR * 257
    bytes_ = project.configure(output="u1/frames.npy", shape=(64, 256, 3), dtype="u1", decoder=table('fit = "exact"'))
    bytes_.once()
    assert np.abs(bytes_.rows() - expected / 257).mean() <= NEAR


# By clockwise degrees: a, b, c, d of the matrix, and where its corner goes.
TURNED = {90: (0, 1, -1, 0, HEIGHT, 0), 180: (-1, 0, 0, -1, WIDTH, HEIGHT), 270: (0, -1, 1, 0, 0, WIDTH)}


def turn(mp4, turned):
    """With another matrix in the track's header (`tkhd`, ISO/IEC 14496-12, 8.3.2): how to say it to ffmpeg changes with its version."""
    a, b, c, d, x, y = (value << 16 for value in turned)
    place = mp4.index(b"tkhd") + 44
    return mp4[:place] + struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30) + mp4[place + 36:]


def test_rotation_and_pixel_shape(project, videos, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    for angle, turned in TURNED.items():
        (folder / f"{angle}.mp4").write_bytes(turn((videos / "h264.mp4").read_bytes(), turned))
    project = take(project, *folder.iterdir(), shape=(80, 80, 3), decoder=table('fit = "stretch"'))
    for place, angle in enumerate((180, 270, 90)):
        size = (WIDTH, HEIGHT) if angle == 180 else (HEIGHT, WIDTH)
        expected = np.stack([np.asarray(Image.fromarray(frame).resize((80, 80), Image.BILINEAR))
                             for frame in reference(folder / f"{angle}.mp4", size=size)])
        assert difference(project.rows()[place * FRAMES:(place + 1) * FRAMES], expected) <= NEAR, angle
    stored = project.configure(output="stored/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["90.mp4"]',
                               decoder=table('fit = "exact"\norient = false'))
    stored.once()
    assert [number_of(row) for row in stored.rows()] == list(range(FRAMES))
    # The second is 174.5 wide, of which the filter takes the whole part.
    for aspect, width in (("40:12", 320), ("20:11", 174)):
        name = f"{width}.mkv"
        make(folder / name, *CODECS["h264.mp4"], "-aspect", aspect, frames=6)
        wide = project.configure(output=f"{width}/frames.npy", shape=(HEIGHT, width, 3), watch=f'include = ["{name}"]',
                                 decoder=table('fit = "exact"'))
        shutil.copy(folder / name, wide.drop)
        wide.once()
        expected = reference(folder / name, "-vf", "scale=iw*sar:ih,setsar=1", size=(width, HEIGHT))
        assert difference(wide.rows(), expected) <= NEAR, name


def test_odd_sizes_alpha_and_sizes_that_change(project, videos, tmp_path):
    make(tmp_path / "a odd.mkv", "-pix_fmt", "yuv420p", "-c:v", "ffv1", frames=5, size=(161, 97))
    # Half of it is transparent.
    ffmpeg("-y", "-f", "lavfi", "-i", "color=red:s=160x96:d=0.2:r=30,format=rgba,geq=r=200:g=40:b=90:a='if(lt(X,80),255,0)'", "-c:v", "qtrle", tmp_path / "b alpha.mov")
    for name, size in (("1.ts", "160x96"), ("2.ts", "320x240")):
        ffmpeg("-y", "-f", "lavfi", "-i", f"testsrc=s={size}:d=0.5:r=30", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-x264opts", "repeat-headers=1", "-f", "mpegts", tmp_path / name)
    (tmp_path / "c two.ts").write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    project = take(project, *(tmp_path / name for name in ("a odd.mkv", "b alpha.mov", "c two.ts")), shape=(48, 80, 4),
                   decoder=table('fit = "stretch"\non_error = "keep"'))
    rows = project.rows()
    counts = dict(project.ledger("SELECT path, rows FROM sources"))
    # Where the two streams meet the numbers of the packets jump, and all of them are whole.
    assert counts == {"drop/a odd.mkv": 5, "drop/b alpha.mov": 6, "drop/c two.ts": 30}
    reason = project.ledger("SELECT reason FROM sources WHERE path = 'drop/c two.ts'")[0][0]
    assert reason is None
    # However many threads decode.
    rows = np.array(rows)
    alone = project.configure(output="alone/frames.npy", shape=(48, 80, 4), watch='order = "name"', service="[service]\nworkers = 1",
                              decoder=table('fit = "stretch"\non_error = "keep"'))
    alone.once()
    assert np.array_equal(alone.rows(), rows) and alone.ledger("SELECT reason FROM sources WHERE path = 'drop/c two.ts'")[0][0] is None
    later = np.stack([np.asarray(Image.fromarray(frame).resize((80, 48), Image.BILINEAR)) for frame in reference(tmp_path / "2.ts", size=(320, 240))])
    assert difference(rows[-15:, :, :, :3], later) <= NEAR
    expected = np.stack([np.asarray(Image.fromarray(frame).resize((80, 48), Image.BILINEAR)) for frame in reference(tmp_path / "a odd.mkv", size=(161, 97))])
    assert difference(rows[:5, :, :, :3], expected) <= NEAR and (rows[:5, :, :, 3] == 255).all()
    assert (rows[5:11, :, :39, 3] == 255).all() and (rows[5:11, :, 41:, 3] == 0).all()
    blended = project.configure(output="blend/frames.npy", shape=(48, 80, 3), watch='include = ["b*"]',
                                decoder=table('fit = "stretch"\nalpha = "blend"\npad = [9, 8, 7]'))
    blended.once()
    assert np.abs(blended.rows()[:, :, :39].astype(int) - [200, 40, 90]).max() <= 2
    assert np.abs(blended.rows()[:, :, 41:].astype(int) - [9, 8, 7]).max() <= 1


def test_damaged_videos_are_rejected_or_give_what_is_good(project, videos, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    ffmpeg("-y", "-i", videos / "h264.mp4", "-c", "copy", "-movflags", "faststart", folder / "whole.mp4")
    whole = (folder / "whole.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[:len(whole) * 2 // 3])
    # FFmpeg takes the end of these for that of the video, wherever it is. The second announces no length of the whole.
    ffmpeg("-y", "-i", videos / "h264.mp4", "-c", "copy", folder / "whole.mkv")
    ffmpeg("-y", "-i", videos / "h264.mp4", "-c", "copy", "-cluster_time_limit", "200", "-live", "1", folder / "live.mkv")
    for name in ["whole.mkv", "live.mkv"]:
        matroska = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(matroska[:len(matroska) * 2 // 3])
    flipped = bytearray(whole)
    for place in range(len(whole) // 2, len(whole) // 2 + 400):
        flipped[place] ^= 0x5A
    (folder / "flipped.mp4").write_bytes(flipped)
    plain = (videos / "h264.mp4").read_bytes()
    (folder / "headless.mp4").write_bytes(plain[:len(plain) // 2])
    ffmpeg("-y", "-f", "lavfi", "-i", "sine=d=0.5", folder / "sound.mp4")
    (folder / "text.mp4").write_text("no video at all\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    ffmpeg("-y", "-i", videos / "h264.mp4", "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "00" * 16,
           "-encryption_kid", "11" * 16, folder / "secret.mp4")
    (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{videos / 'h264.mp4'}\n#EXT-X-ENDLIST\n")
    (folder / "list.ffconcat").write_text(f"ffconcat version 1.0\nfile {videos / 'h264.mp4'}\n")
    started = time.monotonic()
    project = take(project, *folder.iterdir(), check=3, watch='include = ["*"]\norder = "name"', decoder=table('fit = "exact"'))
    assert time.monotonic() - started < 20
    reasons = project.rejected()
    expected = {
        "cut.mp4": r"it is damaged: .*",
        "cut-whole.mkv": r"it is damaged: the file ends after \d+ of the \d+ bytes that it announces: it was cut short; on_error .*",
        "cut-live.mkv": r"it is damaged: the file ends after .*",
        "flipped.mp4": r"it is damaged: .*",
        "headless.mp4": r"no video that FFmpeg can open: .*",
        "sound.mp4": r"there is no video stream in it \(it is mov,.*",
        "text.mp4": r"no video that FFmpeg can open: .*",
        "empty.mp4": r"the file is empty",
        "secret.mp4": r"its video is encrypted",
        "list.m3u8": r".*",
        "list.ffconcat": r".*",
    }
    assert sorted(reasons) == sorted(expected), reasons
    for name, pattern in expected.items():
        assert re.fullmatch(pattern, reasons[name]), (name, reasons[name])
    # The whole MP4, the two whole MKVs.
    assert len(project.rows()) == 3 * FRAMES
    kept = project.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["cut*", "flipped.mp4"]\norder = "name"',
                             columns="time = true", decoder=table('fit = "exact"\non_error = "keep"'))
    kept.once()
    sources = kept.ledger("SELECT path, rows, first_row, reason FROM sources ORDER BY id")
    assert [path for path, *_ in sources] == [f"drop/{name}" for name in ["cut-live.mkv", "cut-whole.mkv", "cut.mp4", "flipped.mp4"]]
    for path, count, first, note in sources:
        is_told = r"the file ends after " if path.endswith(".mkv") else r"\d+ frames lost; the first: "
        assert 20 < count < FRAMES and re.match(is_told, note), (path, count, note)
        rows = kept.rows()[first:first + count]
        numbers = [round(time_s * RATE) for time_s in kept.column("time")[first:first + count]]
        assert [number_of(row) for row in rows] == numbers
        if path.endswith(".mkv"):
            continue
        lost = int(note.split()[0])
        assert count + lost >= FRAMES - 1, (path, count, note)


def test_a_container_that_goes_on_behind_a_hole_is_damaged(project, tmp_path):
    """FFmpeg looks for the place where it goes on, and gives the frames behind it without a word."""
    folder = tmp_path / "made"
    folder.mkdir()
    for name, words in {"a.webm": ["-c:v", "libvpx", "-g", 10], "a.ogv": ["-c:v", "libtheora", "-g", 10], "a.flv": ["-c:v", "flv", "-g", 10],
                        "a.mkv": ["-c:v", "mpeg4", "-g", 10]}.items():
        make(folder / name, "-pix_fmt", "yuv420p", "-b:v", "600k", *words, frames=200)
        whole = (folder / name).read_bytes()
        half = len(whole) // 2
        (folder / f"hole-{name}").write_bytes(whole[:half] + bytes(9000) + whole[half + 9000:])
    whole = (folder / "a.ogv").read_bytes()
    (folder / "cut-a.ogv").write_bytes(whole[:len(whole) // 2])
    (folder / "last-a.ogv").write_bytes(whole[:-1])
    project = take(project, *folder.iterdir(), check=3, watch='include = ["*"]\norder = "name"', decoder=table('fit = "exact"'))
    reasons = project.rejected()
    assert sorted(reasons) == ["cut-a.ogv", "hole-a.flv", "hole-a.mkv", "hole-a.ogv", "hole-a.webm", "last-a.ogv"], reasons
    assert all(reason.startswith("it is damaged: ") for reason in reasons.values()), reasons
    assert len(project.rows()) == 4 * 200
    kept = project.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["hole*"]\norder = "name"',
                             columns="time = true", decoder=table('fit = "exact"\non_error = "keep"'))
    kept.once()
    for path, count, first, note in kept.ledger("SELECT path, rows, first_row, reason FROM sources"):
        assert 100 < count < 200 and "frames lost" in note, (path, count, note)
        rows, times = kept.rows()[first:first + count], kept.column("time")[first:first + count]
        # The frame in which the hole begins may be none that its decoder objects to.
        wrong = [time_s for row, time_s in zip(rows, times) if number_of(row) != round(time_s * RATE)]
        assert len(wrong) <= 1 and len(set(times)) == count, (path, wrong)


def test_a_block_of_matroska_that_belongs_to_no_track_is_missed(project, videos, tmp_path):
    """The bug: FFmpeg passes over it, and says so in its log only."""
    make(tmp_path / "a.mkv", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 12, "-g", 10)
    whole = (tmp_path / "a.mkv").read_bytes()
    # A SimpleBlock with a length of two bytes, of the first track. The track that it then is of; a lace that cannot be.
    blocks = [found.start() for found in re.finditer(rb"\xa3[\x40-\x4f].\x81", whole, re.DOTALL)]
    block = blocks[len(blocks) // 2]
    for name, place, byte in [("track.mkv", block + 3, 0x85), ("lace.mkv", block + 6, 0x06)]:
        (tmp_path / name).write_bytes(whole[:place] + bytes([byte]) + whole[place + 1:])
    made = take(project, tmp_path / "a.mkv", tmp_path / "track.mkv", tmp_path / "lace.mkv", check=3, decoder=table('fit = "exact"'))
    assert sorted(made.rejected()) == ["lace.mkv", "track.mkv"] and len(made.rows()) == FRAMES, made.rejected()
    assert all(reason.startswith("it is damaged: the container is damaged") for reason in made.rejected().values()), made.rejected()


def test_no_frame_of_a_damaged_webp_is_lost_without_a_word(project, videos, tmp_path):
    """The bug: what is no chunk was taken for the end."""
    frames = [Image.fromarray(numbered(number)) for number in range(12)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WebP", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    whole = buffer.getvalue()
    places = [found.start() for found in re.finditer(b"ANMF", whole)]
    place, last = places[6], places[-1]
    changed = lambda at, new: whole[:at] + new + whole[at + len(new):]
    files = {
        "name": changed(place, b"@"), "last-name": changed(last, b"@"), "zeros": changed(place, bytes(8)), "many-zeros": changed(place, bytes(512)),
        "zeros-to-end": changed(place, bytes(len(whole) - place)), "longer": changed(place + 4, bytes([whole[place + 4] + 2])), "shorter": changed(place + 4, bytes([whole[place + 4] - 2])),
        "length": changed(place + 7, b"\x7f"), "name-and-length": changed(place, b"own " + whole[place + 4:place + 7] + b"\x7f"),
    }
    made = project(shape=(HEIGHT, WIDTH, 3), watch='order = "name"', decoder=table('fit = "exact"'))
    for name, data in files.items():
        (made.drop / f"{name}.webp").write_bytes(data)
    # What stands behind the whole is no part of it.
    (made.drop / "whole.webp").write_bytes(whole + b"more")
    made.once(check=3)
    assert sorted(made.rejected()) == sorted(f"{name}.webp" for name in files), made.rejected()
    assert len(made.rows()) == 12
    made.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='order = "name"', decoder=table('fit = "exact"\non_error = "keep"'))
    made.once(check=None)
    for path, count, note in made.ledger("SELECT path, rows, reason FROM sources WHERE status = 'committed'"):
        if path == "drop/whole.webp":
            assert (count, note) == (12, None)
        else:
            assert count >= 6 and re.match(f"the rest behind {count} frames is lost: (WebP: |the WebP ends after )", note), (path, count, note)
    made.configure(output="images/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='order = "name"', decoder='[dataset.image]\nfit = "exact"\nframes = "all"')
    made.once(check=3)
    assert sorted(made.rejected()) == sorted(f"{name}.webp" for name in files), made.rejected()


TRANSPORT = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", 12, "-g", 20, "-bf", 2, "-sc_threshold", 0]


def test_a_transport_stream_that_lost_packets_is_damaged(project, videos, tmp_path):
    """The bug: the numbers of packets jump where recordings were joined, and where packets were lost, and all jumps were taken for joints.
    Frames were missing, and others were wrong. Where frames say how long they are, FFmpeg does not mark what is missing from its start."""
    folder = tmp_path / "made"
    folder.mkdir()
    for name, words in {"h264.ts": TRANSPORT, "lengths.ts": [*TRANSPORT, "-omit_video_pes_length", 0], "mpeg2.ts": ["-c:v", "mpeg2video", "-g", 20, "-bf", 2, "-q:v", 2],
                        "hevc.m2ts": ["-pix_fmt", "yuv420p", "-c:v", "libx265", "-x265-params", "log-level=none:keyint=20"]}.items():
        make(tmp_path / name, *words)
        data, size = (tmp_path / name).read_bytes(), 192 if name.endswith(".m2ts") else 188
        packets = [data[place:place + size] for place in range(0, len(data), size)]
        heads = [packet[size - 188:] for packet in packets]
        stream = max((int.from_bytes(head[1:3], "big") & 0x1fff for head in heads), key=[int.from_bytes(head[1:3], "big") & 0x1fff for head in heads].count)
        of_video = [number for number, head in enumerate(heads) if int.from_bytes(head[1:3], "big") & 0x1fff == stream]
        begins = [number for number in of_video if heads[number][1] & 0x40]
        # Where a frame begins, the first packet of a key frame (in the middle), and within it.
        for lost in (begins[30], begins[40], begins[40] + 1, of_video[len(of_video) * 2 // 3]):
            (folder / f"{lost:04}-{name}").write_bytes(b"".join(packets[:lost] + packets[lost + 1:]))
    made = project(shape=(HEIGHT, WIDTH, 3), watch='include = ["*"]\norder = "name"', decoder=table('fit = "exact"'))
    for path in folder.iterdir():
        shutil.copy(path, made.drop)
    made.once(check=3)
    reasons = made.rejected()
    assert len(reasons) == len(list(folder.iterdir())) >= 14, reasons
    assert all(reason.startswith("it is damaged: ") for reason in reasons.values()), reasons
    made.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["*"]\norder = "name"', columns="time = true",
                   decoder=table('fit = "exact"\non_error = "keep"'))
    made.once()
    for path, count, first, note in made.ledger("SELECT path, rows, first_row, reason FROM sources"):
        assert FRAMES / 2 < count < FRAMES and "frames lost; the first: " in note, (path, count, note)
        shown = made.column("time")[first:first + count]
        assert [number_of(row) for row in made.rows()[first:first + count]] == [round(time_s * RATE) for time_s in shown], path


def test_a_gif_without_delays_has_those_of_ffmpeg(project):
    """All its frames had the time 0, and `fps` gave one of them."""
    project = project(shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table('fit = "exact"'))
    frames = [Image.fromarray(numbered(number)) for number in range(5)]
    frames[0].save(project.drop / "a.gif", save_all=True, append_images=frames[1:], duration=[0, 10, 20, 50, 0])
    told = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "frame=pts_time", "-of", "csv=p=0", project.drop / "a.gif"],
                          check=True, capture_output=True, text=True).stdout
    project.once()
    times = project.column("time").tolist()
    assert times == [0, 0.1, 0.2, 0.22, 0.27] and times == [float(time.strip(",")) for time in told.split()]


def test_animations_and_y4m_need_no_ffmpeg(project, videos, tmp_path):
    """The program alone, in a folder of its own, and with nothing in PATH."""
    alone = tmp_path / "bin"
    alone.mkdir()
    shutil.copy(PROGRAM, alone)
    project = project(shape=(HEIGHT, WIDTH, 3), watch='order = "name"', columns="time = true", decoder=table('fit = "exact"\nfps = 10'))
    frames = [Image.fromarray(numbered(number)) for number in range(12)]
    frames[0].save(project.drop / "a.gif", save_all=True, append_images=frames[1:], duration=50, loop=0)
    frames[0].save(project.drop / "b.png", save_all=True, append_images=frames[1:], duration=50)
    (project.drop / "b.png").rename(project.drop / "b.apng")
    frames[0].save(project.drop / "c.webp", save_all=True, append_images=frames[1:], duration=50, lossless=True)
    make(project.drop / "d.y4m", "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", frames=60)
    make(project.drop / "e.y4m", "-pix_fmt", "yuv422p10le", "-strict", "-1", "-f", "yuv4mpegpipe", frames=6)
    data = (project.drop / "e.y4m").read_bytes()
    (project.drop / "f.y4m").write_bytes(data[:-100])
    shutil.copy(videos / "h264.mp4", project.drop / "g.mp4")
    run = lambda *words: subprocess.run([alone / PROGRAM.name, "--config", project.config, *words], env={"PATH": "/nowhere"}, capture_output=True, text=True)
    done = run("--once")
    assert done.returncode == 3, done.stderr
    reasons = project.rejected()
    assert reasons.keys() == {"f.y4m", "g.mp4"}
    assert reasons["f.y4m"].startswith("it is damaged: it ends within a frame (frame 5, at 0.167 s)")
    assert reasons["g.mp4"].startswith("videos of this kind are decoded by npy-ingest-video, which is not there: put it beside npy-ingest")
    rows = project.rows()
    numbers = [number_of(row) for row in rows]
    assert numbers == [0, 2, 4, 6, 8, 10] * 3 + list(range(0, 60, 3)) + [0, 3]
    assert project.column("time")[:6].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert difference(rows[:12], np.stack([numbered(number) for number in numbers[:12]])) == 0
    assert difference(rows[12:18], np.stack([numbered(number) for number in numbers[12:18]])) <= NEAR
    assert difference(rows[18:38], reference(project.drop / "d.y4m")[::3]) <= NEAR
    assert difference(rows[38:40], reference(project.drop / "e.y4m")[::3]) <= NEAR
    assert "npy-ingest-video is neither beside npy-ingest nor in PATH" in run("check").stdout
    assert re.search(r"decoder +npy-ingest-video .*FFmpeg .*libavcodec", project.command("check").stdout)


def test_a_worker_that_hangs_or_dies_costs_its_source_only(project, videos, tmp_path):
    alone = tmp_path / "bin"
    alone.mkdir()
    shutil.copy(PROGRAM, alone)
    worker = alone / "npy-ingest-video"
    project = project(shape=(HEIGHT, WIDTH, 3), service="[service]\nworkers = 1", watch='order = "name"',
                      decoder=table('fit = "exact"\ntimeout = "1s"'))
    shutil.copy(videos / "h264.mp4", project.drop / "a.mp4")
    run = lambda: subprocess.run([alone / PROGRAM.name, "--config", project.config, "--once"], capture_output=True, text=True, timeout=60)
    for script, reason in (("sleep 60", r"the program was killed: it kept us waiting for more than 1s \(`timeout`\).*"),
                           ("kill -SEGV $$", r"the worker did not answer to the end: the program was killed by signal 11.*"),
                           ("read task; printf 'times 1\\n12345678rows 1\\nabc'", r"the worker's answer: it ends after 0 of 1 rows and 3 bytes.*")):
        worker.write_text(f"#!/bin/sh\n{script}\n")
        worker.chmod(0o755)
        started = time.monotonic()
        assert run().returncode == 3
        assert time.monotonic() - started < 10
        assert re.fullmatch(reason, project.rejected()["a.mp4"]), project.rejected()
        project.command("retry", check=0)
    worker.unlink()
    shutil.copy(WORKER, worker)
    assert run().returncode == 0
    assert len(project.rows()) == FRAMES


def test_the_worker_is_shut_in(videos):
    """Seen from inside, where it says what it tried; and from outside, on one that works."""
    tried = subprocess.run([WORKER, "--try-sandbox"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stdout
    lines = dict(line.split(": ", 1) for line in tried.stdout.splitlines())
    assert set(lines) == {"read a file", "write a file", "open a socket", "start a program", "signal a process"}
    assert all("not permitted" in word or "denied" in word for word in lines.values()), lines
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen([WORKER], stdin=theirs, stdout=subprocess.PIPE)
    theirs.close()
    try:
        end = time.monotonic() + 10
        while "Seccomp:\t2" not in (status := open(f"/proc/{worker.pid}/status").read()):
            assert time.monotonic() < end, status
            time.sleep(0.01)
        assert "NoNewPrivs:\t1" in status
        # It ends with whoever started it, at once.
        ours.close()
        assert worker.wait(timeout=10) == 0
    finally:
        worker.kill()


def test_the_unit_lets_the_worker_work(project, videos):
    allowed = allowed_by_the_unit()
    made = project(shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"'))
    shutil.copy(videos / "h264.mp4", made.drop)
    trace = made.folder / "trace"
    subprocess.run(["strace", "-f", "-qq", "-o", trace, PROGRAM, "--config", made.config, "--once"], check=True)
    assert made.count() == FRAMES
    calls = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    # SQLite's for root; and a try of libnuma's, which an encoder brings along, when it is loaded.
    calls -= {"fchown", "set_mempolicy"}
    assert {"recvmsg", "seccomp"} <= calls and calls <= allowed, calls - allowed


def test_a_kill_in_the_middle_leaves_all_frames_or_none(project, videos, tmp_path):
    path = tmp_path / "long.mp4"
    ffmpeg("-y", "-stream_loop", 39, "-i", videos / "h264.mp4", "-c", "copy", path)
    count = 40 * FRAMES
    chance = random.Random(int(os.environ.get("NPY_INGEST_KILL_SEED", "1")))
    made = project(shape=(HEIGHT, WIDTH, 3), columns="time = true", service='[service]\nmemory = "4MiB"',
                   commit='max_delay = "10ms"', decoder=table('fit = "exact"'))
    shutil.copy(path, made.drop / "long.mp4")
    workers = set()
    size = lambda: made.output.stat().st_size if made.output.exists() else 0
    within = 0
    for _ in range(20 if LONG else 3):
        # At a size, not at a time: machines differ, and what is written before this kill is not there when the next run begins to write.
        enough = chance.uniform(0.1, 0.8) * count * HEIGHT * WIDTH * 3
        with made.service(stop=signal.SIGKILL) as process:
            wait_for(lambda: size() <= 128, project=made)
            wait_for(lambda: size() > enough, project=made, each=0.001)
            workers.update(children_of(process.pid))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert made.count() in (0, count)
        within += made.count() == 0
        if made.count() == count:
            # It was too fast: from the start.
            shutil.rmtree(made.output.parent)
    assert within > 0, "no kill came while rows were written"
    assert workers
    wait_for(lambda: not any(map(is_running, workers)), timeout=2)
    made.once()
    rows = made.rows()
    assert len(rows) == count
    assert [number_of(row) for row in rows[::7]] == [number % FRAMES for number in range(0, count, 7)]
    assert made.ledger("SELECT count(*), sum(rows) FROM sources WHERE status = 'committed'") == [(1, count)]
    verdict = made.json("verify", "--deep")
    assert verdict["ok"], verdict


def test_other_options_are_refused(project, videos):
    project = take(project, videos / "h264.mp4", decoder=table("fps = 2"))
    project.configure(shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table("fps = 3"))
    done = project.once(check=2)
    assert "video.pick" in done.stderr
