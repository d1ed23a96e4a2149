#!/usr/bin/env python3
"""Writes photos/, odd/ and bad/ next to this file from ten original pictures.

    python make.py FOLDER          # FOLDER holds the files named in ORIGINALS

The originals are not kept here.  Where they come from:

* PyPI package scikit-image 0.26.0, any wheel (a zip file), folder skimage/data/:
      pip download --no-deps --only-binary :all: scikit-image==0.26.0
* Debian 12 package lomiri-wallpapers-16.04 20.04.0-2, folder
  /usr/share/backgrounds/ (one picture, seeding_by_Clements_Engelhardt.jpg):
      apt-get download lomiri-wallpapers-16.04 && dpkg-deb -x *.deb unpacked

It needs Pillow, numpy and qoi.  The files kept here were written with Pillow
13.0.0, numpy 2.4.6 and qoi 0.8.0; the same versions write the same bytes, and
others may encode a little differently.
"""
import hashlib
import random
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import qoi
from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent

ORIGINALS = {  # file name: SHA-256.  The last one is from Debian, the rest from PyPI.
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "clock_motion.png": "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "seeding_by_Clements_Engelhardt.jpg":
        "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
}

PHOTOS = [  # file to write, original, box cut out of it (or None: all of it), size
    ("nature/cat.jpg", "chelsea.png", None, (451, 300)),
    ("nature/cat-face.jpg", "chelsea.png", (110, 40, 310, 300), (200, 260)),
    ("nature/dandelions.jpg", "seeding_by_Clements_Engelhardt.jpg", None, (640, 360)),
    ("nature/grass.jpg", "grass.png", (0, 0, 320, 320), (320, 320)),
    ("people/astronaut.jpg", "astronaut.png", (60, 0, 444, 512), (384, 512)),
    ("people/astronaut-face.png", "astronaut.png", (150, 5, 300, 185), (150, 180)),
    ("people/cameraman.jpg", "camera.png", (0, 0, 400, 512), (400, 512)),
    ("space/rocket.jpg", "rocket.jpg", None, (640, 427)),
    ("space/rocket-tall.jpg", "rocket.jpg", (200, 60, 440, 427), (240, 367)),
    ("space/galaxies.webp", "hubble_deep_field.jpg", None, (500, 436)),
    ("objects/coffee.jpg", "coffee.png", None, (600, 400)),
    ("objects/coffee-cup.png", "coffee.png", (160, 10, 440, 220), (180, 135)),
    ("objects/brick-wall.jpg", "brick.png", None, (400, 400)),
    ("objects/clock.png", "clock_motion.png", None, (400, 300)),
]


def load(folder, name):
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != ORIGINALS[name]:
        sys.exit(f"{name} is not the file this script was written for")
    return Image.open(folder / name)


def small(image, size):
    return image.resize(size, Image.Resampling.LANCZOS)


def chunk(kind, body):  # one PNG chunk
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, depth, colour, raw):  # a PNG file; raw: rows, each after a filter byte
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def sixteen_bit(image, factor):
    """Averages squares of factor x factor pixels, so that the values really fall
    between the 8-bit steps, and stretches them to 0..65535."""
    a = np.asarray(image, dtype=np.float64)
    h, w = a.shape[0] // factor, a.shape[1] // factor
    a = a[:h * factor, :w * factor].reshape(h, factor, w, factor, -1).mean(axis=(1, 3))
    a = (a - a.min()) / (a.max() - a.min()) * 65535
    return np.rint(a).astype(np.uint16).squeeze()


def paletted(image, shown):
    """Colours: 0 nothing (where not shown), 1 to 63 the picture, 64 a blue to draw with."""
    few = image.quantize(63)
    result = Image.fromarray(np.where(shown, np.asarray(few) + 1, 0).astype(np.uint8))
    colours = (few.getpalette() + [0] * 189)[:189]
    result.putpalette([255, 0, 255] + colours + [40, 90, 255])
    return result


def photos(folder, out):
    for name, original, box, size in PHOTOS:
        image = load(folder, original)
        image = image.crop(box) if box else image
        image = image if image.size == size else small(image, size)
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {} if path.suffix == ".png" else {"quality": 85}
        image.save(path, optimize=True, **options)


def odd(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    coffee = load(folder, "coffee.png").convert("RGB")
    camera = load(folder, "camera.png")

    # Five JPEGs of one picture, 240x160 when shown upright.
    jpeg = small(coffee, (240, 160))
    jpeg.save(out / "progressive.jpg", quality=85, progressive=True)
    jpeg.save(out / "UPPER.JPG", quality=85)
    jpeg.convert("CMYK").save(out / "cmyk.jpg", quality=85)
    for name, orientation, turn in (("exif-rotated.jpg", 6, Image.Transpose.ROTATE_90),
                                    ("exif-mirrored.jpg", 7, Image.Transpose.TRANSVERSE)):
        exif = Image.Exif()
        exif[0x0112] = orientation  # what a viewer must undo; the pixels are stored turned
        jpeg.transpose(turn).save(out / name, quality=85, exif=exif)

    # Five lossless files of one picture: all decode to the same pixels.
    plain = small(coffee, (120, 80))
    for suffix in ("bmp", "tiff", "ppm", "tga"):
        plain.save(out / f"photo.{suffix}")
    (out / "photo.qoi").write_bytes(qoi.encode(np.asarray(plain)))

    # PNGs with 16 bits a channel.
    Image.fromarray(sixteen_bit(camera, 4)).save(out / "gray16.png", optimize=True)
    a = sixteen_bit(coffee, 6)
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in a)
    (out / "rgb16.png").write_bytes(png(a.shape[1], a.shape[0], 16, 2, raw))

    # Transparency: soft (alpha falls from 255 in the middle to 0 in the corners) and hard.
    y, x = np.mgrid[-1:1:80j, -1:1:120j]
    soft = Image.fromarray(np.rint(255 * np.clip(1.4 - np.hypot(x, y), 0, 1)).astype(np.uint8))
    rgba, gray_alpha = plain.copy(), plain.convert("L")
    for image, name in ((rgba, "rgba.png"), (gray_alpha, "gray-alpha.png")):
        image.putalpha(soft)
        image.save(out / name, optimize=True)
    paletted(plain, np.hypot(x, y) < 1).save(out / "palette-transparent.png", transparency=0)

    # Animations: a cat in an oval on nothing, and a disc that moves across it.
    cat = small(load(folder, "chelsea.png").crop((110, 40, 310, 300)), (72, 96))
    y, x = np.mgrid[-1:1:96j, -1:1:72j]
    cat = paletted(cat, np.hypot(x, y) < 1)
    frames = []
    for i in range(5):
        frame = cat.copy()
        ImageDraw.Draw(frame).ellipse((6 + 12 * i, 40, 17 + 12 * i, 51), fill=64)
        frame.info["transparency"] = 0
        frames.append(frame)
    timing = {"save_all": True, "duration": 120, "loop": 0}
    # Disposal 1 keeps the picture, so that later frames may hold only what changed;
    # 2 clears a frame's area to transparent before the next one.
    frames[0].save(out / "animated.gif", append_images=frames[1:], transparency=0,
                   disposal=[1, 1, 2, 1, 1], **timing)
    frames = [frame.convert("RGBA") for frame in frames[:4]]
    frames[0].save(out / "animated.png", append_images=frames[1:], **timing)
    frames[0].save(out / "animated.webp", append_images=frames[1:], quality=80, **timing)


def bad(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    good = HERE / "odd"
    data = (good / "UPPER.JPG").read_bytes()
    (out / "truncated.jpg").write_bytes(data[:len(data) * 60 // 100])
    (out / "header-only.jpg").write_bytes(data[:data.index(b"\xff\xda")])  # up to the first scan
    data = (good / "rgba.png").read_bytes()
    (out / "truncated.png").write_bytes(data[:len(data) * 60 // 100])
    (out / "text.jpg").write_text("This is plain text, whatever its name says.\n" * 8)
    (out / "empty.png").write_bytes(b"")
    (out / "not-an-image.png").write_bytes(random.Random(20240).randbytes(2048))
    # 50000 x 50000 RGB pixels would be 7.5 GB; the stream ends after 20 rows of one colour.
    (out / "bomb.png").write_bytes(png(50000, 50000, 8, 2, (b"\0" + b"\x40\x80\xc0" * 50000) * 20))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    photos(source, HERE / "photos")
    odd(source, HERE / "odd")
    bad(source, HERE / "bad")
