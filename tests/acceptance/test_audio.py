"""Sound: what soundfile, soxr and FFmpeg make of the same files; spectrograms by librosa's formulas."""

import os
import subprocess
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import soundfile
import soxr

from harness import PROGRAM

RATE = 44100


def music(seconds=2.3, rate=RATE, channels=2, seed=1, up_to=5000):
    """Tones under a bell, another mixture in each channel."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    bell = np.minimum(1, np.minimum(time, time[-1] - time) * 10)
    tones = [sum(np.sin(2 * np.pi * random.uniform(60, up_to) * time + random.uniform(0, 6)) * random.uniform(0.005, 0.05)
                 for _ in range(20)) for _ in range(channels)]
    return (np.stack(tones, axis=1) * bell[:, None]).astype("<f4")


def chirp(seconds, rate, to_hz, from_hz=20):
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * (from_hz * time + (to_hz - from_hz) / (2 * seconds) * time ** 2)
    return (0.5 * np.sin(phase) * np.minimum(1, np.minimum(time, time[-1] - time) * 10)).astype("<f4")


def ffmpeg(*words):
    return subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, words)], check=True, capture_output=True).stdout


def decoded_by_ffmpeg(path, channels=2):
    return np.frombuffer(ffmpeg("-i", path, "-map", "0:a", "-f", "f32le", "-c:a", "pcm_f32le", "-"), "<f4").reshape(-1, channels)


def signal_to_noise_db(found, expected):
    found, expected = np.asarray(found, "f8"), np.asarray(expected, "f8")
    noise = np.sum((found - expected) ** 2)
    return np.inf if noise == 0 else 10 * np.log10(np.sum(expected ** 2) / noise)


def windows(samples, length, hop, tail="drop"):
    """The rows that are to come out, by the rules of docs/audio.md."""
    rows, first, covered = [], 0, 0
    while True:
        window = samples[first:first + length]
        if len(window) < length and (tail == "drop" or covered >= len(samples) or first >= len(samples)):
            return np.array(rows)
        rows.append(np.concatenate([window, np.zeros((length - len(window), *samples.shape[1:]), samples.dtype)]))
        covered, first = first + length, first + hop


def sources(project):
    """Name of each source -> its rows, its reason or note."""
    rows = project.rows()
    found = project.ledger("SELECT path, status, reason, first_row, rows FROM sources")
    return {os.path.basename(path): (None if status == "rejected" else rows[first:first + count], reason)
            for path, status, reason, first, count in found}


def test_files_agree_with_soundfile(project):
    project = project(shape=(1000, 2), dtype="<f4", decoder='[dataset.audio]\ntail = "pad"')
    sound = music()
    for name, subtype in [("u8.wav", "PCM_U8"), ("s16.wav", "PCM_16"), ("s24.wav", "PCM_24"), ("s32.wav", "PCM_32"),
                          ("f32.wav", "FLOAT"), ("f64.wav", "DOUBLE"), ("mulaw.wav", "ULAW"), ("ima.wav", "IMA_ADPCM"),
                          ("16.flac", "PCM_16"), ("24.flac", "PCM_24"), ("16.aiff", "PCM_16"), ("16.caf", "PCM_16"),
                          ("a.ogg", "VORBIS"), ("a.mp3", "MPEG_LAYER_III")]:
        soundfile.write(project.drop / name, sound, RATE, subtype=subtype)
    project.once()
    found = sources(project)
    assert len(found) == 14
    for name, (rows, _) in found.items():
        reference, rate = soundfile.read(project.drop / name, dtype="float32")
        assert rate == RATE
        expected = windows(reference, 1000, 1000, "pad")
        assert rows.shape == expected.shape, name
        if name in ("a.ogg", "a.mp3", "ima.wav"):
            assert name == "ima.wav" or len(reference) == len(sound)
            assert signal_to_noise_db(rows, expected) > (40 if name == "ima.wav" else 100), name
        else:
            assert np.array_equal(rows, expected), name


def test_integers_windows_and_columns(project):
    project = project(shape=(700,), dtype="<i2", columns="time = true",
                      decoder='[dataset.audio]\nhop = 250\nstart = "100ms"\nend = "1500ms"')
    left, right = (np.random.default_rng(3).integers(-32768, 32768, 40000, dtype="<i2") for _ in range(2))
    soundfile.write(project.drop / "a.wav", left, 16000)
    soundfile.write(project.drop / "b.wav", np.stack([left, right], axis=1), 16000)
    project.once()
    found = sources(project)
    expected = windows(left[1600:24000], 700, 250)
    assert np.array_equal(found["a.wav"][0], expected)
    mean = np.clip(np.rint((left.astype("f8") + right) / 2), -32768, 32767).astype("<i2")
    assert np.array_equal(found["b.wav"][0], windows(mean[1600:24000], 700, 250))
    assert np.array_equal(project.column("index"), [*range(len(expected))] * 2)
    assert np.array_equal(project.column("time"), [*((1600 + 250 * np.arange(len(expected))) / 16000)] * 2)


@pytest.mark.parametrize("dtype", [">f4", "<f2", ">i2"])
def test_other_dtypes(project, dtype):
    project = project(shape=(500, 2), dtype=dtype, decoder="[dataset.audio]")
    sound = music(1)
    soundfile.write(project.drop / "a.wav", sound, RATE, subtype="FLOAT")
    project.once()
    expected = windows(sound, 500, 500)
    expected = np.rint(expected * 32768).astype(dtype) if dtype == ">i2" else expected.astype(dtype)
    assert project.rows().dtype == np.dtype(dtype) and np.array_equal(project.rows(), expected)


def test_channels_that_do_not_fit(project):
    project = project(shape=(500, 2), dtype="<f4", decoder="[dataset.audio]")
    mono = music(1, channels=1)
    soundfile.write(project.drop / "mono.wav", mono, RATE, subtype="FLOAT")
    soundfile.write(project.drop / "six.wav", np.repeat(mono, 6, axis=1), RATE, subtype="FLOAT")
    soundfile.write(project.drop / "short.wav", mono[:400], RATE, subtype="FLOAT")
    project.once(check=3)
    assert np.array_equal(project.rows(), windows(np.repeat(mono, 2, axis=1), 500, 500))
    assert project.rejected() == {
        "six.wav": "it has 6 channels, expected 2 or mono: use shape = [samples] to mix them",
        "short.wav": "it has 400 samples at 44100 Hz (0.009 s), less than a window of 500: use a shorter one, or tail = \"pad\"",
    }


# Numbers that begin with their low byte or their high byte, as an atom says or does not say.
QUICKTIME = ["s16le", "s24be", "s24le", "s32be", "s32le", "f32be", "f32le", "f64be", "f64le"]


def test_compressed_files_and_sound_tracks(project):
    """What FFmpeg has written: the same samples as FFmpeg reads, in the same places as the original's."""
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder='[dataset.audio]\ntail = "pad"')
    sound, original, drop = music(), project.folder / "original.wav", project.drop
    soundfile.write(original, sound, RATE, subtype="FLOAT")
    picture = ["-f", "lavfi", "-i", "testsrc=duration=2.3:size=64x48", "-i", original, "-c:v", "mpeg4", "-shortest"]
    for name, words in {
        "aac.m4a": ["-i", original, "-c:a", "aac"],
        "first.m4a": ["-i", original, "-c:a", "aac", "-movflags", "+faststart"],
        "alac.m4a": ["-i", original, "-c:a", "alac"],
        "aac.aac": ["-i", original, "-c:a", "aac"],
        "mp2.mp2": ["-i", original, "-c:a", "mp2"],
        "mp3.mp3": ["-i", original, "-c:a", "libmp3lame", "-q:a", "2"],
        "video.mp4": [*picture, "-c:a", "aac"],
        "video.mov": [*picture, "-c:a", "pcm_s16be"],
        **{f"{kind}.mov": ["-i", original, "-c:a", f"pcm_{kind}"] for kind in QUICKTIME},
        "mp3.mov": ["-i", original, "-c:a", "libmp3lame", "-q:a", "2"],
        "video.mkv": [*picture, "-c:a", "flac"],
        "video.webm": [*picture[:-3], "-c:v", "libvpx", "-c:a", "libvorbis"],
        "silent.mp4": [*picture[:4], "-c:v", "mpeg4"],
    }.items():
        ffmpeg(*words, drop / name)
    # Into a pipe: a header that could not be told the length.
    (drop / "pipe.wav").write_bytes(ffmpeg("-i", original, "-f", "wav", "-"))
    project.once(check=3)
    found = sources(project)
    reasons = {name: reason for name, (rows, reason) in found.items() if rows is None}
    assert reasons.keys() == {"silent.mp4"}
    assert "has pictures and no sound" in reasons["silent.mp4"]
    for name, (rows, _) in found.items():
        if rows is None:
            continue
        rows = rows.reshape(-1, 2)
        reference = decoded_by_ffmpeg(drop / name)
        count = min(len(rows), len(reference))
        # The last packet of AAC is longer than the sound; FFmpeg plays all of it, the file says where it ends.
        count = min(count, len(sound)) if name in ("aac.m4a", "first.m4a", "video.mp4") else count
        assert count >= len(sound) - 2000 and signal_to_noise_db(rows[:count], reference[:count]) > 75, name
        assert not rows[len(reference):].any(), name
        if name in ("aac.m4a", "first.m4a", "alac.m4a", "mp3.mp3", "pipe.wav"):
            assert np.array_equal(rows[len(sound):], np.zeros((len(rows) - len(sound), 2))), name
            assert signal_to_noise_db(rows[:len(sound)], sound) > 20, name


def test_the_default_track_is_taken(project):
    project = project(shape=(1000,), dtype="<f4", watch='include = ["**"]', decoder="[dataset.audio]")
    tones = [word for pitch in (440, 880) for word in ("-f", "lavfi", "-i", f"sine={pitch}:duration=1")]
    for name in ("a.mp4", "a.mov", "a.mkv"):
        for default in (0, 1):
            words = [f"-disposition:a:{1 - default}", "0", f"-disposition:a:{default}", "default", "-c:a", "pcm_s16le" if name == "a.mov" else "aac"]
            ffmpeg(*tones, "-map", "0", "-map", "1", *words, project.drop / f"{default}{name}")
    project.once()
    found = sources(project)
    assert len(found) == 6
    for name, (rows, _) in found.items():
        loudest = np.abs(np.fft.rfft(rows.ravel())).argmax() * 44100 / rows.size
        assert abs(loudest - (880 if name[0] == "1" else 440)) < 2, (name, loudest)


@pytest.mark.parametrize("rate, to", [(44100, 16000), (48000, 16000), (48000, 8000), (16000, 44100), (44100, 48000), (22050, 16000)])
def test_resampling_agrees_with_soxr(project, rate, to):
    project = project(shape=(1000,), dtype="<f4", decoder=f'[dataset.audio]\nrate = {to}\ntail = "pad"')
    limit = min(rate, to) * 0.44
    sounds = {"music.wav": music(2, rate, 1, up_to=limit)[:, 0], "chirp.wav": chirp(2, rate, limit)}
    for name, sound in sounds.items():
        soundfile.write(project.drop / name, sound, rate, subtype="FLOAT")
    if to < rate:
        soundfile.write(project.drop / "high.wav", chirp(1, rate, rate * 0.499, to * 0.52), rate, subtype="FLOAT")
    project.once()
    found = sources(project)
    for name, sound in sounds.items():
        row = found[name][0].ravel()
        expected = soxr.resample(sound, rate, to, "VHQ")
        assert abs(len(row) - len(expected)) <= 1000 and not row[len(expected) + 1:].any()
        # A sample too early or too late would be at -20 dB.
        assert signal_to_noise_db(row[:len(expected)], expected) > 66, name
    if to < rate:
        # What is above the half of the new rate does not come back as another tone.
        assert np.abs(found["high.wav"][0].ravel()).max() < 1e-3


def log_mel(samples, rate, mels, n_fft, hop, win=None, fmin=0.0, fmax=None, power=2.0, htk=False, slaney=True, center=True):
    """librosa.feature.melspectrogram and a logarithm to base 10, by librosa's documentation, in double precision."""
    win, fmax = win or n_fft, fmax or rate / 2
    window = np.zeros(n_fft)
    window[(n_fft - win) // 2:(n_fft - win) // 2 + win] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win) / win)
    samples = np.asarray(samples, "f8")
    if center:
        samples = np.pad(samples, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop]
    spectrum = np.abs(np.fft.rfft(frames * window)) ** power
    if htk:
        to_mel, to_hz = lambda hz: 2595 * np.log10(1 + hz / 700), lambda mel: 700 * (10 ** (mel / 2595) - 1)
    else:
        step = np.log(6.4) / 27
        to_mel = lambda hz: hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) / step
        to_hz = lambda mel: np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15)))
    edges = to_hz(np.linspace(to_mel(fmin), to_mel(fmax), mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    filters = np.array([np.maximum(0, np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)))
                        * (2 / (high - low) if slaney else 1) for low, middle, high in zip(edges, edges[1:], edges[2:])])
    return np.log10(np.maximum(filters @ spectrum.T, 1e-10))


@pytest.mark.parametrize("keys, words, scale", [
    ("", dict(n_fft=2048, hop=512), 10),
    ('n_fft = 400\nhop_length = 160\nlog = "ln"', dict(n_fft=400, hop=160), np.log(10)),
    ('n_fft = 512\nhop_length = 160\nwin_length = 400\nfmin = 50\nfmax = 7600\nmel = "htk"\nnorm = "none"\npower = 1\nlog = "log10"',
     dict(n_fft=512, hop=160, win=400, fmin=50, fmax=7600, htk=True, slaney=False, power=1), 1),
    ('n_fft = 1024\nhop_length = 256\ncenter = false', dict(n_fft=1024, hop=256, center=False), 10),
    # Its last frame was one that librosa does not have.
    ('n_fft = 511\nhop_length = 160\nwin_length = 400', dict(n_fft=511, hop=160, win=400), 10),
])
def test_log_mel_is_that_of_librosa(project, keys, words, scale):
    project = project(shape=(64, 20), dtype="<f4", columns="time = true",
                      decoder=f'[dataset.audio]\nrate = 16000\nfeatures = "log-mel"\n{keys}')
    random = np.random.default_rng(5)
    sound = np.concatenate([np.zeros(9000), 0.3 * np.sin(np.arange(16000) * 0.3), random.normal(0, 0.1, 30000)]).astype("<f4")
    soundfile.write(project.drop / "a.wav", sound, 16000, subtype="FLOAT")
    project.once()
    samples = 19 * words["hop"] + (words["n_fft"] % 2 if words.get("center", True) else words["n_fft"])
    hop = (19 if words.get("center", True) else 20) * words["hop"]
    rows = project.rows()
    assert len(rows) == (len(sound) - samples) // hop + 1
    for number, row in enumerate(rows):
        expected = log_mel(sound[number * hop:number * hop + samples], 16000, 64, **words) * scale
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(project.column("time"), np.arange(len(rows)) * hop / 16000)
    if not words.get("center", True):
        # Without padding, rows are pieces of one long spectrogram.
        whole = log_mel(sound, 16000, 64, **words) * scale
        joined = np.concatenate(rows, axis=1)
        np.testing.assert_allclose(joined, whole[:, :joined.shape[1]], rtol=1e-4, atol=1e-4)


def test_any_number_of_workers_gives_the_same_bytes(project, tmp_path):
    outputs = []
    for workers in (1, 4):
        made = project(output=f"data/{workers}.npy", name=f"{workers}.toml", shape=(4000,), dtype="<i2",
                       service=f"[service]\nworkers = {workers}\nmemory = \"1MiB\"", watch='order = "name"',
                       decoder='[dataset.audio]\nrate = 16000\nhop = 1000\ntail = "pad"')
        if workers == 1:
            for number in range(12):
                rate = [44100, 48000, 16000][number % 3]
                name = made.drop / f"{number:02}.{['wav', 'flac', 'ogg', 'mp3'][number % 4]}"
                soundfile.write(name, music(0.5 + number / 8, rate, 1 + number % 2, seed=number), rate)
        made.once()
        outputs.append(made.output.read_bytes())
    assert outputs[0] == outputs[1]


def damaged(drop, sound):
    """Files that are damaged in one way each."""
    whole = {}
    for name in ("a.wav", "a.flac", "a.mp3"):
        soundfile.write(drop / name, sound, RATE)
        whole[name] = (drop / name).read_bytes()
        (drop / name).unlink()
    ffmpeg("-f", "f32le", "-ar", RATE, "-ac", 2, "-i", write(drop.parent / "raw", sound.tobytes()), "-movflags", "+faststart", drop / "a.m4a")
    whole["a.m4a"] = (drop / "a.m4a").read_bytes()
    (drop / "a.m4a").unlink()
    for name, content in whole.items():
        write(drop / f"cut{name[1:]}", content[:len(content) * 2 // 3])
    flipped = bytearray(whole["a.flac"])
    flipped[len(flipped) // 2] ^= 0x10
    write(drop / "flipped.flac", flipped)
    broken = sound.copy()
    broken[20000, 1] = np.nan
    soundfile.write(drop / "nan.wav", broken, RATE, subtype="FLOAT")


def write(path, content):
    path.write_bytes(content)
    return path


def test_damaged_files_are_rejected_with_a_reason(project):
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder="[dataset.audio]")
    drop, sound = project.drop, music()
    damaged(drop, sound)
    write(drop / "empty.wav", b"")
    write(drop / "text.mp3", b"this is no sound at all, whatever its name says\n" * 100)
    write(drop / "noise.wav", np.random.default_rng(9).bytes(300000))
    header = lambda channels, rate, bits: (
        b"RIFF" + np.array([100036], "<u4").tobytes() + b"WAVEfmt \x10\0\0\0\1\0" + np.array([channels], "<u2").tobytes()
        + np.array([rate, rate * channels * bits // 8 & 0xffffffff], "<u4").tobytes()
        + np.array([channels * bits // 8 & 0xffff, bits], "<u2").tobytes() + b"data" + np.array([100000], "<u4").tobytes())
    write(drop / "channels.wav", header(60000, 44100, 8) + bytes(100000))
    write(drop / "rate.wav", header(2, 4_000_000_000, 16) + bytes(100000))
    write(drop / "none.wav", header(0, 0, 0) + bytes(100000))
    soundfile.write(drop / "no-samples.wav", np.zeros((0, 2)), RATE)
    soundfile.write(drop / "good.wav", sound, RATE, subtype="FLOAT")
    project.once(check=3, timeout=60)
    found = sources(project)
    reasons = {name: reason for name, (rows, reason) in found.items() if rows is None}
    print(reasons)
    assert found.keys() - reasons.keys() == {"good.wav"} and len(reasons) == 13
    assert np.array_equal(project.rows(), windows(sound, 1000, 1000))
    for name in ("cut.wav", "cut.flac", "cut.mp3", "cut.m4a"):
        assert "cut short" in reasons[name], (name, reasons[name])
    assert "not a number" in reasons["nan.wav"] and "empty" in reasons["empty.wav"] and "expected WAV" in reasons["text.mp3"]
    assert "4000000000 Hz" in reasons["rate.wav"] and "channel" in reasons["channels.wav"]
    assert "holds no sound" in reasons["no-samples.wav"]


def test_damaged_files_can_be_kept(project):
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder='[dataset.audio]\non_error = "keep"')
    sound = music()
    damaged(project.drop, sound)
    project.once()
    found = sources(project)
    assert len(found) == 6
    for name, (rows, note) in found.items():
        assert note.startswith("damaged, what could be decoded was kept: "), (name, note)
        rows = rows.reshape(-1, 2)
        assert len(rows) > len(sound) * 0.6, name
        # Times stay right: what is there is where it was.
        there = np.abs(rows).sum(axis=1) > 0
        assert there.mean() > 0.85 and signal_to_noise_db(rows[there], sound[:len(rows)][there]) > 20, name


def flac(numbers):
    """A FLAC file of one channel at 44,100 Hz: for each of these numbers a frame of 4,096 equal samples."""
    def checksum(content, polynomial, bits):
        value = 0
        for byte in content:
            value ^= byte << bits - 8
            for _ in range(8):
                value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & (1 << bits) - 1
        return value.to_bytes(bits // 8, "big")

    def frame(number):
        start = b"\xff\xf8\xc9\x08" + chr(number).encode("utf-8", "surrogatepass")
        start += checksum(start, 0x07, 8) + b"\0\x10\0"
        return start + checksum(start, 0x8005, 16)

    format_of_stream = RATE << 44 | 15 << 36
    about = b"\x10\0\x10\0" + bytes(6) + format_of_stream.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\0\0\x22" + about + b"".join(map(frame, numbers))


def test_silence_is_bounded_by_the_file(project):
    """Numbers of frames may claim that any time is missing before them."""
    made = project(shape=(4096,), dtype="<i2", watch='include = ["**"]', decoder='[dataset.audio]\non_error = "keep"')
    write(made.drop / "a.flac", flac([0, 1, 2, 5, 6]))
    write(made.drop / "b.flac", flac(range(0, 200_000, 10_000)))
    made.once()
    found = sources(made)
    rows, note = found["a.flac"]
    assert [row[0] for row in rows] == [4096, 4096, 4096, 0, 0, 4096, 4096] and (rows == rows[:, :1]).all()
    assert "0.186 s are missing after 0.279 s" in note
    rows, note = found["b.flac"]
    # As much as the limit allows, not 20 times as much.
    assert 1024 + 20 <= len(rows) <= 1024 + 40 and (rows == 4096).sum() > 19 * 4096, len(rows)


def test_a_dataset_keeps_its_options(project):
    made = project(shape=(1000,), dtype="<f4", decoder="[dataset.audio]\nrate = 16000")
    soundfile.write(made.drop / "a.wav", music(), RATE)
    made.once()
    made.configure(shape=(1000,), dtype="<f4", decoder="[dataset.audio]\nrate = 16000\nhop = 500")
    refused = made.once(check=2)
    assert "`audio.hop`: was 1000, now 500" in refused.stderr


def test_init_recognises_sound(project):
    project = project(decoder="[dataset.audio]", shape=(100,), dtype="i2")
    for number in range(3):
        soundfile.write(project.drop / f"{number}.{['wav', 'flac', 'mp3'][number]}", music(2.5, 22050), 22050)
    config = subprocess.run([PROGRAM, "init", project.drop], check=True, capture_output=True, text=True).stdout
    assert "all of 22050 Hz" in config and "[dataset.audio]" in config and "shape  = [22050]" in config
    project.config.write_text(config.replace("output = \"data/", f"output = \"{project.folder}/data/"))
    project.once()
    assert np.load(project.folder / "data" / "drop.npy").shape == (9, 22050)


def test_a_long_file_takes_little_memory(project):
    """A WAV file of 96 MB, most of it a hole: 192 MB of samples."""
    project = project(shape=(8000,), dtype="<i2", service='[service]\nworkers = 1\nmemory = "8MiB"',
                      decoder="[dataset.audio]\nrate = 8000")
    path, samples = project.drop / "long.wav", 48_000_000
    with soundfile.SoundFile(path, "w", 48000, 1, "PCM_16") as file:
        file.write(np.zeros(1))
    with open(path, "r+b") as file:
        file.seek(4)
        file.write(np.array([samples * 2 + 36], "<u4").tobytes())
        file.seek(40)
        file.write(np.array([samples * 2], "<u4").tobytes())
        file.truncate(44 + samples * 2)
        file.seek(44 + 2 * (samples - 48000))
        file.write((np.sin(np.arange(48000) * 0.1) * 10000).astype("<i2").tobytes())
    process = subprocess.Popen([PROGRAM, "--config", project.config, "--once"], stderr=subprocess.PIPE)
    # Not the usage that wait4 tells: that of a child begins with its parent's.
    most_kib = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most_kib = max([most_kib, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        sleep(0.02)
    assert process.returncode == 0, process.stderr.read()
    rows = project.rows()
    assert len(rows) == samples // 6 // 8000 and not rows[:-2].any()
    assert 6500 < np.sqrt(np.mean(rows[-1].astype("f8") ** 2)) < 7500
    assert 5_000 < most_kib < 60_000, f"{most_kib} KiB"
