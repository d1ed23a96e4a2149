"""sound files (WAV, FLAC, MP3, Ogg Vorbis) to windows and log-mel spectrograms in a committed .npy, against soundfile with soxr, and librosa.

Music-like sound of 44.1 kHz in stereo becomes mono of 16 kHz: windows of one second as `f4`, or 80 bands by 101 frames of
log-mel. Ours is the whole program, from its start to its synced end. Each peer is a pool of processes, one for each core, that
has started and imported everything before the clock runs (`peers/sounds.py`); it syncs its array in the end.
"""

import subprocess

import numpy as np

from pairs import OURS, Line, Peer

SECONDS, RATE = 20, 16000
KINDS = {"WAV": ("wav", []), "FLAC": ("flac", []), "MP3": ("mp3", ["-b:a", "128k"]), "Ogg Vorbis": ("ogg", ["-c:a", "libvorbis", "-q:a", "4"])}
WINDOWS = """
shape = [16000]
dtype = "f4"
[dataset.watch]
folders = ["in"]
order = "name"
[dataset.audio]
rate = 16000
"""
MEL = """
shape = [80, 101]
dtype = "f4"
[dataset.watch]
folders = ["in"]
order = "name"
[dataset.audio]
rate = 16000
features = "log-mel"
n_fft = 400
hop_length = 160
"""


def sound(path, number, words):
    """Chords that sway, and noise."""
    tone = "+".join(f"0.12*sin(2*PI*{110 * (number % 7 + 1) * part / 2}*t+{part}*sin({1 + part}*t))" for part in range(1, 5))
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i",
                    f"aevalsrc={tone}+0.05*random(0)|{tone}+0.05*random(1):s=44100:d={SECONDS}", *words, path], check=True)


def line(place, title, kinds, what):
    """A folder with files of these kinds."""
    folder = place.dataset(f"sound-{title}".replace(" ", "-").replace(",", ""), WINDOWS if what == "windows" else MEL)
    count = max(4, round(60 * place.scale))
    for number in range(count):
        ending, words = KINDS[kinds[number % len(kinds)]]
        sound(folder / "in" / f"{number:05}.{ending}", number, words)
    files = [str(path) for path in sorted((folder / "in").iterdir())]
    able, missing = place.peers({"soundfile": "soundfile", "soxr": "soxr", "librosa": "librosa"})
    if not {"soundfile", "soxr"} <= able:
        missing.setdefault("soundfile", "soxr is missing")
        able.discard("soundfile")
    out = folder / "peer.npy"
    # A row of log-mel ends before the sound of the next begins.
    shape = (count * SECONDS, RATE) if what == "windows" else (count * SECONDS, 80, 101)
    np.lib.format.open_memmap(out, "w+", "f4", shape).flush()
    peers = {}

    def theirs(peer):
        def run():
            if peer not in peers:
                peers[peer] = Peer("sounds.py", peer)
            return peers[peer].ask(files=files, rows=SECONDS, out=str(out), what=what)
        return run

    # Without librosa there are no spectrograms for soundfile's samples either.
    shown = [peer for peer in ("soundfile", "librosa") if peer in able and (what == "windows" or "librosa" in able)]

    def check():
        ours, others = np.load(folder / "out" / "rows.npy", mmap_mode="r"), np.load(out, mmap_mode="r")
        assert ours.shape == others.shape, (ours.shape, others.shape)
        for row in range(0, len(ours), SECONDS):
            wanted = 0.02 if what == "windows" else 1.0
            found = np.abs(ours[row + 1].astype(float) - others[row + 1]).mean()
            assert found < wanted, (row, found)

    return Line(title, {OURS: lambda: place.once(folder)} | {peer: theirs(peer) for peer in shown}, count * SECONDS,
                "seconds of sound", {"best": 1.0}, check=check, clean=lambda: [peer.close() for peer in peers.values()], missing=missing)


def of(kinds, what):
    return lambda place, title: line(place, title, kinds, what)


LINES = {
    **{f"{kind}, windows": of([kind], "windows") for kind in KINDS},
    "all kinds, windows": of(list(KINDS), "windows"),
    "all kinds, log-mel": of(list(KINDS), "log-mel"),
}
