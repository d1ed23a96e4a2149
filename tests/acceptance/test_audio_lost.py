"""Sound of which the container or a checksum tells that something is missing or altered: it is noticed, and good sound is taken."""

import random
import struct

import numpy as np
import pytest
import soundfile

from harness import needs
from test_audio import RATE, decoded_by_ffmpeg, ffmpeg, sources, write
from test_audio_ends import DECODER, of_one  # noqa: F401
from test_audio_noticed import ID3, KEEP, encoded, noise, original, without_worker


def several(project, channels, rate=48000, seconds=0.5):
    """Sound of which no channel is like another."""
    path = project.folder / f"several{channels}.wav"
    sound = np.random.default_rng(5).normal(0, 0.1, (int(rate * seconds), channels))
    soundfile.write(path, np.clip(sound, -0.9, 0.9), rate, subtype="FLOAT")
    return path


@pytest.mark.parametrize("channels", [3, 6])
def test_vorbis_of_many_channels_is_decoded_by_the_worker(project, channels, tmp_path):
    """The library undoes its coupling in the wrong order: it was other sound."""
    needs("ffmpeg")
    made = project(shape=(1, channels), dtype="<f4", watch='include = ["**"]', decoder=DECODER)
    for name in ("many.ogg", "many.mka", "many.webm"):
        ffmpeg("-i", several(made, channels), "-c:a", "libvorbis", "-q:a", "3", made.drop / name)
    made.once()
    for name, (rows, reason) in sources(made).items():
        wanted = decoded_by_ffmpeg(made.drop / name, channels)
        assert reason is None and np.allclose(rows.reshape(-1, channels), wanted, atol=1e-6), (name, reason)
    alone = project(output="alone.npy", shape=(1, channels), dtype="<f4", watch='include = ["**"]', decoder=DECODER)
    without_worker(alone, tmp_path)
    reasons = alone.rejected()
    assert len(reasons) == 3
    for reason in reasons.values():
        assert reason.startswith(f"its sound is Vorbis of {channels} channels, expected 1 or 2: convert it"), reason
        assert "npy-ingest-video may decode it" in reason, reason


def pages(content):
    found, place = [], 0
    while place < len(content):
        count = content[place + 26]
        length = 27 + count + sum(content[place + 27:place + 27 + count])
        found.append(content[place:place + length])
        place += length
    return found


OGG = [("libvorbis", "a.ogg"), ("flac", "a.oga"), ("libopus", "a.opus"), ("libspeex", "a.spx")]


def damaged_ogg(made, codec, name):
    """A whole file, and some of which each lacks a page with sound, or has one that is damaged. Their names."""
    rate = 16000 if codec == "libspeex" else 48000
    whole = encoded(made, name, "-c:a", codec, rate=rate)
    write(made.drop / name, whole)
    parts, damaged = pages(whole), []
    assert len(parts) > 4
    for number in range(2, len(parts)):
        others = {"lost": b""}
        for kind, byte in (("mark", 0), ("serial", 14), ("body", -1)):
            other = bytearray(parts[number])
            other[byte] ^= 8
            others[kind] = bytes(other)
        for kind, part in others.items():
            damaged.append(f"{kind}{number}-{name}")
            write(made.drop / damaged[-1], b"".join([*parts[:number], part, *parts[number + 1:]]))
    return damaged


@pytest.mark.parametrize("codec, name", OGG)
def test_pages_of_ogg_that_are_missing_are_noticed(of_one, codec, name):
    """Up to a second of the sound was left out without a word: at its start, near its end, and anywhere of Opus and Speex."""
    needs("ffmpeg")
    made = of_one()
    damaged = damaged_ogg(made, codec, name)
    made.once(check=3)
    found = sources(made)
    assert found[name][1] is None and len(found) == len(damaged) + 1
    for other in damaged:
        assert found[other][0] is None, (other, len(found[other][0]), len(found[name][0]))


@pytest.mark.parametrize("codec, name", OGG)
def test_pages_of_ogg_that_are_missing_are_noted(of_one, codec, name):
    needs("ffmpeg")
    made = of_one(KEEP)
    damaged = damaged_ogg(made, codec, name)
    made.once()
    found = sources(made)
    for other in damaged:
        assert found[other][1].startswith("damaged, what could be decoded was kept: "), (other, found[other][1])


@pytest.mark.parametrize("codec, name", OGG)
def test_streams_of_ogg_may_follow_one_another(of_one, codec, name):
    """Nothing of them is missing, whatever stands behind or between them."""
    needs("ffmpeg")
    made = of_one()
    one = encoded(made, name, "-c:a", codec, "-serial_offset", "7")
    other = encoded(made, name, "-c:a", codec, "-serial_offset", "8")
    contents = {"one": one, "tag": one + ID3}
    if codec != "libspeex":
        # Of Speex FFmpeg takes the head of the second for sound.
        contents |= {"both": one + other, "between": one + ID3 + other}
    for kind, content in contents.items():
        write(made.drop / f"{kind}-{name}", content)
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=3", "-i", original(made), "-c:v", "libtheora", "-c:a", codec,
           *(["-ar", "16000"] if codec == "libspeex" else []), made.drop / "film.ogv")
    made.once()
    for kind, (rows, reason) in sources(made).items():
        assert reason is None and len(rows) > 2.9 * 16000, (kind, reason)


def boxes(content):
    place = 0
    while place < len(content):
        size, kind = struct.unpack(">I4s", content[place:place + 8])
        yield place, size, kind
        place += size


@pytest.mark.parametrize("codec", ["aac", "flac", "ac3"])
def test_a_fragment_that_is_not_all_there_is_noticed(of_one, project, codec):
    """A file that ends within the head of a fragment, or behind it, was a shorter one."""
    needs("ffmpeg")
    made = of_one()
    words = ["-movflags", "frag_keyframe+delay_moov", "-frag_duration", "500000", "-strict", "-2"]
    whole = encoded(made, "whole.mp4", "-c:a", codec, *words)
    write(made.drop / "whole.mp4", whole)
    write(made.drop / "tag.mp4", whole + ID3)
    write(made.drop / "zeros.mp4", whole + bytes(4096))
    fragments = [found for found in boxes(whole) if found[2] in (b"moof", b"mdat")]
    assert len(fragments) > 6
    for place, size, kind in fragments[2:]:
        for cut in {4, 20, size // 2, size} if kind == b"moof" else {4, size // 2}:
            write(made.drop / f"cut{place + cut}.mp4", whole[:place + cut])
    made.once(check=3)
    found = sources(made)
    for name, (rows, reason) in found.items():
        if name.startswith("cut"):
            assert rows is None, (name, len(rows))
        else:
            assert reason is None and len(rows) == len(found["whole.mp4"][0]) >= 3 * RATE, (name, reason)


def test_a_video_whose_last_fragment_is_not_all_there_is_noticed(project):
    needs("ffmpeg")
    films = project(shape=(48, 64, 3), watch='include = ["*.mp4"]', decoder='[dataset.video]\nfit = "exact"')
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=3:size=64x48:rate=25", "-c:v", "mpeg4", "-g", "25", "-movflags", "frag_keyframe+empty_moov",
           films.drop / "whole.mp4")
    whole = (films.drop / "whole.mp4").read_bytes()
    place, size, _ = [found for found in boxes(whole) if found[2] == b"moof"][-1]
    for cut in (4, size // 2, size, size + 8, size + 500):
        write(films.drop / f"cut{cut}.mp4", whole[:place + cut])
    films.once(check=3)
    assert films.count() == 75
    reasons = films.rejected()
    assert len(reasons) == 5 and all("cut short" in reason for reason in reasons.values()), reasons


# Of each, whether what FFmpeg writes tells no length and no checksum of all.
CHECKED = {
    "flac.mka": ["-c:a", "flac", "-f", "matroska", "-"], "flac.mp4": ["-c:a", "flac", "-strict", "-2", "-movflags", "frag_keyframe+empty_moov"],
    "flac.avi": ["-c:a", "flac"], "wv.wv": ["-c:a", "wavpack"], "wv.mka": ["-c:a", "wavpack"], "tta.tta": ["-c:a", "tta"],
    "ac3.ac3": ["-c:a", "ac3"], "ac3.mp4": ["-c:a", "ac3"], "eac3.eac3": ["-c:a", "eac3"], "truehd.mka": ["-c:a", "truehd", "-strict", "-2"],
}


def test_checksums_of_packets_are_asked(of_one):
    """A flipped bit made other samples: of FLAC in other containers, and of all that the worker decodes."""
    needs("ffmpeg")
    made = of_one()
    chance = random.Random(7)
    for name, words in CHECKED.items():
        if words[-1] == "-":
            whole = ffmpeg("-i", original(made, rate=48000), *words)
        else:
            whole = encoded(made, name, *words, rate=48000)
        write(made.drop / name, whole)
        for number in range(8):
            content = bytearray(whole)
            content[chance.randrange(len(content) // 10, len(content) * 9 // 10)] ^= 1 << chance.randrange(8)
            write(made.drop / f"{number}-{name}", content)
    made.once(check=3)
    found, altered = sources(made), 0
    for name, (rows, reason) in found.items():
        number, _, of = name.rpartition("-")
        whole = found[of][0]
        if not number:
            assert reason is None and len(rows) >= 3 * 48000, (name, reason)
        elif of == "truehd.mka":
            # What begins a packet of it has no checksum that is asked.
            altered += rows is not None and not np.array_equal(rows, whole)
        else:
            assert rows is None or np.array_equal(rows, whole), name
    assert altered < 4


def test_good_files_of_the_worker_have_the_checksums_that_they_tell(of_one):
    needs("ffmpeg")
    made = of_one()
    kinds = {**{name: words for name, words in CHECKED.items() if words[-1] != "-"},
             "dts.dts": ["-c:a", "dca", "-strict", "-2"], "wma.wma": ["-c:a", "wmav2"], "mp2.avi": ["-c:a", "mp2"],
             "crc.avi": ["-c:a", "libtwolame", "-error_protection", "1"], "opus.opus": ["-c:a", "libopus"], "aac.avi": ["-c:a", "aac"],
             "mlp.mka": ["-c:a", "mlp", "-strict", "-2"], "float.wv": ["-c:a", "wavpack", "-sample_fmt", "fltp"],
             "wide.wv": ["-c:a", "wavpack", "-sample_fmt", "s32p"], "wide.tta": ["-c:a", "tta", "-sample_fmt", "s32"]}
    for name, words in kinds.items():
        write(made.drop / name, encoded(made, name, *words, rate=48000))
    made.once()
    found = sources(made)
    assert found.keys() == kinds.keys()
    for name, (rows, reason) in found.items():
        assert reason is None and len(rows) >= 2.9 * 48000, (name, reason)


def test_wav_and_windows_media_tell_the_worker_where_they_end(of_one):
    """Half of such a file was taken for the whole."""
    needs("ffmpeg")
    made = of_one()
    words = {"mp3.wav": ["-c:a", "libmp3lame"], "g726.wav": ["-ar", "8000", "-c:a", "g726"], "yamaha.wav": ["-c:a", "adpcm_yamaha"],
             "wide.wav": ["-rf64", "always", "-c:a", "adpcm_yamaha"], "wma.wma": ["-c:a", "wmav2"], "wma.wav": ["-c:a", "wmav2"]}
    for name, how in words.items():
        whole = encoded(made, name, *how)
        write(made.drop / name, whole)
        for parts in (2, 3):
            write(made.drop / f"cut{parts}-{name}", whole[:len(whole) // parts // 4 * 4])
    write(made.drop / "pipe.wav", ffmpeg("-i", original(made), "-c:a", "adpcm_yamaha", "-f", "wav", "-"))
    write(made.drop / "pipe.wma", ffmpeg("-i", original(made), "-c:a", "wmav2", "-f", "asf", "-"))
    made.once(check=3)
    for name, (rows, reason) in sources(made).items():
        if name.startswith("cut"):
            assert rows is None, (name, len(rows))
        else:
            assert reason is None and len(rows) == len(decoded_by_ffmpeg(made.drop / name, 1)), (name, reason)


def test_the_kind_of_a_described_wav_is_what_counts(project):
    """Good files were rejected as if they were PCM."""
    needs("ffmpeg")
    made = project(shape=(1, 6), dtype="<f4", watch='include = ["**"]', decoder=DECODER)
    for codec in ("ac3", "pcm_mulaw", "pcm_s24le"):
        ffmpeg("-i", several(made, 6), "-c:a", codec, made.drop / f"{codec}.wav")
    ffmpeg("-i", several(made, 1, rate=96000), "-c:a", "adpcm_ima_wav", made.drop / "ima.wav")
    made.once()
    for name, (rows, reason) in sources(made).items():
        assert reason is None and len(rows) == len(decoded_by_ffmpeg(made.drop / name, 1 if name == "ima.wav" else 6)), (name, reason)


def test_what_fills_up_a_wave64_is_no_sound(project):
    """Good files were rejected for less than a sample at their end."""
    needs("ffmpeg")
    made = project(shape=(1,), dtype="<f4", watch='include = ["**"]', decoder=DECODER)
    for name, channels, codec in (("a.w64", 6, "pcm_s16le"), ("b.w64", 1, "pcm_s24le"), ("c.w64", 2, "pcm_s16le")):
        ffmpeg("-i", several(made, channels), "-af", "atrim=end_sample=22099", "-c:a", codec, made.drop / name)
    made.once()
    for name, (rows, reason) in sources(made).items():
        # Nothing tells zeros that fill up whole samples from sound.
        assert reason is None and 0 <= len(rows) - 22099 <= 2 and not rows[22099:].any(), (name, reason, len(rows))


def test_another_file_behind_an_au_is_no_sound(of_one):
    """Its header and all that followed became some."""
    needs("ffmpeg")
    made = of_one()
    one = encoded(made, "one.au", "-c:a", "pcm_s16be")
    write(made.drop / "one.au", one)
    write(made.drop / "two.au", one + one)
    made.once()
    found = sources(made)
    assert np.array_equal(found["one.au"][0], found["two.au"][0]) and len(found["one.au"][0]) == 3 * RATE


def test_three_matroska_files_behind_one_another_are_rejected(of_one):
    """FFmpeg finds two of them: the third was left out."""
    needs("ffmpeg")
    made = of_one()
    one = encoded(made, "one.mka", "-c:a", "flac")
    live = encoded(made, "live.mka", "-c:a", "flac", "-live", "1")
    for count in (1, 2, 3):
        write(made.drop / f"{count}.mka", one * count)
    write(made.drop / "live.mka", live * 3)
    made.once(check=3)
    found = sources(made)
    assert [len(found[name][0]) for name in ("1.mka", "2.mka")] == [3 * RATE, 6 * RATE]
    for name in ("3.mka", "live.mka"):
        assert found[name][0] is None and "a third Matroska or WebM file follows" in found[name][1], found[name]


def test_headers_that_contradict_themselves_are_rejected(of_one):
    """A part of the sound, or noise, was taken for all of it."""
    made = of_one()
    for name, kind in (("a.wav", "WAV"), ("a.aiff", "AIFF")):
        soundfile.write(made.drop / name, noise(1), RATE, format=kind, subtype="PCM_16")
        whole = (made.drop / name).read_bytes()
        # Where the channels and the bits stand, and the frames of AIFF.
        start = whole.index(b"fmt ") + 8 if kind == "WAV" else whole.index(b"COMM") + 8
        places = {"channels": (start + (2 if kind == "WAV" else 1), 3), "bits": (start + (14 if kind == "WAV" else 7), 24)}
        if kind == "AIFF":
            places["frames"] = (start + 4, 1)
        for what, (place, value) in places.items():
            content = bytearray(whole)
            content[place] = value
            write(made.drop / f"{what}-{name}", content)
    made.once(check=3)
    found = sources(made)
    assert len(found) == 7
    for name, (rows, reason) in found.items():
        if "-" in name:
            assert rows is None and reason.startswith("its header says "), (name, reason)
        else:
            assert reason is None and len(rows) == RATE, (name, reason)
