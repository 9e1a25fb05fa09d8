"""Content Credentials: signed, verified by C2PA's own reader, and never said to be trusted where nobody vouches."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from onestroke import style_file
from onestroke.cli import infer, optimize, provenance
from onestroke.imaging.finding import is_painting
from onestroke.networks.residual import ResidualNetwork
from onestroke.provenance import clips, credentials, packet, reading
from onestroke.provenance.origin import COMPOSITE, Origin, StyleFacts
from onestroke.style_document import Metadata
from tests.commands import ROOT
from tests.marks import certificate, exiftool, photo

KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
SIGNED = ("mark=c2pa", "sign=cert.pem", "key=key.pem")


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In a folder with a photo, a style file, a certificate with its key, and no network."""
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("something asks for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    arguments: dict[str, Any] = {"channels": [4, 4, 4], "blocks": 1, "ends": 3}
    torch.manual_seed(0)
    network = ResidualNetwork(**arguments, controls=["strength"])
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    document = Metadata(
        {"name": "ResidualNetwork", "args": {**arguments, "controls": ["strength"]}},
        {"name": "one", "size": 256, "styles": [{"name": "one", "title": "The One"}]},
    )
    style_file.save(tmp_path / "one.safetensors", network, document)
    photo(tmp_path / "photo.jpg")
    certificate(tmp_path)
    return tmp_path


def paint(*arguments: str) -> int:
    return infer.main(["ckpt=one.safetensors", "overwrite=true", *arguments])


@pytest.mark.parametrize("suffix", KINDS)
def test_a_signed_painting_verifies_until_a_bit_is_flipped(inside: Path, suffix: str) -> None:
    assert paint("input=photo.jpg", f"output=p.{suffix}", *SIGNED) == 0
    path = inside / f"p.{suffix}"
    found = credentials.verify(path, KINDS[suffix])
    assert (found.valid, found.state, found.trusted, found.signer) == (True, "Valid", False, "paintings")
    assert reading.read(path).source_type == COMPOSITE and is_painting(path), "the other marks are there too"
    content = bytearray(path.read_bytes())
    place = content.rindex(b"DigitalSourceType") if suffix != "jpg" else len(content) - 99
    for at in (place, len(content) // 2 if suffix == "tif" else place + 4):
        content[at] ^= 1
        path.write_bytes(content)
        found = credentials.verify(path, KINDS[suffix])
        assert not found.valid and "assertion.dataHash.mismatch" in found.problems
        content[at] ^= 1


def actions(path: Path, kind: str) -> list[dict[str, Any]]:
    manifest = credentials.verify(path, kind).manifest
    assert manifest is not None
    (said,) = (one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions"))
    found: list[dict[str, Any]] = said
    return found


def test_the_manifest_opens_the_photo_and_then_edits_it(inside: Path) -> None:
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 0
    assert paint("input=photo.jpg", "output=plain.png") == 0
    manifest = credentials.verify(inside / "p.png", "PNG").manifest
    assert manifest is not None
    (parent,) = manifest["ingredients"]
    assert (parent["relationship"], parent["title"], parent["format"]) == ("parentOf", "photo.jpg", "image/jpeg")
    assert "thumbnail" not in manifest and "thumbnail" not in parent
    opened, edited = actions(inside / "p.png", "PNG")
    assert opened["action"] == "c2pa.opened" and parent["label"] in opened["parameters"]["ingredients"][0]["url"]
    assert (edited["action"], edited["digitalSourceType"]) == ("c2pa.edited", COMPOSITE)
    assert "The One, one.safetensors (sha256 " in edited["description"]
    assert Path("p.png").stat().st_size - Path("plain.png").stat().st_size < 8000


def clip(path: Path, metadata: dict[str, str]) -> Path:
    """An MP4 of five frames, with metadata of its container."""
    av = pytest.importorskip("av", reason="needs pip install 'onestroke[video]'")
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata)
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i * 40, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_painted_clip_is_marked_signed_and_still_plays(inside: Path) -> None:
    parent = clip(inside / "mine.mp4", {"title": "Mine"})
    origin = Origin("one.safetensors", "0" * 64, (StyleFacts("one", title="The One"),), {"strength": "0.5"})
    painted = clip(inside / "painted.mp4", clips.container_metadata(origin, {"title": "Mine"}))
    with painted.open("ab") as file:
        file.write(clips.xmp_box(packet.of_painting(None, origin, True, 2**20)))
    own = credentials.Certificate(inside / "cert.pem", inside / "key.pem")
    seal = credentials.Credentials(own, origin, parent, reading.kind(parent), "signed.mp4")
    painted.rename(inside / "signed.mp4")
    seal.seal_file(inside / "signed.mp4", "MP4")
    assert reading.read(inside / "signed.mp4").source_type == COMPOSITE
    found = exiftool(inside / "signed.mp4")
    assert found["XMP-onestroke:StyleFile"] == "one.safetensors" and found["ItemList:Title"] == "Mine"
    assert found["ItemList:Comment"].startswith("painted in the style of The One")
    av = pytest.importorskip("av")
    with av.open(str(inside / "signed.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5
    content = bytearray((inside / "signed.mp4").read_bytes())
    content[content.index(b"mdat") + 40] ^= 1
    (inside / "signed.mp4").write_bytes(content)
    assert not credentials.verify(inside / "signed.mp4", "MP4").valid


def test_where_nothing_is_painted_no_source_is_claimed(inside: Path) -> None:
    assert paint("input=photo.jpg", "output=p.png", "strength=0", *SIGNED) == 0
    opened, converted = actions(inside / "p.png", "PNG")
    assert (opened["action"], converted["action"]) == ("c2pa.opened", "c2pa.converted")
    assert "digitalSourceType" not in converted


def test_the_manifest_of_a_painting_that_is_painted_again_holds_both(inside: Path) -> None:
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 0
    assert paint("input=p.png", "output=q.webp", *SIGNED) == 0
    found = credentials.verify(inside / "q.webp", "WEBP")
    assert found.valid and found.manifest is not None
    assert found.manifest["ingredients"][0]["active_manifest"]
    assert len(reading.read(inside / "q.webp").history) == 2


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "gif", "avif"])
def test_a_photo_of_any_kind_is_a_parent(inside: Path, suffix: str) -> None:
    Image.new("RGB", (40, 30), (90, 20, 200)).save(f"other.{suffix}")
    assert paint(f"input=other.{suffix}", "output=p.png", *SIGNED) == 0
    found = credentials.verify(inside / "p.png", "PNG")
    assert found.valid and found.manifest is not None
    assert found.manifest["ingredients"][0]["title"] == f"other.{suffix}"


def test_verify_and_show_claim_no_trust_that_is_not_there(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 0
    capsys.readouterr()
    assert provenance.verify(["p.png"]) == 0
    own = capsys.readouterr().out
    assert "in the name of 'paintings'" in own and own.endswith("which nobody here vouches for\n")
    assert provenance.show(["p.png"]) == 0
    assert "which nobody here vouches for" in capsys.readouterr().out
    assert provenance.verify(["p.png", "trust=root.pem"]) == 0
    assert "which your trusted certificates vouch for" in capsys.readouterr().out
    others = inside / "others"
    others.mkdir()
    certificate(others, "Another studio")
    assert provenance.verify(["p.png", "trust=others/root.pem"]) == 0
    assert "which nobody here vouches for" in capsys.readouterr().out
    Path("p.png").write_bytes(Path("p.png").read_bytes().replace(b"The One", b"The Two"))
    assert provenance.verify(["p.png", "trust=root.pem"]) == 1
    assert "DON'T verify" in capsys.readouterr().out
    assert paint("input=photo.jpg", "output=plain.png") == 0
    assert provenance.verify(["plain.png"]) == 1
    assert "no Content Credentials, so there is nothing to verify" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mark=c2pa"], "needs a certificate chain and its private key, sign=cert.pem key=key.pem"),
        (["mark=c2pa", "sign=cert.pem"], "needs a certificate chain and its private key"),
        (["sign=cert.pem", "key=key.pem"], "sign and key are for mark=c2pa, and this is mark=xmp"),
        (["mark=none", "sign=cert.pem"], "this is mark=none"),
        (["mark=c2pa", "sign=gone.pem", "key=key.pem"], "sign=gone.pem can't be read"),
        (["mark=c2pa", "sign=key.pem", "key=key.pem"], "sign=key.pem holds no certificate"),
        (["mark=c2pa", "sign=cert.pem", "key=cert.pem"], "key=cert.pem holds no private key"),
        (["mark=c2pa", "sign=cert.pem", "key=other/key.pem"], "is not that of key=other/key.pem"),
        (["mark=c2pa", "sign=cert.pem", "key=locked.pem"], "has a password"),
        (["mark=c2pa", "sign=cert.pem", "key=broken.pem"], "can't be read as a private key"),
        ([*SIGNED, "format=bmp"], ".bmp files hold no Content Credentials"),
    ],
)
def test_what_is_missing_is_said(
    inside: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from cryptography.hazmat.primitives import serialization

    (inside / "other").mkdir()
    certificate(inside / "other")
    key: Any = serialization.load_pem_private_key(Path("key.pem").read_bytes(), None)
    form, pem = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
    Path("locked.pem").write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"x")))
    Path("broken.pem").write_text("-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n")
    assert paint("input=photo.jpg", "output=out/", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not (inside / "out").exists()


def test_a_certificate_that_may_not_sign_writes_nothing(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The root alone, which C2PA allows no signatures of."""
    shutil.copy("root.pem", "cert.pem")
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 2
    assert "is not that of key=key.pem" in capsys.readouterr().err
    assert not Path("p.png").exists()


def test_what_does_not_verify_is_not_written(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = credentials.Credentials.seal
    monkeypatch.setattr(credentials.Credentials, "seal", lambda self, *more: signed(self, *more)[:-40] + bytes(40))
    Path("p.jpg").write_bytes(b"before")
    assert paint("input=photo.jpg", "output=p.jpg", *SIGNED) == 2
    assert "was not written, since its signature does not verify" in capsys.readouterr().err
    assert Path("p.jpg").read_bytes() == b"before"


def test_direct_optimisation_signs_too(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["style=starry_night", "input=photo.jpg", "size=16", "scales=1", "iterations=1", *SIGNED]
    assert optimize.main([*common, "output=p.bmp"]) == 2
    assert ".bmp files hold no Content Credentials" in capsys.readouterr().err
    assert optimize.main([*common, "output=p.png"]) == 0
    assert credentials.verify(inside / "p.png", "PNG").valid


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_documented_commands_make_a_chain_that_signs(inside: Path) -> None:
    text = (ROOT / "docs" / "provenance.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```bash\n(.*?openssl.*?)```", text, re.DOTALL)
    subprocess.run(["bash", "-euc", block], check=True, capture_output=True)
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 0
    assert credentials.verify(inside / "p.png", "PNG").signer == "My studio paintings"


def test_without_the_package_it_is_named(
    inside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    assert paint("input=photo.jpg", "output=p.png", *SIGNED) == 2
    assert "pip install 'onestroke[c2pa]'" in capsys.readouterr().err
    assert provenance.verify(["photo.jpg"]) == 2
