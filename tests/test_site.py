"""The documents as a site: its pages, the reference of the Python side, and links out of docs/."""

from __future__ import annotations

import importlib
import re
import runpy
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.commands import ROOT

DOCS = ROOT / "docs"
NAMED = re.findall(r"^::: ([\w.]+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)


def settings() -> dict[str, Any]:
    """mkdocs.yml."""
    plain = OmegaConf.to_container(OmegaConf.load(ROOT / "mkdocs.yml"))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def test_every_page_has_its_place_in_the_site() -> None:
    listed = [path for entry in settings()["nav"] for path in entry.values()]
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_first_page_leads_to_all_others() -> None:
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert linked == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - {"index.md"}


@pytest.mark.parametrize("name", NAMED)
def test_the_reference_names_what_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module), attribute, None) or importlib.import_module(name)
    assert found.__doc__


def test_the_front_door_is_in_the_reference() -> None:
    assert {"onestroke.Stylizer", "onestroke.UserError", "onestroke.style_file"} <= set(NAMED)


def test_links_out_of_docs_lead_to_copies() -> None:
    links = runpy.run_path(str(ROOT / "scripts" / "site_links.py"))
    rewritten, outside = links["rewritten"], links["outside"]
    text = "a [config](../configs/train.yaml), [page](training.md), [gone](../configs/gone.yaml), [notes](../README.md)"
    assert rewritten(text, "page.md") == text.replace("../configs/train.yaml", "files/configs/train.yaml")
    deeper = "[config](../../configs/train.yaml#top)"
    assert rewritten(deeper, "more/page.md") == "[config](../files/configs/train.yaml#top)"
    assert outside("../../outside.txt", "page.md") is None
