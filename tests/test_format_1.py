"""Style files of format 1 as earlier versions wrote them: they are read, and paint as today's do, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from onestroke import Stylizer
from onestroke.documents import KEY
from onestroke.networks.base import TransformNetwork
from onestroke.networks.listed import NETWORKS
from onestroke.style_document import Metadata
from onestroke.style_file import read_document, save

RESIDUAL = {"channels": [4, 6, 8], "blocks": 1, "ends": 3, "adds_photo": True, "upsampling": "bilinear"}
REALTIME = {"channels": [4, 8], "blocks": 1}
BOTH = ["strength", "stroke"]

# How the documents of earlier versions read: controls were called dials, the term checkerboard was called grid, an
# artifact was an artefact, and no checksum was written.
WITH_DIALS = """{"version": 1, "network": {"name": "ResidualNetwork", "args": {"channels": [4, 6, 8], "blocks": 1,
"ends": 3, "upsampling": "bilinear", "adds_photo": true, "dials": ["strength", "stroke"]}}, "style": {"name": "waves",
"size": 256, "strength": 0.5, "styles": [{"name": "waves", "title": "Great Waves"}]}, "training": {"run": "a",
"seed": 0, "steps": 500, "images": 1000, "dataset": "photos: 10 in photos/train", "seconds": 380.9, "config":
{"adapt": "dials", "edges": 0.25, "loss": {"grid": {"_target_": "onestroke.losses.grid.Grid"}}}}, "metrics":
{"grid": 0.0002, "total": 1.9, "measured/artefact/checkerboard": 0.0, "measured/artefact/bands": 0.25}}"""
REALTIME_OF_TWO = """{"version": 1, "network": {"name": "RealtimeNetwork", "args": {"channels": [4, 8], "blocks": 1,
"styles": 2, "dials": ["strength", "stroke"]}}, "style": {"name": "two", "styles": [{"name": "a"},
{"name": "b"}]}, "training": {}, "metrics": {}}"""
OLDEST = """{"version": 1, "network": {"name": "ResidualNetwork", "args": {"channels": [4, 6, 8], "blocks": 1,
"ends": 3}}, "style": {"name": "waves", "facts": {"title": "Great Waves"}}, "training": {}, "metrics": {}}"""
CASES = [
    pytest.param(WITH_DIALS, "ResidualNetwork", {**RESIDUAL, "controls": BOTH}, None, id="dials"),
    pytest.param(
        REALTIME_OF_TWO, "RealtimeNetwork", {**REALTIME, "styles": 2, "controls": BOTH}, "a:0.3,b:0.7", id="two"
    ),
    pytest.param(OLDEST, "ResidualNetwork", RESIDUAL, None, id="oldest"),
]


def network(name: str, arguments: dict[str, Any]) -> TransformNetwork:
    """One that paints, in another way at each of its table rows."""
    torch.manual_seed(0)
    built = NETWORKS[name](**arguments)
    assert isinstance(built, TransformNetwork)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return built


@pytest.fixture
def photo() -> Tensor:
    """(1, 3, 21, 30), sides that a network has to pad."""
    return torch.rand(1, 3, 21, 30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("document", "name", "arguments", "mix"), CASES)
def test_an_earlier_document_paints_as_todays(
    document: str, name: str, arguments: dict[str, Any], mix: str | None, photo: Tensor, tmp_path: Path
) -> None:
    today, earlier = tmp_path / "today.safetensors", tmp_path / "earlier.safetensors"
    style = json.loads(document)["style"]
    save(today, network(name, arguments), Metadata({"name": name, "args": arguments}, style))
    save_file(load_file(today), earlier, metadata={KEY: document})
    controls = arguments.get("controls", [])
    assert list(read_document(earlier).network["args"].get("controls", [])) == controls
    settings: list[dict[str, float]] = [{}]
    settings += [{"strength": 0.1}, {"strength": 0.7, "stroke": 0.3}, {"stroke": 1.0}] if controls else []
    paintings = []
    for chosen in settings:
        new, old = (Stylizer(path, device="cpu", mix=mix, **chosen).paint(photo) for path in (today, earlier))  # type: ignore[arg-type]
        assert torch.equal(new, old)
        paintings.append(old)
    # a setting that was not heard would paint as another one does
    assert len({painting.numpy().tobytes() for painting in paintings}) == len(settings)
    assert not any(torch.allclose(painting, photo, atol=0.02) for painting in paintings)


def test_what_an_earlier_document_says_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "earlier.safetensors"
    save_file(network("ResidualNetwork", {**RESIDUAL, "controls": BOTH}).state_dict(), path, metadata={KEY: WITH_DIALS})
    read, stored = read_document(path), json.loads(WITH_DIALS)
    assert (read.style, read.training, read.metrics) == (stored["style"], stored["training"], stored["metrics"])
