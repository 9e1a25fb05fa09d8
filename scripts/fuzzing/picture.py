"""Pictures: read for painting, for training, as masks; of every kind and mode that Pillow writes."""

from __future__ import annotations

import inspect
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms, ImageDraw, TiffImagePlugin, features

from fuzzing import style
from fuzzing.cases import Change, Kind
from onestroke import style_file
from onestroke.errors import UserError
from onestroke.imaging import images, xmp
from onestroke.inference.controls import read_grey
from onestroke.inference.stylizer import Stylizer
from onestroke.networks.realtime import RealtimeNetwork
from onestroke.provenance import packet
from onestroke.provenance.origin import COMPOSITE, Origin, StyleFacts

SIZE = (61, 43)
_SMALL = (40, 32)  # of those that are put together here
# of interlaced PNG: the first pixel, and the distance to the next
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_LARGE = 3_000  # pixels a side
_MOST_FOR_PILLOW = 4_000_000  # pixels, of a picture that is opened by Pillow alone
_STYLE = "style.safetensors"
_ORIGIN = Origin(_STYLE, "0" * 64, (StyleFacts("s"),), {"strength": "0.5"})
# without those for which Pillow starts other programs
_PILLOW = (
    "JPEG",
    "MPO",
    "PNG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "PPM",
    "JPEG2000",
    "AVIF",
    "ICO",
    "TGA",
    "PCX",
    "QOI",
    "SGI",
)
_stylizers: list[Stylizer] = []


def _scene(mode: str, size: tuple[int, int] = SIZE) -> Image.Image:
    """Slopes, edges and a disc, in a mode of Pillow's."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    levels = np.stack([x * 4 % 256, y * 5 % 256, (x + y) * 3 % 256], -1).astype(np.uint8)
    picture = Image.fromarray(levels)
    ImageDraw.Draw(picture).ellipse([10, 8, 40, 34], fill=(240, 200, 20))
    if mode in ("RGBA", "LA", "PA", "RGBa"):
        cover = Image.fromarray((x * 255 // size[0]).astype(np.uint8))
        picture.putalpha(cover)
        return picture if mode == "RGBA" else picture.convert(mode)
    if mode.startswith("I;16"):
        return Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(levels[..., 0].astype(np.float32) / 255)
    return picture.convert(mode)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9286] = orientation, "maker", "a comment"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def _frames(mode: str, count: int = 3) -> list[Image.Image]:
    return [_scene(mode).rotate(40 * i) for i in range(count)]


def _written() -> Iterator[tuple[str, Image.Image, str, dict[str, Any]]]:
    """File name, picture, Pillow's kind, options."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    rgb = _scene("RGB")
    yield "plain.jpg", rgb, "JPEG", {"quality": 90}
    yield "progressive.jpg", rgb, "JPEG", {"progressive": True, "icc_profile": profile, "exif": _exif(6)}
    yield "grey.jpg", _scene("L"), "JPEG", {"exif": _exif(3)}
    yield "cmyk.jpg", _scene("CMYK"), "JPEG", {}
    yield "restart.jpg", rgb, "JPEG", {"restart_marker_rows": 1, "comment": b"words", "subsampling": 0}
    yield "many.mpo", rgb, "MPO", {"save_all": True, "append_images": _frames("RGB")}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"{mode.replace(';', '')}.png", _scene(mode), "PNG", {"icc_profile": profile} if mode == "RGB" else {}
    yield "marked.png", _scene("P"), "PNG", {"transparency": 3, "bits": 4}
    yield "veiled.png", _scene("P"), "PNG", {"transparency": bytes(range(256)), "exif": _exif(8)}
    yield "keyed.png", rgb, "PNG", {"transparency": (240, 200, 20), "icc_profile": lab}
    yield "moving.png", rgb, "PNG", {"save_all": True, "append_images": _frames("RGB")}
    yield "plain.gif", _scene("P"), "GIF", {}
    yield (
        "moving.gif",
        _scene("P"),
        "GIF",
        {"save_all": True, "append_images": _frames("P"), "transparency": 2, "disposal": 2},
    )
    yield "plain.webp", rgb, "WEBP", {"exif": _exif(5), "icc_profile": profile}
    yield "lossless.webp", _scene("RGBA"), "WEBP", {"lossless": True}
    yield "moving.webp", rgb, "WEBP", {"save_all": True, "append_images": _frames("RGBA")}
    compressions = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "tiff_adobe_deflate")
    for compression in compressions:
        yield f"{compression}.tif", rgb, "TIFF", {"compression": compression}
    yield "group4.tif", _scene("1"), "TIFF", {"compression": "group4"}
    for mode in ("1", "L", "P", "RGBA", "CMYK", "LAB", "I;16", "I", "F"):
        yield f"{mode.replace(';', '')}.tif", _scene(mode), "TIFF", {}
    yield "pages.tif", rgb, "TIFF", {"save_all": True, "append_images": _frames("L"), "compression": "tiff_lzw"}
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[315], tags[274] = "described", "painter", 7
    yield "tagged.tif", rgb, "TIFF", {"tiffinfo": tags, "icc_profile": profile, "dpi": (300, 300)}
    yield "marked.jpg", rgb, "JPEG", {"xmp": packet.of_painting(None, _ORIGIN, True, 60_000)}
    for mode in ("1", "L", "P", "RGB"):
        yield f"{mode}.bmp", _scene(mode), "BMP", {}
    yield "L.ppm", _scene("L"), "PPM", {}
    yield "RGB.ppm", rgb, "PPM", {}
    yield "1.ppm", _scene("1"), "PPM", {}
    for name in ("ico", "tga", "pcx", "qoi", "dds", "sgi"):  # which are not read, and told
        yield f"foreign.{name}", _scene("RGB", (32, 32)), name.upper(), {}
    yield "foreign.eps", _scene("RGB", (16, 16)), "EPS", {}
    if features.check("jpg_2000"):
        yield "plain.jp2", rgb, "JPEG2000", {}
        yield "alpha.jp2", _scene("RGBA"), "JPEG2000", {"quality_layers": [20]}
    if features.check("avif"):
        yield "plain.avif", rgb, "AVIF", {"speed": 10}
        yield "moving.avif", rgb, "AVIF", {"save_all": True, "append_images": _frames("RGB", 2), "speed": 10}


def make(folder: Path) -> None:
    """A small picture of each kind, and a style to paint some with."""
    for name, picture, kind, options in _written():
        encoded = BytesIO()
        picture.save(encoded, kind, **options)
        (folder / name).write_bytes(encoded.getvalue())
    _hand_made(folder)


def _hand_made(folder: Path) -> None:
    """What Pillow reads and doesn't write: interlaced PNG, TIFF of 12 bits a sample, of MinIsWhite."""
    for depth, colour in ((8, 0), (2, 0), (8, 3)):
        head = struct.pack(">IIBBBBB", *_SMALL, depth, colour, 0, 0, 1)
        palette = _chunk(b"PLTE", bytes(range(48))) if colour == 3 else b""
        pixels = _chunk(b"IDAT", zlib.compress(b"".join(_interlaced(depth))))
        content = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + palette + pixels + _chunk(b"IEND", b"")
        (folder / f"interlaced{depth}{colour}.png").write_bytes(content)
    width, height = _SMALL
    for name, bits, white in (("bits12.tif", 12, 1), ("white8.tif", 8, 0), ("white16.tif", 16, 0)):
        size = width * height * bits // 8
        tags = {256: width, 257: height, 258: bits, 259: 1, 262: white, 273: 200, 277: 1, 278: height, 279: size}
        (folder / name).write_bytes(_tiff(tags, (bytes(range(240)) * 40)[:size]))


def _interlaced(depth: int) -> Iterator[bytes]:
    """The rows of the seven passes, each with its filter."""
    for x, y, across, down in _PASSES:
        columns, rows = -(-(_SMALL[0] - x) // across), -(-(_SMALL[1] - y) // down)
        for row in range(rows):
            yield bytes([row % 3]) + bytes(i % 16 for i in range((columns * depth + 7) // 8))


def _tiff(tags: Mapping[int, int], pixels: bytes) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + pixels


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 8
    while place + 8 <= len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + size]))
        place += 12 + size
    return found


def _png(content: bytes, rng: Random) -> bytes:
    """One chunk changed, with the sum that fits it."""
    chunks = _png_chunks(content)
    place = rng.randrange(len(chunks))
    kind, data = chunks[place]
    choice = rng.randrange(7)
    if choice == 0:
        chunks.pop(place)
    elif choice == 1:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[place])
    elif choice == 2 and data:
        chunks[place] = (kind, _numbered(data, rng))
    elif choice == 3:
        chunks[place] = (kind, data[: rng.randrange(len(data) + 1)] + rng.randbytes(rng.choice((0, 3, 40))))
    elif choice == 4:
        named = (
            b"PLTE",
            b"tRNS",
            b"IHDR",
            b"IDAT",
            b"iCCP",
            b"eXIf",
            b"acTL",
            b"fcTL",
            b"fdAT",
            b"gAMA",
            b"sBIT",
            b"pHYs",
        )
        chunks.insert(
            1 + rng.randrange(len(chunks)), (rng.choice(named), rng.randbytes(rng.choice((0, 1, 3, 26, 768))))
        )
    elif choice == 5:
        bomb = rng.choice((b"zTXt", b"iTXt", b"iCCP"))
        squeezed = zlib.compress(bytes(rng.choice((10**6, 10**8))))
        chunks.insert(1, (bomb, b"a\0\0" + (b"\0\0\0" if bomb == b"iTXt" else b"") + squeezed))
    else:
        rng.shuffle(chunks)
    return content[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


def _png_head(content: bytes, rng: Random) -> bytes:
    """Another size, depth, colour or interlacing than the pixels have."""
    chunks = _png_chunks(content)
    fields = list(struct.unpack(">IIBBBBB", chunks[0][1]))
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(7)
        if place < 2:
            fields[place] = rng.choice((0, 1, 2, 7, 100, 5_000, 14_000, 60_000, 2**31 - 1, 2**32 - 1))
        else:
            fields[place] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
    chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *fields))
    return content[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


def _png_pixels(content: bytes, rng: Random) -> bytes:
    """Pixels of another length, and rows of filters that there are not."""
    chunks = _png_chunks(content)
    raw = bytearray(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")))
    for _ in range(rng.choice((1, 5, 50))):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    raw = raw[: rng.choice((len(raw), rng.randrange(len(raw))))]
    if rng.random() < 0.2:
        raw += bytes(rng.choice((1, 10**5, 5 * 10**7)))
    kept = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    kept.insert(len(kept) - 1, (b"IDAT", zlib.compress(bytes(raw))))
    return content[:8] + b"".join(_chunk(*chunk) for chunk in kept)


def _png_wide(content: bytes, rng: Random) -> bytes:
    """A few kB that are very many pixels."""
    depth, colour, samples = rng.choice(((1, 0, 1), (8, 0, 1), (1, 3, 1), (8, 2, 3), (8, 6, 4), (16, 0, 1), (16, 2, 3)))
    width, height = rng.choice(((14_000, 14_000), (9_000, 9_000), (200_000, 900), (3_000, 2_000), (20_000, 20_000)))
    row = 1 + (width * depth * samples + 7) // 8
    squeezer = zlib.compressobj(1)
    rows = min(height, 60_000_000 // row)  # the rest is missing
    data = b"".join([*(squeezer.compress(bytes(row * 16)) for _ in range(rows // 16)), squeezer.flush()])
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, rng.choice((0, 0, 1)))
    palette = _chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    parts = _chunk(b"IHDR", head) + palette + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _tiff_tag(content: bytes, rng: Random) -> bytes:
    """One entry of the first directory: its tag, kind, count or value."""
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", content[4:8])
    (count,) = struct.unpack(order + "H", content[start : start + 2])
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = start + 2 + 12 * rng.randrange(count)
        tag, kind, number, value = struct.unpack(order + "HHII", changed[place : place + 12])
        choice = rng.randrange(5)
        if choice == 0:
            tags = (
                254,
                256,
                257,
                258,
                259,
                262,
                266,
                273,
                274,
                277,
                278,
                279,
                284,
                317,
                320,
                322,
                323,
                324,
                325,
                330,
                338,
                339,
            )
            tag = rng.choice((*tags, 347, 530, 532, 34665, 34675, 65535))
        elif choice == 1:
            kind = rng.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 13, 16, 255))
        elif choice == 2:
            number = rng.choice((0, 1, 2, 3, 4, 100, 65_536, 2**31, 2**32 - 1))
        else:
            known = (
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                8,
                12,
                16,
                24,
                32,
                64,
                255,
                5_000,
                14_000,
                32_773,
                34_712,
                50_000,
                2**31,
                2**32 - 1,
            )
            value = rng.choice(known)
            value = value << 16 if order == ">" and kind == 3 and value < 65_536 else value
        changed[place : place + 12] = struct.pack(order + "HHII", tag, kind, number, value)
    return bytes(changed)


def _tiff_made(content: bytes, rng: Random) -> bytes:
    """A TIFF of one row of tags, each of a value that it may well have, whatever the others say."""
    one = rng.choice
    tags = {
        256: one((1, 16, 100, 14_000)), 257: one((1, 10, 100, 14_000)), 258: one((1, 2, 4, 8, 12, 16, 24, 32, 64)),
        259: one((1, 1, 1, 2, 3, 4, 5, 7, 8, 32_773, 50_000)), 262: one((0, 1, 2, 3, 4, 5, 6, 8)), 273: 200,
        277: one((1, 1, 2, 3, 4, 5)), 278: one((1, 10, 14_000)), 279: one((10, 160, 500, 10**9)),
        339: one((1, 2, 3, 4, 6)), 284: one((1, 2)), 338: one((0, 1, 2)), 266: one((1, 2)), 274: one((1, 6, 8, 9)),
    }  # fmt: skip
    for optional in (284, 338, 266, 274, 339):
        if rng.random() < 0.6:
            del tags[optional]
    return _tiff(tags, rng.randbytes(one((0, 160, 3_000))))


def _jpeg_marker(content: bytes, rng: Random) -> bytes:
    """One segment before the pixels: its length, its content, its place, or one more."""
    segments, place = [], 2
    while content[place] == 0xFF and content[place + 1] != 0xDA:
        (size,) = struct.unpack(">H", content[place + 2 : place + 4])
        segments.append(content[place : place + 2 + size])
        place += 2 + size
    number = rng.randrange(len(segments))
    segment = segments[number]
    choice = rng.randrange(6)
    if choice == 0:
        segments.pop(number)
    elif choice == 1:
        segments.insert(rng.randrange(len(segments) + 1), segment)
    elif choice == 2:
        segments[number] = segment[:2] + struct.pack(">H", rng.choice((0, 1, 2, 3, 8, 65_535))) + segment[4:]
    elif choice == 3:
        segments[number] = segment[:4] + _numbered(segment[4:], rng)
    elif choice == 4:
        marker = rng.choice(
            (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xD9, 0xD8)
        )
        data = rng.choice(
            (b"Exif\0\0II*\0", b"ICC_PROFILE\0\1\1", b"Adobe\0d\0\0\0\0", b"MPF\0MM", b"http://ns.adobe.com/")
        )
        data += rng.randbytes(rng.choice((0, 4, 50, 3_000)))
        segments.insert(number, struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data)
    else:
        frames = [i for i, s in enumerate(segments) if s[1] in (0xC0, 0xC1, 0xC2)]
        sizes = (0, 1, 7, 500, 9_000, 14_000, 65_500, 65_535)
        frame = segments[frames[0]]
        segments[frames[0]] = frame[:5] + struct.pack(">HH", rng.choice(sizes), rng.choice(sizes)) + frame[9:]
    return content[:2] + b"".join(segments) + content[place:]


def _gif_screen(content: bytes, rng: Random) -> bytes:
    """Another size of the screen, or of the first picture on it."""
    changed = bytearray(content)
    sizes = (0, 1, 3, 60, 500, 9_000, 14_000, 65_535)
    if rng.random() < 0.6:
        changed[6:10] = struct.pack("<HH", rng.choice(sizes), rng.choice(sizes))
    else:
        place = content.index(b"\x2c\0\0")
        changed[place + 1 : place + 9] = struct.pack("<HHHH", *(rng.choice(sizes) for _ in range(4)))
    return bytes(changed)


def _sized(content: bytes, rng: Random) -> bytes:
    """The picture's sides, where they stand as numbers, made others: for kinds that have no change of their own."""
    width, height = SIZE
    order = rng.choice(("<H", "<I", ">I", ">H"))
    side = rng.choice((width, height, width - 1, height - 1))
    value = rng.choice((0, 1, 5, 60, 500, 5_000, 14_000, 16_383, 65_535))
    return content.replace(struct.pack(order, side), struct.pack(order, value), rng.choice((1, 2, 5)))


def _ppm_head(content: bytes, rng: Random) -> bytes:
    """Another first line, and numbers in digits."""
    sides = (b"0", b"1", b"61", b"43", b"1000", b"14000", b"1000000000", b"9" * 20, b"-1", b"x", b"")
    width, height = rng.choices(sides, k=2)
    kind = rng.choice((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF", b"P0CMYK"))
    top = rng.choice((b"255", b"1", b"65535", b"0", b"-1", b"1e9", b"256", b"100000"))
    return kind + rng.choice((b"\n", b" ", b"\n# a\n")) + width + b" " + height + b"\n" + top + b"\n" + content[12:]


def _numbered(data: bytes, rng: Random) -> bytes:
    place, width = rng.randrange(len(data)), rng.choice((1, 1, 2, 4))
    value = rng.choice((0, 1, 2**31 - 1, 2**32 - 1, rng.getrandbits(32))) % (1 << 8 * width)
    return (data[:place] + value.to_bytes(width, rng.choice(("little", "big"))) + data[place + width :])[: len(data)]


def _renamed(content: bytes, rng: Random) -> bytes:
    """The beginning of another kind."""
    heads = (
        b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\0", b"MM\0*", b"BM", b"RIFF\0\0\0\0WEBPVP8 ",
        b"II+\0", b"\0\0\0\x20ftypavif", b"\0\0\0\x20ftypheic", b"P6\n", b"%PDF-1.7", b"\0\0\0\x0cjP  \r\n\x87\n",
    )  # fmt: skip
    head = rng.choice(heads)
    return head + content[len(head) :]


_BY_SUFFIX: Mapping[str, Mapping[str, tuple[int, Change]]] = {
    ".png": {
        "png.chunk": (4, _png),
        "png.head": (3, _png_head),
        "png.pixels": (2, _png_pixels),
        "png.wide": (1, _png_wide),
    },
    ".tif": {"tiff.tag": (6, _tiff_tag), "tiff.made": (2, _tiff_made)},
    ".jpg": {"jpeg.marker": (5, _jpeg_marker)},
    ".mpo": {"jpeg.marker": (5, _jpeg_marker)},
    ".gif": {"gif.screen": (3, _gif_screen)},
    ".ppm": {"ppm.head": (3, _ppm_head)},
}


def changes(base: str) -> Mapping[str, tuple[int, Change]]:
    """Those of a picture's own kind, and two that fit all."""
    return {**_BY_SUFFIX.get(Path(base).suffix, {}), "sized": (2, _sized), "renamed": (1, _renamed)}


def warm(folder: Path) -> None:
    """Load the style that some pictures are painted with."""
    arguments = {"channels": [4, 8], "blocks": 1}
    path = folder / _STYLE
    document = style.metadata(RealtimeNetwork, arguments, ["s"], "s")
    style_file.save(path, style.network(RealtimeNetwork, arguments), document)
    _stylizers.append(Stylizer(path, "cpu", "torch"))


def use(path: Path, rng: Random) -> None:
    """One way or the other of a picture into the product; what was told first is raised at the end."""
    ways: list[Callable[[], None]] = [lambda: _read(path, rng)]
    if rng.random() < 0.5:
        ways = [lambda: _trained_on(path, rng)]
        if rng.random() < 0.5:
            ways.append(lambda: _given_by_pillow(path))
    if rng.random() < 0.1:
        ways.append(lambda: _found(path))
    rng.shuffle(ways)
    told: list[UserError] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for way in ways:
            try:
                way()
            except UserError as error:
                told.append(error)
    foreign = path.suffix in (".ico", ".tga", ".pcx", ".qoi", ".dds", ".sgi", ".eps")
    if told and not (foreign and path.read_bytes() in _foreigners(path)):
        raise told[0]


def _foreigners(path: Path) -> list[bytes]:
    """The sound file of a kind that is not read, which may be refused."""
    return [(path.parent.resolve().parent / "bases" / f"foreign{path.suffix}").read_bytes()]


def _read(path: Path, rng: Random) -> None:
    options: dict[str, Any] = {}
    if rng.random() < 0.3 and "max_side" in inspect.signature(images.read).parameters:
        options["max_side"] = rng.choice((1, 20, 200))
    picture = images.read(path, **options)
    side = max(picture.height, picture.width)
    if options and side > options["max_side"]:
        raise AssertionError(f"max_side={options['max_side']} gave {side}")
    made = packet.of_painting(picture.xmp, _ORIGIN, True, 60_000)
    if xmp.parse(made).text(packet.SOURCE_TYPE) != COMPOSITE:
        raise AssertionError("the painting's packet doesn't say what it is")
    if side > _LARGE:
        return  # as floats it takes more memory, for which painting asks before
    _unit(picture.rgb, 3)
    if picture.alpha is not None:
        _unit(picture.alpha, 1)
    if rng.random() < 0.3:
        _unit(read_grey(str(path), picture.height, picture.width), 1)
    if rng.random() < 0.15 and side < 700:
        painted = _stylizers[0].paint(picture.rgb, color=rng.choice(("style", "photo", "match")))
        if painted.shape != picture.rgb.shape:
            raise AssertionError(f"{tuple(picture.rgb.shape)} was painted as {tuple(painted.shape)}")


def _trained_on(path: Path, rng: Random) -> None:
    side = rng.choice((16, 32, 64))
    array = images.read_training(path, side)
    if array.dtype != np.uint8 or array.ndim != 3 or min(array.shape[:2]) != side or array.shape[2] != 3:
        raise AssertionError(f"a training picture of {array.dtype} {array.shape}")


def _given_by_pillow(path: Path) -> None:
    """Only what Pillow itself opens and decodes is for `from_pil` to take."""
    try:
        with Image.open(path, formats=_PILLOW) as given:
            if given.width * given.height > _MOST_FOR_PILLOW:
                return
            given.load()
            picture = given.copy()
            picture.info = given.info
    except Exception:
        return
    _unit(images.from_pil(picture).rgb, 3)
    if max(picture.size) < 300:
        _stylizers[0](picture)


def _found(path: Path) -> None:
    found = images.find([str(path)])
    assert list(found)
    try:
        images.find(["."])
    except UserError:
        pass


def _unit(image: torch.Tensor, channels: int) -> None:
    """Float32 (1, channels, H, W), finite, in [0, 1]."""
    low, high = (float(v) for v in torch.aminmax(image))
    if image.dtype != torch.float32 or image.ndim != 4 or image.shape[:2] != (1, channels) or not 0 <= low <= high <= 1:
        raise AssertionError(f"a picture of {image.dtype} {tuple(image.shape)} from {low} to {high}")


KIND = Kind("picture", make, changes, use, warm)
