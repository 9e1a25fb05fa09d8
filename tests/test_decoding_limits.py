"""Ends that are missing, memory that is asked for first, several frames, and noise."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke import devices
from onestroke.errors import UserError
from onestroke.imaging import decoding, images
from onestroke.imaging.decoding import guard
from tests.test_images import chunk, encoded, noise, png, smooth

Reader = Callable[[Path], object]
READERS: list[Reader] = [images.read, lambda path: images.read_training(path, 16)]


# --- the end of a JPEG ----------------------------------------------------------------------------------

JPEGS: list[dict[str, object]] = [
    {},
    {"progressive": True},
    {"restart_marker_blocks": 3},
    {"subsampling": 0, "quality": 100},
    {"optimize": True, "quality": 20},
]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_its_end_marker_is_whole(tmp_path: Path, options: dict[str, object], missing: int) -> None:
    for name, pixels in (("noise", noise(60, 83)), ("smooth", smooth(60, 83)), ("flat", noise(60, 83) * 0 + 90)):
        data = encoded(Image.fromarray(pixels), "JPEG", **options)
        (tmp_path / "whole.jpg").write_bytes(data)
        (tmp_path / "cut.jpg").write_bytes(data[:-missing])
        whole, cut = images.read(tmp_path / "whole.jpg"), images.read(tmp_path / "cut.jpg")
        assert torch.equal(whole.rgb, cut.rgb), name
        small, of_cut = (images.read_training(tmp_path / f"{file}.jpg", 30) for file in ("whole", "cut"))
        assert np.array_equal(small, of_cut)


@pytest.mark.parametrize("options", JPEGS)
def test_a_jpeg_that_lacks_more_is_cut_short(tmp_path: Path, options: dict[str, object]) -> None:
    data = encoded(Image.fromarray(noise(60, 83)), "JPEG", **options)
    for missing in (5, 9, 40, 300, len(data) // 2):
        (tmp_path / "cut.jpg").write_bytes(data[:-missing])
        with pytest.raises(UserError, match=r"cut\.jpg' is damaged or cut short"):
            images.read(tmp_path / "cut.jpg")


def test_a_progressive_jpeg_without_its_last_scan_is_cut_short(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(noise(60, 83)), "JPEG", progressive=True)
    (tmp_path / "cut.jpg").write_bytes(data[: data.rindex(b"\xff\xda")])
    with pytest.raises(UserError, match=r"cut\.jpg' is damaged or cut short"):
        images.read(tmp_path / "cut.jpg")


# --- memory ---------------------------------------------------------------------------------------------


def no_load(*_: object) -> None:
    raise AssertionError("it was decoded")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("reader", READERS)
def test_memory_is_asked_for_before_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: Reader, kind: str
) -> None:
    path = tmp_path / "large"
    path.write_bytes(encoded(Image.fromarray(smooth(400, 300)), kind))
    reader(path)
    monkeypatch.setattr(devices, "free_memory", lambda: 2**20)
    monkeypatch.setattr(Image.Image, "load", no_load)
    with pytest.raises(UserError, match=r"large' is too large for the memory: 300 x 400 needs .* and 1 MiB are"):
        reader(path)


MEASURE = """
import os, resource, sys
from pathlib import Path
from onestroke.imaging import images
from onestroke.imaging.decoding import memory, opening
images.read("tiny.png"), images.read("tiny.png", max_side=2)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for name in sys.argv[1:]:
    for side in (None, 300):
        sys.stdout.flush()
        if (child := os.fork()) == 0:
            before = peak()
            picture = images.read(name, max_side=side)
            taken = peak() - before
            with opening.opened(Path(name), 10**9) as image:
                print(name, side, taken, memory.needs(image, side is not None))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_decoding_takes_at_most_three_and_a_half_bytes_a_pixel_and_channel(tmp_path: Path) -> None:
    height, width = 2000, 3000
    Image.new("RGB", (4, 4)).save(tmp_path / "tiny.png")
    photo = Image.fromarray(np.tile(smooth(200, 300), (10, 10, 1)))
    photo.save(tmp_path / "photo.png", compress_level=1)
    photo.save(tmp_path / "photo.jpg")
    photo.save(tmp_path / "photo.tif")
    command = [sys.executable, "-c", MEASURE, "photo.png", "photo.jpg", "photo.tif"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    for line in lines:
        taken, needs = map(int, line.split()[2:])
        assert taken <= 3.5 * height * width * 3, line
        assert taken <= needs, line


def test_few_bytes_of_many_pixels_take_little(tmp_path: Path) -> None:
    path = tmp_path / "bits.png"
    path.write_bytes(png(4000, 4000, 1, 0, (b"\0" + b"\xff" * 500) * 4000))
    picture = images.read(path)
    assert picture.pixels.dtype == torch.uint8 and picture.pixels.shape == (1, 1, 4000, 4000)
    assert picture.rgb.shape == (1, 3, 4000, 4000)
    assert images.read(path, max_side=90).rgb.shape == (1, 3, 90, 90)


# --- several frames, and noise --------------------------------------------------------------------------


def film(path: Path, **options: Any) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        ("gif", "is an animation of 3 frames; the first is taken"),
        ("webp", "is an animation of 3 frames; the first is taken"),
        ("png", "is an animation of 3 frames; the first is taken"),
        ("avif", "is an animation of 3 frames; the first is taken"),
        ("tif", "holds 3 pictures; the first is taken"),
    ],
)
def test_several_frames_are_told_once_with_the_name(tmp_path: Path, suffix: str, words: str) -> None:
    path = tmp_path / f"film.{suffix}"
    film(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = images.read(path)
    assert [str(w.message) for w in caught] == [f"'{path}' {words}"]
    assert picture.frames == 3 and (picture.rgb.mean((0, 2, 3)) - torch.tensor([1.0, 0, 0])).abs().max() < 0.03


def test_a_photo_of_several_parts_is_no_animation(tmp_path: Path) -> None:
    path = tmp_path / "photo.mpo"
    Image.new("RGB", (40, 30), "red").save(
        path, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30), "lime")]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = images.read(path)
    assert picture.frames == 1 and picture.rgb[0, 0].min() > 0.9


def test_in_training_one_film_is_told_of_and_not_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: set[str] = set()
    monkeypatch.setattr(guard, "_frame_warnings", lambda: told)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a.gif", "b.gif"):
            film(tmp_path / name)
            images.read_training(tmp_path / name, 30)
    (only,) = caught
    assert "a.gif' is an animation of 3 frames; the first is taken, as of all such files" in str(only.message)


def test_what_pillow_warns_of_is_told_once_with_the_name(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(smooth(30, 40)), "TIFF")
    path = tmp_path / "odd.tif"
    path.write_bytes(data)
    with decoding.opened(path, 10**6):
        pass
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with guard.guarded("'odd.tif'"):
            for text in ("Corrupt EXIF data\n", "Corrupt EXIF data", "\x1b[31mmore"):
                warnings.warn(text, stacklevel=1)
    (only,) = caught
    assert str(only.message) == "'odd.tif' was read, but is not quite in order (Corrupt EXIF data, and 1 more like it)"


def test_warnings_of_other_threads_go_their_own_way() -> None:
    inside, done = threading.Event(), threading.Event()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def work() -> None:
            with guard.guarded("'one'", quiet=True):
                inside.set()
                done.wait(10)
                warnings.warn("hidden", stacklevel=1)

        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(10)
        with guard.guarded("'two'", quiet=True):
            pass
        warnings.warn("seen", stacklevel=1)
        done.set()
        thread.join()
        warnings.warn("after", stacklevel=1)
    assert [str(w.message) for w in caught] == ["seen", "after"]


@pytest.mark.parametrize("reader", READERS)
def test_whatever_goes_wrong_after_loading_is_told_too(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "noplte.png"
    path.write_bytes(png(40, 30, 8, 3, (b"\0" + bytes(range(40))) * 30))
    with pytest.raises(UserError, match=r"noplte\.png' is damaged or cut short") as caught:
        reader(path)
    assert "\n" not in str(caught.value)
    with Image.open(path) as image, pytest.raises(UserError, match="the picture is damaged"):
        images.from_pil(image)


@pytest.mark.parametrize("name", [b"iCCP", b"zTXt", b"iTXt"])
def test_chunks_that_unpack_to_gigabytes_are_told_or_left(tmp_path: Path, name: bytes) -> None:
    import zlib

    packer = zlib.compressobj(9)
    bomb = b"".join([packer.compress(b"\0" * 2**20) for _ in range(70)] + [packer.flush()])
    head = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}[name]
    path = tmp_path / "bomb.png"
    path.write_bytes(png(40, 30, 8, 0, (b"\0" + bytes(40)) * 30, chunk(name, head + bomb)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert images.read(path).rgb.max() == 0
        except UserError as error:
            assert "bomb.png' is" in str(error) and "\n" not in str(error)


def test_draft_and_in_memory_pictures_agree(tmp_path: Path) -> None:
    pixels = smooth(400, 600)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", quality=95)
    got = images.read(tmp_path / "photo.jpg", max_side=75).rgb
    with Image.open(BytesIO((tmp_path / "photo.jpg").read_bytes())) as image:
        expected = images.fit(images.from_pil(image).rgb, max_side=75)
    assert got.shape == expected.shape == (1, 3, 50, 75)
    assert (got - expected).abs().max() < 2 / 255
