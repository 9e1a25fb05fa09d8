"""The options mark, sign and key, and the marks that they put on paintings: where each comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from onestroke.errors import UserError, escaped
from onestroke.imaging import images
from onestroke.imaging.finding import is_painting
from onestroke.provenance import packet, reading
from onestroke.provenance.credentials import HOW, Certificate, Credentials
from onestroke.provenance.marking import is_painted
from onestroke.provenance.origin import Origin

Mark = Literal["xmp", "c2pa", "none"]
MARK: dict[str, Any] = {
    "help": "how a painting says where it comes from: xmp; c2pa, signed Content Credentials besides; or none",
    "default": "xmp", "choices": get_args(Mark),
}  # fmt: skip
SIGN: dict[str, Any] = {
    "help": "mark=c2pa: certificates in PEM, the signer's first",
    "default": None, "placeholder": "CERT.pem", "path": True,
}  # fmt: skip
KEY: dict[str, Any] = {
    "help": "mark=c2pa: the signer's private key in PEM", "default": None, "placeholder": "KEY.pem", "path": True,
}  # fmt: skip
_NAMED = 3  # files that a message names


def check_mark(mark: str, sign: str | None, key: str | None) -> None:
    """Raise a UserError for options that can't be combined."""
    if mark != "c2pa" and (sign or key):
        raise UserError(f"sign and key are for mark=c2pa, and this is mark={mark}: add mark=c2pa, or leave them out")
    if mark == "c2pa" and not (sign and key):
        raise UserError(
            "mark=c2pa needs a certificate chain and its private key, sign=cert.pem key=key.pem: "
            f"OneStroke ships none; {HOW}"
        )


@dataclass
class Marker:
    """Marks the paintings of one run.

    origin: what is said of all of them; None for mark=none. certificate: signs; None but for mark=c2pa. more: what is
    said besides of the painting of a photo of a height and width in pixels, by name. repainted: photos that are
    paintings already. without: paintings in a format without XMP.
    """

    origin: Origin | None
    certificate: Certificate | None = None
    more: Callable[[int, int], Mapping[str, object]] = lambda height, width: {}
    repainted: list[Path] = field(default_factory=list)
    without: list[Path] = field(default_factory=list)

    def marks(self, photo: Path, picture: images.Picture, place: Path, painting: Tensor) -> Mapping[str, Any]:
        """The arguments `xmp` and `seal` of `images.write`.

        Args:
            photo: the file of the photo.
            picture: the photo.
            place: the file of the painting.
            painting: (3, H, W) or (1, 3, H, W), in [0, 1].

        Raises:
            UserError: the file has no room for the mark, or the format can't be signed.
        """
        painted = self.origin is not None and is_painted(picture.rgb, painting, self.origin)
        content = self.xmp(photo, picture.size, picture.xmp, place, painted)
        if self.origin is None:
            return {}
        seal = self.seal(photo, picture.size, place, painted)
        return {"xmp": content} if seal is None else {"xmp": content, "seal": seal}

    def seal(self, photo: Path, size: tuple[int, int], place: Path, painted: bool) -> Credentials | None:
        """What signs a painting; None but for mark=c2pa. The arguments are as for `xmp`."""
        if self.certificate is None or self.origin is None:
            return None
        origin = self.origin.with_settings(self.more(*size))
        return Credentials(self.certificate, origin, photo, reading.kind(photo), place.name, painted)

    def xmp(self, photo: Path, size: tuple[int, int], own: bytes | None, place: Path, painted: bool) -> bytes | None:
        """The XMP packet of a painting; None for mark=none, and for a format that holds none.

        Args:
            photo: the file of the photo.
            size: height and width of the painting, in pixels.
            own: the photo's XMP packet, or None.
            place: the file of the painting.
            painted: whether anything of the photo was painted, see `is_painted`.

        Raises:
            UserError: the file has no room for the mark.
        """
        if is_painting(photo) or reading.painted_before(own):
            self.repainted.append(photo)
        if self.origin is None:
            return None
        room = images.xmp_room(place.suffix)
        if not room:
            self.without.append(place)
        return packet.of_painting(own, self.origin.with_settings(self.more(*size)), painted, room) if room else None

    def remarks(self) -> list[str]:
        """Sentences about the run's paintings for its end; none where there is nothing to say."""
        found = []
        if self.repainted:
            grown = "" if self.origin is None else "; the history in their metadata has each time"
            found.append(f"painted again, as these are paintings of OneStroke already: {_named(self.repainted)}{grown}")
        if self.without:
            found.append(f"BMP holds no XMP, so only its header marks these as paintings: {_named(self.without)}")
        return found


def _named(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(escaped(str(path)) for path in paths[:_NAMED]) + more


def certificate_of(sign: str | None, key: str | None) -> Certificate | None:
    """The certificate of the options sign and key, or None.

    Raises:
        UserError: as `Certificate`.
    """
    return Certificate(Path(sign), Path(key)) if sign and key else None
