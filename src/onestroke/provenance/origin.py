"""What a mark says about a painting: the style file, its styles, and the settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onestroke.errors import UserError
from onestroke.style_document import Metadata

COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's digital source type of a photo that a trained network has painted."""
_LONGEST = 300  # characters of a text from a style file


@dataclass(frozen=True)
class StyleFacts:
    """A style of a mix: its name and share, and what the style file knows about the painting that it was trained on."""

    name: str
    share: float = 1.0
    title: str = ""
    artist: str = ""
    licence: str = ""

    def __str__(self) -> str:
        """Such as `The Starry Night by Vincent van Gogh (60 %)`."""
        named = f"{self.title or self.name}{f' by {self.artist}' if self.artist else ''}"
        return named if self.share == 1 else f"{named} ({self.share:.0%})"


@dataclass(frozen=True)
class Origin:
    """What paintings of one run have in common.

    file: name of the style file, without its folder; empty for direct optimisation. sha256: of that file, in
    hexadecimal digits. styles: those of the mix. settings: name -> value, as text.
    """

    file: str
    sha256: str
    styles: tuple[StyleFacts, ...]
    settings: Mapping[str, str]

    def sentence(self, painted: bool = True) -> str:
        """The same in one line, for the history of a picture or the comment of a clip."""
        styles = ", ".join(map(str, self.styles))
        file = f", {self.file} (sha256 {self.sha256})" if self.file else ""
        settings = "".join(f"; {name} {value}" for name, value in self.settings.items())
        done = "painted" if painted else "as it was, with nothing painted"
        return f"{done} in the style of {styles}{file}{settings}"

    def with_settings(self, settings: Mapping[str, object]) -> Origin:
        """The same with more settings, as `origin_of` takes them."""
        return replace(self, settings={**self.settings, **_texts(settings)})


def origin_of(path: Path, document: Metadata, settings: Mapping[str, object]) -> Origin:
    """The origin of paintings of a style file.

    Args:
        path: the style file, or an ONNX file.
        document: of the file, narrowed to the chosen styles and controls (`Stylizer.metadata`).
        settings: others than strength and stroke, which the document has, by name, see `recorded`; None and False are
            left out.

    Raises:
        UserError: the file can't be read.
    """
    controls = {name: document.style.get(name) for name in ("strength", "stroke")}
    return Origin(path.name, sha256_of(path), styles_of(document.style), _texts({**controls, **settings}))


def recorded(
    color: str = "style", mask: str | None = None, style_map: str | None = None, feather: float = 0.0, **more: object
) -> dict[str, object]:
    """The settings of a run that are recorded: of a mask and a style map that there was one, never its file.

    Args:
        color, mask, style_map, feather: as the options of these names; the mask is a path, alpha or None.
        more: other settings, which hold no path.
    """
    said = {None: "none", "alpha": "alpha"}.get(mask, "a grey picture")
    return {"style_map": style_map is not None, "color": color, "mask": said, "feather": feather or None, **more}


def styles_of(style: Mapping[str, Any]) -> tuple[StyleFacts, ...]:
    """The styles that a style document was narrowed to, with their shares."""
    listed = [one for one in style.get("styles", []) if isinstance(one, dict)]
    shares = style.get("mix")
    if not isinstance(shares, dict):
        shares = {str(one.get("name")): 1 / len(listed) for one in listed}
    found = tuple(_facts(one, shares.get(str(one.get("name")), 0)) for one in listed)
    return found or (StyleFacts(_short(style.get("name", "unnamed"))),)


def _facts(one: Mapping[str, Any], share: object) -> StyleFacts:
    texts = {name: _short(one.get(name) or "") for name in ("name", "title", "artist", "licence")}
    return StyleFacts(**texts, share=float(share) if isinstance(share, int | float) else 0.0)


def _short(text: object) -> str:
    return str(text)[:_LONGEST]


def _texts(settings: Mapping[str, object]) -> dict[str, str]:
    given = {name: value for name, value in settings.items() if value is not None and value is not False}
    return {
        name: "yes" if value is True else f"{value:g}" if isinstance(value, int | float) else _short(value)
        for name, value in given.items()
    }


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        UserError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror}") from error
    return digest.hexdigest()
