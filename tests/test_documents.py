"""The document in a safetensors file, and the checksum over its tensors: bounded before they are believed."""

from __future__ import annotations

import json
import math
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from onestroke import documents, style_file
from onestroke.documents import KEY, MAX_HEADER, NAME, NoDocument, NotWhole
from onestroke.errors import UserError
from onestroke.perception.style_card import read_card
from onestroke.perception.vgg_weights import read_weights


def refused(text: str, pattern: str) -> None:
    with pytest.raises(NoDocument, match=pattern):
        documents.parse(text)


# --- headers --------------------------------------------------------------------------------------------


def large(path: Path) -> None:
    """A document that is larger than any may be."""
    save_file({"a": torch.zeros(1)}, path, metadata={KEY: json.dumps({"version": 1, "text": "x" * MAX_HEADER})})


def many(path: Path) -> None:
    """A hundred thousand tensors without a number in them."""
    entry = '"%07d":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}'
    header = ("{" + ",".join(entry % number for number in range(100_000)) + "}").encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


READERS: dict[str, Callable[[Path], object]] = {
    "style": style_file.load,
    "card": lambda path: read_card(path, 256, ["relu1_1"]),
    "vgg": lambda path: read_weights("vgg16", str(path)),
}


@pytest.mark.parametrize("make", [large, many])
def test_a_header_larger_than_any_of_ours_is_refused_before_it_is_read(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    make(path)
    for name, read in READERS.items():
        tracemalloc.start()
        try:
            with pytest.raises(UserError, match=r"its header has .* MiB, and 4 are the most") as raised:
                read(path)
            assert tracemalloc.get_traced_memory()[1] < 2**20, name
        finally:
            tracemalloc.stop()
        assert "\n" not in str(raised.value)


def test_a_header_as_large_as_may_be_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = json.dumps({"version": 1, "text": "x" * (MAX_HEADER - 400)})
    save_file({"a": torch.zeros(1)}, path, metadata={KEY: text})
    assert documents.read(path) == json.loads(text)


@pytest.mark.parametrize("content", [b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 2) + b"{}x"])
def test_what_has_no_sound_header_is_not_whole(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(NotWhole):
        documents.read(path)
    with pytest.raises(NotWhole):
        documents.read(tmp_path / "missing.safetensors")


# --- JSON -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", ['{"a":', "["])
@pytest.mark.parametrize("levels", [65, 500, 10_000, 1_000_000])
def test_a_document_nested_too_deeply_is_refused(opened: str, levels: int) -> None:
    closed = "}" if opened.startswith("{") else "]"
    refused('{"a":' + opened * levels + "1" + closed * levels + "}", "nested more than 64 levels deep|no JSON")


def test_a_document_as_deep_as_may_be_is_read() -> None:
    text = "[" * 62 + "1" + "]" * 62
    assert documents.parse('{"a":' + text + "}")["a"] == json.loads(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" + "0" * 400, "9" * 5000])
@pytest.mark.parametrize("where", ["{}", "[{}]", '{{"b": [1, {}]}}'])
def test_a_number_that_is_not_finite_is_refused_wherever_it_is(number: str, where: str) -> None:
    refused('{"a": ' + where.format(number) + "}", "not finite, or far too large|no JSON")


@pytest.mark.parametrize("text", ["", "1", "null", '"a"', "[{}]", "{'a': 1}", "{}{}", "\ufeff{}", "\0"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    refused(text, "it is no JSON")


def test_truth_values_are_no_numbers() -> None:
    for value in (True, False, None, "1", [1], math.nan, math.inf, 10**400):
        assert not documents.is_number(value)
        assert not documents.is_whole(value, -(10**9), 10**9)
    assert documents.is_number(0.5, 0, 1) and not documents.is_number(1.1, 0, 1) and not documents.is_number(-0.1, 0, 1)
    assert documents.is_whole(3, 3, 3) and not documents.is_whole(3.0, 3, 3) and not documents.is_whole(4, 3, 3)


def test_a_name_is_short_and_can_be_printed() -> None:
    for name in ("a", "Große Welle, “1”", "神奈川沖浪裏", "x" * NAME):
        assert documents.is_name(name)
    wrong: list[Any] = ["", " ", "x" * (NAME + 1), "x" * 3_000_000, "a\nb", "a\x1b[2J", "a\x7f", "a\x9b2J", "\u202eabc"]
    for name in [*wrong, "\ud800", None, 5, ["a"], b"a"]:
        assert not documents.is_name(name), repr(name)[:40]


# --- checksum -------------------------------------------------------------------------------------------


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.randn(2, 6, generator=generator).half(),
        "b": torch.tensor(1.5),
        "c": torch.zeros(0, 3),
        "d": torch.zeros(4),
    }


def test_the_checksum_does_not_depend_on_order_or_memory_layout() -> None:
    whole = tensors()
    turned = {name: whole[name] for name in reversed(whole)}
    turned["a"] = whole["a"].t().contiguous().t()
    assert turned["a"].stride() != whole["a"].stride()
    assert documents.checksum(turned) == documents.checksum(whole)
    assert documents.checksum(whole).startswith("sha256:") and len(documents.checksum(whole)) == 71


def flipped(tensor: Tensor, bit: int) -> Tensor:
    content = tensor.clone().reshape(-1).view(torch.uint8)
    content[bit // 8] ^= 1 << bit % 8
    return content.view(tensor.dtype).view(tensor.shape)


CHANGES: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "renamed": lambda t: t.update({"z": t.pop("a")}),
    "renamed in its place": lambda t: t.update({"e": t.pop("d")}),
    "swapped": lambda t: t.update({"b": t["a"], "a": t["b"]}),
    "missing": lambda t: t.pop("c"),
    "more": lambda t: t.update({"e": torch.zeros(0)}),
    "retyped": lambda t: t.update({"a": t["a"].view(torch.bfloat16)}),
    "as whole numbers": lambda t: t.update({"a": t["a"].view(torch.int16)}),
    "reshaped": lambda t: t.update({"a": t["a"].reshape(3, 4)}),
    "flattened": lambda t: t.update({"b": t["b"].reshape(1)}),
    "reshaped though empty": lambda t: t.update({"c": torch.zeros(3, 0)}),
    "turned": lambda t: t.update({"a": t["a"].t().reshape(2, 6)}),
    "minus zero": lambda t: t.update({"d": -t["d"]}),
    "its first bit": lambda t: t.update({"a": flipped(t["a"], 0)}),
    "its last bit": lambda t: t.update({"a": flipped(t["a"], 191)}),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_the_checksum_tells_of_any_change(change: str) -> None:
    changed = tensors()
    CHANGES[change](changed)
    assert documents.checksum(changed) != documents.checksum(tensors())
