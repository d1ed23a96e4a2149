"""Sound that only FFmpeg decodes, by the worker."""

import os
import shutil
import subprocess

import numpy as np
import soundfile

from harness import PROGRAM, needs
from test_audio import decoded_by_ffmpeg, ffmpeg, music, signal_to_noise_db, sources

RATE = 48000
KINDS = {
    "opus.opus": ["-c:a", "libopus"], "opus.webm": ["-c:a", "libopus"], "opus.mkv": ["-c:a", "libopus"],
    "ac3.ac3": ["-c:a", "ac3"], "eac3.mkv": ["-c:a", "eac3"], "wma.wma": ["-c:a", "wmav2"], "wavpack.wv": ["-c:a", "wavpack"],
    "alaw.mov": ["-c:a", "pcm_alaw"], "mulaw.au": ["-c:a", "pcm_mulaw"], "alac.caf": ["-c:a", "alac"], "tta.tta": ["-c:a", "tta"],
    "sound.avi": ["-c:a", "pcm_s16le"],
}


def make(project, seconds=2.3, channels=2, kinds=KINDS):
    original = project.folder / "original.wav"
    soundfile.write(original, music(seconds, RATE, channels), RATE, subtype="FLOAT")
    for name, words in kinds.items():
        ffmpeg("-i", original, *words, project.drop / name)
    return original


def test_what_ffmpeg_decodes_gives_its_samples(project):
    needs("ffmpeg")
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder='[dataset.audio]\ntail = "pad"')
    make(project)
    project.once()
    for name, (rows, _) in sources(project).items():
        rows, reference = rows.reshape(-1, 2), decoded_by_ffmpeg(project.drop / name)
        assert len(reference) > 2.2 * RATE and 0 <= len(rows) - len(reference) < 1000, (name, len(rows), len(reference))
        assert np.array_equal(rows[:len(reference)], reference) or signal_to_noise_db(rows[:len(reference)], reference) > 120, name


def test_the_container_goes_by_the_start_of_the_file(project):
    """Pictures hold the marks of other containers, and sound of MPEG's has hardly one."""
    needs("ffmpeg")
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder='[dataset.audio]\ntail = "pad"')
    original = project.folder / "original.wav"
    soundfile.write(original, music(5), 44100, subtype="FLOAT")
    for name, words in {"a.ts": ["libx264", "-c:a", "aac"], "a.mpg": ["mpeg2video", "-c:a", "mp2"], "a.vob": ["mpeg2video", "-c:a", "ac3"],
                        "a.avi": ["mpeg4", "-c:a", "libmp3lame"], "a.flv": ["flv", "-c:a", "libmp3lame"],
                        "a.wmv": ["wmv2", "-c:a", "wmav2"]}.items():
        ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=5", "-i", original, "-c:v", *words, project.drop / name)
    ffmpeg("-i", original, "-c:a", "dca", "-strict", "-2", project.drop / "a.dts")
    mp3 = ffmpeg("-i", original, "-c:a", "libmp3lame", "-f", "mp3", "-id3v2_version", "0", "-")
    tag = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048)
    for name, before in {"plain.mp3": b"", "tag.mp3": tag, "junk.mp3": b"some junk\xff\xfb\x90" * 999}.items():
        (project.drop / name).write_bytes(before + mp3)
    project.once()
    found = sources(project)
    for name, (rows, reason) in found.items():
        assert reason is None, (name, reason)
        if name.endswith(".mp3"):
            assert np.array_equal(rows, found["plain.mp3"][0]), name
            continue
        rows, reference = rows.reshape(-1, 2), decoded_by_ffmpeg(project.drop / name)
        assert 0 <= len(rows) - len(reference) < 1000, name
        assert signal_to_noise_db(rows[:len(reference)], reference) > 90, name


def test_what_the_library_does_not_know_of_its_containers_is_left_to_ffmpeg(project):
    needs("ffmpeg")
    project = project(shape=(1000, 1), dtype="<f4", watch='include = ["**"]', decoder='[dataset.audio]\ntail = "pad"')
    sound, original = music(0.5, 16000, 1)[:7999], project.folder / "original.wav"
    soundfile.write(original, sound, 16000, subtype="FLOAT")
    for name, kind, subtype in [("alaw.wav", "WAVEX", "ALAW"), ("mulaw.caf", "CAF", "ULAW"), ("odd.caf", "CAF", "PCM_24")]:
        soundfile.write(project.drop / name, sound, 16000, format=kind, subtype=subtype)
    ffmpeg("-i", original, "-ar", "32000", "-c:a", "mp2", "-f", "mp4", project.drop / "mp2.mp4")
    project.once()
    found = sources(project)
    assert found.keys() == {"alaw.wav", "mulaw.caf", "odd.caf", "mp2.mp4"}
    for name, (rows, reason) in found.items():
        rows, reference = rows.reshape(-1, 1), decoded_by_ffmpeg(project.drop / name, 1)
        assert reason is None and 0 <= len(rows) - len(reference) < 1000 and len(reference) > 7900, (name, reason)
        assert signal_to_noise_db(rows[:len(reference)], reference) > 90, name
    # Of these FFmpeg takes what is there for the whole. Whole samples, so that none is damaged.
    for name, step in (("alaw.wav", 1), ("mulaw.caf", 1), ("odd.caf", 3)):
        whole = (project.drop / name).read_bytes()
        (project.drop / f"cut-{name}").write_bytes(whole[:len(whole) - 1000 * step - (name == "odd.caf")])
    soundfile.write(project.drop / "whole.aiff", sound, 16000, format="AIFF", subtype="PCM_24")
    whole = (project.drop / "whole.aiff").read_bytes()
    (project.drop / "cut-whole.aiff").write_bytes(whole[:len(whole) - 3001])
    project.once(check=3)
    reasons = project.rejected()
    assert reasons.keys() == {"cut-alaw.wav", "cut-mulaw.caf", "cut-odd.caf", "cut-whole.aiff"}, reasons
    assert all("cut short" in reason for reason in reasons.values()), reasons


def test_it_goes_the_way_of_all_sound(project):
    """Resampled, mixed, cut, with times; several at once; the end of what is wanted."""
    needs("ffmpeg")
    project = project(shape=(8000,), dtype="<i2", service="[service]\nworkers = 2", watch='include = ["**"]', columns="time = true",
                      decoder='[dataset.audio]\nrate = 16000\nhop = 4000\nend = "2s"')
    original = make(project, seconds=5, kinds={f"{number}.opus": ["-c:a", "libopus"] for number in range(6)})
    ffmpeg("-i", original, "-ac", "6", "-c:a", "libopus", project.drop / "six.opus")
    shutil.copy(original, project.drop / "plain.wav")
    project.once()
    found = sources(project)
    assert all(len(rows) == 7 for rows, _ in found.values()), {name: len(rows) for name, (rows, _) in found.items()}
    assert signal_to_noise_db(found["0.opus"][0], found["plain.wav"][0]) > 10
    assert project.column("time").tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5] * 8


def test_damage_and_no_sound_have_their_reasons(project):
    needs("ffmpeg")
    settings = dict(shape=(1000, 2), dtype="<f4", watch='include = ["**"]')
    project = project(**settings, decoder='[dataset.audio]\non_error = "keep"')
    make(project, kinds={"a.ac3": ["-c:a", "ac3"], "b.webm": ["-c:a", "libopus"]})
    data = bytearray((project.drop / "a.ac3").read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 3000):
        data[place] ^= 0x55
    (project.drop / "a.ac3").write_bytes(data)
    webm = (project.drop / "b.webm").read_bytes()
    (project.drop / "b.webm").write_bytes(webm[:len(webm) * 2 // 3])
    (project.drop / "text.ogg").write_text("no sound at all" * 100)
    ffmpeg("-f", "lavfi", "-i", "testsrc=duration=1:size=64x48", "-c:v", "mpeg4", project.drop / "silent.avi")
    project.once(check=3)
    found = sources(project)
    for name in ("a.ac3", "b.webm"):
        rows, note = found[name]
        assert rows is not None and note.startswith("damaged, what could be decoded was kept: "), (name, note)
    assert "found no sound that is known" in found["text.ogg"][1] and "by FFmpeg: " in found["text.ogg"][1]
    assert "an AVI file" in found["silent.avi"][1] and "there is no sound in it (it is avi)" in found["silent.avi"][1]
    project.configure(**settings, output="data/strict.npy", decoder="[dataset.audio]")
    project.once(check=3)
    reasons = project.rejected()
    assert reasons.keys() == {"a.ac3", "b.webm", "text.ogg", "silent.avi"} and "cut short" in reasons["b.webm"], reasons


def test_what_is_lost_in_the_middle_or_at_the_end_is_noticed(project):
    """The containers go on behind it as if nothing had been there."""
    needs("ffmpeg")
    project = project(shape=(4800,), dtype="<f4", watch='include = ["**"]', columns="time = true",
                      decoder='[dataset.audio]\ntail = "pad"\non_error = "keep"')
    kinds = {"a.opus": ["-c:a", "libopus"], "a.ogg": ["-c:a", "libvorbis"], "a.oga": ["-c:a", "flac", "-sample_fmt", "s16"],
             "a.webm": ["-c:a", "libopus"], "a.mka": ["-c:a", "ac3"]}
    make(project, seconds=20, channels=1, kinds=kinds)
    for name in kinds:
        whole = (project.drop / name).read_bytes()
        half, length = len(whole) // 2, len(whole) // 20
        (project.drop / f"hole-{name}").write_bytes(whole[:half] + bytes(length) + whole[half + length:])
        if name not in ("a.webm", "a.mka"):
            (project.drop / f"cut-{name}").write_bytes(whole[:half])
            (project.drop / f"last-{name}").write_bytes(whole[:-1])
            (project.drop / f"more-{name}").write_bytes(whole + b"a tag behind it" * 50)
    project.once()
    found = sources(project)
    for name, (rows, reason) in found.items():
        whole, _ = found[name.rpartition("-")[2]]
        if name.startswith(("a.", "more-")):
            assert reason is None and np.array_equal(rows, whole), (name, reason)
            continue
        assert reason.startswith("damaged, what could be decoded was kept: "), (name, reason)
        if name.startswith("hole-"):
            # What follows is where it was.
            assert len(rows) == len(whole), (name, len(rows), len(whole))
            differ = np.flatnonzero(np.abs(rows - whole).max(axis=1) > 0.01)
            assert 0 < len(differ) < 80 and 70 < differ[0] and differ[-1] < 180, (name, differ)
            assert (rows[differ] == 0).all(axis=1).any(), name
        else:
            assert "cut short" in reason or "ends within it" in reason, (name, reason)
    kept = len(found)
    project.configure(shape=(4800,), dtype="<f4", watch='include = ["**"]', output="data/strict.npy", decoder="[dataset.audio]")
    project.once(check=3)
    intact = 2 * len(kinds) - 2
    assert len(project.rejected()) == kept - intact, project.rejected().keys()


def test_without_the_worker_it_says_what_is_missing(project, tmp_path):
    needs("ffmpeg")
    project = project(shape=(1000, 2), dtype="<f4", watch='include = ["**"]', decoder="[dataset.audio]")
    original = make(project, kinds={"a.opus": ["-c:a", "libopus"]})
    ffmpeg("-i", original, "-c:a", "mp2", project.drop / "a.ts")
    soundfile.write(project.drop / "a.wav", music(1), 44100, format="WAVEX", subtype="ALAW")
    alone = tmp_path / "bin"
    alone.mkdir()
    shutil.copy(PROGRAM, alone)
    environment = {**os.environ, "PATH": "/nowhere"}
    done = subprocess.run([alone / PROGRAM.name, "--config", project.config, "--once"], env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    reasons = project.rejected()
    for name, found in {"a.opus": "its sound is Opus", "a.ts": "found an MPEG transport stream", "a.wav": "its sound cannot be decoded"}.items():
        reason = reasons[name]
        assert found in reason and "npy-ingest-video may decode it, which is not there" in reason, reason
    project.command("retry", check=0)
    project.once()
    assert project.count() > 100
