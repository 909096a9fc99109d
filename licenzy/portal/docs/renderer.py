"""Markdown to safe HTML: raw HTML is shown as text, headings get anchors, code gets a copy button."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from licenzy.kit.resources import resource_dir

DEFAULT_ADDRESS = "http://127.0.0.1:8000"
"""How guides write the address of Licenzy, so that they read and run as they are wherever they are opened."""
_DEFAULT_ADDRESS = re.compile(re.escape(DEFAULT_ADDRESS) + r"(?![\w.-])")
_FIRST_HEADING = re.compile(r"^# +(.+)$", re.MULTILINE)
_LINKED = re.compile(r"\]\(([a-z0-9-]+)\.md[)#]")


@dataclass(frozen=True, slots=True)
class Heading:
    """A section of a page, for its table of contents."""

    anchor: str
    title: str


@dataclass(frozen=True, slots=True)
class GuidePage:
    """A rendered page of the guide."""

    slug: str
    title: str
    html: Markup
    headings: Sequence[Heading]


def guide_pages() -> list[tuple[str, str]]:
    """Slug and title of each page: the index, then what it links to in that order, then the rest."""
    files = _files()
    linked = _LINKED.findall(files["index"].read_text(encoding="utf-8")) if "index" in files else []
    order = dict.fromkeys(["index", *linked, *sorted(files)])
    return [(slug, _title(files[slug])) for slug in order if slug in files]


def guide_page(slug: str, *, base_url: str) -> GuidePage | None:
    """The page, or None when no such file is in the guide's folder.

    It has the installation's own `base_url` wherever the file has DEFAULT_ADDRESS.
    """
    path = _files().get(slug)
    return None if path is None else _rendered(path, path.stat().st_mtime_ns, base_url)


def _files() -> dict[str, Path]:
    """The pages that exist, by slug: an address is looked up here and never made into a path."""
    files = resource_dir("docs").glob("*.md")
    return {path.stem: path for path in files if path.is_file() and path.stem != "README"}


def _title(path: Path) -> str:
    found = _FIRST_HEADING.search(path.read_text(encoding="utf-8"))
    return found.group(1).strip() if found else path.stem.replace("-", " ").capitalize()


@lru_cache(maxsize=64)
def _rendered(path: Path, _changed: int, base_url: str) -> GuidePage:
    markdown = _DEFAULT_ADDRESS.sub(lambda _found: base_url, path.read_text(encoding="utf-8"))
    return render(path.stem, _title(path), markdown)


def render(slug: str, title: str, markdown: str) -> GuidePage:
    """A page of the guide from its Markdown."""
    reader = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    reader.add_render_rule("fence", _code_block)
    reader.add_render_rule("table_open", _table_begins)
    reader.add_render_rule("table_close", _table_ends)
    tokens = reader.parse(markdown)
    headings = _add_anchors(tokens)
    _rewrite_links(tokens)
    html = Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704  # Raw HTML is off.
    return GuidePage(slug, title, html, headings)


def _add_anchors(tokens: Sequence[Token]) -> list[Heading]:
    """Give each heading an id made of its words, as GitHub does; those of level 2 are returned."""
    headings: list[Heading] = []
    taken: set[str] = set()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        words = "".join(child.content for child in inline.children or [])
        anchor = stem = re.sub(r"[^\w]+", "-", re.sub("['’]", "", words.lower())).strip("-") or "section"
        number = 2
        while anchor in taken:
            anchor, number = f"{stem}-{number}", number + 1
        taken.add(anchor)
        opening.attrSet("id", anchor)
        if opening.tag == "h2":
            headings.append(Heading(anchor, words))
    return headings


def _rewrite_links(tokens: Sequence[Token]) -> None:
    """`connect-stripe.md#keys` leads to `/docs/connect-stripe#keys`; links to other sites stay."""
    for token in tokens:
        for child in token.children or []:
            href = child.attrGet("href") if child.type == "link_open" else None
            if isinstance(href, str) and "://" not in href:
                rewritten = re.sub(r"^(?:\./)?([\w-]+)\.md(#.*)?$", _address, href)
                child.attrSet("href", rewritten)


def _address(match: re.Match[str]) -> str:
    slug, anchor = match.group(1), match.group(2) or ""
    return ("/docs" if slug == "index" else f"/docs/{slug}") + anchor


def _table_begins(*_rendering: Any) -> str:
    """A table wider than the page scrolls by itself, by the keyboard too."""
    return '<div class="table-scroll" tabindex="0"><table class="table">\n'


def _table_ends(*_rendering: Any) -> str:
    return "</table></div>\n"


def _code_block(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    token = tokens[index]
    language = re.sub(r"[^a-z0-9]", "", token.info.strip().split(" ")[0].lower()) or "text"
    return (
        f'<div class="code-block" data-language="{language}">'
        '<button type="button" class="btn btn-sm code-copy" data-copy hidden>Copy</button>'
        f'<pre tabindex="0"><code>{escape(token.content.rstrip())}</code></pre></div>\n'
    )
