"""Files of `torch.save` from anyone: what would take memory or time is refused before it is unpickled."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from onestroke import torch_files
from onestroke.errors import UserError
from onestroke.interop import layout
from onestroke.perception.vgg_weights import read_weights
from onestroke.training import resume_file

LISTS = 40_000_000
READERS: dict[str, Callable[[Path], object]] = {
    "import": layout.read,
    "vgg.weights": lambda path: read_weights("vgg16", str(path)),
    "resume": resume_file.read,
}


def pickle(lists: int) -> bytes:
    """So many lists, one in the other."""
    return b"\x80\x02" + b"]" * lists + b"a" * (lists - 1) + b"."


def zipped(path: Path, content: bytes, kind: int = zipfile.ZIP_STORED, name: str = "archive/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, content)
        archive.writestr("archive/version", b"3\n")
    return path


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pickle of 40 MB, bare and in archives, and what comes in under the limit of bytes and asks for much."""
    folder = tmp_path_factory.mktemp("bombs")
    content = b"\x80\x02" + b"]" * LISTS + b"."
    (folder / "bare.pth").write_bytes(content)
    return {
        "bare": folder / "bare.pth",
        "stored": zipped(folder / "stored.pth", content),
        "deflated": zipped(folder / "deflated.pth", content, zipfile.ZIP_DEFLATED),
        "stored, 3 MB": zipped(folder / "small.pth", pickle(1_500_000)),
    }


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("bomb", "most"), [("bare", 300_001), ("stored", 0), ("deflated", 0), ("stored, 3 MB", 300_001)]
)
def test_a_pickle_of_millions_of_lists_is_refused_before_anything_is_made_of_it(
    bomb: str, most: int, reader: str, bombs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    genops = pickletools.genops

    def counted(file: IO[bytes]) -> Iterator[Any]:
        nonlocal steps
        for operation in genops(file):
            steps += 1
            yield operation

    monkeypatch.setattr(pickletools, "genops", counted)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    with pytest.raises(UserError) as raised:
        READERS[reader](bombs[bomb])
    assert "\n" not in str(raised.value) and str(bombs[bomb]) in str(raised.value)
    assert steps <= most


@pytest.mark.parametrize("reader", READERS)
def test_archives_of_too_many_entries_or_two_of_one_name_are_refused(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"\x80\x02N.")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    with pytest.raises(UserError, match="too many entries, or two of one name"):
        READERS[reader](path)


@pytest.mark.parametrize("named", ["os system", "torch.nn.modules.conv Conv2d", "torch FloatTensor", "builtins eval"])
def test_what_a_pickle_names_but_tensors_is_refused_by_name(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    content = b"\x80\x02c" + named.replace(" ", "\n").encode() + b"\n."
    (tmp_path / "bare.pth").write_bytes(content)
    for path in (tmp_path / "bare.pth", zipped(tmp_path / "zipped.pth", content)):
        with pytest.raises(torch_files.NotPlain, match=f"more than plain weights: {named}"):
            torch_files.read(path, 2**20)


@pytest.mark.parametrize("old", [False, True])
def test_what_torch_saves_of_plain_tensors_is_read(old: bool, tmp_path: Path) -> None:
    path, saved = tmp_path / "a.pth", {"a": torch.arange(6.0).view(2, 3), "b": [1, "x", {"c": None}]}
    torch.save(saved, path, _use_new_zipfile_serialization=not old)
    loaded = torch_files.read(path, 2**20)
    assert isinstance(loaded, dict)
    assert torch.equal(loaded["a"], torch.arange(6.0).view(2, 3)) and loaded["b"] == saved["b"]
    with pytest.raises(torch_files.NotPlain, match="are the most"):
        torch_files.read(path, 100)
