from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from onestroke.errors import UserError
from onestroke.imaging import images, kinds


def encoded(kind: str, mode: str = "RGB") -> bytes:
    file = BytesIO()
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF" and not (hasattr(features, "check") and "avif" in features.modules and features.check("avif")):
        pytest.skip("this Pillow has no AVIF")
    picture = Image.fromarray(np.full((24, 32, 3), (200, 60, 20), np.uint8)).convert(mode)
    picture.save(file, kind, **({"append_images": [picture], "save_all": True} if kind == "MPO" else {}))
    return file.getvalue()


KINDS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF", "PPM", "JPEG2000", "MPO"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_content_and_read_whatever_its_name(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    assert kinds.kind_of(content[: kinds.HEAD]) == ("JPEG" if kind == "MPO" else kind)
    for name in ("photo.dat", "photo"):
        (tmp_path / name).write_bytes(content)
        rgb = images.read(tmp_path / name).rgb
        assert rgb.shape == (1, 3, 24, 32)
        assert (rgb[0, :, 12, 16] * 255 - torch.tensor([200.0, 60, 20])).abs().max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_all_of_netpbm(mode: str) -> None:
    assert kinds.kind_of(encoded("PPM", mode)[: kinds.HEAD]) == "PPM"
    assert kinds.kind_of(b"P2\n# made by hand\n3 2\n255\n") == "PPM"


@pytest.mark.parametrize(
    "text",
    [b"BMW is a car, and no picture at all", b"P3 is what comes after P2", b"P5", b"RIFF\0\0\0\0AVI LIST", b"", b"II*"],
)
def test_what_only_begins_like_a_picture_is_none(text: bytes) -> None:
    assert kinds.kind_of(text) is None


def test_films_are_no_pictures_though_their_boxes_are_alike() -> None:
    assert kinds.kind_of(b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41") is None
    assert kinds.kind_of(b"\0\0\0\x14ftypqt  \0\0\2\0qt  ") is None
    assert kinds.kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert kinds.kind_of(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "HEIF"


def test_what_a_kind_needs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setattr(kinds, "find_spec", lambda name: None if name == "pillow_heif" else find_spec(name))
    with pytest.raises(UserError, match=r"a\.heic' cannot be read, since HEIF needs pip install 'onestroke\[heic\]'"):
        images.read(tmp_path / "a.heic")
    monkeypatch.setattr(features, "modules", {})
    assert kinds.unreadable("AVIF") == "needs Pillow 11.3 or newer" and kinds.unreadable("JPEG") == ""
