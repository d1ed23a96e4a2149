"""What people write to get windows or log-mel spectrograms of sound files into a memory-mapped array.

Started with the library's name and kept running, like `videos.py`. Each line of its input is a job, as JSON, and is answered
with the seconds that it took: `files`, `rows` of each of them, `out` (a .npy file with room for all), `what`: `windows` of one
second of 16 kHz mono, or `log-mel`: 80 bands, 101 frames.
"""

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

RATE, N_FFT, HOP, BANDS, FRAMES = 16000, 400, 160, 80, 101


def by_soundfile(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE, quality="HQ")


def by_librosa(path):
    return librosa.load(path, sr=RATE, mono=True, res_type="soxr_hq")[0]


def one(load, what, path, out, first, count):
    rows = np.load(out, mmap_mode="r+")[first:first + count]
    samples = load(path)
    if what == "windows":
        rows[:] = samples[:count * RATE].reshape(count, RATE)
        return
    for number in range(count):
        power = librosa.feature.melspectrogram(y=samples[number * RATE:number * RATE + (FRAMES - 1) * HOP], sr=RATE, n_fft=N_FFT,
                                               hop_length=HOP, n_mels=BANDS, pad_mode="constant")
        rows[number] = librosa.power_to_db(power, amin=1e-10, top_db=None)


def warm(_):
    """librosa compiles and loads with its first use."""
    librosa.feature.melspectrogram(y=np.zeros(RATE, "f4"), sr=RATE, n_fft=N_FFT, hop_length=HOP, n_mels=BANDS)
    librosa.resample(np.zeros(44100, "f4"), orig_sr=44100, target_sr=RATE, res_type="soxr_hq")
    time.sleep(0.1)


if __name__ == "__main__":
    import librosa
    import soundfile
    import soxr
    load = {"soundfile": by_soundfile, "librosa": by_librosa}[sys.argv[1]]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(warm, range(os.cpu_count())))
        print("ready", flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            start = time.perf_counter()
            jobs = [pool.submit(one, load, job["what"], path, job["out"], number * job["rows"], job["rows"])
                    for number, path in enumerate(job["files"])]
            for done in jobs:
                done.result()
            with open(job["out"], "r+b") as out:
                os.fdatasync(out)
            print(time.perf_counter() - start, flush=True)
