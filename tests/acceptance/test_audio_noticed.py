"""Sound whose damage shows nowhere but in how its parts stand in the file: it is noticed, and what only looks damaged is taken."""

import os
import shutil
import struct
import subprocess

import numpy as np
import pytest
import soundfile

from harness import PROGRAM, needs
from test_audio import RATE, decoded_by_ffmpeg, ffmpeg, sources, write
from test_audio_ends import DECODER, of_one, rebuilt  # noqa: F401

KEEP = DECODER + '\non_error = "keep"'
ID3 = b"TAG" + b"a title".ljust(30, b"\0") + bytes(94) + b"\xff"


def ape(*items):
    body = b"".join(struct.pack("<II", len(value), 0) + name + b"\0" + value for name, value in items)
    about = struct.pack("<III", 2000, len(body) + 32, len(items))
    return (b"APETAGEX" + about + struct.pack("<I", 0xA0000000) + bytes(8) + body
            + b"APETAGEX" + about + struct.pack("<I", 0x80000000) + bytes(8))


def noise(seconds, rate=RATE, seed=2):
    """No two parts of it are alike."""
    return np.clip(np.random.default_rng(seed).normal(0, 0.1, (int(seconds * rate), 1)), -0.9, 0.9).astype("<f4")


def original(project, seconds=3, rate=RATE):
    path = project.folder / f"original{rate}.wav"
    soundfile.write(path, noise(seconds, rate), rate, subtype="PCM_16")
    return path


def encoded(project, name, *words, source=None, rate=RATE):
    path = project.folder / name
    ffmpeg("-i", source or original(project, rate=rate), *words, path)
    return path.read_bytes()


def without_worker(project, tmp_path):
    """A run of the program where no worker is."""
    (tmp_path / "alone").mkdir(exist_ok=True)
    alone = shutil.copy(PROGRAM, tmp_path / "alone")
    environment = {**os.environ, "PATH": "/nowhere"}
    return subprocess.run([alone, "--config", project.config, "--once"], env=environment, capture_output=True, text=True)


def shift(found, whole):
    """How many samples too late the last quarter of the sound is."""
    found, whole = found.ravel(), whole.ravel()
    part = slice(len(whole) * 3 // 4, len(whole) * 3 // 4 + 8000)
    size = 1 << (len(found) + len(whole)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(whole[part], size)), size)
    return int(np.argmax(likeness)) - part.start


def test_files_for_the_worker_that_are_cut_short_are_noticed(of_one, project):
    """Half of them was taken for the whole, of an AVI its pictures as well."""
    needs("ffmpeg")
    made = of_one()
    words = {"pcm.avi": "pcm_s16le", "mp3.avi": "libmp3lame", "s16.au": "pcm_s16be", "mulaw.au": "pcm_mulaw", "s16.w64": "pcm_s16le",
             "wv.wv": "wavpack", "tta.tta": "tta"}
    for name, codec in words.items():
        whole = encoded(made, name, "-c:a", codec)
        write(made.drop / f"whole-{name}", whole)
        for parts in (2, 3):
            write(made.drop / f"cut{parts}-{name}", whole[:len(whole) // parts // 2 * 2])
    # Into a pipe: nothing tells its length.
    for name, form in (("pipe.au", "au"), ("pipe.avi", "avi"), ("pipe.wv", "wv")):
        write(made.drop / name, ffmpeg("-i", original(made), "-f", form, "-"))
    made.once(check=3)
    found = sources(made)
    for name, (rows, reason) in found.items():
        if name.startswith("cut"):
            # Some of them end within a packet that FFmpeg finds damaged.
            assert rows is None and any(word in reason for word in ("cut short", "cannot be read", "cannot be decoded")), (name, reason)
        else:
            assert rows is not None and len(rows) == len(decoded_by_ffmpeg(made.drop / name, 1)), (name, reason)
    films = project(name="films.toml", output="films.npy", shape=(48, 64, 3), watch='include = ["*.avi"]', decoder='[dataset.video]\nfit = "exact"')
    for path in films.drop.iterdir():
        path.unlink()
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=3:size=64x48:rate=25", "-i", original(made), "-c:v", "mpeg4", "-c:a", "pcm_s16le",
           films.drop / "whole.avi")
    whole = (films.drop / "whole.avi").read_bytes()
    write(films.drop / "cut.avi", whole[:len(whole) // 2])
    films.once(check=3)
    assert films.count() == 75
    assert films.rejected().keys() == {"cut.avi"} and "cut short" in films.rejected()["cut.avi"]


def test_flac_ends_with_its_last_frame(of_one):
    """Tags behind it made it damaged, or took its last frame; what was cut off a file that tells no length was not missed."""
    made = of_one()
    told = encoded(made, "told.flac", "-c:a", "flac")
    untold = ffmpeg("-i", original(made), "-c:a", "flac", "-f", "flac", "-")
    lyrics = b"LYRICSBEGININD0000200"
    tags = {"id3": ID3, "ape": ape((b"Title", b"a title")), "both": ape((b"Title", b"a title")) + ID3,
            "lyrics": lyrics + b"%06dLYRICS200" % len(lyrics) + ID3}
    for kind, content in (("told", told), ("untold", untold)):
        write(made.drop / f"{kind}.flac", content)
        for name, tag in tags.items():
            write(made.drop / f"{kind}-{name}.flac", content + tag)
        for cut in (1, 100, 3000, len(content) // 2):
            write(made.drop / f"{kind}-cut{cut}.flac", content[:-cut])
    write(made.drop / "untold-more.flac", untold + b"what is this?" * 9)
    made.once(check=3)
    sound, _ = soundfile.read(original(made), dtype="float32")
    found = sources(made)
    assert len(found) == 2 * (1 + 4 + 4) + 1
    for name, (rows, reason) in found.items():
        if "cut" in name or "more" in name:
            assert rows is None and "cut short" in reason, (name, reason)
        else:
            assert reason is None and np.array_equal(rows.ravel(), sound), (name, reason)


MATROSKA = [("aac", "mkv"), ("libvorbis", "webm"), ("flac", "mkv"), ("pcm_s16le", "mkv"), ("libmp3lame", "mkv")]


def test_matroska_of_live_writers_is_whole(of_one):
    """Files whose header tells no length, and whole ones with anything behind them, were rejected as cut short."""
    made = of_one()
    for codec, kind in MATROSKA:
        form = "webm" if kind == "webm" else "matroska"
        whole = encoded(made, f"{codec}.{kind}", "-c:a", codec)
        piped = ffmpeg("-i", original(made), "-c:a", codec, "-f", form, "-")
        write(made.drop / f"file-{codec}.{kind}", whole)
        write(made.drop / f"pipe-{codec}.{kind}", piped)
        write(made.drop / f"live-{codec}.{kind}", encoded(made, f"live-{codec}.{kind}", "-c:a", codec, "-live", "1"))
        for name, behind in (("zeros", bytes(4096)), ("tag", ID3), ("text", b"\r\n--boundary--\r\n")):
            write(made.drop / f"{name}-{codec}.{kind}", whole + behind)
        for name, content in (("whole", whole), ("piped", piped)):
            write(made.drop / f"cut-{name}-{codec}.{kind}", content[:len(content) * 2 // 3])
    made.once(check=3)
    found = sources(made)
    for name, (rows, reason) in found.items():
        if name.startswith("cut-"):
            assert rows is None and "cut short" in reason, (name, reason)
        else:
            assert reason is None and np.array_equal(rows, found["file-" + name.partition("-")[2]][0]), (name, reason)
    for name in ("zeros-flac.mkv", "pipe-flac.mkv"):
        assert len(found[name][0]) == 3 * RATE


def first_blocks(content):
    """Where the simple blocks of a file stand, of which FFmpeg wrote one cluster behind the other."""
    def number(place):
        length = 9 - content[place].bit_length()
        value = content[place] & (0xFF >> length)
        for byte in content[place + 1:place + length]:
            value = value << 8 | byte
        return value, length

    place = content.index(b"\x1f\x43\xb6\x75", content.index(b"\x16\x54\xae\x6b"))
    while place < len(content) - 12:
        name = 4 if content[place] == 0x1F else 1
        length, bytes_of_length = number(place + name)
        if content[place] == 0xA3:
            yield place
        elif content[place] not in (0x1F, 0xE7, 0xA0, 0xAB, 0xA7, 0xEC, 0xBF):
            return
        place += name + bytes_of_length + (0 if name == 4 else length)


def damaged_matroska(made):
    """Whole files and, of each, some that are damaged by a byte, or by some."""
    for codec, kind in MATROSKA:
        name = f"{codec}.{kind}"
        whole = encoded(made, name, "-c:a", codec, "-cluster_time_limit", "1000")
        write(made.drop / name, whole)
        blocks = list(first_blocks(whole))
        place = blocks[len(blocks) // 2]
        longer = 0x20 if whole[place + 1] & 0x80 == 0 else 0x60
        for damage, change in (("name", {0: whole[place] ^ 7}), ("size", {1: whole[place + 1] ^ longer}),
                               ("zeros", {number: 0 for number in range(400)})):
            content = bytearray(whole)
            for offset, byte in change.items():
                content[place + offset] = byte
            write(made.drop / f"{damage}-{name}", content)
        write(made.drop / f"lost-{name}", whole[:place] + whole[place + 2000:])


def test_damage_between_the_blocks_of_matroska_is_noticed(of_one):
    """A wrong byte lost blocks without a word, and what followed was too early."""
    needs("ffmpeg")
    made = of_one()
    damaged_matroska(made)
    # What other programs put behind one another.
    write(made.drop / "twice.mkv", (made.drop / "flac.mkv").read_bytes() * 2)
    made.once(check=3)
    found = sources(made)
    for name, (rows, reason) in found.items():
        if "-" in name:
            assert rows is None and "damaged" in reason, (name, reason)
    assert len(found["twice.mkv"][0]) == 2 * len(found["flac.mkv"][0]) == 6 * RATE


def test_damaged_matroska_is_kept_by_the_worker(of_one):
    """All that lay behind the damage was lost, or came too early."""
    needs("ffmpeg")
    made = of_one(KEEP)
    damaged_matroska(made)
    made.once()
    found = sources(made)
    for name, (rows, note) in found.items():
        if "-" in name:
            whole = found[name.partition("-")[2]][0]
            assert note.startswith("damaged, what could be decoded was kept: "), (name, note)
            # Not all of what is lost leaves its length, and some packets give a part of it.
            assert len(whole) * 0.6 < len(rows) <= len(whole) + 5000, (name, len(rows), len(whole))


def test_damaged_matroska_is_rejected_where_no_worker_is(of_one, tmp_path):
    made = of_one(KEEP)
    damaged_matroska(made)
    assert without_worker(made, tmp_path).returncode == 3
    for name, (rows, reason) in sources(made).items():
        if "-" in name:
            assert rows is None and reason.startswith("its Matroska or WebM is damaged at byte "), (name, reason)
        else:
            assert reason is None and len(rows) >= 3 * RATE, (name, reason)


def edited(content, *edits):
    entries = struct.pack(">I", len(edits)) + b"".join(struct.pack(">Iii", *edit, 65536) for edit in edits)
    return rebuilt(content, lambda kind, body: body[:4] + entries if kind == b"elst" else body)


def test_parts_of_a_movie_are_played_to_the_sample(of_one):
    """FFmpeg begins them with a packet, and plays some samples twice where a pause is between them."""
    needs("ffmpeg")
    made = of_one()
    for name, words in {"alac.m4a": ["-c:a", "alac"], "pcm.mov": ["-c:a", "pcm_s16be"], "ac3.mp4": ["-c:a", "ac3"]}.items():
        content = encoded(made, name, *words)
        write(made.drop / f"two-{name}", edited(content, (1000, 0), (1000, 88200)))
        write(made.drop / f"pause-{name}", edited(content, (1000, 0), (500, -1), (1000, 88200)))
        write(made.drop / f"ten-{name}", edited(content, *[(100, number * 13230) for number in range(10)]))
        write(made.drop / f"again-{name}", edited(content, (1000, 0), (500, -1), (1000, 0)))
    made.once(check=3)
    sound, _ = soundfile.read(original(made), dtype="float32")
    found = sources(made)
    expected = {"two": [(0, 44100), (88200, 132300)], "pause": [(0, 44100), (88200, 132300)],
                "ten": [(number * 13230, number * 13230 + 4410) for number in range(10)]}
    for name, (rows, reason) in found.items():
        how, _, of = name.partition("-")
        if how == "again" or name == "pause-ac3.mp4":
            assert rows is None and "its edit list has a pause between parts of the sound" in reason, (name, reason)
        elif of != "ac3.mp4":
            parts = np.concatenate([sound[begin:end] for begin, end in expected[how]])
            assert reason is None and np.array_equal(rows.ravel(), parts), (name, len(rows), reason)


def in_chunks(content, sound, order):
    """A movie of 16-bit numbers whose sound stands in two chunks, in this order."""
    half, raw = len(sound) // 2, (sound * 32768).round().astype(">i2").tobytes()
    parts = [raw[:2 * half], raw[2 * half:]]
    begin = struct.unpack(">I", content[:4])[0]
    places = [begin + 8 + sum(len(parts[before]) for before in order[:order.index(number)]) for number in range(2)]
    media = b"".join(parts[number] for number in order) + noise(1).tobytes()

    def change(kind, body):
        if kind == b"stsc":
            return bytes(4) + struct.pack(">IIIIIII", 2, 1, half, 1, 2, len(sound) - half, 1)
        return bytes(4) + struct.pack(">III", 2, *places) if kind == b"stco" else body

    movie = content[content.index(b"moov") - 4:]
    return content[:begin] + struct.pack(">I", len(media) + 8) + b"mdat" + media + rebuilt(movie, change)


def test_chunks_of_a_movie_may_stand_in_any_order(of_one, tmp_path):
    """What stands behind the first chunk in the file was taken for the second."""
    needs("ffmpeg")
    made = of_one()
    content = encoded(made, "a.mov", "-c:a", "pcm_s16be")
    sound, _ = soundfile.read(original(made), dtype="float32")
    write(made.drop / "in-order.mov", in_chunks(content, sound, [0, 1]))
    write(made.drop / "swapped.mov", in_chunks(content, sound, [1, 0]))
    assert without_worker(made, tmp_path).returncode == 3
    found = sources(made)
    assert np.array_equal(found["in-order.mov"][0].ravel(), sound)
    assert found["swapped.mov"][1].startswith("its chunks of sound stand in the file in another order"), found["swapped.mov"]
    made.command("retry", check=0)
    made.once()
    assert np.array_equal(sources(made)["swapped.mov"][0].ravel(), sound)


def test_media_without_a_size_go_to_the_end_of_the_file(of_one):
    """ "sync lost", behind all of its sound."""
    made = of_one()
    for name, words in {"aac.m4a": ["-c:a", "aac"], "pcm.mov": ["-c:a", "pcm_s16le"]}.items():
        whole = encoded(made, name, *words, "-movflags", "+faststart")
        place = whole.rindex(b"mdat") - 4
        write(made.drop / name, whole)
        write(made.drop / f"open-{name}", whole[:place] + bytes(4) + whole[place + 4:])
        write(made.drop / f"cut-{name}", (whole[:place] + bytes(4) + whole[place + 4:])[:-3000])
    made.once(check=3)
    found = sources(made)
    for name in ("aac.m4a", "pcm.mov"):
        assert np.array_equal(found[f"open-{name}"][0], found[name][0]) and found[f"open-{name}"][1] is None
        assert found[f"cut-{name}"][0] is None and "cut short" in found[f"cut-{name}"][1], found[f"cut-{name}"]


def test_what_is_lost_first_leaves_its_length(of_one):
    """What followed was too early: by the packets that could not be decoded before the first that could."""
    needs("ffmpeg")
    made = of_one(KEEP)
    random = np.random.default_rng(4)
    kinds = {"a.m4a": "aac", "f.mka": "flac", "f.flac": "flac", "w.wv": "wavpack", "c.ac3": "ac3"}
    for name, codec in kinds.items():
        whole = encoded(made, name, "-c:a", codec)
        write(made.drop / name, whole)
        place = {"a.m4a": whole.find(b"mdat") + 4, "f.mka": whole.find(b"\xa3", whole.find(b"\xe7\x81\0")) + 8, "f.flac": 8300,
                 "w.wv": 40, "c.ac3": 5}[name]
        content = bytearray(whole)
        content[place:place + 100] = random.bytes(100)
        write(made.drop / f"first-{name}", content)
    made.once()
    found = sources(made)
    for name in kinds:
        (rows, note), whole = found[f"first-{name}"], found[name][0]
        assert note.startswith("damaged, what could be decoded was kept: "), (name, note)
        # Matroska tells nothing but times, in milliseconds.
        exact = 44 if name == "f.mka" else 0
        assert abs(shift(rows, whole)) <= exact and abs(len(rows) - len(whole)) <= 1024, (name, len(rows), len(whole), shift(rows, whole))


@pytest.mark.parametrize("codec, name", [("aac", "a.aac"), ("mp2", "a.mp2"), ("libmp3lame", "a.mp3")])
def test_frames_that_become_others_are_noticed(of_one, codec, name):
    """What had another rate was given that of the first, or the reason was another."""
    made = of_one(KEEP)
    words = ["-c:a", codec, "-b:a", "96k", *(["-id3v2_version", "0"] if name == "a.mp3" else [])]
    first = encoded(made, name, *words)
    write(made.drop / name, first)
    others = {rate: encoded(made, f"{rate}{name}", *words, rate=rate) for rate in (32000, 48000)}
    others["stereo"] = encoded(made, f"stereo{name}", "-ac", "2", *words)
    for kind, second in others.items():
        write(made.drop / f"{kind}-{name}", first + second)
        write(made.drop / f"{kind}-tags-{name}", first + ID3 + second)
    made.once()
    found = sources(made)
    whole = found[name][0]
    assert len(found) == 7 and found[name][1] is None
    for kind, (rows, note) in found.items():
        if kind != name:
            to = "44100 Hz and 2 channels" if kind.startswith("stereo") else f"{kind[:5]} Hz and 1 channel"
            assert f"s from 44100 Hz and 1 channel to {to}: what follows is not decoded" in note, (kind, note)
            assert abs(len(rows) - len(whole)) <= 2304 and np.array_equal(rows[:120000], whole[:120000]), (kind, len(rows))


def test_a_wav_file_that_would_become_noise_is_rejected(of_one):
    """It was taken for noise: numbers of the other byte order, and such as fill only a part of their bytes."""
    made = of_one()
    sound = noise(1)
    soundfile.write(made.drop / "order.wav", sound, RATE, subtype="PCM_16", endian="BIG")
    numbers = (sound[:, 0].astype("f8") * 2 ** 23).round().astype("<i4").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, RATE, RATE * 4, 4, 24)
    write(made.drop / "wide.wav", b"RIFF" + struct.pack("<I", 36 + len(numbers)) + b"WAVEfmt \x10\0\0\0" + form + b"data"
          + struct.pack("<I", len(numbers)) + numbers)
    made.once(check=3)
    reasons = made.rejected()
    assert reasons["order.wav"].startswith("a WAV file whose numbers begin with their high byte (RIFX)")
    assert reasons["wide.wav"].startswith("its header says 24 bits a number and 4 bytes for 1 channel, expected 3")


def test_a_damaged_start_of_an_mp3_is_noticed(of_one):
    """All that followed was too early, without a word; what only stands before the sound is none of it."""
    made = of_one()
    whole = encoded(made, "a.mp3", "-c:a", "libmp3lame", "-b:a", "128k", "-id3v2_version", "0")
    frames, place = [], 0
    while len(frames) < 6:
        frames.append(place)
        place += 144 * 128000 // RATE + (whole[place + 2] >> 1 & 1)
    for number, place in enumerate(frames):
        content = bytearray(whole)
        content[place + 1] ^= 0x40
        write(made.drop / f"flipped{number}.mp3", content)
    write(made.drop / "junk.mp3", b"some junk\xff\xfb\x90" * 99 + whole)
    write(made.drop / "within.mp3", whole[5000:])
    made.once(check=3)
    found = sources(made)
    assert found["junk.mp3"][1] is None and len(found["junk.mp3"][0]) == 3 * RATE
    assert found["within.mp3"][1] is None
    for number in range(6):
        rows, reason = found[f"flipped{number}.mp3"]
        assert rows is None, (number, len(rows))
        assert number > 2 or reason.startswith("its first "), reason


def box(kind, body):
    return struct.pack(">I4s", len(body) + 8, kind) + body


def test_what_itunes_says_of_the_start_and_the_end_is_followed(of_one):
    """Its files have no edit list: what the encoder put before and behind the sound was taken for some of it."""
    made = of_one()
    content = encoded(made, "edits.m4a", "-c:a", "aac")
    write(made.drop / "edits.m4a", content)
    count = 3 * RATE
    numbers = f" 00000000 {1024:08X} {-(count + 1024) % 1024:08X} {count:016X} " + " ".join(["00000000"] * 8)
    text = box(b"data", struct.pack(">II", 1, 0) + numbers.encode())
    own = box(b"----", box(b"mean", bytes(4) + b"com.apple.iTunes") + box(b"name", bytes(4) + b"iTunSMPB") + text)
    about = box(b"udta", box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"mdirappl" + bytes(10)) + box(b"ilst", own)))

    # Without the boxes that iTunes does not write, or writes otherwise.
    content = content.replace(b"edts", b"free").replace(b"udta", b"free")
    write(made.drop / "itunes.m4a", rebuilt(content, lambda kind, body: body + about if kind == b"moov" else body))
    made.once()
    found = sources(made)
    assert len(found["edits.m4a"][0]) == count and np.array_equal(found["itunes.m4a"][0], found["edits.m4a"][0])

