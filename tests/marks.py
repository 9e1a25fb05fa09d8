"""What the tests of marks share: a photo with metadata of its own, a certificate, and exiftool."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

REASON = "needs exiftool: ./scripts/setup_readers.sh"
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
PHOTO_XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
 xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:dc="http://purl.org/dc/elements/1.1/" xmp:Rating="4"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:my="http://example.org/my/" my:Own="kept"
 xmpMM:DocumentID="xmp.did:1" xmpMM:InstanceID="xmp.iid:2" tiff:Orientation="1"
 Iptc4xmpExt:DigitalSourceType="{CAPTURE}">
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">Zoë &amp; Co</rdf:li></rdf:Alt></dc:rights></rdf:Description>
</rdf:RDF></x:xmpmeta>""".encode()


def exiftool(path: Path) -> dict[str, Any]:
    """What exiftool reads in a file, `Group:Tag` -> value, or the test is skipped."""
    if shutil.which("exiftool") is None:
        if os.environ.get("ONESTROKE_READERS") == "required":
            pytest.fail(REASON)
        pytest.skip(REASON)
    done = subprocess.run(
        ["exiftool", "-json", "-struct", "-G1", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)[0]
    assert not [key for key in found if key.endswith((":Warning", ":Error"))], found
    return found


def photo(path: Path, xmp: bytes | None = PHOTO_XMP, height: int = 40, width: int = 56) -> Path:
    """A photo of colourful blocks, with the EXIF of a camera, and XMP where the format holds it."""
    blocks = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    more: dict[str, Any] = {} if xmp is None else {"xmp": xmp}
    if xmp is not None and path.suffix == ".png":
        more["pnginfo"] = PngImagePlugin.PngInfo()
        more["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    if xmp is not None and path.suffix == ".tif":
        exif[700] = xmp
    Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(path, exif=exif, **more)
    return path


def certificate(folder: Path, name: str = "A studio") -> tuple[Path, Path, Path]:
    """A chain of a certificate and its self-made root, the certificate's key, and the root: three files in PEM."""
    pytest.importorskip("c2pa", reason="needs pip install 'onestroke[c2pa]'")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = x509.NameOID
    subjects = [
        x509.Name([x509.NameAttribute(names.ORGANIZATION_NAME, name), x509.NameAttribute(names.COMMON_NAME, what)])
        for what in ("paintings", "root")
    ]
    begun = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
    made = []
    for i in range(2):
        usage = x509.KeyUsage(i == 0, False, False, False, False, i == 1, i == 1, False, False)
        builder = x509.CertificateBuilder(subjects[1], subjects[i], keys[i].public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(begun).not_valid_after(begun + datetime.timedelta(days=30))
        builder = builder.add_extension(x509.BasicConstraints(ca=i == 1, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        if i == 0:
            purposes = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[1].public_key())
        builder = builder.add_extension(identifier, critical=False)
        made.append(builder.sign(keys[1], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths = folder / "cert.pem", folder / "key.pem", folder / "root.pem"
    plain = serialization.NoEncryption()
    key = keys[0].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    for path, content in zip(paths, (made[0] + made[1], key, made[1]), strict=True):
        path.write_bytes(content)
    return paths
