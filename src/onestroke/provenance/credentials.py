"""Content Credentials (C2PA): a signed manifest that names the photo as parent, written last and then verified.

The network is never used: no time stamp is asked for, no manifest and no revocation list is fetched. Nothing here says
that a signer is trusted: whoever reads a file decides that, by the certificates that they trust.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from onestroke.errors import UserError, printable
from onestroke.packages import require
from onestroke.provenance.origin import COMPOSITE, Origin
from onestroke.version import __version__

EXTRA = "c2pa"
HOW = "docs/provenance.md shows how to make a certificate of your own"
_TYPES = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff", "AVIF": "image/avif",
    "HEIF": "image/heif", "GIF": "image/gif", "BMP": "image/bmp", "PPM": "image/x-portable-pixmap",
    "JPEG2000": "image/jp2", "MP4": "video/mp4",
}  # fmt: skip
"""Kind of a file, mostly Pillow's name -> its media type."""
SIGNING = 3.5
"""Bytes that signing takes for each byte of the file, at most; measured with c2pa-python 0.38 and files of 300 MB."""
SIGNABLE = ("JPEG", "PNG", "WEBP", "TIFF")
OTHERS = "take png, jpg, webp or tiff, or leave out mark=c2pa"
_UNTRUSTED = "signingCredential.untrusted"
_MOST_PEM = 2**20


@dataclass(frozen=True)
class Verdict:
    """What C2PA's own reader says of a file.

    state: Valid, Trusted or Invalid; empty for a file without a manifest. problems: codes of what is wrong, without
    that of an unknown signer. signer: name in the certificate, as it says of itself. trusted: whether the certificate
    leads to one of those that were given as trusted. manifest: the active manifest.
    """

    state: str
    problems: tuple[str, ...] = ()
    signer: str = ""
    trusted: bool = False
    manifest: dict[str, Any] | None = None

    @property
    def valid(self) -> bool:
        """Whether there is a manifest, and the file is what was signed."""
        return self.state in ("Valid", "Trusted") and not self.problems


def media_type(kind: str) -> str:
    """The media type of a kind of file; empty for one that is not known."""
    return _TYPES.get(kind, "")


class Certificate:
    """A certificate chain and its private key, with which paintings are signed.

    Args:
        chain: file with the certificates in PEM: the signer's first, then those that vouch for it.
        key: file with the signer's private key in PEM, without a password.

    Raises:
        UserError: a file can't be read, is no certificate or key, or the two don't belong together; or the package
            c2pa-python is missing.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self.c2pa = require("c2pa", EXTRA)
        self.chain, private = _read(chain, "sign"), _read(key, "key")
        self.algorithm, self.key = _key(private, key)
        _check_pair(self.chain, chain, self.key, key)

    def signer(self) -> Any:
        """A new signer of c2pa-python, which a context consumes."""
        info = self.c2pa.C2paSignerInfo(self.algorithm, self.chain, self.key, None)
        return self.c2pa.Signer.from_info(info)


@dataclass(frozen=True)
class Credentials:
    """Signs one painting, see `encoding.Seal`.

    certificate: signs. origin: what is said of the painting. photo: the parent. kind: the photo's kind of file. title:
    the painting's file name. painted: False where nothing was painted.
    """

    certificate: Certificate
    origin: Origin
    photo: Path
    kind: str
    title: str
    painted: bool = True

    def seal(self, content: bytes, kind: str) -> bytes:
        """Sign the content of a file of a kind (Pillow's name).

        Raises:
            UserError: the kind can't be signed, or the certificate can't be used for this.
        """
        if kind not in SIGNABLE:
            raise UserError(f"{self.title} can't be signed, as {kind} holds no manifest: {OTHERS}")
        signed = io.BytesIO()
        self._sign(kind, io.BytesIO(content), signed)
        return signed.getvalue()

    def seal_file(self, path: Path, kind: str) -> None:
        """Replace a finished file by its signed copy, verified.

        Args:
            path: the file; one that can't be signed is left as it is.
            kind: one of Pillow's names, or MP4 for MP4 and MOV.

        Raises:
            UserError: as `seal` and `check`, or a file can't be read or written.
        """
        copy = path.with_name(f"{path.name}.signed")
        try:
            with path.open("rb") as content, copy.open("wb+") as signed:
                self._sign(kind, content, signed)
            self.check(copy, kind)
            os.replace(copy, path)
        except OSError as error:
            raise UserError(f"{self.title} was not signed: {error.strerror}") from error
        finally:
            copy.unlink(missing_ok=True)

    def _sign(self, kind: str, content: BinaryIO, signed: BinaryIO) -> None:
        c2pa = self.certificate.c2pa
        try:
            with c2pa.Context.from_dict(_settings(), signer=self.certificate.signer()) as context:
                with c2pa.Builder(json.dumps(self.manifest(kind)), context) as builder:
                    self._add_photo(builder)
                    builder.sign(_TYPES[kind], content, signed)
        except c2pa.C2paError as error:
            raise UserError(f"{self.title} was not signed: {printable(error, 300)}; {HOW}") from error

    def check(self, path: Path, kind: str) -> None:
        """Verify a written file with C2PA's own reader.

        Raises:
            UserError: it does not hold what was signed.
        """
        found = verify(path, kind)
        if not found.valid:
            reason = ", ".join(found.problems) or "no manifest is found"
            raise UserError(f"{self.title} was not written, since its signature does not verify: {reason}")

    def manifest(self, kind: str) -> dict[str, Any]:
        """The manifest's definition: the photo is opened first, then edited (or just converted)."""
        agent = {"name": "OneStroke", "version": __version__}
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["photo"]}}
        edited: dict[str, Any] = {"action": "c2pa.converted", "softwareAgent": agent}
        if self.painted:
            said = self.origin.sentence()
            edited |= {"action": "c2pa.edited", "digitalSourceType": COMPOSITE}
            edited["description"] = said[0].upper() + said[1:]
        return {
            "claim_generator_info": [agent],
            "title": self.title,
            "format": _TYPES[kind],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [opened, edited]}}],
        }

    def _add_photo(self, builder: Any) -> None:
        described = {"title": self.photo.name, "relationship": "parentOf", "instance_id": "photo", "label": "photo"}
        try:
            with self.photo.open("rb") as file:
                builder.add_ingredient(described, media_type(self.kind) or "application/octet-stream", file)
        except OSError as error:
            raise UserError(f"'{self.photo}' can't be read again: {error.strerror}") from error


def verify(path: Path, kind: str, trusted: bytes | None = None) -> Verdict:
    """Verify a file with C2PA's own reader.

    Args:
        path: the file.
        kind: of the file, one of Pillow's names or MP4.
        trusted: certificates in PEM that are trusted, or None.

    Raises:
        UserError: the file can't be read, or the package c2pa-python is missing.
    """
    c2pa = require("c2pa", EXTRA)
    if not media_type(kind):
        return Verdict("")
    try:
        with path.open("rb") as file, c2pa.Context.from_dict(_settings(trusted)) as context:
            with c2pa.Reader(_TYPES[kind], file, context=context) as reader:
                document = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return Verdict("")
    except c2pa.C2paError as error:
        return Verdict("Invalid", (printable(error, 300),))
    except OSError as error:
        raise UserError(f"'{path}' can't be read: {error.strerror}") from error
    return _verdict(document)


def _verdict(document: dict[str, Any]) -> Verdict:
    manifest = document.get("manifests", {}).get(document.get("active_manifest"))
    codes = [str(one.get("code")) for one in document.get("validation_status") or []]
    problems = tuple(dict.fromkeys(code for code in codes if code != _UNTRUSTED))
    state = str(document.get("validation_state", ""))
    signer = str(((manifest or {}).get("signature_info") or {}).get("common_name") or "")
    return Verdict(state, problems, signer, state == "Trusted", manifest)


def _settings(trusted: bytes | None = None) -> dict[str, Any]:
    """Settings of c2pa-python: no thumbnails, nothing from the network."""
    found: dict[str, Any] = {
        "version": 1,
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
    }
    if trusted is not None:
        found["trust"] = {"user_anchors": trusted.decode("utf-8", "replace")}
    return found


def read_trusted(path: Path) -> bytes:
    """Certificates that a user trusts, in PEM.

    Raises:
        UserError: the file can't be read or holds none.
    """
    return _read(path, "trust")


def _read(path: Path, option: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_PEM)
    except OSError as error:
        raise UserError(f"{option}={path} can't be read: {error.strerror}; {HOW}") from error
    wanted = b"PRIVATE KEY-----" if option == "key" else b"-----BEGIN CERTIFICATE-----"
    if wanted not in content:
        raise UserError(f"{option}={path} holds no {'private key' if option == 'key' else 'certificate'} in PEM; {HOW}")
    return content


def _key(content: bytes, path: Path) -> tuple[bytes, bytes]:
    """C2PA's name of a private key's algorithm, and the key in PKCS #8."""
    serialization = require("cryptography.hazmat.primitives.serialization", EXTRA)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise UserError(f"key={path} has a password: remove it with  openssl pkcs8 -topk8 -nocrypt") from error
    except Exception as error:  # cryptography raises exceptions of several kinds for damaged keys
        raise UserError(f"key={path} can't be read as a private key: {printable(error, 200)}; {HOW}") from error
    name = type(key).__name__.lower()
    curve = {"secp256r1": b"es256", "secp384r1": b"es384", "secp521r1": b"es512"}
    algorithm = curve.get(getattr(getattr(key, "curve", None), "name", ""))
    algorithm = b"ed25519" if "ed25519" in name else b"ps256" if "rsa" in name else algorithm
    if algorithm is None:
        raise UserError(f"key={path} can't sign for C2PA: take one of P-256, P-384, P-521, Ed25519 or RSA")
    plain = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return algorithm, plain


def _check_pair(chain: bytes, chain_path: Path, key: bytes, key_path: Path) -> None:
    """Raise a UserError unless the first certificate is that of the key."""
    x509 = require("cryptography.x509", EXTRA)
    serialization = require("cryptography.hazmat.primitives.serialization", EXTRA)
    try:
        certificates: Sequence[Any] = x509.load_pem_x509_certificates(chain)
        own = certificates[0].public_key()
    except Exception as error:
        raise UserError(f"sign={chain_path} can't be read as certificates: {printable(error, 200)}; {HOW}") from error
    if own != serialization.load_pem_private_key(key, password=None).public_key():
        raise UserError(f"the first certificate in sign={chain_path} is not that of key={key_path}")
