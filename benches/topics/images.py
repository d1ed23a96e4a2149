"""Folders of pictures into rows of 224 x 224 RGB, against pools that write a shared memmap.

Every case reads the same files, decodes them, takes the largest centred square, resizes it and writes its row. Ours is
the whole program, from its start to its end, with its ledger and everything durable. A pool is two processes that have
imported their libraries and taken a picture before the clock starts; their memmap is flushed at the end. What is not
antialiased says so.

The pictures are photographs that packages ship (scikit-image, scikit-learn), each file another crop, resized, mirrored,
toned, and with the grain of a sensor. The large ones are put together of sixteen such parts, as no package ships a
photograph of that size.
"""

import importlib.util
import io
import multiprocessing
import random
import shutil
import time
from pathlib import Path

from pairs import OURS, Line

SIDE = 224
PROCESSES = 2
PHOTOGRAPHS = {
    "skimage": ["data/astronaut.png", "data/chelsea.png", "data/coffee.png", "data/rocket.jpg", "data/motorcycle_left.png"],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
}
# Files that are encoded afresh. Further ones repeat them, with another end.
FRESH = 400
FRESH_LARGE = 16
SETTINGS = f"""shape = [{SIDE}, {SIDE}, 3]
dtype = "u1"
[dataset.watch]
folders = ["in"]
settle = "0ms"
[dataset.image]
fit = "cover"
filter = "bilinear"
"""


# The files.

def photographs():
    from PIL import Image
    found = []
    for module, names in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(module)
        for folder in spec.submodule_search_locations if spec else []:
            found += [path for path in (Path(folder, name) for name in names) if path.is_file()]
    if len(found) < 5:
        raise SystemExit(f"benches/run: of the photographs of {', '.join(PHOTOGRAPHS)} only {len(found)} are there: see benches/requirements.txt")
    return [Image.open(path).convert("RGB") for path in sorted(found)]


def part(sources, dice, width, height):
    """Another part of a photograph each time."""
    from PIL import Image
    source = dice.choice(sources)
    share = dice.uniform(0.75, 1) * min(source.width / width, source.height / height)
    across, down = share * width, share * height
    left, top = dice.uniform(0, source.width - across), dice.uniform(0, source.height - down)
    taken = source.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + across, top + down))
    return taken.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if dice.random() < 0.5 else taken


def picture(sources, dice, size, parts):
    """So many parts along each side, toned, with grain."""
    import numpy
    from PIL import Image
    whole = Image.new("RGB", size)
    width, height = size[0] // parts, size[1] // parts
    for place in range(parts * parts):
        whole.paste(part(sources, dice, width, height), (place % parts * width, place // parts * height))
    grain = numpy.random.default_rng(dice.getrandbits(32)).normal(0, 2.5, (size[1], size[0], 1))
    pixels = numpy.asarray(whole, dtype=numpy.float32) * dice.uniform(0.85, 1.1) + grain
    return Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def fill(folder, count, fresh, kind, size, parts):
    options = {"JPEG": {"quality": 90, "subsampling": "4:2:0"}, "PNG": {"compress_level": 6}}[kind]
    sources, dice, encoded = photographs(), random.Random(20), []
    for number in range(min(count, fresh)):
        buffer = io.BytesIO()
        picture(sources, dice, size, parts).save(buffer, kind, **options)
        encoded.append(buffer.getvalue())
    for number in range(count):
        # Decoders do not look behind the end of a picture, and no two files are the same.
        content = encoded[number % len(encoded)] + number.to_bytes(4, "big")
        (folder / f"{number:06}.{kind.lower()}").write_bytes(content)


# The peers. Each gives a function from a path to a row; what it imports is imported by then.

def square(width, height):
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def pillow(draft):
    from PIL import Image, ImageOps

    def row(path):
        with Image.open(path) as image:
            if draft:
                image.draft("RGB", (SIDE, SIDE))
            return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)
    return row


def opencv(flag, interpolation):
    import cv2
    cv2.setNumThreads(1)

    def row(path):
        image = cv2.imread(str(path), getattr(cv2, flag))
        left, top, side = square(image.shape[1], image.shape[0])
        small = cv2.resize(image[top:top + side, left:left + side], (SIDE, SIDE), interpolation=getattr(cv2, interpolation))
        return cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return row


def torchvision():
    import torch
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms.v2.functional import resized_crop
    torch.set_num_threads(1)

    def row(path):
        image = decode_image(read_file(str(path)), ImageReadMode.RGB)
        left, top, side = square(image.shape[2], image.shape[1])
        return resized_crop(image, top, left, side, side, [SIDE, SIDE], antialias=True).permute(1, 2, 0).numpy()
    return row


def simplejpeg():
    import cv2
    import simplejpeg
    cv2.setNumThreads(1)

    def row(path):
        image = simplejpeg.decode_jpeg(path.read_bytes(), "RGB", min_height=SIDE, min_width=SIDE)
        left, top, side = square(image.shape[1], image.shape[0])
        return cv2.resize(image[top:top + side, left:left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return row


# Name -> the module that it is, how it makes rows, and of which lines it is a peer.
PEERS = {
    "Pillow": ("PIL", (pillow, False), "small large png"),
    "Pillow, draft": ("PIL", (pillow, True), "small large"),
    "OpenCV INTER_LINEAR, not antialiased": ("cv2", (opencv, "IMREAD_COLOR", "INTER_LINEAR"), "small large png"),
    "OpenCV INTER_AREA": ("cv2", (opencv, "IMREAD_COLOR", "INTER_AREA"), "small large png"),
    "OpenCV reduced, INTER_AREA": ("cv2", (opencv, "IMREAD_REDUCED_COLOR_8", "INTER_AREA"), "large"),
    "torchvision": ("torchvision", (torchvision,), "small large png"),
    "simplejpeg reduced, INTER_AREA": ("simplejpeg", (simplejpeg,), "small large"),
}


def serve(make, words, connection):
    """A process of a pool: rows of the files that it is told, into a memmap that is there."""
    import numpy
    row = make(*words)
    while (task := connection.recv()) is not None:
        paths, output, first = task
        if output is None:
            row(paths[0])
        else:
            rows = numpy.load(output, mmap_mode="r+")
            for place, path in enumerate(paths):
                rows[first + place * PROCESSES] = row(path)
            rows.flush()
        connection.send(True)


class Pool:
    def __init__(self, make, *words):
        context = multiprocessing.get_context("spawn")
        self.members = []
        for _ in range(PROCESSES):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(make, words, there), daemon=True)
            process.start()
            self.members.append((process, here))

    def ask(self, tasks):
        for (_, connection), task in zip(self.members, tasks):
            connection.send(task)
        for _, connection in self.members:
            connection.recv()

    def run(self, paths, output):
        import numpy
        self.ask([(paths[:1], None, 0)] * PROCESSES)
        start = time.perf_counter()
        numpy.lib.format.open_memmap(output, "w+", "u1", (len(paths), SIDE, SIDE, 3)).flush()
        self.ask([(paths[number::PROCESSES], output, number) for number in range(PROCESSES)])
        return time.perf_counter() - start

    def end(self):
        for process, connection in self.members:
            connection.send(None)
            process.join()


# The lines.

def line(place, title, key, kind, count, fresh, size, parts, targets):
    import numpy
    folder = place.dataset(f"images-{key}", SETTINGS)
    count = max(8, round(count * place.scale))
    fill(folder / "in", count, fresh, kind, size, parts)
    paths = sorted((folder / "in").iterdir())
    own = {name: words for name, words in PEERS.items() if key in words[2].split()}
    there, missing = place.peers({name: words[0] for name, words in own.items()})
    pools = {name: Pool(*words[1]) for name, words in own.items() if name in there}
    outputs = {name: folder / f"peer-{number}.npy" for number, name in enumerate(pools)}

    def check():
        ours = numpy.load(folder / "out" / "rows.npy", mmap_mode="r")
        assert ours.shape == (count, SIDE, SIDE, 3), ours.shape
        # Ours are in the order in which they were found, and these names give the same.
        for name, output in outputs.items():
            theirs = numpy.load(output, mmap_mode="r")
            for number in {0, count // 2, count - 1}:
                difference = numpy.abs(ours[number].astype(int) - theirs[number]).mean()
                assert difference < 12, f"{name} made another picture of {paths[number]}: they differ by {difference:.1f} on average"

    def clean():
        for pool in pools.values():
            pool.end()
        shutil.rmtree(folder)

    cases = {OURS: lambda: place.once(folder)}
    cases |= {name: lambda pool=pool, name=name: pool.run(paths, outputs[name]) for name, pool in pools.items()}
    return Line(title, cases, count, "pictures", targets, (), check, clean, missing)


def small_jpeg(place, title):
    targets = {"Pillow": 2.2, "OpenCV INTER_AREA": 1.7, "torchvision": 1.15}
    return line(place, title, "small", "JPEG", 2000, FRESH, (500, 375), 1, targets)


def large_jpeg(place, title):
    return line(place, title, "large", "JPEG", 80, FRESH_LARGE, (4000, 3000), 4, {"Pillow": 5, "best": 1.1})


def png(place, title):
    return line(place, title, "png", "PNG", 800, FRESH, (640, 480), 1, {"Pillow": 3.5, "OpenCV INTER_AREA": 2.4})


LINES = {
    "JPEG of 500 x 375": small_jpeg,
    "JPEG of 4000 x 3000": large_jpeg,
    "PNG of 640 x 480": png,
}
