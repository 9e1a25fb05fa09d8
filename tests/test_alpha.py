"""What can't be seen must not matter: pictures that look the same are read, shrunk and painted the same."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from onestroke.errors import UserError
from onestroke.imaging import images
from onestroke.imaging.decoding import alpha
from onestroke.inference.compositing import recoloured
from onestroke.inference.controls import read_grey
from tests.test_images import chunk, png

Bytes = npt.NDArray[np.uint8]
SIZE = (57, 71)


def disc() -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside: npt.NDArray[np.bool_] = (y - 28) ** 2 + (x - 30) ** 2 < 400
    return inside


def colours(hidden: int) -> Bytes:
    """One picture where it is visible; elsewhere noise of another seed each time."""
    shown = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    other = np.random.default_rng(hidden).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return np.where(disc()[..., None], shown, other)


def rgba(path: Path, hidden: int) -> None:
    Image.fromarray(np.dstack((colours(hidden), disc() * np.uint8(255)))).save(path.with_suffix(".png"))


def grey_alpha(path: Path, hidden: int) -> None:
    Image.fromarray(np.dstack((colours(hidden)[..., 0], disc() * np.uint8(255))), "LA").save(path.with_suffix(".png"))


def palette(path: Path, hidden: int) -> None:
    image = Image.fromarray(np.where(disc(), colours(0)[..., 0] // 2, 200).astype(np.uint8), "P")
    entries = np.random.default_rng(5).integers(0, 256, (256, 3))
    entries[200] = np.random.default_rng(hidden).integers(0, 256, 3)
    image.putpalette(entries.astype(np.uint8).tobytes())
    image.save(path.with_suffix(".png"), transparency=200)


def gif(path: Path, hidden: int) -> None:
    palette(path, hidden)
    with Image.open(path.with_suffix(".png")) as image:
        image.save(path.with_suffix(".gif"), transparency=200)
    path.with_suffix(".png").unlink()


def colour_key(path: Path, hidden: int) -> None:
    key = (201, 202, 203 + hidden)
    stored = np.where(disc()[..., None], np.minimum(colours(0), 200), key).astype(np.uint8)
    Image.fromarray(stored).save(path.with_suffix(".png"), transparency=key)


def deep_key(path: Path, hidden: int) -> None:
    values = np.where(disc(), colours(0)[..., 0].astype(np.uint16) * 100, 60000 + hidden).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    mark = chunk(b"tRNS", struct.pack(">H", 60000 + hidden))
    path.with_suffix(".png").write_bytes(png(SIZE[1], SIZE[0], 16, 0, rows, mark))


PAIRS: list[Callable[[Path, int], None]] = [rgba, grey_alpha, palette, gif, colour_key, deep_key]


def written(folder: Path, make: Callable[[Path, int], None], hidden: int) -> Path:
    make(folder / f"{make.__name__}{hidden}", hidden)
    return next(folder.glob(f"{make.__name__}{hidden}.*"))


@pytest.mark.parametrize("max_side", [None, 40, 13])
@pytest.mark.parametrize("make", PAIRS)
def test_pictures_that_look_the_same_are_read_the_same(
    tmp_path: Path, make: Callable[[Path, int], None], max_side: int | None
) -> None:
    one, other = (images.read(written(tmp_path, make, hidden), max_side=max_side) for hidden in (1, 2))
    assert one.alpha is not None and other.alpha is not None and torch.equal(one.alpha, other.alpha)
    assert 0.2 < float(one.alpha.mean()) < 0.5
    assert (one.rgb - other.rgb).abs().max() < 1e-4


def test_what_is_visible_is_kept_to_the_bit_and_what_is_hidden_is_near_it(tmp_path: Path) -> None:
    path = written(tmp_path, rgba, 1)
    got = (images.read(path).rgb[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(got[disc()], colours(1)[disc()])
    flat = np.zeros((*SIZE, 4), np.uint8)
    flat[..., :3] = np.where(disc()[..., None], (200, 100, 50), (0, 255, 0))
    flat[..., 3] = disc() * 255
    Image.fromarray(flat).save(tmp_path / "flat.png")
    picture = images.read(tmp_path / "flat.png")
    assert (picture.rgb * 255 - torch.tensor([200.0, 100, 50]).view(1, 3, 1, 1)).abs().max() < 1.01
    small = images.read(tmp_path / "flat.png", max_side=20)
    assert (small.rgb * 255 - torch.tensor([200.0, 100, 50]).view(1, 3, 1, 1)).abs().max() < 1.01


def test_all_that_is_half_visible_or_opaque_stays_to_the_bit(tmp_path: Path) -> None:
    stored = np.random.default_rng(3).integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    stored[..., 3] = np.maximum(stored[..., 3], 16)
    Image.fromarray(stored).save(tmp_path / "half.png")
    picture = images.read(tmp_path / "half.png")
    assert np.array_equal((picture.rgb[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), stored[..., :3])


def test_wholly_transparent_is_neutral(tmp_path: Path) -> None:
    stored = np.random.default_rng(3).integers(0, 256, (*SIZE, 4), dtype=np.uint8)
    stored[..., 3] = 0
    Image.fromarray(stored).save(tmp_path / "none.png")
    for side in (None, 9):
        assert (images.read(tmp_path / "none.png", max_side=side).rgb - 0.5).abs().max() < 0.003


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_where_nothing_is_visible_no_neighbours_are_asked(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of such a picture a small file may claim many pixels."""
    pixels, hidden = torch.full((1, 3, 9, 14), 7).to(dtype), torch.zeros(1, 1, 9, 14, dtype=dtype)
    seen = hidden.clone()
    seen[..., 0, 0] = 1
    monkeypatch.setattr(alpha, "_filled", lambda *_: pytest.fail("neighbours were asked"))
    alpha.fill(pixels, hidden)
    assert pixels.unique().tolist() == [128 if dtype == torch.uint8 else 0.5]
    with pytest.raises(pytest.fail.Exception):
        alpha.fill(pixels, seen)


def test_matched_colours_count_as_much_as_they_are_seen() -> None:
    torch.manual_seed(0)
    painting, photo = torch.rand(1, 3, 12, 20), torch.rand(1, 3, 12, 20) * 0.5 + 0.2
    alpha = torch.ones(1, 1, 12, 20)
    alpha[..., 10:] = 0
    other = photo.clone()
    other[..., 10:] = torch.rand(1, 3, 12, 10)
    found, of_other = (recoloured(painting, p, "match", alpha) for p in (photo, other))
    assert torch.allclose(found, of_other, atol=1e-6)
    alone = recoloured(painting[..., :10], photo[..., :10], "match")
    assert torch.allclose(found[..., :10], alone, atol=1e-5)


def test_a_mask_is_luminance_times_alpha_of_the_photos_aspect(tmp_path: Path) -> None:
    stored = np.full((20, 40, 4), 255, np.uint8)
    stored[:, :20, 3] = 0
    stored[:, 20:30, :3] = 0
    Image.fromarray(stored).save(tmp_path / "mask.png")
    mask = read_grey(str(tmp_path / "mask.png"), 20, 40)
    assert mask.shape == (1, 1, 20, 40)
    assert (mask[..., :30] == 0).all() and (mask[..., 30:] == 1).all()
    assert read_grey(str(tmp_path / "mask.png"), 31, 61).shape == (1, 1, 31, 61)  # a pixel is what rounding takes
    with pytest.raises(UserError, match=r"mask\.png' has another aspect, 40 : 20, than the photo of 40 x 40"):
        read_grey(str(tmp_path / "mask.png"), 40, 40)


def test_where_alpha_is_a_mask_colours_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, rgba, 1)
    picture = images.read(path, alpha_hides=False)
    assert np.array_equal((picture.rgb[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), colours(1))
    small = images.read(path, max_side=40, alpha_hides=False)
    assert (small.rgb - images.fit(picture.rgb, max_side=40)).abs().max() < 1e-5
