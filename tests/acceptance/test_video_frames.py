"""`video`: pixels of awkward sizes and formats, key frames, and streams that are not as streams should be; against the ffmpeg
command, by the numbers that the frames carry."""

import fcntl
import json
import random
import socket
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from test_video import CODECS, FRAMES, HEIGHT, RATE, TRANSPORT, WIDTH, WORKER, ffmpeg, make, number_of, numbered, reference, table, take, times, videos


def bars(path, width, height, *words, frames=2):
    ffmpeg("-y", "-f", "lavfi", "-i", f"testsrc2=s={width}x{height}:r=25", "-frames:v", frames, *words, path)


def keys(path):
    """Which of its frames are key frames."""
    text = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=key_frame", "-of", "json", path],
                          capture_output=True, text=True, check=True).stdout
    return [number for number, frame in enumerate(json.loads(text)["frames"]) if frame["key_frame"]]


def numbers_of(rows):
    return [number_of(row) for row in rows]


@pytest.mark.parametrize("pixels, channels, widths", [
    ("yuv420p", 3, [*range(850, 871, 2), 2, 6, 10, 18, 34, 66, 1366]),
    ("yuv422p", 3, [426, 854]),
    ("yuv420p", 1, [66, 854]),
    ("yuva420p", 4, [2, 66, 850, 854, 862]),
])
def test_lines_of_any_length_are_whole(project, videos, tmp_path, pixels, channels, widths):
    """The bug: libswscale left out the last block of eight pixels where the line had no room for all of it."""
    made = project(shape=(32, 32, 3), decoder=table('fit = "exact"'))
    for width in widths:
        path = made.drop / f"{width}.mkv"
        bars(path, width, 32, "-pix_fmt", pixels, "-c:v", "ffv1")
        shape = (32, width) if channels == 1 else (32, width, channels)
        made.configure(output=f"{width}/frames.npy", shape=shape, watch=f'include = ["{width}.mkv"]', decoder=table('fit = "exact"'))
        made.once()
        expected = reference(path, size=(width, 32), pixels="rgba" if channels == 4 else "rgb24")
        if channels == 1:
            expected = np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in expected])
        rows = made.rows()
        assert rows.shape == expected.shape
        assert np.abs(rows.astype(int) - expected).max() <= (1 if channels == 1 else 0), width


@pytest.mark.parametrize("pixels", ["gbrp", "gbrp10le", "gbrp12le", "gbrp16le", "rgba64le"])
def test_deep_rgb_keeps_its_colours(project, videos, tmp_path, pixels):
    """The bug: it went through a matrix that was not the one back, and was off by up to 38."""
    path = tmp_path / "a.mkv"
    bars(path, WIDTH, HEIGHT, "-pix_fmt", pixels, "-c:v", "ffv1")
    made = take(project, path, decoder=table('fit = "exact"'))
    assert np.abs(made.rows().astype(int) - reference(path)).max() == 0


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.webm"])
def test_the_container_may_tell_the_shape_of_pixels(project, videos, tmp_path, name):
    """The bug: the codec's word alone was taken, which says that they are square, or nothing."""
    words = ["-c:v", "libvpx", "-b:v", "2M"] if name.endswith("webm") else CODECS["h264.mp4"]
    make(tmp_path / f"plain-{name}", *words, frames=5)
    ffmpeg("-y", "-i", tmp_path / f"plain-{name}", "-c", "copy", "-aspect", f"{2 * WIDTH}:{HEIGHT}", tmp_path / name)
    made = take(project, tmp_path / name, shape=(HEIGHT, 2 * WIDTH, 3), decoder=table('fit = "exact"'))
    expected = reference(tmp_path / name, "-vf", "scale=iw*sar:ih,setsar=1", size=(2 * WIDTH, HEIGHT))
    assert np.abs(made.rows().astype(int) - expected).mean() <= 2


SHORT = "b-adapt=0:scenecut=0:open-gop=1:keyint=4:min-keyint"
OPEN = {
    "mpeg2.ts": ["-c:v", "mpeg2video", "-g", 3, "-bf", 2, "-b_strategy", 0, "-sc_threshold", 1000000000, "-q:v", 2],
    "mpeg4.mkv": ["-c:v", "mpeg4", "-g", 3, "-bf", 2, "-q:v", 2],
    "h264.mp4": ["-c:v", "libx264", "-x264-params", f"{SHORT}=1:bframes=3:b-pyramid=none"],
    "hevc.mp4": ["-c:v", "libx265", "-x265-params", f"{SHORT}=4:bframes=3:b-pyramid=0:log-level=none"],
    "24.mkv": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=24"],
    "12.ts": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12"],
    "33.mp4": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=33"],
}


@pytest.mark.parametrize("name", OPEN)
def test_groups_that_look_back_lose_no_frame(project, videos, tmp_path, name):
    """The bugs: with `start` and `fps`, frames were lost for the rest of the video where a group was a key frame and what is shown
    before it; and the frame behind a key frame that is no fresh start, once it was the last that was wanted."""
    path = tmp_path / name
    make(path, "-pix_fmt", "yuv420p", *OPEN[name], frames=250, rate=25)
    shown = times(path)
    made = take(project, path, decoder=table('fit = "exact"\nstart = "9.9s"'))
    assert numbers_of(made.rows()) == list(range(248, 250))
    for chosen, first, step in [("fps = 1", 0, 1), ("fps = 2", 0, 0.5), ("fps = 3", 0, 1 / 3), ("fps = 5", 0, 0.2), ('fps = 2\nstart = "1.1s"', 1.1, 0.5)]:
        ticks = [first + place * step for place in range(60) if first + place * step < 9.998]
        wanted = [max(frame for frame in range(250) if shown[frame] <= tick + 0.0005) for tick in ticks]
        made.configure(output=f"{step:.1f} {first}/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table(f'fit = "exact"\n{chosen}'))
        made.once()
        assert numbers_of(made.rows()) == wanted, chosen


KEYS = {
    "h264.mp4": ["-c:v", "libx264", "-g", 30, "-bf", 3],
    "hevc.mp4": ["-c:v", "libx265", "-x265-params", "keyint=30:bframes=3:open-gop=1:log-level=none"],
    "open.mp4": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=20:min-keyint=20:scenecut=0"],
    "open.mkv": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=20:min-keyint=20:scenecut=0"],
    "open.ts": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=20:min-keyint=20:scenecut=0"],
    "slices.mp4": ["-c:v", "libx264", "-x264-params", "bluray-compat=1:open-gop=1:keyint=24:slices=4:vbv-maxrate=40000:vbv-bufsize=30000"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-g", 30, "-deadline", "realtime", "-cpu-used", 8, "-b:v", "1M"],
    "av1.webm": ["-c:v", "libaom-av1", "-g", 40, "-usage", "realtime", "-cpu-used", 8, "-b:v", "1M"],
    "mpeg2.mpg": ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-q:v", 2],
    "mpeg2.m2v": ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-q:v", 2],
    "mpeg4.avi": ["-c:v", "mpeg4", "-g", 20, "-bf", 2, "-q:v", 2],
    "h264.avi": ["-c:v", "libx264", "-g", 20, "-bf", 3],
    "raw.h264": ["-c:v", "libx264", "-g", 20, "-bf", 3],
    "raw.hevc": ["-c:v", "libx265", "-x265-params", "keyint=20:log-level=none"],
    "theora.ogv": ["-c:v", "libtheora", "-g", 20, "-q:v", 9],
}


@pytest.mark.parametrize("name", KEYS)
def test_key_frames_come_alone_in_order_and_at_their_times(project, videos, tmp_path, name):
    """The bugs: all frames of VP9 and AV1, three of fifteen where H.264 looks back, times that were others' in MP4 and where few
    packets have their time, and Theora refused."""
    path = tmp_path / name
    make(path, "-pix_fmt", "yuv420p", *KEYS[name], frames=150)
    made = take(project, path, decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == list(range(150))
    shown, wanted = made.column("time").tolist(), keys(path)
    assert 3 <= len(wanted) <= 20
    for bounds, first, last in (("", -1, 100), ('\nstart = "1.1s"\nend = "4s"', 1.1, 4)):
        made.configure(output=f"{first}/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true",
                       decoder=table(f'fit = "exact"\nkeyframes = true{bounds}'))
        made.once()
        chosen = [number for number in wanted if first <= shown[number] < last]
        assert numbers_of(made.rows()) == chosen
        assert made.column("time").tolist() == [shown[number] for number in chosen]


@pytest.mark.parametrize("codec", ["msmpeg4", "wmv2", "flv", "cinepak", "ffv1", "mpeg4"])
def test_an_avi_without_its_index_tells_no_key_frames(project, videos, tmp_path, codec):
    """The bug: its packets all say that they are key frames, and `fps` decoded frames on nothing."""
    make(tmp_path / "whole.avi", "-c:v", codec, "-g", 60, *([] if codec == "ffv1" else ["-q:v", 2]), frames=150)
    whole = (tmp_path / "whole.avi").read_bytes()
    # As a recorder leaves it that was cut off.
    (tmp_path / "a.avi").write_bytes(whole[:whole.rindex(b"idx1")])
    made = take(project, tmp_path / "a.avi", decoder=table('fit = "exact"\nfps = 1'))
    assert numbers_of(made.rows()) == [0, 30, 60, 90, 120]
    for chosen, expected in (('start = "3.3s"\nend = "3.5s"', list(range(99, 105))), ("keyframes = true", keys(tmp_path / "a.avi"))):
        made.configure(output=f"{chosen[:4]}/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table(f'fit = "exact"\n{chosen}'))
        made.once()
        assert numbers_of(made.rows()) == expected


@pytest.mark.parametrize("name, words", [
    ("a.mp4", CODECS["h264.mp4"]),
    ("a.gif", []),
    ("a.y4m", ["-pix_fmt", "yuv420p"]),
])
def test_a_start_behind_the_end_gives_no_row(project, videos, tmp_path, name, words):
    """The bug: with `fps` the last frame, once."""
    make(tmp_path / name, *words, rate=25)
    end = FRAMES / 25
    made = take(project, tmp_path / name, decoder=table(f'fit = "stretch"\nfps = 5\nstart = "{end - 0.03:.2f}s"'))
    assert made.count() == 1
    for start in (end, end + 3):
        made.configure(output=f"{start}/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table(f'fit = "stretch"\nfps = 5\nstart = "{start:.2f}s"'))
        made.once(check=3)
        asked = "none of its frames is one that the config asks for (`start`, `end`, `fps`, `keyframes`)"
        assert made.count() == 0 and made.rejected() == {name: f"it gives no rows: {asked}"}


def test_the_last_frame_is_shown_as_long_as_its_packet_says(project, videos, tmp_path):
    """The bug: as long as a frame is on the mean."""
    path = tmp_path / "a.mp4"
    make(path, "-vf", "setpts=3*PTS", "-vsync", "passthrough", *CODECS["h264.mp4"], frames=3, rate=5)
    for rate in (10, 5, 3):
        made = project(output=f"{rate}/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table(f'fit = "exact"\nfps = {rate}'))
        (made.drop / "a.mp4").write_bytes(path.read_bytes())
        made.once()
        assert numbers_of(made.rows()) == numbers_of(reference(path, "-vf", f"fps={rate}:round=up"))


@pytest.mark.parametrize("name, words", [
    ("a.mpg", ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-q:v", 2]),
    ("a.ts", ["-c:v", "mpeg2video", "-g", 15, "-bf", 2, "-q:v", 2]),
])
def test_joined_recordings_are_one_after_the_other(project, videos, tmp_path, name, words):
    """The bug: time stood still from where the stamps began anew, and with `fps` the second recording was lost."""
    make(tmp_path / name, *words)
    part = (tmp_path / name).read_bytes()
    (tmp_path / f"two-{name}").write_bytes(part + part)
    made = take(project, tmp_path / f"two-{name}", decoder=table('fit = "exact"\non_error = "keep"'))
    shown = made.column("time")
    # Where they meet the transport stream cuts one frame short.
    assert len(shown) >= 2 * FRAMES - 3 and (np.diff(shown[:-1]) > 0).all() and abs(shown[-1] - 4) < 0.1
    assert numbers_of(made.rows())[-20:] == list(range(40, 60))
    note = made.ledger("SELECT reason FROM sources")[0][0]
    assert "its time stamps begin anew once, as where recordings were joined: the clock goes on" in note
    made.configure(output="fps/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"\nfps = 5\non_error = "keep"'))
    made.once()
    assert numbers_of(made.rows()) == list(range(0, 60, 6)) * 2


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts"])
def test_pieces_of_a_transport_stream_are_joined_without_a_loss(project, videos, tmp_path, name):
    """Each begins with numbers of its own, and time goes on."""
    words = ["-f", "segment", "-segment_format", "mpegts", "-segment_time", 1]
    make(tmp_path / f"%d-{name}", *TRANSPORT, *words, *(["-segment_format_options", "mpegts_m2ts_mode=1"] if name == "a.m2ts" else []), frames=120)
    pieces = sorted(tmp_path.glob(f"*-{name}"))
    assert len(pieces) >= 3
    (tmp_path / name).write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    made = take(project, tmp_path / name, decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == list(range(120)) and made.ledger("SELECT reason FROM sources") == [(None,)]
    assert made.column("time") == pytest.approx(np.arange(120) / RATE, abs=1e-3)


def test_joined_programme_streams_are_not_leapt_in(project, videos, tmp_path):
    """The bug: FFmpeg looks at all of a short file, and what it lists of it is in the order of the time stamps: a leap went to the second
    recording."""
    for number in range(2):
        data = b"".join(numbered(frame).tobytes() for frame in range(number * 120, number * 120 + 120))
        ffmpeg("-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", RATE, "-i", "-", "-c:v", "mpeg2video", "-g", 15, "-bf", 2,
               "-q:v", 5, tmp_path / f"{number}.mpg", data=data)
    (tmp_path / "a.mpg").write_bytes(b"".join((tmp_path / f"{number}.mpg").read_bytes() for number in range(2)))
    for chosen, expected in [('start = "3s"', range(90, 240)), ('start = "3s"\nfps = 2', range(90, 240, 15)), ("fps = 0.5", range(0, 240, 60))]:
        made = take(project, tmp_path / "a.mpg", output=f"{len(chosen)}/frames.npy", decoder=table(f'fit = "exact"\n{chosen}'))
        assert numbers_of(made.rows()) == list(expected), chosen
        assert made.column("time") == pytest.approx(np.array(expected) / RATE, abs=0.05)


def test_frames_whose_packets_have_no_time_have_their_own(project, videos, tmp_path):
    """The bugs: a frame that was left out was the last one whose time was known, with `fps`; and with `keyframes`, times of key frames."""
    noise = np.random.default_rng(1)
    frame = lambda number: np.clip(numbered(number)[:HEIGHT // 2] + noise.integers(-30, 30, (HEIGHT // 2, WIDTH, 3)), 0, 255).astype("u1").tobytes()
    data = b"".join(frame(number) + numbered(number)[HEIGHT // 2:].tobytes() for number in range(250))
    ffmpeg("-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", RATE, "-i", "-", "-pix_fmt", "yuv420p", "-c:v", "libx264",
           "-preset", "veryfast", "-crf", 8, "-g", 25, "-bf", 2, "-sc_threshold", 0, tmp_path / "a.mpg", data=data)
    told = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts", "-of", "csv", tmp_path / "a.mpg"],
                          check=True, capture_output=True, text=True).stdout
    assert "N/A" in told
    whole = range(250)
    for chosen, expected in [*((f"fps = {rate}", whole[::RATE // rate]) for rate in (3, 5, 10, 15)), ("keyframes = true", whole[::25])]:
        made = take(project, tmp_path / "a.mpg", output=f"{chosen}/frames.npy", decoder=table(f'fit = "exact"\n{chosen}'))
        assert numbers_of(made.rows()) == list(expected), chosen
        assert made.column("time") == pytest.approx(np.array(expected) / RATE, abs=0.001), chosen


def test_time_goes_on_in_joined_matroska(project, videos, tmp_path):
    """The bug: the second recording began where the last frame of the first was decoded, before the last ones were shown."""
    make(tmp_path / "part.mkv", *TRANSPORT[:-4], "-bf", 3, "-x264-params", "b-pyramid=normal:bframes=3:b-adapt=0", frames=60)
    part = (tmp_path / "part.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(part + part)
    made = take(project, tmp_path / "a.mkv", decoder=table('fit = "exact"\non_error = "keep"'))
    assert numbers_of(made.rows()) == list(range(60)) * 2 and (np.diff(made.column("time")) > 0.02).all(), made.column("time")[55:65]


def test_y4m_of_no_known_rate_has_25_frames_a_second(project, videos, tmp_path):
    make(tmp_path / "a.y4m", "-pix_fmt", "yuv420p", frames=10)
    path = tmp_path / "b.y4m"
    path.write_bytes((tmp_path / "a.y4m").read_bytes().replace(b" F30:1 ", b" F0:0 ", 1))
    made = take(project, path, decoder=table('fit = "exact"'))
    assert made.column("time").tolist() == [number / 25 for number in range(10)] == times(path)


@pytest.mark.parametrize("words", ["", " XCOLORRANGE=FULL", " XCOLORRANGE=LIMITED"])
def test_gray_y4m_is_of_full_range(project, videos, tmp_path, words):
    """The bug: it was stretched as if it were of limited range, where the file does not say."""
    path = tmp_path / "a.y4m"
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 Cmono{words}\n".encode()
    ramp = np.tile(np.arange(WIDTH, dtype="u1") + 48, (HEIGHT, 1))
    path.write_bytes(head + b"FRAME\n" + ramp.tobytes())
    made = take(project, path, decoder=table('fit = "exact"'))
    expected = reference(path, "-pix_fmt", "gray", pixels="gray")
    assert np.array_equal(expected[0, ..., 0], ramp) or "LIMITED" in words
    if "LIMITED" in words:
        expected = np.clip((ramp.astype("f8") - 16) * 255 / 219, 0, 255)[None, ..., None]
    assert np.abs(made.rows() - expected.astype("f8")).max() <= 1


def test_y4m_may_end_with_an_empty_line_and_have_half_a_rate(project, videos, tmp_path):
    """FFmpeg gives the same frames. The bug: they were rejected."""
    make(tmp_path / "a.y4m", "-pix_fmt", "yuv420p", frames=10)
    whole = (tmp_path / "a.y4m").read_bytes()
    (tmp_path / "b.y4m").write_bytes(whole + b"\n")
    (tmp_path / "c.y4m").write_bytes(whole.replace(b" F30:1 ", b" F30:0 ", 1))
    (tmp_path / "d.y4m").write_bytes(whole + b"\nX")
    made = take(project, *(tmp_path / f"{name}.y4m" for name in "bcd"), check=3, decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == [*range(10), *range(10)] and list(made.rejected()) == ["d.y4m"]
    assert made.column("time").tolist() == times(tmp_path / "a.y4m") + times(tmp_path / "c.y4m")


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_webm_keeps_its_alpha(project, videos, tmp_path, codec):
    """The bug: it was opaque, in rows of four channels as well as blended."""
    frames = np.stack([np.dstack([numbered(number), np.full((HEIGHT, WIDTH), 40 + 3 * number)]) for number in range(30)]).astype("u1")
    path = tmp_path / "a.webm"
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{WIDTH}x{HEIGHT}", "-r", 30, "-i", "-", "-pix_fmt", "yuva420p", "-c:v", codec, "-g", 10,
           "-auto-alt-ref", 0, "-deadline", "realtime", "-cpu-used", 8, "-b:v", "2M", path, data=frames.tobytes())
    expected = reference(path, pixels="rgba", before=["-c:v", codec])
    assert np.unique(expected[..., 3]).size > 10
    made = take(project, path, shape=(HEIGHT, WIDTH, 4), decoder=table('fit = "exact"'))
    assert np.abs(made.rows().astype(int) - expected).max() <= 1
    for chosen, places in (("fps = 10", slice(0, None, 3)), ("keyframes = true", slice(0, None, 10)), ('start = "0.5s"', slice(15, None))):
        made.configure(output=f"{chosen[:3]}/frames.npy", shape=(HEIGHT, WIDTH, 4), decoder=table(f'fit = "exact"\n{chosen}'))
        made.once()
        assert np.abs(made.rows().astype(int) - expected[places]).max() <= 1, chosen
    made.configure(output="blended/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"\nalpha = "blend"\npad = [255, 0, 255]'))
    made.once()
    alpha = expected[..., 3:] / 255
    assert np.abs(made.rows() - (expected[..., :3] * alpha + np.array([255, 0, 255]) * (1 - alpha))).max() <= 2
    made.configure(output="dropped/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"'))
    made.once()
    assert np.abs(made.rows().astype(int) - expected[..., :3]).mean() <= 2


def test_what_gives_no_row_says_why(project, videos, tmp_path):
    """The bug: "it gives no rows", or that it was interlaced."""
    make(tmp_path / "a.mp4", *CODECS["h264.mp4"])
    make(tmp_path / "b.ts", "-pix_fmt", "yuv420p", "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-top", 1, "-q:v", 2, frames=20)
    made = take(project, tmp_path / "a.mp4", tmp_path / "b.ts", check=3, shape=(80, HEIGHT, WIDTH, 3), decoder=table('fit = "exact"'))
    reason = 'it gives no rows: a clip takes 80 frames, and the video gives {}: tail = "pad" fills it up with the last one'
    assert made.rejected() == {"a.mp4": reason.format(60), "b.ts": reason.format(20)}
    made.configure(output="padded/frames.npy", shape=(80, HEIGHT, WIDTH, 3), decoder=table('fit = "exact"\ntail = "pad"'))
    made.once()
    assert made.count() == 2


def test_a_video_without_key_frames_says_so(project, videos, tmp_path):
    """The bug: it was said that no frame can be decoded."""
    make(tmp_path / "whole.ts", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-x264-params", "keyint=30:intra-refresh=1", frames=150)
    whole = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(whole[len(whole) // 3 // 188 * 188:])
    made = take(project, tmp_path / "a.ts", decoder=table('fit = "exact"\nfps = 1\non_error = "keep"'))
    assert made.count() > 0
    made.configure(output="keys/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"\nkeyframes = true\non_error = "keep"'))
    made.once(check=3)
    assert made.rejected()["a.ts"].startswith("there is no key frame in it that is whole by itself, and `keyframes` takes no others")


def test_extensions_of_cameras_and_programs_are_known(project, videos, tmp_path):
    """The bug: without `include` they were passed over."""
    h264, mpeg2 = CODECS["h264.mp4"], ["-c:v", "mpeg2video", "-q:v", 2]
    made = {"mp4": (h264, "lrv"), "mov": (h264, "qt"), "mpegts": (h264, "m2t", "tp", "trp"), "matroska": (h264, "mk3d"), "h264": (h264, "264"),
            "hevc": (CODECS["hevc.mp4"], "265"), "mpeg": (mpeg2, "mod", "mpe", "m2p"), "mpeg1video": (["-c:v", "mpeg1video", "-q:v", 2], "m1v"),
            "ogg": (["-c:v", "libtheora", "-q:v", 9], "ogm"), "avi": (["-c:v", "mpeg4", "-q:v", 2], "divx")}
    paths = []
    for format_, (words, *extensions) in made.items():
        for extension in extensions:
            paths.append(tmp_path / f"a.{extension}")
            make(paths[-1], *words, "-f", format_, frames=12)
    made = take(project, *paths, decoder=table('fit = "exact"\nstride = 5'))
    assert made.ledger("SELECT path, rows FROM sources ORDER BY path") == sorted((f"drop/{path.name}", 3) for path in paths)
    assert numbers_of(made.rows()) == [0, 5, 10] * len(paths)


def test_the_pipe_of_a_worker_holds_a_block(videos):
    """The bug: it was to be made wider in the sandbox, which forbids it."""
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen([WORKER], stdin=theirs, stdout=subprocess.PIPE)
    theirs.close()
    try:
        end = time.monotonic() + 10
        while fcntl.fcntl(worker.stdout, fcntl.F_GETPIPE_SZ) != 1 << 20:
            assert time.monotonic() < end
            time.sleep(0.01)
        ours.close()
        assert worker.wait(timeout=10) == 0
    finally:
        worker.kill()


def test_whether_a_damaged_video_is_rejected_is_no_matter_of_chance(project, videos, tmp_path):
    """The bug: with several threads a frame could come out before it was marked as made up in parts."""
    make(tmp_path / "a.h264", *CODECS["h264.mp4"], "-bf", 2)
    chance = random.Random(7)
    found = []
    made = project(shape=(HEIGHT, WIDTH, 3), service="[service]\nworkers = 1", decoder=table('fit = "exact"'))
    for number in range(16):
        data = bytearray((tmp_path / "a.h264").read_bytes())
        data[chance.randrange(len(data) // 10, len(data))] ^= 1 << chance.randrange(8)
        (made.drop / f"{number:02}.h264").write_bytes(data)
    for turn in range(3):
        made.configure(output=f"{turn}/frames.npy", shape=(HEIGHT, WIDTH, 3), service="[service]\nworkers = 1", decoder=table('fit = "exact"'))
        made.once(check=None)
        found.append(sorted(made.rejected()))
    assert found == found[:1] * 3 and 5 < len(found[0])
