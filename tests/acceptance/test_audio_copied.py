"""Sound in files that other programs copied, cut or packed without encoding it anew: what is whole is taken, and of several tracks the
one that is meant."""

import struct
import zlib

import numpy as np
import pytest

from harness import needs
from test_audio import decoded_by_ffmpeg, ffmpeg, sources, write
from test_audio_ends import of_one  # noqa: F401
from test_audio_foreign import RATE as WORKER_RATE
from test_audio_noticed import ID3, encoded, original, without_worker

SEGMENT, TRACKS, TRACK, CLUSTER, GROUP = (bytes.fromhex(name) for name in ("18538067", "1654AE6B", "AE", "1F43B675", "A0"))
BLOCKS = (b"\xA3", b"\xA1")
# Seek head and cues: where things stand.
PLACES = (bytes.fromhex("114D9B74"), bytes.fromhex("1C53BB6B"))


def element(name, content):
    return name + (len(content) | 1 << 56).to_bytes(8, "big") + content


def packed(content, settings, pack):
    """A Matroska file whose blocks were packed; the encoding is told with these settings."""
    out, place = b"", 0
    while place < len(content):
        width = 9 - content[place].bit_length()
        name, place = content[place:place + width], place + width
        width = 9 - content[place].bit_length()
        size = int.from_bytes(content[place:place + width], "big") & ((1 << 7 * width) - 1)
        body, place = content[place + width:place + width + size], place + width + size
        if name in PLACES:
            continue
        if name in (SEGMENT, TRACKS, CLUSTER, GROUP, TRACK):
            body = packed(body, settings, pack)
        if name == TRACK:
            compression = element(b"\x50\x34", settings)
            body += element(b"\x6D\x80", element(b"\x62\x40", compression))
        if name in BLOCKS:
            body = body[:4] + pack(body[4:])
        out += element(name, body)
    return out


def test_tracks_that_matroska_packs_are_decoded_by_the_worker(of_one, tmp_path):
    """They became noise without a word."""
    needs("ffmpeg")
    made = of_one()
    for name, words in {"pcm.mka": ["-c:a", "pcm_s16le"], "mp3.mka": ["-c:a", "libmp3lame"], "flac.mka": ["-c:a", "flac"]}.items():
        whole = encoded(made, name, *words)
        write(made.drop / name, packed(whole, element(b"\x42\x54", b"\0"), zlib.compress))
    write(made.drop / "plain.mka", encoded(made, "plain.mka", "-c:a", "pcm_s16le"))
    alone = without_worker(made, tmp_path)
    assert alone.returncode == 3
    reasons = made.rejected()
    assert reasons.keys() == {"pcm.mka", "mp3.mka", "flac.mka"} and all("ContentEncodings" in reason for reason in reasons.values())
    made.configure(shape=(1,), dtype="<f4", watch='include = ["**"]', output="data/worker.npy", decoder="[dataset.audio]")
    made.once()
    found = sources(made)
    plain = found["plain.mka"][0]
    assert np.array_equal(found["pcm.mka"][0], plain) and np.array_equal(found["flac.mka"][0], plain)
    assert len(found["mp3.mka"][0]) == len(decoded_by_ffmpeg(made.drop / "mp3.mka", 1))


def sines(path, *words):
    """Two tracks: a second, and two seconds."""
    lengths = [part for seconds in (1, 2) for part in ("-f", "lavfi", "-i", f"sine=sample_rate=48000:duration={seconds}")]
    ffmpeg(*lengths, "-map", "0", "-map", "1", *words, "-strict", "-2", path)


def ogg_sum(page):
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


def with_numbers(content, numbers):
    """An Ogg file whose streams have other numbers, in their order."""
    found = {}
    out = b""
    for page in (b"OggS" + rest for rest in content.split(b"OggS")[1:]):
        stream = found.setdefault(page[14:18], struct.pack("<I", numbers[len(found)]) if len(found) < len(numbers) else b"")
        page = page[:14] + stream + page[18:22] + bytes(4) + page[26:]
        out += page[:22] + struct.pack("<I", ogg_sum(page)) + page[26:]
    return out


def test_the_first_stream_of_an_ogg_is_taken(of_one):
    """It was the one with the lowest number."""
    needs("ffmpeg")
    made = of_one()
    path = made.folder / "both.ogg"
    sines(path, "-c:a", "flac")
    for name, numbers in {"up.ogg": (300, 500), "down.ogg": (500, 300)}.items():
        write(made.drop / name, with_numbers(path.read_bytes(), numbers))
        write(made.drop / f"twice-{name}", with_numbers(path.read_bytes(), numbers) * 2)
    made.once()
    found = {name: len(rows) for name, (rows, _) in sources(made).items()}
    assert found == {"up.ogg": 48000, "down.ogg": 48000, "twice-up.ogg": 96000, "twice-down.ogg": 96000}


@pytest.mark.parametrize("name,first,second", [("a.mkv", "pcm_alaw", "pcm_s16le"), ("a.mov", "mp2", "aac"),
                                               ("a.ogg", "libopus", "libvorbis")])
def test_a_default_track_of_another_codec_is_left_to_the_worker(of_one, tmp_path, name, first, second):
    """The second track was taken for it."""
    needs("ffmpeg")
    made = of_one()
    sines(made.drop / name, "-c:a:0", first, "-c:a:1", second)
    assert without_worker(made, tmp_path).returncode == 3
    assert "npy-ingest-video may decode it" in made.rejected()[name]
    made.configure(shape=(1,), dtype="<f4", watch='include = ["**"]', output="data/worker.npy", decoder="[dataset.audio]")
    made.once()
    rows, reason = sources(made)[name]
    assert reason is None and 47000 < len(rows) < 60000


def test_sound_that_was_copied_into_ogg_is_whole(of_one):
    """Times that Matroska rounds were taken for samples that are missing."""
    needs("ffmpeg")
    made = of_one()
    for codec in ("libvorbis", "flac"):
        for ending in ("mka", "webm" if codec == "libvorbis" else "mp4"):
            path = made.folder / f"{codec}.{ending}"
            ffmpeg("-i", original(made, 9), "-c:a", codec, "-strict", "-2", path)
            ffmpeg("-i", path, "-c", "copy", made.drop / f"{codec}-{ending}.ogg")
            ffmpeg("-ss", "2.5", "-i", path, "-c", "copy", made.drop / f"{codec}-{ending}-late.ogg")
    made.once()
    found = sources(made)
    assert len(found) == 8
    for name, (rows, reason) in found.items():
        assert reason is None, (name, reason)
        assert np.abs(len(rows) - len(decoded_by_ffmpeg(made.drop / name, 1))) < 2000, name


def test_flac_that_was_cut_without_encoding_it_anew_is_whole(of_one):
    """The sum that was copied with its header is that of the whole."""
    needs("ffmpeg")
    made = of_one()
    whole = made.folder / "whole.flac"
    ffmpeg("-i", original(made, 9), "-c:a", "flac", whole)
    for ending in ("mka", "mp4", "oga"):
        ffmpeg("-ss", "3", "-t", "5", "-i", whole, "-c", "copy", "-strict", "-2", made.drop / f"cut.{ending}")
        ffmpeg("-t", "5", "-i", whole, "-c", "copy", "-strict", "-2", made.drop / f"start.{ending}")
    made.once()
    for name, (rows, reason) in sources(made).items():
        assert reason is None and np.array_equal(rows, decoded_by_ffmpeg(made.drop / name, 1)), (name, reason)


def test_streams_for_the_worker_may_have_tags_behind_them(of_one):
    """They were rejected for what cannot be read of them."""
    needs("ffmpeg")
    made = of_one()
    for name, codec in {"a.wv": "wavpack", "a.ac3": "ac3", "a.eac3": "eac3"}.items():
        whole = encoded(made, name, "-c:a", codec, rate=WORKER_RATE)
        write(made.drop / f"plain-{name}", whole)
        write(made.drop / f"tag-{name}", whole + ID3)
        write(made.drop / f"cut-{name}", whole[:len(whole) - 100] + ID3)
    made.once(check=3)
    assert made.rejected().keys() == {"cut-a.wv", "cut-a.ac3", "cut-a.eac3"}
    found = sources(made)
    for name in ("a.wv", "a.ac3", "a.eac3"):
        assert np.array_equal(found[f"tag-{name}"][0], found[f"plain-{name}"][0]), name


@pytest.mark.parametrize("codec,rate", [("mp2", 44100), ("wmav2", 44100), ("libgsm_ms", 8000)])
def test_what_fills_up_a_wave64_is_no_damage(of_one, codec, rate):
    """A packet of some zeros cannot be decoded."""
    needs("ffmpeg")
    made = of_one()
    for tenths in range(20, 28):
        ffmpeg("-t", tenths / 10, "-i", original(made, rate=rate), "-c:a", codec, made.drop / f"{tenths}.w64")
    made.once()
    for name, (rows, reason) in sources(made).items():
        assert reason is None and np.array_equal(rows, decoded_by_ffmpeg(made.drop / name, 1)), (name, reason)


def units(content):
    """Those of MLP, and whether each begins anew."""
    found, place = [], 0
    while place < len(content):
        length = 2 * (int.from_bytes(content[place:place + 2], "big") & 0xFFF)
        found.append((content[place:place + length], content[place + 4:place + 7] == b"\xF8\x72\x6F"))
        place += length
    return found


@pytest.mark.parametrize("name,codec", [("a.mlp", "mlp"), ("a.thd", "truehd")])
def test_units_that_are_missing_or_altered_are_noticed_and_joined_files_are_whole(of_one, name, codec):
    """FFmpeg makes other samples of them, or none."""
    needs("ffmpeg")
    made = of_one()
    whole = encoded(made, name, "-c:a", codec, "-strict", "-2", rate=WORKER_RATE)
    parts = units(whole)
    begins = [number for number, (_, begins_anew) in enumerate(parts) if begins_anew]
    joined = lambda parts: b"".join(part for part, _ in parts)  # noqa: E731
    middle = begins[len(begins) // 2]
    # The length of a packet, and what FFmpeg calls a sign of its samples.
    bad = bytearray(whole)
    bad[len(joined(parts[:middle + 3])) + 1] ^= 8
    good = {"whole": whole, "late": joined(parts[begins[3]:]), "rest": joined(parts[3:]), "twice": whole * 2, "tag": whole + ID3,
            "joined": joined(parts[:begins[2] + 5] + parts[begins[5]:])}
    damaged = {"lacks": joined(parts[:middle + 3] + parts[middle + 4:]), "again": joined(parts[:middle + 4] + parts[middle + 3:]),
               "cut": whole[:-9], "bad": bytes(bad)}
    for kind, content in {**good, **damaged}.items():
        write(made.drop / f"{kind}-{name}", content)
    made.once(check=3)
    found = sources(made)
    assert made.rejected().keys() == {f"{kind}-{name}" for kind in damaged}, made.rejected()
    assert len(found[f"twice-{name}"][0]) == 2 * len(found[f"whole-{name}"][0])
    assert "ends within a packet" in found[f"cut-{name}"][1] and "no packet" in found[f"bad-{name}"][1]
