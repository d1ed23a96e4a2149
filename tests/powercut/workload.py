"""The sources of the power-cut test, the config, and the rows that each source must become.

Three datasets, so that all ways of disposal and most columns take part: `frames` keeps its sources (some with many rows, and
classes that appear on the way), `moved` moves them, `deleted` deletes them. Pictures have the size of a row, so that rows are
their pixels and nothing is resized. One source of 25 is not a picture.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

CONFIG = """
[service]
workers = 2

[[dataset]]
name = "frames"
output = "data/frames.npy"
shape = [16, 16, 3]
dtype = "u1"
[dataset.watch]
folders = ["drop/frames"]
settle = "20ms"
[dataset.image]
fit = "exact"
frames = "all"
[dataset.columns]
time = true
label = "folder"
split = { train = 0.7, val = 0.3 }

[[dataset]]
name = "moved"
output = "data/moved.npy"
shape = [24, 24]
dtype = "u1"
[dataset.watch]
folders = ["drop/moved"]
settle = "20ms"
after = "move"
move_to = "done/moved"
rejected = "move"
rejected_to = "failed/moved"
[dataset.image]
fit = "exact"
[dataset.columns]
label = "folder"

[[dataset]]
name = "deleted"
output = "data/deleted.npy"
shape = [32, 32, 3]
dtype = "f4"
[dataset.watch]
folders = ["drop/deleted"]
settle = "20ms"
after = "delete"
[dataset.image]
fit = "exact"
frames = "all"
[dataset.commit]
durability = "source"
"""

# Name -> shape and dtype of a row, the columns with their dtypes.
DATASETS = {
    "frames": ((16, 16, 3), "u1", {"source": "<u8", "index": "<u8", "time": "<f8", "label": "<i8", "split": "|u1"}),
    "moved": ((24, 24), "u1", {"source": "<u8", "index": "<u8", "label": "<i8"}),
    "deleted": ((32, 32, 3), "<f4", {"source": "<u8", "index": "<u8"}),
}


class Source:
    """A file below `drop/`, with its bytes and its rows; rows are None for one that cannot be decoded."""

    def __init__(self, dataset, below, content, rows):
        self.dataset, self.below, self.content, self.rows = dataset, below, content, rows
        self.path = f"drop/{below}"     # as the ledger names it

    @property
    def label(self):
        return Path(self.below).parts[1]


def make_sources(count, seed):
    """Path as in the ledger -> source. The names sort in the order in which they are to be dropped."""
    random = np.random.default_rng(seed)
    sources = [make_source(number, random) for number in range(count)]
    return {source.path: source for source in sources}


def make_source(number, random):
    dataset = list(DATASETS)[number % 3]
    shape, dtype, _ = DATASETS[dataset]
    folder = f"{dataset}/class-{number // 40}-{number % 2}"
    if number % 25 == 24:
        return Source(dataset, f"{folder}/{number:06}.png", f"This is not picture {number}.\n".encode(), None)
    many = {"frames": 6, "deleted": 20}.get(dataset)
    if many and number % 5 == 0:
        gray = random.integers(0, 256, (int(random.integers(2, many)), *shape[:2]), "u1")
        frames = [Image.fromarray(frame) for frame in gray]
        content = save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
        pixels = np.repeat(gray[..., None], 3, axis=-1)
        suffix = "gif"
    else:
        pixels = random.integers(0, 256, (1, *shape), "u1")
        kind = "PNG" if number % 2 else "PPM"
        content = save(Image.fromarray(pixels[0]), kind)
        suffix = {"PNG": "png", "PPM": "pgm" if len(shape) == 2 else "ppm"}[kind]
    return Source(dataset, f"{folder}/{number:06}.{suffix}", content, pixels.astype(dtype))


def save(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()

