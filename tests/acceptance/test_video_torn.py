"""`video`: containers that lost bytes, packets or pieces, and recordings that were put behind each other; by the numbers that the
frames carry."""

import re

import numpy as np
import pytest
from PIL import Image

from test_video import FRAMES, HEIGHT, RATE, TRANSPORT, WIDTH, ffmpeg, make, number_of, numbered, reference, table, take, videos

PACKET = 188
ALL = 'include = ["*"]\norder = "name"'


def numbers_of(rows):
    return [number_of(row) for row in rows]


def notes_of(project):
    return dict(project.ledger("SELECT path, reason FROM sources"))


def video_packets(data):
    """Which packets of a transport stream belong to the video."""
    streams = [int.from_bytes(data[place + 1:place + 3], "big") & 0x1fff for place in range(0, len(data), PACKET)]
    most = max(set(streams), key=streams.count)
    return [number for number, stream in enumerate(streams) if stream == most]


def test_a_piece_of_a_transport_stream_that_is_missing_is_missed(project, videos, tmp_path):
    """The bug: where the first packet behind a hole was that of a key frame, the hole was taken for where recordings were joined."""
    make(tmp_path / "a.m3u8", *TRANSPORT, "-f", "hls", "-hls_time", 20 / RATE, "-hls_list_size", 0, "-hls_segment_filename", tmp_path / "%02d.ts", frames=160)
    pieces = [path.read_bytes() for path in sorted(tmp_path.glob("*.ts"))]
    assert len(pieces) == 8
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "whole.ts").write_bytes(b"".join(pieces))
    for first, last in [(2, 3), (3, 5), (4, 7)]:
        (folder / f"without-{first}.ts").write_bytes(b"".join(pieces[:first] + pieces[last:]))
    made = take(project, *folder.iterdir(), check=3, decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == list(range(160)) and notes_of(made)["drop/whole.ts"] is None
    reasons = made.rejected()
    assert len(reasons) == 3 and all(reason.startswith("it is damaged: ") for reason in reasons.values()), reasons
    made.configure(output="kept/frames.npy", shape=(HEIGHT, WIDTH, 3), watch='include = ["without*"]\norder = "name"', columns="time = true",
                   decoder=table('fit = "exact"\non_error = "keep"'))
    made.once()
    assert all("frames lost" in note for note in notes_of(made).values()), notes_of(made)
    assert numbers_of(made.rows()) == [round(time_s * RATE) for time_s in made.column("time")]


def test_a_transport_stream_with_bytes_too_few_or_too_many_is_damaged(project, videos, tmp_path):
    """The bug: what stood where a packet has to be was passed over, and what was lost with it."""
    make(tmp_path / "a.ts", *TRANSPORT)
    whole = (tmp_path / "a.ts").read_bytes()
    packets = video_packets(whole)
    made = project(shape=(HEIGHT, WIDTH, 3), watch=ALL, decoder=table('fit = "exact"'))
    for number in packets[20:-20:len(packets) // 6]:
        place = number * PACKET
        (made.drop / f"mark-{number}.ts").write_bytes(whole[:place] + b"\x43" + whole[place + 1:])
        (made.drop / f"less-{number}.ts").write_bytes(whole[:place + 50] + whole[place + 51:])
        (made.drop / f"more-{number}.ts").write_bytes(whole[:place + 50] + b"U" + whole[place + 50:])
    files = len(list(made.drop.iterdir()))
    # What is behind the last packet is none.
    for name, behind in {"zeros": bytes(4000), "ones": b"\xff" * 4000, "part": whole[:100]}.items():
        (made.drop / f"{name}.ts").write_bytes(whole + behind)
    made.once(check=3)
    reasons = made.rejected()
    assert len(reasons) == files and all(reason.startswith("it is damaged: ") for reason in reasons.values()), sorted(reasons)
    assert numbers_of(made.rows()) == 3 * list(range(FRAMES))


@pytest.mark.parametrize("counter", [0, 7])
def test_a_transport_stream_that_is_not_counted_is_whole(project, videos, tmp_path, counter):
    """The bug: where the numbers of packets never change, each frame was cut short."""
    make(tmp_path / "a.ts", *TRANSPORT)
    data = bytearray((tmp_path / "a.ts").read_bytes())
    for place in range(0, len(data), PACKET):
        data[place + 3] = data[place + 3] & 0xf0 | counter
    (tmp_path / "a.ts").write_bytes(data)
    made = take(project, tmp_path / "a.ts", decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == list(range(FRAMES)) and notes_of(made) == {"drop/a.ts": None}


def test_large_pieces_with_tables_at_their_start_only_are_joined_without_a_loss(project, videos, tmp_path):
    """The bug: the tables of the piece before were too far back to be found."""
    make(tmp_path / "a.mp4", "-vf", "noise=alls=60:allf=t", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-qp", 1, "-g", 30, "-sc_threshold", 0, "-bf", 0,
         frames=240)
    pieces = []
    for number in range(2):
        path = tmp_path / f"{number}.ts"
        ffmpeg("-ss", number * 4, "-i", tmp_path / "a.mp4", "-t", 4, "-c", "copy", "-output_ts_offset", number * 4, "-pat_period", 100, "-sdt_period", 100,
               "-muxdelay", 0, "-muxpreload", 0, path)
        pieces.append(path.read_bytes())
    assert all(len(piece) > 2 << 20 for piece in pieces), [len(piece) for piece in pieces]
    (tmp_path / "a.ts").write_bytes(b"".join(pieces))
    made = take(project, tmp_path / "a.ts", decoder=table('fit = "exact"'))
    assert np.array_equal(made.rows(), reference(tmp_path / "a.mp4")) and notes_of(made) == {"drop/a.ts": None}


def test_a_recording_that_begins_much_later_than_the_one_before_it_is_told_of(project, videos, tmp_path):
    make(tmp_path / "0.ts", *TRANSPORT)
    ffmpeg("-i", tmp_path / "0.ts", "-c", "copy", "-output_ts_offset", 20, tmp_path / "1.ts")
    (tmp_path / "a.ts").write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    made = take(project, tmp_path / "a.ts", decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == 2 * list(range(FRAMES))
    assert "its time stamps leap forward once where its packets are counted anew" in notes_of(made)["drop/a.ts"]


@pytest.mark.parametrize("words", [["-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 12, "-g", 20, "-sc_threshold", 0, "-bf", 0], TRANSPORT,
                                   ["-pix_fmt", "yuv420p", "-c:v", "libx265", "-x265-params", "log-level=none:keyint=20"]], ids=["h264", "reordered", "hevc"])
def test_a_recording_that_was_joined_between_two_key_frames_begins_with_the_next(project, videos, tmp_path, words):
    """The bug: the frames before it were built on those of the recording before."""
    make(tmp_path / "part.ts", *words)
    part = (tmp_path / "part.ts").read_bytes()
    begins = [number for number in video_packets(part) if part[number * PACKET + 1] & 0x40]
    (tmp_path / "a.ts").write_bytes(part + part[begins[12] * PACKET:])
    made = take(project, tmp_path / "a.ts", decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == [*range(60), *range(20, 60)], notes_of(made)
    assert re.search(r"the clock goes on; \d+ frames between there and the next key frame were left out$", notes_of(made)["drop/a.ts"]), notes_of(made)
    assert (np.diff(made.column("time")) > 0.02).all()


def test_fragments_that_do_not_go_on_are_missed(project, videos, tmp_path):
    """The bug: FFmpeg takes a place where no box begins for the end, and so was it taken here."""
    make(tmp_path / "a.mp4", *TRANSPORT, "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    whole = (tmp_path / "a.mp4").read_bytes()
    place = [found.start() for found in re.finditer(b"mdat", whole)][1] + 500
    (tmp_path / "less.mp4").write_bytes(whole[:place] + whole[place + 1:])
    (tmp_path / "more.mp4").write_bytes(whole[:place] + b"x" + whole[place:])
    (tmp_path / "behind.mp4").write_bytes(whole + b"TAG and a title of a song")
    made = take(project, *(tmp_path / name for name in ("a.mp4", "less.mp4", "more.mp4", "behind.mp4")), check=3, decoder=table('fit = "exact"'))
    reasons = made.rejected()
    assert sorted(reasons) == ["less.mp4", "more.mp4"] and numbers_of(made.rows()) == 2 * list(range(FRAMES)), reasons
    assert all(re.search(r"its fragments do not go on at byte \d+, and there are others behind it", reason) for reason in reasons.values()), reasons


def test_an_element_of_live_matroska_that_cannot_be_is_missed(project, videos, tmp_path):
    """The bug: FFmpeg passes over what it is within, and says so in its log only."""
    make(tmp_path / "a.mkv", *TRANSPORT, "-live", 1, "-cluster_time_limit", 500)
    whole = (tmp_path / "a.mkv").read_bytes()
    # The number of a cluster's time, in the middle: of more bytes than a number has.
    clusters = [found.end() for found in re.finditer(rb"\x1f\x43\xb6\x75.{1,8}?\xbf\x84.{4}\xe7", whole, re.DOTALL)]
    place = clusters[len(clusters) // 2]
    (tmp_path / "broken.mkv").write_bytes(whole[:place] + b"\x8f" + whole[place + 1:])
    made = take(project, tmp_path / "a.mkv", tmp_path / "broken.mkv", check=3, decoder=table('fit = "exact"'))
    assert numbers_of(made.rows()) == list(range(FRAMES))
    assert made.rejected()["broken.mkv"].startswith("it is damaged: the container is damaged"), made.rejected()


def test_alpha_that_is_within_the_pictures_is_not_left_out(project, videos, tmp_path):
    """The bug: the ledger said that it was, of all codecs but VP8 and VP9."""
    frames = np.stack([np.dstack([numbered(number), np.full((HEIGHT, WIDTH), 40 + 3 * number)]) for number in range(10)]).astype("u1")
    ffmpeg("-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{WIDTH}x{HEIGHT}", "-r", 30, "-i", "-", "-pix_fmt", "bgra", "-c:v", "ffv1",
           "-metadata:s:v", "alpha_mode=1", tmp_path / "a.mkv", data=frames.tobytes())
    made = take(project, tmp_path / "a.mkv", shape=(HEIGHT, WIDTH, 4), decoder=table('fit = "exact"'))
    assert np.array_equal(made.rows(), frames) and notes_of(made) == {"drop/a.mkv": None}


@pytest.mark.parametrize("name", ["a.mpg", "a.mxf"])
def test_frames_without_times_of_their_own_have_those_of_their_rate(project, videos, tmp_path, name):
    """The bugs: of few packets of a programme stream with a time, the rate was guessed from these. And MXF as FFmpeg writes it does not
    tell in which order frames are shown."""
    # Dark pictures of few bytes: many frames share a packet of the container.
    make(tmp_path / name, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-crf", 30, "-g", 25, "-bf", 2, "-sc_threshold", 0, "-r", 25, frames=100, rate=25)
    for chosen, expected in [("", range(100)), ("fps = 5", range(0, 100, 5)), ("keyframes = true", range(0, 100, 25)), ('start = "2s"\nend = "3s"', range(50, 75))]:
        made = take(project, tmp_path / name, output=f"{len(chosen)}/frames.npy", decoder=table(f'fit = "exact"\n{chosen}'))
        assert numbers_of(made.rows()) == list(expected), chosen
        assert made.column("time") == pytest.approx(np.array(expected) / 25, abs=0.001), chosen


def test_an_apng_that_would_come_out_wrong_is_refused(project, videos):
    """The bug: what a frame was put back to still had what was cleared away before it."""
    def piece(x, colour):
        image = Image.new("RGBA", (40, 32))
        image.paste(colour, (x, 8, x + 10, 20))
        return image
    frames = [piece(0, "red"), piece(10, "lime"), piece(15, "blue"), piece(30, "yellow")]
    made = project(shape=(32, 40, 4), watch=ALL, decoder=table('fit = "exact"'))
    for name, disposal in {"wrong": [0, 1, 2, 0], "cleared": [0, 1, 0, 1], "put-back": [0, 2, 2, 0], "last": [0, 0, 1, 2]}.items():
        frames[0].save(made.drop / f"{name}.apng", "PNG", save_all=True, append_images=frames[1:], duration=100, disposal=disposal, blend=1)
    made.once(check=3)
    assert list(made.rejected()) == ["wrong.apng"] and 'disposal "previous"' in made.rejected()["wrong.apng"], made.rejected()
    for path, first, count in made.ledger("SELECT path, first_row, rows FROM sources WHERE status = 'committed'"):
        expected = reference(made.drop / path.removeprefix("drop/"), pixels="rgba", size=(40, 32), before=["-f", "apng"])
        assert np.array_equal(made.rows()[first:first + count], expected), path
