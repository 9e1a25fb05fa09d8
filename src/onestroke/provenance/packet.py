"""The XMP packet of a painting: what its photo's packet says, as far as it is still true, and where it comes from."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from onestroke.errors import UserError
from onestroke.imaging import xmp
from onestroke.imaging.xmp import RDF, NoPacket, Packet
from onestroke.provenance.origin import COMPOSITE, Origin
from onestroke.version import __version__

AGENT = f"OneStroke {__version__}"
_IPTC, _MM = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "http://ns.adobe.com/xap/1.0/mm/"
_EVENT, _REF = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#", "http://ns.adobe.com/xap/1.0/sType/ResourceRef#"
_TIFF, _EXIF, _XAP = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
OWN = "urn:onestroke:painting:1.0/"
"""The namespace of what is said in OneStroke's own words."""
_PREFIXES = {
    _IPTC: "Iptc4xmpExt", _MM: "xmpMM", _EVENT: "stEvt", _REF: "stRef", _TIFF: "tiff", _EXIF: "exif", _XAP: "xmp",
    _PHOTOSHOP: "photoshop", OWN: "onestroke", "http://purl.org/dc/elements/1.1/": "dc",
}  # fmt: skip

SOURCE_TYPE, HISTORY = f"{{{_IPTC}}}DigitalSourceType", f"{{{_MM}}}History"
ACTION, SOFTWARE, PARAMETERS = f"{{{_EVENT}}}action", f"{{{_EVENT}}}softwareAgent", f"{{{_EVENT}}}parameters"
_LI = f"{{{RDF}}}li"
# Properties of the photo that the painting can't have: its raw data's development, previews, gain maps and videos
# behind the picture, further packets, and the layout of its pixels.
_LAYOUT = (
    "Orientation", "ImageWidth", "ImageLength", "BitsPerSample", "Compression", "PhotometricInterpretation",
    "SamplesPerPixel", "PlanarConfiguration", "YCbCrSubSampling", "YCbCrPositioning", "TransferFunction", "WhitePoint",
    "PrimaryChromaticities", "YCbCrCoefficients", "ReferenceBlackWhite", "NativeDigest",
)  # fmt: skip
_DROPPED = frozenset(
    (
        *(f"{{{_TIFF}}}{name}" for name in _LAYOUT),
        *(f"{{{_EXIF}}}{name}" for name in ("PixelXDimension", "PixelYDimension", "ColorSpace", "NativeDigest")),
        *(f"{{{_MM}}}{name}" for name in ("InstanceID", "DerivedFrom")),
        *(f"{{{_PHOTOSHOP}}}{name}" for name in ("ICCProfile", "ColorMode")),
        f"{{{_XAP}}}Thumbnails",
    )
)
_DROPPED_NAMESPACES = (
    "{http://ns.adobe.com/camera-raw-settings/1.0/}", "{http://ns.adobe.com/hdr-gain-map/1.0/}",
    "{http://ns.adobe.com/xmp/note/}", "{http://ns.apple.com/HDRGainMap/1.0/}", "{http://ns.google.com/photos/1.0/",
)  # fmt: skip


def read(content: bytes | None) -> Packet:
    """The packet of a photo; an empty one where there is none, or one that can't be read."""
    try:
        return xmp.parse(content or b"")
    except NoPacket:
        return Packet()


def painted_before(packet: Packet) -> list[str]:
    """The events of a packet's history by OneStroke that painted the picture, oldest first: their parameters."""
    history = packet.get(HISTORY)
    events = [] if history is None else [xmp.fields(item) for item in xmp.items(history)]
    own = [event for event in events if event.get(SOFTWARE, "").startswith("OneStroke ")]
    return [event.get(PARAMETERS, "") for event in own if event.get(ACTION) == "edited"]


def of_painting(photo: bytes | None, origin: Origin, painted: bool, room: int) -> bytes:
    """Build the packet of a painting.

    Args:
        photo: the photo's packet, which may be anything, or None.
        origin: what is said of the painting.
        painted: False where nothing was painted (strength 0, a black mask): the source type stays the photo's own.
        room: bytes that the file has for it. Properties of the photo are left out, the largest first, until it fits.

    Raises:
        UserError: not even what is said of the painting fits.
    """
    before = read(photo)
    kept = [one for one in before.properties if one.tag not in _DROPPED and not one.tag.startswith(_DROPPED_NAMESPACES)]
    replaced = {HISTORY}
    own: list[Element] = [*_derived_from(before)]
    if painted:
        own += [*_facts(origin), *_source_types(before)]
        replaced |= {SOURCE_TYPE} | {one.tag for one in (*own, *before.properties) if one.tag.startswith(f"{{{OWN}}}")}
        replaced |= {one.tag for one in own}
    events = [] if before.get(HISTORY) is None else xmp.items(before.properties[_place(before, HISTORY)])
    events = [*events, _event(origin, painted)]
    kept = [one for one in kept if one.tag not in replaced]
    others = {uri: prefix for uri, prefix in before.prefixes.items() if prefix not in _PREFIXES.values()}
    prefixes = {**others, **_PREFIXES}
    while True:
        history = xmp.array(HISTORY, "Seq", events)
        content = xmp.serialize(Packet([*kept, *own, history], prefixes))
        if len(content) <= room:
            return content
        if kept:
            kept.remove(max(kept, key=_size))
        elif len(events) > 1:
            del events[0]
        else:
            raise UserError(f"what is to be said of the painting takes {len(content)} bytes of XMP: add mark=none")


def _place(packet: Packet, tag: str) -> int:
    return next(i for i, one in enumerate(packet.properties) if one.tag == tag)


def _size(element: Element) -> int:
    return len(xmp.serialize(Packet([element])))


def _event(origin: Origin, painted: bool) -> Element:
    """An event of the history; without a date, so that the same picture gives the same file again."""
    action = "edited" if painted else "saved"
    return xmp.structure(_LI, {ACTION: action, SOFTWARE: AGENT, PARAMETERS: origin.sentence(painted)})


def _source_types(before: Packet) -> list[Element]:
    """That of the painting, and that of its photo where the photo had another."""
    own = before.text(f"{{{OWN}}}PhotoDigitalSourceType") or before.text(SOURCE_TYPE)
    found = [xmp.simple(SOURCE_TYPE, COMPOSITE)]
    return found + ([xmp.simple(f"{{{OWN}}}PhotoDigitalSourceType", own)] if own and own != COMPOSITE else [])


def _derived_from(before: Packet) -> list[Element]:
    """The identifiers of the photo, where it has some."""
    names = {"DocumentID": "documentID", "InstanceID": "instanceID", "OriginalDocumentID": "originalDocumentID"}
    found = {f"{{{_REF}}}{ref}": before.text(f"{{{_MM}}}{name}") for name, ref in names.items()}
    return [xmp.structure(f"{{{_MM}}}DerivedFrom", found)] if any(found.values()) else []


def _facts(origin: Origin) -> list[Element]:
    """What is known of the painting, a property each."""
    found = {"Version": AGENT, "StyleFile": origin.file, "StyleFileSHA256": origin.sha256}
    found |= {_camel(name): value for name, value in origin.settings.items()}
    styles = [
        xmp.structure(
            _LI,
            {
                f"{{{OWN}}}Name": style.name, f"{{{OWN}}}Share": f"{style.share:g}", f"{{{OWN}}}Title": style.title,
                f"{{{OWN}}}Artist": style.artist, f"{{{OWN}}}Licence": style.licence,
            },
        )
        for style in origin.styles
    ]  # fmt: skip
    return [
        xmp.simple(f"{{{_IPTC}}}AISystemUsed", "OneStroke"),
        xmp.simple(f"{{{_IPTC}}}AISystemVersionUsed", __version__),
        *(xmp.simple(f"{{{OWN}}}{name}", value) for name, value in found.items() if value),
        xmp.array(f"{{{OWN}}}Styles", "Bag", styles),
    ]


def _camel(name: str) -> str:
    """style_map -> StyleMap."""
    return "".join(part.capitalize() for part in name.split("_"))
