"""Sound whose damage shows nowhere but in how its parts stand in the file: it is noticed, and what only looks damaged is taken."""

import numpy as np
import soundfile

from harness import needs
from test_audio import RATE, decoded_by_ffmpeg, ffmpeg, sources, write
from test_audio_ends import of_one  # noqa: F401


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
