"""`video`: what is not read and not decoded, because nobody asked for it, hides no damage; and edit lists, whose pieces are all that
is shown. Against the ffmpeg command, by the numbers that the frames carry."""

import json
import re
import struct
import subprocess

import pytest

from test_video import HEIGHT, WIDTH, ffmpeg, make, number_of, reference, table, take, times, videos

LONG_RATE, LONG_FRAMES = 25, 750
# Each second begins with a key frame, and each frame is built on the one before it.
SECONDS = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", 20, "-g", 25, "-bf", 0, "-sc_threshold", 0]


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Half a minute, with sound between its frames."""
    folder = tmp_path_factory.mktemp("long")
    make(folder / "plain.mp4", *SECONDS, frames=LONG_FRAMES, rate=LONG_RATE)
    ffmpeg("-y", "-i", folder / "plain.mp4", "-f", "lavfi", "-i", "anoisesrc=r=48000:d=30", "-c:v", "copy", "-c:a", "pcm_s16le",
           "-movflags", "faststart", folder / "sounding.mov")
    return folder


def packet(path, time_s):
    """Where the packet of the frame at this time is: its place and its length."""
    text = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time,pos,size", "-of", "json", path],
                          check=True, capture_output=True, text=True).stdout
    return next((int(one["pos"]), int(one["size"])) for one in json.loads(text)["packets"] if abs(float(one["pts_time"]) - time_s) < 0.001)


def without_slices(path, time_s):
    """The file, without what the slices of one frame hold."""
    data = bytearray(path.read_bytes())
    place, size = packet(path, time_s)
    end = place + size
    while place < end:
        length = int.from_bytes(data[place:place + 4], "big")
        if data[place + 4] & 31 in (1, 5):
            data[place + 5:place + 4 + length] = bytes(length - 1)
        place += 4 + length
    return bytes(data)


def test_what_is_cut_off_is_missed_behind_leaps(project, videos, long):
    """The bug: without a word there were fewer rows."""
    whole = (long / "sounding.mov").read_bytes()
    made = project(shape=(HEIGHT, WIDTH, 3), watch='order = "name"', decoder=table('fit = "exact"'))
    for percent in (20, 50, 75, 90, 97):
        (made.drop / f"{percent}.mov").write_bytes(whole[:len(whole) * percent // 100])
    made.once(check=3)
    expected = made.rejected()
    assert len(expected) == 5 and all(re.match(r"it is damaged: (it ends after \d+ of 750 frames|a frame is cut short)", why) for why in expected.values()), expected
    # Where it is noticed is another matter.
    words = lambda reasons: {name: re.sub(r" \(at .*", "", reason) for name, reason in reasons.items()}
    for number, chosen in enumerate(["fps = 0.2", "fps = 0.1", "fps = 2", 'start = "5s"', 'start = "29s"']):
        made.configure(output=f"{number}/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='order = "name"', decoder=table(f'fit = "exact"\n{chosen}'))
        made.once(check=3)
        assert words(made.rejected()) == words(expected), chosen
        made.configure(output=f"{number} kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='order = "name"', columns="time = true",
                       decoder=table(f'fit = "exact"\non_error = "keep"\n{chosen}'))
        made.once(check=None)
        for path, count, note in made.ledger("SELECT path, rows, reason FROM sources"):
            assert re.search(r"frames lost; the first: (it ends after|a frame is cut short)", note), (path, count, note)
        assert [number_of(row) for row in made.rows()] == [round(time_s * LONG_RATE) % 256 for time_s in made.column("time")]
    # The whole one has them all.
    made.configure(output="whole/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["whole.mov"]', columns="time = true", decoder=table('fit = "exact"\nfps = 0.2'))
    (made.drop / "whole.mov").write_bytes(whole)
    made.once()
    assert made.column("time").tolist() == [0, 5, 10, 15, 20, 25] and made.ledger("SELECT reason FROM sources") == [(None,)]


@pytest.mark.parametrize("lost_s, chosen", [
    (20, "fps = 0.1"),
    (20, "fps = 1"),
    (20, 'start = "20s"'),
    (20, 'start = "20.5s"'),
    (20, 'start = "0.5s"\nfps = 0.1'),
    (20.4, 'start = "20.6s"'),
    (20.4, 'start = "0.6s"\nfps = 0.1'),
    (20, "keyframes = true"),
])
def test_a_damaged_frame_that_is_needed_is_missed(project, videos, long, lost_s, chosen):
    """The bugs: behind a leap it was not counted, and another frame stood in its row; nor where the frame itself was not wanted, but
    one that is built on it."""
    made = project(shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table(f'fit = "exact"\n{chosen}'))
    (made.drop / "a.mp4").write_bytes(without_slices(long / "plain.mp4", lost_s))
    made.once(check=3)
    assert re.match(r"it is damaged: a frame cannot be decoded: .* \(at ", made.rejected()["a.mp4"]), made.rejected()
    made.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table(f'fit = "exact"\non_error = "keep"\n{chosen}'))
    made.once()
    assert [number_of(row) for row in made.rows()] == [round(time_s * LONG_RATE) % 256 for time_s in made.column("time")]
    assert not any(lost_s - 0.01 < time_s < 20.99 for time_s in made.column("time"))
    assert "frames lost; the first: a frame cannot be decoded" in made.ledger("SELECT reason FROM sources")[0][0]


@pytest.mark.parametrize("byte", [0, 255])
def test_a_key_frame_that_cannot_be_read_is_missed(project, videos, long, byte):
    """The bug: what has no parts that can be told was taken for a key frame that is none, and left out without a word."""
    data = bytearray((long / "plain.mp4").read_bytes())
    place, _ = packet(long / "plain.mp4", 20)
    data[place:place + 16] = bytes([byte]) * 16
    made = project(shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table('fit = "exact"\nkeyframes = true'))
    (made.drop / "a.mp4").write_bytes(data)
    made.once(check=3)
    assert made.rejected()["a.mp4"].startswith("it is damaged: a frame cannot be decoded: "), made.rejected()
    made.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), columns="time = true", decoder=table('fit = "exact"\non_error = "keep"\nkeyframes = true'))
    made.once()
    assert made.column("time").tolist() == [time_s for time_s in range(30) if time_s != 20]
    assert made.ledger("SELECT reason FROM sources")[0][0].startswith("1 frames lost; the first: a frame cannot be decoded")


def with_edits(mp4, edits):
    """An MP4 of one track and without an edit list, with one: of pieces with their length and where they begin, in seconds. ISO/IEC
    14496-12, 8.6.6."""
    scale = lambda box: struct.unpack_from(">I", mp4, mp4.index(box) + 16)[0]
    in_movie, in_media = scale(b"mvhd"), scale(b"mdhd")
    pieces = b"".join(struct.pack(">iiHH", round(length_s * in_movie), round(from_s * in_media), 1, 0) for length_s, from_s in edits)
    box = lambda name, body: struct.pack(">I", len(body) + 8) + name + body
    list_ = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + pieces))
    movie, track, header = (mp4.index(name) - 4 for name in (b"moov", b"trak", b"tkhd"))
    assert mp4.index(b"mdat") < movie
    behind = header + struct.unpack_from(">I", mp4, header)[0]
    edited = bytearray(mp4[:behind] + list_ + mp4[behind:])
    for place in (movie, track):
        struct.pack_into(">I", edited, place, struct.unpack_from(">I", edited, place)[0] + len(list_))
    return bytes(edited)


@pytest.mark.parametrize("reordered", [0, 2])
@pytest.mark.parametrize("edits", [
    [(3, 0)],
    [(2, 1)],
    [(2, 0), (2, 5.5)],
    [(1, 0.5), (1.5, 3.3), (1, 6)],
], ids=str)
def test_edit_lists_leave_out_pieces(project, videos, tmp_path, edits, reordered):
    """The bugs: with `fps` the last frame was repeated over what an edit list had cut away behind it, and a piece that was left out of
    the middle was taken for the end of a recording."""
    make(tmp_path / "made.mp4", *SECONDS[:-5], 60, "-bf", reordered, "-sc_threshold", 0, frames=240)
    ffmpeg("-y", "-i", tmp_path / "made.mp4", "-c", "copy", "-use_editlist", 0, tmp_path / "plain.mp4")
    path = tmp_path / "a.mp4"
    path.write_bytes(with_edits((tmp_path / "plain.mp4").read_bytes(), edits))
    made = take(project, path, decoder=table('fit = "exact"'))
    shown = times(path)
    assert made.column("time").tolist() == shown and made.ledger("SELECT reason FROM sources") == [(None,)]
    numbers = [number_of(row) for row in reference(path)]
    assert [number_of(row) for row in made.rows()] == numbers
    for rate in (1, 2, 10):
        made.configure(output=f"{rate}/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table(f'fit = "exact"\nfps = {rate}'))
        made.once()
        assert [number_of(row) for row in made.rows()] == [number_of(row) for row in reference(path, "-vf", f"fps=fps={rate}:round=up")], rate
    made.configure(output="late/frames.npy", shape=(HEIGHT, WIDTH, 3), decoder=table('fit = "exact"\nstart = "1.5s"\nend = "2.5s"'))
    made.once()
    assert [number_of(row) for row in made.rows()] == [number for number, time_s in zip(numbers, shown) if 1.5 <= time_s < 2.5]
