"""A hook of mkdocs.yml: files outside docs/ that a page links to, such as a config, come along in the site.

In the repository a link like `../configs/train.yaml` leads to the file itself; in the site, to its copy under files/.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<=\]\()\.\.[^)#\s]*")


def outside(target: str, page: str) -> str | None:
    """The path in the repository that a link leads to, where that is a file outside docs/ and no document.

    Args:
        target: as it stands in the link.
        page: the page's path in docs/.
    """
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    inside = path.startswith(("docs/", "..")) or path.endswith(".md")
    return None if inside or not (ROOT / path).is_file() else path


def rewritten(markdown: str, page: str) -> str:
    """A page's text, whose links to files outside docs/ lead to their copies in the site."""

    def link(match: re.Match[str]) -> str:
        path = outside(match[0], page)
        return posixpath.relpath(f"files/{path}", posixpath.dirname(page) or ".") if path else match[0]

    return _LINK.sub(link, markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs once it has listed docs/."""
    from mkdocs.structure.files import File

    pages = [(page.src_uri, page.content_string) for page in files.documentation_pages()]
    found = {outside(target, page) for page, text in pages for target in _LINK.findall(text)}
    for path in sorted(filter(None, found)):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Called by mkdocs for each page before it is rendered."""
    return rewritten(markdown, page.file.src_uri)
