"""Makes the seeds of the fuzz targets: real files, from the programs that write such files.

    .venv/bin/python fuzz/seeds.py FOLDER

writes FOLDER/<target>/ anew for each target: the pictures of testdata and small ones by Pillow in every format that it
writes, with the formats that it does not write made here; sound by libsndfile and FFmpeg; headers by NumPy; the configs of
the documentation and of the tests. Takes a few seconds, and gives the same files each time.
"""

import binascii
import functools
import io
import itertools
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def picture(mode="RGB", width=13, height=11):
    """A gradient with some noise: enough for every block to hold something."""
    random = np.random.default_rng(1)
    y, x = np.mgrid[0:height, 0:width]
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "LAB": 3}.get(mode, 3)
    planes = [(x * (channel + 3) * 5 + y * 9 + random.integers(0, 40, (height, width))) % 256 for channel in range(channels)]
    array = np.stack(planes, axis=-1).astype("u1")
    if mode in ("1", "P"):
        return Image.fromarray(array[..., :3]).convert("P", palette=Image.Palette.ADAPTIVE, colors=2 if mode == "1" else 16).convert(mode)
    if mode in ("I;16", "I", "F"):
        return Image.fromarray((array[..., 0] * np.float32(255.9)).astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode]))
    return Image.frombytes(mode, (width, height), array.tobytes())


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def by_pillow():
    """(name, bytes) of everything that Pillow writes and the program reads."""

    def saved(name, image, kind, **options):
        target = io.BytesIO()
        image.save(target, kind, **options)
        yield name, target.getvalue()

    frames = [picture("RGB").rotate(90 * turn) for turn in range(3)]
    clear = [picture("RGBA").rotate(90 * turn) for turn in range(3)]
    animated = {"save_all": True, "append_images": frames[1:], "duration": [40, 0, 500], "loop": 0}
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        yield from saved(f"{mode}.jpg", picture(mode), "JPEG", quality=80)
        yield from saved(f"{mode}-progressive.jpg", picture(mode), "JPEG", quality=60, progressive=True)
    for subsampling in range(3):
        yield from saved(f"sampling-{subsampling}.jpg", picture(width=35, height=18), "JPEG", subsampling=subsampling)
    yield from saved("restart.jpg", picture(width=40, height=33), "JPEG", restart_marker_blocks=2, optimize=True)
    for orientation in (3, 6):
        yield from saved(f"exif-{orientation}.jpg", picture(), "JPEG", exif=exif(orientation))
        yield from saved(f"exif-{orientation}.png", picture(), "PNG", exif=exif(orientation))
        yield from saved(f"exif-{orientation}.webp", picture(), "WEBP", exif=exif(orientation))
        yield from saved(f"exif-{orientation}.tif", picture(), "TIFF", exif=exif(orientation))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield from saved(f"{mode}.png".replace(";", ""), picture(mode), "PNG")
    yield from saved("transparent.png", picture("P"), "PNG", transparency=3, bits=4)
    yield from saved("animated.png", frames[0], "PNG", **animated)
    yield from saved("animated-blend.png", clear[0], "PNG", save_all=True, append_images=clear[1:], default_image=True, disposal=2, blend=1)
    for mode in ("1", "L", "P", "RGB"):
        yield from saved(f"{mode}.gif", picture(mode), "GIF")
    yield from saved("animated.gif", frames[0], "GIF", **animated, disposal=2)
    yield from saved("animated-keep.gif", frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=3)
    yield from saved("interlaced.gif", picture("P", 30, 30), "GIF", interlace=True)
    for mode, lossless in itertools.product(("RGB", "RGBA"), (False, True)):
        yield from saved(f"{mode}-{lossless}.webp", picture(mode), "WEBP", lossless=lossless)
    yield from saved("animated.webp", clear[0], "WEBP", save_all=True, append_images=clear[1:], duration=50)
    yield from saved("animated-lossless.webp", clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True, minimize_size=True)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        yield from saved(f"{mode}.tif".replace(";", ""), picture(mode), "TIFF")
    for packing in ("tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"):
        yield from saved(f"{packing}.tif", picture(), "TIFF", compression=packing)
    for packing in ("group3", "group4"):
        yield from saved(f"{packing}.tif", picture("1"), "TIFF", compression=packing)
    yield from saved("predictor.tif", picture("I;16"), "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
    yield from saved("strips.tif", picture(width=40, height=40), "TIFF", tiffinfo={278: 7}, compression="tiff_lzw")
    yield from saved("pages.tif", frames[0], "TIFF", save_all=True, append_images=frames[1:])
    yield from saved("big.tif", picture(), "TIFF", big_tiff=True)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield from saved(f"{mode}.bmp", picture(mode), "BMP")
    for mode in ("1", "L", "RGB", "I;16", "F"):
        yield from saved(f"{mode}.pnm".replace(";", ""), picture(mode), "PPM")
    for mode in ("RGB", "RGBA"):
        yield from saved(f"{mode}.qoi", picture(mode), "QOI")
    for mode, packing in itertools.product(("L", "LA", "P", "RGB", "RGBA"), (None, "tga_rle")):
        yield from saved(f"{mode}-{packing}.tga", picture(mode), "TGA", compression=packing)
    for kind in ("bmp", "png"):
        yield from saved(f"{kind}.ico", picture("RGBA", 32, 32), "ICO", sizes=[(16, 16), (32, 32)], bitmap_format=kind)
    for mode in ("L", "LA", "RGB", "RGBA"):
        yield from saved(f"{mode}.dds", picture(mode, 16, 16), "DDS")
    for packing in ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5"):
        yield from saved(f"{packing}.dds", picture("RGB" if packing == "BC5" else "RGBA", 16, 16), "DDS", pixel_format=packing)


def by_hand():
    """What Pillow does not write."""
    pixels = np.asarray(picture())
    height, width, _ = pixels.shape
    yield "plain.pgm", b"P2\n# a comment\n3 2\n255\n0 1 2\n30 40 255\n"
    yield "plain.ppm", b"P3 2 1 65535 0 1 2 30000 40000 65535\n"
    yield "plain.pbm", b"P1\n5 2\n0 1 0 1 0\n1 1 1 0 0\n"
    for kind, depth, maximum in (("GRAYSCALE", 1, 255), ("RGB", 3, 255), ("RGB_ALPHA", 4, 255), ("BLACKANDWHITE", 1, 1), ("RGB", 3, 65535)):
        head = f"P7\nWIDTH 3\nHEIGHT 2\nDEPTH {depth}\nMAXVAL {maximum}\nTUPLTYPE {kind}\nENDHDR\n".encode()
        yield f"{kind}-{maximum}.pam", head + bytes(value % (maximum + 1) % 256 for value in range(6 * depth * (2 if maximum > 255 else 1)))
    deep = (pixels.astype("u2") * 257).astype(">u2")
    opaque = np.full((height, width, 1), 65535, ">u2")
    yield "rgba.ff", b"farbfeld" + struct.pack(">II", width, height) + np.concatenate([deep, opaque], 2).tobytes()
    # Radiance: three mantissas and an exponent; lines of 8 pixels and more in runs, one channel after the other.
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=1.5\n\n-Y {height} +X {width}\n".encode()
    quads = np.concatenate([pixels, np.full((height, width, 1), 129, "u1")], 2)
    yield "flat.hdr", f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode() + quads.tobytes()
    runs = b""
    for line in quads:
        runs += struct.pack(">BBH", 2, 2, width)
        for channel in line.T:
            runs += bytes([width]) + channel.tobytes() if channel.min() != channel.max() else bytes([128 + width, channel[0]])
    yield "runs.hdr", head + runs
    # BMP in runs of 8 and of 4 bits.
    for kind, bits, data in ((1, 8, b"\3\1\0\0\0\4\1\2\3\4\0\2\1\0\2\5\0\1"), (2, 4, b"\4\x12\0\0\0\4\x12\x34\0\1")):
        palette = bytes(range(64))
        head = struct.pack("<IiiHHIIiiII", 40, 5, 3, 1, bits, kind, len(data), 0, 0, 16, 0)
        yield f"runs-{bits}.bmp", b"BM" + struct.pack("<IHHI", 54 + 64 + len(data), 0, 0, 54 + 64) + head + palette + data
    head = struct.pack("<IiiHHIIiiII", 40, 4, -2, 1, 16, 3, 16, 0, 0, 0, 0)
    yield "fields.bmp", b"BM" + struct.pack("<IHHI", 54 + 12 + 16, 0, 0, 66) + head + struct.pack("<III", 0xF800, 0x7E0, 0x1F) + bytes(range(16))
    for packing in range(8):
        for kind, half in ((2, False), (1, True)):
            yield f"packing-{packing}-{kind}.exr", open_exr(packing, kind)
    # DDS of the newer header, in block compressions.
    for number in (71, 77, 80, 83, 95, 98, 28):
        head = struct.pack("<4sIIIIIII44x", b"DDS ", 124, 0x1007, 8, 8, 64, 1, 1) + struct.pack("<II4sIIIII", 32, 4, b"DX10", 0, 0, 0, 0, 0)
        yield f"dx10-{number}.dds", head + struct.pack("<IIIII", 0x1000, 0, 0, 0, 0) + struct.pack("<IIIII", number, 3, 0, 1, 0) + bytes(range(256))


def open_exr(packing, kind):
    """A scan-line OpenEXR of 6 x 5 in R, G, B. `packing`: 0 none, 1 runs, 2 and 3 zlib; for the others the data is zlib's,
    which is right for 5 and damaged for the rest. `kind`: 1 half, 2 float."""
    width, height = 6, 5
    lines_each = {0: 1, 1: 1, 2: 1, 3: 16, 4: 32, 5: 16, 6: 32, 7: 32}[packing]

    def attribute(name, type_name, value):
        return name.encode() + b"\0" + type_name.encode() + b"\0" + struct.pack("<I", len(value)) + value

    channels = b"".join(name + b"\0" + struct.pack("<IIII", kind, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    box = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += attribute("channels", "chlist", channels) + attribute("compression", "compression", bytes([packing]))
    head += attribute("dataWindow", "box2i", box) + attribute("displayWindow", "box2i", box)
    head += attribute("lineOrder", "lineOrder", b"\0") + attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0, 0)) + attribute("screenWindowWidth", "float", struct.pack("<f", 1)) + b"\0"
    values = (np.arange(width * height * 3).reshape(height, 3, width) / 40).astype({1: "<f2", 2: "<f4"}[kind])
    blocks = []
    for first in range(0, height, lines_each):
        raw = values[first : first + lines_each].tobytes()
        data = raw
        if packing:
            # Even bytes before odd ones, then differences.
            mixed = np.frombuffer(raw[0::2] + raw[1::2], "u1").astype(int)
            steps = np.concatenate([mixed[:1], (mixed[1:] - mixed[:-1] + 128) % 256]).astype("u1").tobytes()
            if packing == 1:
                data = b"".join(bytes([256 - len(part)]) + part for part in (steps[at : at + 100] for at in range(0, len(steps), 100)))
            else:
                data = zlib.compress(steps)
            data = data if len(data) < len(raw) else raw
        blocks.append(struct.pack("<iI", first, len(data)) + data)
    offsets, at = b"", len(head) + 8 * len(blocks)
    for block in blocks:
        offsets += struct.pack("<Q", at)
        at += len(block)
    return head + offsets + b"".join(blocks)


def images():
    for path in sorted((ROOT / "testdata").rglob("*")):
        if path.suffix.lower() in (".png", ".jpg", ".webp", ".gif", ".bmp", ".tiff", ".ppm", ".qoi", ".tga"):
            yield f"testdata-{path.parent.name}-{path.name}", path.read_bytes()
    yield from by_pillow()
    yield from by_hand()


def headers():
    """By NumPy, in every version, with a few bytes of data; and the texts alone."""
    dtypes = ["?", "i1", ">i2", "<u4", "<u8", "f2", "<f4", ">f8", "c8", ">c16", "<M8[ns]", "<m8[25us]", "S7", "<U3", "V5", "f16", "c32", "<M8"]
    dtypes += [
        [("x", "<u2"), ("y", ">f4", (3,))],
        [("a", "u1"), ("b", [("c", "<i4"), ("d", "f8", (2, 2))], (2,))],
        [(("a title", "a"), "<f4"), ("b", "S3")],
        np.dtype({"names": ["p", "q"], "formats": ["u1", "<f8"], "offsets": [3, 8], "itemsize": 20}),
        [("é", "u1"), ("it's", "<f4")],
        [("名前", "<i2")],
        [(f"field {number}", "<f4") for number in range(40)],
    ]
    shapes = [(), (0,), (3,), (2, 3), (1, 2, 2), (0, 4)]
    number = 0
    for dtype, shape in itertools.product(dtypes, shapes):
        for version, fortran in (((1, 0), False), ((2, 0), True), ((3, 0), False)):
            number += 1
            # All of them would be the same again and again.
            if number % 5 and shape != (2, 3):
                continue
            array = np.zeros(shape, dtype, order="F" if fortran else "C")
            target = io.BytesIO()
            try:
                np.lib.format.write_array(target, array, version)
            except (UnicodeEncodeError, ValueError):
                continue
            name = f"{number:03}-{version[0]}.npy"
            yield name, target.getvalue()
            text = target.getvalue()[10 if version[0] == 1 else 12 :].split(b"\n")[0]
            yield f"{number:03}.text", text.strip()
            yield f"{number:03}.dtype", repr(np.lib.format.dtype_to_descr(array.dtype)).encode()
    count = "1024".rjust(16)
    body = "{'descr': '|u1', 'fortran_order': False, 'shape': ("
    text = (body.ljust(54) + count + ", 224, 224, 3), }").ljust(117) + "\n"
    yield "window.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)
    for name, text in {
        "python2": "{'descr': '<i4', 'fortran_order': False, 'shape': (3L, 2L), }",
        "hexadecimal": "{'descr': '<i4', 'fortran_order': False, 'shape': (0x10, 2), }",
        "brackets": "{'descr': (('<i4')), 'fortran_order': (True), 'shape': ((3), +2,)}      ",
        "strings": "{u'de' 'scr': r'<i4', \"\"\"fortran_order\"\"\": False, '\\x73hape': (3 , # rows\n 2)}",
    }.items():
        yield f"{name}.text", text.encode()


def configs():
    example = (ROOT / "config.example.toml").read_text()
    yield "example.toml", example.encode()
    number = itertools.count()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.S):
            yield f"{path.stem}-{next(number)}.toml", block.encode()
    good = '[[dataset]]\nname = "a"\noutput = "a.npy"\nshape = [8, 9, 3]\ndtype = "u1"\n[dataset.watch]\nfolders = ["in"]\n[dataset.image]\n'
    yield "good.toml", good.encode()
    yield "structured.toml", good.replace('"u1"', '[["t", "<f8"], ["p", "<f4", [3]]]').encode()
    # What the tests of the config give it: whatever stands between the quotes of their raw strings.
    for path in sorted((ROOT / "tests" / "config").glob("*.rs")):
        text = path.read_text()
        for piece in re.findall(r'r#"(.*?)"#', text, re.S) + re.findall(r'"((?:[^"\\]|\\.)*)"', text):
            piece = piece.replace("\\n", "\n").replace('\\"', '"')
            if "=" in piece and len(piece) > 8:
                yield f"{path.stem}-{next(number)}.toml", piece.encode()
                if "[" not in piece.split("=")[0]:
                    yield f"{path.stem}-{next(number)}-good.toml", (good + piece).encode()


def words(texts):
    """A dictionary for libFuzzer: the words of the texts."""
    found = sorted({word for text in texts for word in re.findall(rb"[A-Za-z_0-9.<>|]{2,20}", text)})
    return "".join(f'"{word.decode()}"\n' for word in found)


def padded(pieces):
    """Each with some bytes more: the length chooses the dataset."""
    for name, content in pieces:
        for more in range(4):
            yield f"{name}-{more}", content + b"\n" * more


def records():
    plain = np.array([(1, 2.5), (60000, -1)], [("x", "<u2"), ("y", ">f4")]).tobytes()
    framed = b""
    for value in (1.5, -7):
        body = b"\xaa\x55" + struct.pack(">fH", value, 0x1234) + bytes(2)
        framed += body + struct.pack("<H", binascii.crc_hqx(body, 0xFFFF))
    summed = b"".join(body + bytes([sum(body) % 256]) for body in (bytes(range(6)), b"\x01\x80abcd"))
    yield from padded([("plain", b"abc" + plain), ("framed", framed + b"\xaa" + framed), ("summed", summed)])


def csvs():
    yield from padded([
        ("plain", b"1,2\r\n3.5,-4e3\n"),
        ("header", b"\xef\xbb\xbftime,x,name\n2024-05-01T00:00:00Z,1.5,\"a \"\"b\"\n1714521600.25,,c\n"),
        ("columns", b"a,b,c,d\n1,2,3,4\nx,-5,6,255\n"),
        ("semicolons", b"1.5;true\nNA;0\n"),
    ])


def positions():
    def sentence(text):
        return f"${text}*{functools.reduce(lambda sum_, letter: sum_ ^ ord(letter), text, 0):02X}\r\n"

    nmea = "".join(map(sentence, [
        "GPRMC,123519.25,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W",
        "GPGGA,123520,4807.038,S,01131.000,W,1,08,0.9,545.4,M,46.9,M,,",
        "GNGNS,123521.00,4807.0380,N,01131.0000,E,AN,12,0.7,545.4,46.9,,",
        "GPVTG,054.7,T,034.4,M,005.5,N,010.2,K",
    ]))
    gpx = ('<?xml version="1.0"?><gpx version="1.1"><trk><trkseg><trkpt lat="48.1" lon="11.5"><ele>5.5</ele>'
           "<time>2024-05-01T00:00:00Z</time></trkpt><trkpt lat='-1' lon='2'/></trkseg></trk></gpx>")
    yield from padded([("nmea", nmea.encode()), ("gpx", gpx.encode())])


def arrays():
    for dtype, shape in (("<f4", (2, 3)), (">i2", (2, 2, 3)), ("<i2", (1, 2, 3)), ([("x", "<u2"), ("y", "<f4")], (3,))):
        array = np.zeros(shape, dtype)
        for order in "CF":
            one, several = io.BytesIO(), io.BytesIO()
            np.save(one, np.asarray(array, order=order))
            np.savez(several, a=array) if order == "C" else np.savez_compressed(several, a=array, b=array[:1])
            name = f"{array.dtype.str[1:].replace('|', '')}-{len(shape)}-{order}"
            yield from padded([(f"{name}.npy", one.getvalue()), (f"{name}.npz", several.getvalue())])


def sounds():
    sound = (np.sin(np.arange(3000) * np.array([[0.05], [0.3]])) * 9000).astype("<i2").T
    # What libsndfile writes with the time or a random number in it, FFmpeg writes below.
    for name, subtype in (("u8.wav", "PCM_U8"), ("s16.wav", "PCM_16"), ("s24.wav", "PCM_24"), ("ima.wav", "IMA_ADPCM"),
                          ("ms.wav", "MS_ADPCM"), ("mulaw.wav", "ULAW"), ("s16.aiff", "PCM_16"), ("s16.caf", "PCM_16"),
                          ("s16.flac", "PCM_16"), ("a.mp3", "MPEG_LAYER_III")):
        made = io.BytesIO()
        soundfile.write(made, sound, 16000, subtype=subtype, format=name.split(".")[1].upper())
        yield from padded([(name, made.getvalue())])
    if not shutil.which("ffmpeg"):
        print("audio: without ffmpeg there are no seeds for AAC, ALAC, Ogg, MP4 and Matroska")
        return
    for name, words in (("aac.m4a", "-c:a aac"), ("alac.m4a", "-c:a alac"), ("split.mp4", "-c:a aac -movflags frag_keyframe+empty_moov"),
                        ("aac.aac", "-c:a aac"), ("mp2.mp2", "-c:a mp2"), ("flac.mkv", "-c:a flac"), ("vorbis.webm", "-c:a libvorbis"),
                        ("a.ogg", "-c:a libvorbis"), ("f32.wav", "-c:a pcm_f32le")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            subprocess.run(["ffmpeg", "-v", "error", "-f", "s16le", "-ar", "16000", "-ac", "2", "-i", "-", *words.split(),
                            "-bitexact", path], input=sound.tobytes(), check=True)
            yield from padded([(name, path.read_bytes())])


TARGETS = {
    "image": images,
    "header": headers,
    "config": configs,
    "records": records,
    "csv": csvs,
    "gps": positions,
    "npy": arrays,
    "audio": sounds,
}


def main():
    folder = Path(sys.argv[1])
    for target, make in TARGETS.items():
        shutil.rmtree(folder / target, ignore_errors=True)
        (folder / target).mkdir(parents=True)
        made = dict(make())
        for name, content in made.items():
            (folder / target / name).write_bytes(content)
        texts = {"config": [made.get("example.toml", b"")], "header": [content for name, content in made.items() if name.endswith("text")]}
        if target in texts:
            (folder / f"{target}.dict").write_text(words(texts[target]))
        print(f"{target}: {len(made)} seeds, {sum(map(len, made.values()))} bytes")


if __name__ == "__main__":
    main()
