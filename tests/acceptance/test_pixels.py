"""Rows against Pillow: Image.open, ImageOps.exif_transpose, convert, then fit, pad or resize with the same filter."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from harness import TESTDATA, Project

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos3": Image.Resampling.LANCZOS,
    "area": Image.Resampling.BOX,
}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
PAD = (10, 60, 200)


def by_pillow(path, size, channels, fit, filter):
    """What Pillow makes of the file; `size` is (height, width)."""
    height, width = size
    image = ImageOps.exif_transpose(Image.open(path)).convert(MODES[channels])
    if fit == "cover":
        image = ImageOps.fit(image, (width, height), FILTERS[filter])
    elif fit == "contain":
        pad = {1: PAD[0], 3: PAD, 4: (*PAD, 255)}[channels]
        image = ImageOps.pad(image, (width, height), FILTERS[filter], color=pad)
    else:
        image = image.resize((width, height), FILTERS[filter])
    return np.asarray(image).reshape(height, width, channels)


def ingest(tmp_path, sources, shape=(96, 128, 3), **settings):
    """Rows of the sources, in their order."""
    project = Project(tmp_path, shape=shape, watch='order = "name"', **settings)
    for number, source in enumerate(sources):
        (project.drop / f"{number:03}-{source.name}").write_bytes(source.read_bytes())
    project.once()
    return np.array(project.rows())


def differences(ours, theirs):
    """Mean and largest difference. Colours count as much as their alpha lets them show: Pillow keeps 8 bits of
    premultiplied colour, so that below an alpha of 20 or so the colour that comes back is rounding noise."""
    difference = np.abs(visible(ours) - visible(theirs))
    return difference.mean(), difference.max()


def visible(pixels):
    pixels = pixels.astype(float)
    if pixels.shape[-1] != 4:
        return pixels
    return np.concatenate([pixels[..., :3] * pixels[..., 3:] / 255, pixels[..., 3:]], axis=-1)


LOSSLESS = [*sorted((TESTDATA / "photos").rglob("*.png")), *(TESTDATA / "odd" / name for name in [
    "photo.bmp", "photo.tiff", "photo.ppm", "photo.tga", "palette-transparent.png", "rgba.png", "gray-alpha.png"])]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_images_agree_with_pillow(tmp_path, fit, filter, channels):
    pad = {1: PAD[:1], 3: PAD, 4: (*PAD, 255)}[channels]
    rows = ingest(
        tmp_path, LOSSLESS, shape=(96, 128, channels), image=f'fit = "{fit}"\nfilter = "{filter}"\npad = {list(pad)}')
    for source, row in zip(LOSSLESS, rows):
        mean, worst = differences(row, by_pillow(source, (96, 128), channels, fit, filter))
        assert mean <= 1 and worst <= 8, f"{source.name}: mean {mean:.3f}, worst {worst}"


@pytest.mark.parametrize("filter", ["bilinear", "bicubic", "lanczos3", "area"])
def test_jpegs_agree_with_pillow_but_for_the_decoder(tmp_path, filter):
    """Two JPEG decoders may differ in the inverse DCT, in colour and in chroma upsampling: their own difference on the
    whole picture is allowed on top."""
    sources = [*sorted((TESTDATA / "photos").rglob("*.jpg")), *(TESTDATA / "odd" / name for name in [
        "UPPER.JPG", "progressive.jpg", "exif-rotated.jpg", "exif-mirrored.jpg"])]
    rows = ingest(tmp_path, sources, image=f'filter = "{filter}"')
    for source, row in zip(sources, rows):
        mean, worst = differences(row, by_pillow(source, (96, 128), 3, "cover", filter))
        assert mean <= 1.5 and worst <= 24, f"{source.name}: mean {mean:.3f}, worst {worst}"


def test_cmyk(tmp_path):
    row, = ingest(tmp_path, [TESTDATA / "odd" / "cmyk.jpg"])
    mean, worst = differences(row, by_pillow(TESTDATA / "odd" / "cmyk.jpg", (96, 128), 3, "cover", "bilinear"))
    assert mean <= 3 and worst <= 32, (mean, worst)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path, orientation):
    image = Image.open(TESTDATA / "photos" / "objects" / "coffee-cup.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / "oriented.png"
    image.save(source, exif=exif)
    row, = ingest(tmp_path / "project", [source])
    mean, worst = differences(row, by_pillow(source, (96, 128), 3, "cover", "bilinear"))
    assert mean <= 1 and worst <= 8, (mean, worst)
    as_stored, = ingest(tmp_path / "stored", [source], image="orient = false")
    plain = np.asarray(ImageOps.fit(image, (128, 96), Image.Resampling.BILINEAR))
    assert differences(as_stored, plain)[0] <= 1


def exif_block(wide=False):
    """Big-endian, with the orientation 6 in two bytes or in four."""
    value = struct.pack(">HHII", 0x0112, 4, 1, 6) if wide else struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + value + bytes(4)


def png_with(picture, block):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    chunk = b"eXIf" + block
    return buffer.getvalue()[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + buffer.getvalue()[33:]


def webp_with(picture, block):
    buffer = io.BytesIO()
    picture.save(buffer, "WebP", lossless=True, exif=exif_block())
    data = buffer.getvalue()
    chunks = data[:data.index(b"EXIF")] + b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return chunks[:4] + struct.pack("<I", len(chunks) - 8) + chunks[8:]


def jpeg_with(picture, block):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, exif=b"Exif\0\0" + block)
    return buffer.getvalue()


@pytest.mark.parametrize("name, make, block", [
    ("plain.webp", webp_with, exif_block()),
    ("signed.webp", webp_with, b"Exif\0\0" + exif_block()),
    ("signed.png", png_with, b"Exif\0\0" + exif_block()),
    ("wide.png", png_with, exif_block(wide=True)),
    ("wide.jpg", jpeg_with, exif_block(wide=True)),
])
def test_an_exif_block_may_have_its_signature_and_wide_numbers(tmp_path, name, make, block):
    """The bug: Pillow turns all of them, and they were taken as they are stored."""
    source = tmp_path / name
    source.write_bytes(make(Image.open(TESTDATA / "photos" / "objects" / "coffee-cup.png").convert("RGB"), block))
    row, = ingest(tmp_path / "project", [source])
    mean, worst = differences(row, by_pillow(source, (96, 128), 3, "cover", "bilinear"))
    assert mean <= 1.5 and worst <= 24, (mean, worst)
    assert ImageOps.exif_transpose(Image.open(source)).size == Image.open(source).size[::-1]


def test_sixteen_bits_are_kept_where_the_row_has_them(tmp_path):
    source = TESTDATA / "odd" / "gray16.png"
    pixels = np.asarray(Image.open(source)).astype(np.uint16)
    shape = pixels.shape
    as_u2, = ingest(tmp_path / "u2", [source], shape=shape, dtype="u2", image='fit = "exact"')
    assert (as_u2 == pixels).all()
    big_endian, = ingest(tmp_path / "big", [source], shape=shape, dtype=">u2", image='fit = "exact"')
    assert big_endian.dtype == np.dtype(">u2") and (big_endian == pixels).all()
    as_f4, = ingest(tmp_path / "f4", [source], shape=shape, dtype="f4", image='fit = "exact"\nscale = 257.0')
    assert (as_f4 == pixels).all()
    as_u1, = ingest(tmp_path / "u1", [source], shape=shape, image='fit = "exact"')
    assert np.abs(as_u1 - pixels / 257).max() <= 0.5


def test_floats_are_scaled_and_normalised(tmp_path):
    source = TESTDATA / "photos" / "objects" / "coffee-cup.png"
    pixels = by_pillow(source, (96, 128), 3, "cover", "bilinear").astype(np.float32)
    plain, = ingest(tmp_path / "u1", [source])
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    image = "scale = 0.00392156862745098\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"
    expected = (plain.astype(np.float32) / 255 - mean) / std
    as_f4, = ingest(tmp_path / "f4", [source], dtype="f4", image=image)
    assert np.abs(as_f4 - expected).max() < 1e-5
    as_f2, = ingest(tmp_path / "f2", [source], dtype="f2", image=image)
    assert as_f2.dtype == np.float16 and np.abs(as_f2 - expected).max() < 2e-3
    chw, = ingest(tmp_path / "chw", [source], shape=(3, 96, 128), dtype="f4", image=image + '\nlayout = "chw"')
    assert (chw == as_f4.transpose(2, 0, 1)).all()
    assert np.abs(plain - pixels).mean() <= 1


def test_gray_shapes(tmp_path):
    source = TESTDATA / "photos" / "objects" / "coffee-cup.png"
    flat, = ingest(tmp_path / "flat", [source], shape=(96, 128))
    deep, = ingest(tmp_path / "deep", [source], shape=(96, 128, 1))
    assert flat.shape == (96, 128) and (flat == deep[..., 0]).all()


def test_blending_over_the_pad_colour(tmp_path):
    source = TESTDATA / "odd" / "rgba.png"
    row, = ingest(tmp_path, [source], image=f'alpha = "blend"\npad = {list(PAD)}')
    image = Image.open(source).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, (*PAD, 255)), image).convert("RGB")
    mean, worst = differences(row, np.asarray(ImageOps.fit(image, (128, 96), Image.Resampling.BILINEAR)))
    assert mean <= 1 and worst <= 8, (mean, worst)


def test_exact_refuses_other_sizes(tmp_path):
    project = Project(tmp_path, shape=(135, 180, 3), image='fit = "exact"')
    for name in ["objects/coffee-cup.png", "people/astronaut-face.png"]:
        (project.drop / name.split("/")[1]).write_bytes((TESTDATA / "photos" / name).read_bytes())
    project.once(check=3)
    assert project.count() == 1
    assert "150 x 180" in project.rejected()["astronaut-face.png"]


def test_formats_that_pillow_and_we_read_give_the_same_picture(tmp_path):
    sources = [TESTDATA / "odd" / f"photo.{kind}" for kind in ["bmp", "tiff", "ppm", "tga", "qoi"]]
    rows = ingest(tmp_path, sources)
    for source, row in zip(sources, rows):
        assert (row == rows[0]).all(), source.name


def test_icons_hold_pngs_of_every_kind(tmp_path):
    """The library that reads them takes none but RGBA."""
    picture = Image.open(TESTDATA / "photos" / "objects" / "coffee-cup.png").convert("RGB").resize((128, 96))
    made = {"rgb.ico": picture, "rgba.ico": picture.convert("RGBA"), "gray.ico": picture.convert("L"), "palette.ico": picture.quantize(64)}
    sources = [tmp_path / name for name in made]
    for source, image in zip(sources, made.values()):
        image.save(source, sizes=[(128, 96), (32, 32)])
    rows = ingest(tmp_path / "project", sources)
    for row, source in zip(rows, sources, strict=True):
        assert np.array_equal(row, by_pillow(source, (96, 128), 3, "stretch", "nearest")), source.name


def test_kinds_that_are_not_read_are_told(tmp_path):
    project = Project(tmp_path, shape=(96, 128, 3), watch='order = "name"')
    picture = Image.new("RGB", (128, 96), (200, 30, 60))
    picture.quantize(4).save(project.drop / "palette.tif")
    picture.convert("F").save(project.drop / "float.tif")
    picture.save(project.drop / "plain.dds")
    project.once(check=3)
    reasons = project.rejected()
    for name, expected in {"palette.tif": "expected gray of 8 or 16 bits, RGB", "float.tif": "expected gray of 8 or 16 bits, RGB",
                           "plain.dds": "expected pixels compressed by DXT1"}.items():
        assert "this kind of it is not decoded, " + expected in reasons[name] and "save it as PNG" in reasons[name], reasons[name]


@pytest.mark.parametrize("bits", [8, 16])
def test_colours_that_were_multiplied_by_alpha_are_divided(tmp_path, bits):
    """A TIFF tells so in tag 338. The bug: they were taken as they are, darker."""
    noise = np.random.default_rng(bits)
    alpha = noise.integers(0, 256, (96, 128, 1))
    pixels = np.concatenate([noise.integers(0, 256, (96, 128, 3)) * alpha // 255, alpha], 2) * (257 if bits == 16 else 1)
    data = pixels.astype(f"<u{bits // 8}").tobytes()
    tags = [(256, 4, [128]), (257, 4, [96]), (258, 3, [bits] * 4), (259, 3, [1]), (262, 3, [2]), (273, 4, [8]), (277, 3, [4]), (278, 4, [96]),
            (279, 4, [len(data)]), (338, 3, [1])]
    behind = struct.pack("<4H", *[bits] * 4)
    directory = 8 + len(data) + len(behind)
    entries = b""
    for tag, kind, values in tags:
        place = struct.pack("<I", 8 + len(data)) if len(values) > 1 else struct.pack("<I", values[0])
        entries += struct.pack("<HHI", tag, kind, len(values)) + place
    source = tmp_path / "associated.tif"
    source.write_bytes(b"II*\0" + struct.pack("<I", directory) + data + behind + struct.pack("<H", len(tags)) + entries + bytes(4))
    row, = ingest(tmp_path / "project", [source], (96, 128, 4), image='fit = "exact"')
    with Image.open(source) as image:
        # Pillow makes 8 bits of 16 before it divides.
        assert np.abs(row.astype(int) - np.asarray(image.convert("RGBA"))).max() <= (bits == 16)


def test_a_palette_and_one_bit(tmp_path):
    image = Image.open(TESTDATA / "photos" / "objects" / "coffee-cup.png")
    sources = []
    for name, mode in [("palette.png", "P"), ("one-bit.png", "1")]:
        buffer = io.BytesIO()
        image.convert("RGB").convert(mode).save(buffer, "PNG")
        (tmp_path / name).write_bytes(buffer.getvalue())
        sources.append(tmp_path / name)
    rows = ingest(tmp_path / "project", sources)
    for source, row in zip(sources, rows):
        mean, worst = differences(row, by_pillow(source, (96, 128), 3, "cover", "bilinear"))
        assert mean <= 1 and worst <= 8, f"{source.name}: {mean}, {worst}"
