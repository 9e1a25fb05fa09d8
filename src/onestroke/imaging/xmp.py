"""Read and write XMP packets, by a parser that expands no entities and stops at limits: a photo's XMP is untrusted.

XMP is RDF in XML: properties of the file, each with a namespace. A packet is reduced to its top-level properties, one
element each, whichever of RDF's ways of writing them down the file took.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

MOST_BYTES = 2**20
"""Bytes of a packet; larger ones are not read."""
_MOST_DEPTH, _MOST_ELEMENTS = 32, 20_000

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META, _XML = "adobe:ns:meta/", "http://www.w3.org/XML/1998/namespace"
_UNFIT = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # no characters of XML 1.0
_PREFIX = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_HEAD, _TAIL = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'


class NoPacket(ValueError):
    """The bytes are no XMP packet, or one beyond the limits; the message says why."""


@dataclass
class Packet:
    """The properties of a packet: elements with tags `{namespace}name`. prefixes: namespace -> prefix."""

    properties: list[Element] = field(default_factory=list)
    prefixes: dict[str, str] = field(default_factory=dict)

    def get(self, tag: str) -> Element | None:
        """The property with a tag, or None."""
        return next((one for one in self.properties if one.tag == tag), None)

    def text(self, tag: str) -> str:
        """The text of a simple property; empty if there is none."""
        found = self.get(tag)
        return "" if found is None else simple_text(found)

    def remove(self, tag: str) -> None:
        """Remove a property."""
        self.properties = [one for one in self.properties if one.tag != tag]


def simple_text(element: Element) -> str:
    """The value of a simple property: its text, or the address in `rdf:resource`."""
    return (element.text or "").strip() or element.get(f"{{{RDF}}}resource", "")


def items(element: Element) -> list[Element]:
    """The items of an array property: those of its rdf:Seq, rdf:Bag or rdf:Alt."""
    arrays = [one for one in element if one.tag in (f"{{{RDF}}}Seq", f"{{{RDF}}}Bag", f"{{{RDF}}}Alt")]
    return [] if not arrays else list(arrays[0])


def fields(element: Element) -> dict[str, str]:
    """The simple fields of a structure, in any of RDF's three forms: tag -> text."""
    inner = [one for one in element if one.tag == f"{{{RDF}}}Description"]
    found: dict[str, str] = {}
    for part in (element, *inner):
        found |= {tag: value for tag, value in part.attrib.items() if not tag.startswith((f"{{{RDF}}}", f"{{{_XML}}}"))}
        found |= {one.tag: simple_text(one) for one in part if one not in inner}
    return found


def parse(content: bytes) -> Packet:
    """Parse a packet.

    Raises:
        NoPacket: it is too large, has a document type (which could define entities), is nested too deeply, has too many
            elements, is not well-formed, or holds no RDF.
    """
    content = content.strip(b"\0 \t\r\n")
    if len(content) > MOST_BYTES:
        raise NoPacket(f"it has more than {MOST_BYTES // 2**20} MiB")
    builder = _Builder()
    try:
        builder.parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise NoPacket(str(error)) from error
    if builder.root is None:
        raise NoPacket("it is empty")
    rdf = next((one for one in builder.root.iter() if one.tag == f"{{{RDF}}}RDF"), None)
    if rdf is None:
        raise NoPacket("it holds no RDF")
    packet = Packet(prefixes=builder.prefixes)
    for description in (one for one in rdf if one.tag == f"{{{RDF}}}Description"):
        for tag, value in description.attrib.items():
            if tag.startswith("{") and not tag.startswith((f"{{{RDF}}}", f"{{{_XML}}}")):
                simple = Element(tag)
                simple.text = value
                packet.properties.append(simple)
        packet.properties += [one for one in description if one.tag.startswith("{")]
    return packet


class _Builder:
    """Builds elements of what expat reports."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self.prefixes: dict[str, str] = {}
        self.taken: set[str] = set()
        self.open: list[Element] = []
        self.count = 0
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartNamespaceDeclHandler = self._name
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse(self, *_: object) -> None:
        raise NoPacket("it has a document type, which XMP has no use for")

    def _name(self, prefix: str | None, uri: str | None) -> None:
        if prefix and uri and uri not in self.prefixes and prefix not in self.taken:
            self.prefixes[uri] = prefix
            self.taken.add(prefix)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self.count += 1
        if self.count > _MOST_ELEMENTS or len(self.open) >= _MOST_DEPTH:
            raise NoPacket("it has too many elements, or is nested too deeply")
        given = {_tag(key): value for key, value in attributes.items()}
        if self.open:
            element = SubElement(self.open[-1], _tag(name), given)
        else:
            element = self.root = Element(_tag(name), given)
        self.open.append(element)

    def _end(self, _: str) -> None:
        self.open.pop()

    def _text(self, text: str) -> None:
        element = self.open[-1]
        if len(element):  # between two elements there is white space only
            return
        element.text = (element.text or "") + text


def _tag(name: str) -> str:
    uri, space, local = name.rpartition(" ")
    return f"{{{uri}}}{local}" if space else local


def serialize(packet: Packet) -> bytes:
    """Write a packet, in UTF-8; characters that XML can't hold become U+FFFD."""
    prefixes = _Prefixes(packet.prefixes)
    body = "".join(_written(one, prefixes, "   ") for one in packet.properties)
    spaces = "".join(f"\n    xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in sorted(prefixes.used.items()))
    return (
        f'{_HEAD}\n<x:xmpmeta xmlns:x="{_META}">\n <rdf:RDF xmlns:rdf="{RDF}">\n'
        f'  <rdf:Description rdf:about=""{spaces}>\n{body}  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n{_TAIL}'
    ).encode()


class _Prefixes:
    """Prefixes of namespaces: the given ones where they are sound, else ns1, ns2, ...; remembers which are used."""

    def __init__(self, given: Mapping[str, str]) -> None:
        reserved = ("rdf", "xml", "xmlns", "x")
        self.given = {uri: prefix for uri, prefix in given.items() if _PREFIX.fullmatch(prefix)}
        self.given = {uri: prefix for uri, prefix in self.given.items() if prefix.lower() not in reserved}
        self.used: dict[str, str] = {}
        self.taken = set(self.given.values())
        self.numbers = itertools.count(1)

    def name(self, tag: str) -> str:
        """The prefixed name of a tag `{namespace}name`."""
        uri, brace, local = tag.rpartition("}")
        if not brace:
            return local
        uri = uri[1:]
        if uri in (RDF, _XML):
            return f"{'rdf' if uri == RDF else 'xml'}:{local}"
        if uri not in self.used:
            free = (f"ns{i}" for i in self.numbers)
            self.used[uri] = self.given.get(uri) or next(name for name in free if name not in self.taken)
        return f"{self.used[uri]}:{local}"


def _written(element: Element, prefixes: _Prefixes, indent: str) -> str:
    name = prefixes.name(element.tag)
    given = "".join(f" {prefixes.name(key)}={quoteattr(fit_text(value))}" for key, value in element.attrib.items())
    if len(element):
        inner = "".join(_written(one, prefixes, indent + " ") for one in element)
        return f"{indent}<{name}{given}>\n{inner}{indent}</{name}>\n"
    if element.text:
        return f"{indent}<{name}{given}>{escape(fit_text(element.text))}</{name}>\n"
    return f"{indent}<{name}{given}/>\n"


def fit_text(text: str) -> str:
    """A text with U+FFFD for each character that XML can't hold."""
    return _UNFIT.sub("\ufffd", text)


def simple(tag: str, value: str) -> Element:
    """A simple property."""
    element = Element(tag)
    element.text = value
    return element


def structure(tag: str, values: Mapping[str, str]) -> Element:
    """A structure, or an item of an array, with simple fields: tag -> text; empty ones are left out."""
    element = Element(tag, {f"{{{RDF}}}parseType": "Resource"})
    element.extend(simple(field, value) for field, value in values.items() if value)
    return element


def array(tag: str, kind: str, elements: list[Element]) -> Element:
    """An array property. kind: Seq, Bag or Alt. elements: its items, with the tag `{RDF}li`."""
    element = Element(tag)
    SubElement(element, f"{{{RDF}}}{kind}").extend(elements)
    return element
