"""Where sound begins and ends in files that were remuxed, joined, edited, cut, or written into a pipe: as FFmpeg plays them."""

import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from harness import PROGRAM
from test_audio import RATE, decoded_by_ffmpeg, ffmpeg, music, signal_to_noise_db, sources

DECODER = '[dataset.audio]\ntail = "pad"'


@pytest.fixture
def of_one(project):
    """A dataset whose rows are single samples: as many rows as the sound has samples."""
    def make(decoder=DECODER):
        return project(shape=(1,), dtype="<f4", watch='include = ["**"]', decoder=decoder)
    return make


def lengths(found):
    return {name: None if rows is None else len(rows) for name, (rows, _) in found.items()}


def rebuilt(content, change):
    """An MP4 whose boxes were changed: `change` has the kind and the content of each."""
    out, place = b"", 0
    while place + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[place:place + 8])
        size = size or len(content) - place
        body = content[place + 8:place + size]
        if kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"):
            body = rebuilt(body, change)
        body = change(kind, body)
        out += struct.pack(">I4s", len(body) + 8, kind) + body
        place += size
    return out


def in_other_units(content, units, packet=1024):
    """The same MP4 with another time scale: as many samples a packet as before, in times that are rounded."""
    def change(kind, body):
        if kind == b"mdhd":
            old, duration = struct.unpack(">II", body[12:20])
            return body[:12] + struct.pack(">II", units, duration * units // old) + body[20:]
        if kind == b"elst":
            length, time, rate = struct.unpack(">IiI", body[8:20])
            return body[:8] + struct.pack(">IiI", length, round(time * units / RATE), rate)
        if kind == b"stts":
            runs = [struct.unpack(">II", body[place:place + 8]) for place in range(8, len(body), 8)]
            counts = [length for count, length in runs for _ in range(count)]
            ends = np.round(np.concatenate([[0], np.cumsum(counts)]) * units / RATE).astype(int)
            runs = [(1, int(length)) for length in np.diff(ends)]
            return body[:4] + struct.pack(">I", len(runs)) + b"".join(struct.pack(">II", *run) for run in runs)
        return body
    return rebuilt(content, change)


def test_packets_of_a_movie_are_whole_whatever_its_times_say(of_one):
    """Each packet was cut to the length that the table of times tells, rounded down: 3,369 samples of 441,000 in milliseconds."""
    project, sound = of_one(), music(4, channels=1)
    soundfile.write(project.folder / "original.wav", sound, RATE, subtype="FLOAT")
    ffmpeg("-i", project.folder / "original.wav", "-c:a", "aac", "-b:a", "160k", project.drop / "plain.m4a")
    content = (project.drop / "plain.m4a").read_bytes()
    for units in (600, 1000, 48000, 90000):
        (project.drop / f"{units}.m4a").write_bytes(in_other_units(content, units))
    project.once()
    found = sources(project)
    plain = found["plain.m4a"][0].ravel()
    assert len(plain) == len(sound)
    for units in (600, 1000, 48000, 90000):
        rows = found[f"{units}.m4a"][0].ravel()
        # What is cut off at the start and at the end is rounded to the same units.
        unit = RATE / units
        assert abs(len(rows) - len(plain)) <= 2 * unit + 1, units
        shift = round(round(1024 * units / RATE) * unit) - 1024
        middle = slice(10000, 170000)
        assert np.array_equal(rows[middle], plain[10000 + shift:170000 + shift]), units


def test_mpeg_without_a_tag_is_taken_to_its_end(of_one):
    """What lay behind the number of frames that was guessed from the first ones was cut off: half of a file that begins loudly."""
    project = of_one()
    loud = np.concatenate([np.random.default_rng(1).normal(0, 0.3, (RATE, 1)), music(6, channels=1) * 0.1]).astype("<f4")
    original, drop = project.folder / "original.wav", project.drop
    soundfile.write(original, loud, RATE, subtype="FLOAT")
    ffmpeg("-i", original, "-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", drop / "variable.mp3")
    ffmpeg("-i", original, "-c:a", "libmp3lame", "-b:a", "128k", "-write_xing", "0", drop / "constant.mp3")
    ffmpeg("-i", original, "-c:a", "libmp3lame", "-q:a", "4", drop / "tag.mp3")
    ffmpeg("-i", original, "-c:a", "mp2", "-b:a", "192k", drop / "a.mp2")
    project.once()
    found = sources(project)
    assert len(found) == 4 and len(found["tag.mp3"][0]) == len(loud)
    for name, (rows, _) in found.items():
        expected = decoded_by_ffmpeg(drop / name, 1)
        assert len(rows) == len(expected), name
        assert signal_to_noise_db(rows, expected) > 70, name


def test_joined_mp3_files_are_taken_to_their_end(of_one):
    """What lay behind the frames of the first tag was cut off: the second file as a whole."""
    project, sound = of_one(), music(3, channels=1)
    soundfile.write(project.folder / "original.wav", sound, RATE, subtype="FLOAT")
    ffmpeg("-i", project.folder / "original.wav", "-c:a", "libmp3lame", "-b:a", "128k", project.folder / "one.mp3")
    one = (project.folder / "one.mp3").read_bytes()
    (project.drop / "one.mp3").write_bytes(one)
    (project.drop / "two.mp3").write_bytes(one * 2)
    project.once()
    found = sources(project)
    single, joined = (found[name][0].ravel() for name in ("one.mp3", "two.mp3"))
    assert len(single) == len(sound)
    assert np.array_equal(joined[:len(single)], single)
    # FFmpeg passes the tag of the second as a silent packet, and cuts the end of the first by up to a packet more.
    assert abs(len(joined) - len(decoded_by_ffmpeg(project.drop / "two.mp3", 1))) < 1152
    # The second has its encoder's delay before it, of 1105 samples.
    second = joined[len(single) + 1105:][:len(single)]
    assert signal_to_noise_db(second[2000:], single[2000:]) > 80


@pytest.mark.parametrize("codec, name", [("libvorbis", "a.ogg"), ("flac", "a.oga")])
def test_streams_of_ogg_follow_one_another(of_one, codec, name):
    """They were rejected as damaged: "decoder needs to be reset"."""
    project = of_one('[dataset.audio]\ntail = "pad"\non_error = "keep"')
    drop, folder = project.drop, project.folder
    soundfile.write(folder / "original.wav", music(2, channels=1), RATE, subtype="PCM_16")
    soundfile.write(folder / "other.wav", music(1, channels=1, rate=48000), 48000, subtype="PCM_16")
    for number, source in enumerate(("original.wav", "original.wav", "other.wav")):
        ffmpeg("-i", folder / source, "-c:a", codec, "-serial_offset", 77 * number, "-f", "ogg", folder / f"{number}.ogg")
    first, second, other = ((folder / f"{number}.ogg").read_bytes() for number in range(3))
    (drop / name).write_bytes(first + second)
    (drop / ("same" + name)).write_bytes(first * 5)
    (drop / ("other" + name)).write_bytes(first + other + first)
    project.once()
    found = sources(project)
    assert lengths(found) == {name: 4 * RATE, "same" + name: 10 * RATE, "other" + name: 2 * RATE}
    assert found[name][1] is None and found["same" + name][1] is None
    assert found["other" + name][1].startswith(
        "damaged, what could be decoded was kept: it changes after 2.000 s from 44100 Hz and 1 channel to 48000 Hz and 1 channel")
    one = found["other" + name][0].ravel()
    assert np.array_equal(found[name][0].ravel(), np.concatenate([one, one]))
    assert signal_to_noise_db(found["same" + name][0][:len(one)], decoded_by_ffmpeg(drop / ("same" + name), 1)[:len(one)]) > 80


def test_edit_lists_end_the_sound_and_play_parts_of_it(of_one):
    """All that lay behind the start of the first edit was taken: what had been cut away as well."""
    project = of_one()
    drop, folder = project.drop, project.folder
    soundfile.write(folder / "original.wav", music(10, channels=1), RATE, subtype="FLOAT")
    ffmpeg("-i", folder / "original.wav", "-c:a", "aac", "-b:a", "160k", drop / "plain.m4a")
    content = (drop / "plain.m4a").read_bytes()

    def edited(name, *edits):
        entries = struct.pack(">I", len(edits)) + b"".join(struct.pack(">Iii", *edit) for edit in edits)
        (drop / name).write_bytes(rebuilt(content, lambda kind, body: body[:4] + entries if kind == b"elst" else body))

    one = 65536
    edited("end.m4a", (4000, 1024, one))
    edited("pause.m4a", (1000, -1, one), (4000, 1024 + RATE, one))
    edited("parts.m4a", (3000, 1024, one), (3000, 1024 + 7 * RATE, one))
    project.once()
    found = sources(project)
    plain = found["plain.m4a"][0].ravel()
    assert len(plain) == 10 * RATE
    assert np.array_equal(found["end.m4a"][0].ravel(), plain[:4 * RATE])
    assert np.array_equal(found["pause.m4a"][0].ravel(), plain[RATE:5 * RATE])
    assert np.array_equal(found["parts.m4a"][0].ravel(), np.concatenate([plain[:3 * RATE], plain[7 * RATE:]]))


def wav(size, behind, riff=None):
    form = struct.pack("<HHIIHH", 1, 1, 16000, 32000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + behind
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def test_wav_files_of_pipes_go_to_their_end(of_one):
    """Sound behind a size of 0 was left out, and files with SoX's and arecord's sizes were rejected as cut short."""
    project = of_one()
    sound = np.random.default_rng(2).integers(-20000, 20000, 8000).astype("<i2")
    names = {"none": (0, 36), "nothing": (0, 0), "most": (0xFFFFFFFF, 0xFFFFFFFF), "within": (0xFFFFFFFF, 36),
             "sox": (0x7FFFF000, 0x7FFFF024), "arecord": (0x80000000, 0x80000024)}
    for name, (size, riff) in names.items():
        (project.drop / f"{name}.wav").write_bytes(wav(size, sound.tobytes(), riff))
    (project.drop / "silent.wav").write_bytes(wav(0, b"LIST\x04\0\0\0INFO"))
    (project.drop / "short.wav").write_bytes(wav(20000, sound.tobytes(), 20036))
    project.once(check=3)
    found = sources(project)
    for name in names:
        assert np.array_equal(found[f"{name}.wav"][0].ravel(), (sound / 32768).astype("<f4")), (name, found[f"{name}.wav"][1])
    assert found["silent.wav"] == (None, "it holds no sound") and "cut short" in found["short.wav"][1]


def test_streams_that_end_within_a_packet_are_cut_short(of_one):
    """They were taken as whole ones where no header tells how many packets there are."""
    project = of_one()
    drop, folder = project.drop, project.folder
    soundfile.write(folder / "original.wav", music(3, channels=1), RATE, subtype="FLOAT")
    ffmpeg("-i", folder / "original.wav", "-c:a", "aac", folder / "a.aac")
    ffmpeg("-i", folder / "original.wav", "-c:a", "libmp3lame", "-b:a", "128k", "-write_xing", "0", folder / "a.mp3")
    ffmpeg("-i", folder / "original.wav", "-c:a", "mp2", "-b:a", "192k", folder / "a.mp2")
    # Of a rate that nothing but FFmpeg decodes for one channel.
    ffmpeg("-i", folder / "original.wav", "-c:a", "mp2", "-b:a", "384k", folder / "b.mp2")
    names = ("a.aac", "a.mp3", "a.mp2", "b.mp2")
    for name in names:
        content = (folder / name).read_bytes()
        (drop / name).write_bytes(content)
        (drop / f"tag_{name}").write_bytes(content + b"TAG" + bytes(125))
        (drop / f"cut_{name}").write_bytes(content[:-37])
    project.once(check=3)
    found = sources(project)
    for name in names:
        assert len(found[name][0]) == len(found[f"tag_{name}"][0]) > 3 * RATE
        rows, reason = found[f"cut_{name}"]
        assert rows is None and "cut short" in reason, reason


def with_upper_half(content):
    """ADTS whose packets have a fill element at their end, as HE-AAC has: one that is silent."""
    upper = ("1101" + "1" + "1" + "0101" + "1000" + "000" + "00" + "0" + "0").ljust(8 * 14, "0")
    out, place = b"", 0
    while place < len(content):
        length = (content[place + 3] & 3) << 11 | content[place + 4] << 3 | content[place + 5] >> 5
        bits = bin(int.from_bytes(b"\1" + content[place + 7:place + length], "big"))[3:].rstrip("0")
        bits = bits[:-3] + "110" + "1110" + upper + "111"
        bits += "0" * (-len(bits) % 8)
        body = int(bits, 2).to_bytes(len(bits) // 8, "big")
        header = bytearray(content[place:place + 7])
        size = 7 + len(body)
        header[3], header[4], header[5] = header[3] & 0xFC | size >> 11, size >> 3 & 255, (size & 7) << 5 | header[5] & 31
        out, place = out + bytes(header) + body, place + length
    return out


def lower_halves(project):
    """AAC of 22,050 Hz, by itself and with an upper half, of which ADTS and its copy in an MP4 tell nothing. Samples of the former."""
    drop = project.drop
    soundfile.write(project.folder / "original.wav", music(2, channels=1, rate=22050), 22050, subtype="FLOAT")
    ffmpeg("-i", project.folder / "original.wav", "-c:a", "aac", "-b:a", "48k", drop / "plain.aac")
    ffmpeg("-i", project.folder / "original.wav", "-c:a", "aac", "-b:a", "48k", drop / "plain.m4a")
    (drop / "he.aac").write_bytes(with_upper_half((drop / "plain.aac").read_bytes()))
    ffmpeg("-i", drop / "he.aac", "-c", "copy", drop / "he.m4a")
    return len(decoded_by_ffmpeg(drop / "plain.aac", 1))


def test_he_aac_is_not_taken_for_half_of_it(of_one):
    """AAC that tells of its upper half in its packets only was decoded without it: at half the rate."""
    project = of_one()
    plain = lower_halves(project)
    project.once()
    found = lengths(sources(project))
    assert (found["plain.aac"], found["plain.m4a"]) == (plain, 2 * 22050)
    assert found["he.aac"] >= 2 * plain - 4096 and found["he.m4a"] >= 2 * plain - 4096


def test_he_aac_is_rejected_where_no_worker_is(of_one, tmp_path):
    """Its lower half was taken for it; AAC that has no upper half is decoded all the same."""
    project = of_one()
    plain = lower_halves(project)
    (tmp_path / "alone").mkdir()
    alone = shutil.copy(PROGRAM, tmp_path / "alone")
    environment = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run([alone, "--config", project.config, "--once"], env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    found = sources(project)
    assert (len(found["plain.aac"][0]), len(found["plain.m4a"][0])) == (plain, 2 * 22050)
    for name in ("he.aac", "he.m4a"):
        assert found[name][0] is None and found[name][1].startswith("its sound is HE-AAC, of which only half would be decoded")
