"""The JSON document of a style file: its contents as a dataclass, and their checks, for files of all versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onestroke import documents
from onestroke.documents import NAME, TEXT, NoDocument, is_name, is_number, is_whole
from onestroke.errors import printable

FORMAT = 1


@dataclass
class Metadata:
    """What a style file holds besides the weights.

    network: {"name": class name, "args": constructor arguments}. style: name, facts, size and strength. training:
    resolved config, seed, steps, images seen, dataset, code version, seconds, device, run. metrics: held-out numbers.
    """

    network: dict[str, Any]
    style: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def styles(self) -> list[str]:
        """Names of the styles to choose from, in the network's order; for a single style or a mix, the file's name."""
        count, listed = self.network.get("args", {}).get("styles", 1), self.style.get("styles")
        if count == 1 or not isinstance(listed, list) or len(listed) != count:
            return [str(self.style.get("name", "unnamed"))]
        return [str(style["name"]) for style in listed]


def parse_document(text: str) -> Metadata:
    """Parse and check a document in JSON, such as that of an ONNX file.

    Raises:
        NoDocument: something in it is missing or wrong.
    """
    return check_document(documents.parse(text))


def check_document(document: Mapping[str, Any]) -> Metadata:
    """Check a parsed document; names of earlier versions are replaced by today's.

    Raises:
        NoDocument: (here and below) something in it is missing or wrong.
    """
    if not is_whole(document.get("version"), FORMAT, FORMAT):
        raise NoDocument("version")
    checksum = document.get("checksum")
    if checksum is not None and not isinstance(checksum, str):
        raise NoDocument("checksum")
    parts: dict[str, Any] = {part: document.get(part) for part in ("network", "style", "training", "metrics")}
    wrong = [part for part, value in parts.items() if not isinstance(value, dict)]
    if wrong:
        raise NoDocument(wrong[0])
    parts["network"] = current_names(parts["network"])
    metadata = Metadata(**parts)
    check(metadata)
    return metadata


def current_names(network: Mapping[str, Any]) -> dict[str, Any]:
    """Replace earlier names in a network's document."""
    args = network.get("args")
    return {**network, "args": current_arguments(args)} if isinstance(args, dict) else dict(network)


def current_arguments(args: Mapping[str, Any]) -> dict[str, Any]:
    """Replace earlier names of a network's arguments: `controls` was once called `dials`."""
    if "dials" not in args or "controls" in args:
        return dict(args)
    return {("controls" if name == "dials" else name): value for name, value in args.items()}


def check(metadata: Metadata) -> None:
    """Check all fields that a reader uses; a field may be missing if it has a default."""
    network, style, training = metadata.network, metadata.style, metadata.training
    if not isinstance(network.get("name"), str) or not isinstance(network.get("args"), dict):
        raise NoDocument("network")
    controls, count = network["args"].get("controls", []), network["args"].get("styles", 1)
    if not isinstance(controls, list | tuple) or not all(isinstance(control, str) for control in controls):
        raise NoDocument("the network's controls, a list of names")
    if not is_whole(count, 1, 1024):
        raise NoDocument("the network's styles, a whole number from 1 to 1024")
    if not is_name(style.get("name", "unnamed")):
        raise NoDocument(f"style.name, a text of 1 to {NAME} characters that can be printed")
    if "size" in style and not is_whole(style["size"], 1, 2**20):
        raise NoDocument("style.size, a whole number of pixels")
    if not all(is_number(style[key], 0, 1) for key in ("strength", "stroke") if key in style):
        raise NoDocument("style.strength and style.stroke, numbers from 0 to 1")
    _check_facts(style)
    _check_styles(style.get("styles", []), count)
    for key in ("steps", "images", "seconds"):
        if training.get(key) is not None and not is_number(training[key], 0):
            raise NoDocument(f"training.{key}, a number")
    if training.get("dataset") is not None and not isinstance(training["dataset"], str):
        raise NoDocument("training.dataset, a text")
    if not all(is_number(value) for value in metadata.metrics.values()):
        raise NoDocument("metrics, a number each")


def _check_styles(listed: object, count: int) -> None:
    if not isinstance(listed, list) or not all(isinstance(one, dict) and is_name(one.get("name")) for one in listed):
        raise NoDocument(f"style.styles, a list of styles, each with a name of 1 to {NAME} characters")
    names = [one["name"] for one in listed]
    if count > 1 and (len(names) != count or len(set(names)) < count):
        raise NoDocument(f"the network paints in {count} styles, and the file names {len(set(names))} different ones")
    for one in listed:
        _check_facts(one)


def _check_facts(facts: Mapping[str, Any]) -> None:
    long = [name for name, fact in facts.items() if isinstance(fact, str) and len(fact) > TEXT]
    if long:
        raise NoDocument(f"{printable(long[0])}, a text of at most {TEXT} characters")
